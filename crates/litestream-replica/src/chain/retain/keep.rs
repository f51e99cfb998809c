//! Snapshots that are kept longer: one of each hour, day and month.
//!
//! Promise: what stays restores the state at every moment of the window that could be restored before, every snapshot that
//! stays, and the newest state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ltx::FileName;

use super::{all_but_newest, cutoff, sorted};
use crate::env::UnixMillis;
use crate::{FileInfo, Level};

const HOUR_MILLIS: i64 = 3_600_000;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// Numbers the hour, day or month that a time lies in.
type Bucket = fn(UnixMillis) -> i64;

/// How long the last snapshot of each hour, day and month (UTC) is kept. Zero: there is no such rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepRules {
    /// The last of each hour.
    pub hourly: Duration,
    /// The last of each day.
    pub daily: Duration,
    /// The last of each month.
    pub monthly: Duration,
}

impl KeepRules {
    /// The snapshots that the rules keep, of all, by ascending TXID.
    fn kept(&self, snapshots: &[FileInfo], now: UnixMillis) -> BTreeSet<FileName> {
        let rules: [(Duration, Bucket); 3] = [
            (self.hourly, hour),
            (self.daily, day),
            (self.monthly, month),
        ];
        let mut kept = BTreeSet::new();
        for (span, bucket) in rules.into_iter().filter(|(span, _)| !span.is_zero()) {
            let last: BTreeMap<i64, &FileInfo> =
                snapshots.iter().map(|s| (bucket(s.created), s)).collect();
            let cutoff = cutoff(now, span);
            kept.extend(
                last.into_values()
                    .filter(|s| s.created >= cutoff)
                    .map(|s| s.name),
            );
        }
        kept
    }
}

/// What to delete so that everything of the last `window` can be restored, and beyond it what the rules keep, given all files of
/// all levels in any order.
///
/// The window stands on the newest snapshot before it: that one stays, too, and all files after it. The files of levels 1 to
/// 8 that do not reach beyond it go, but for the newest of each level. Level 0 has its own rule.
pub fn keep_rules_retention(
    files: &[FileInfo],
    now: UnixMillis,
    window: Duration,
    rules: &KeepRules,
) -> Vec<(Level, FileName)> {
    let cutoff = cutoff(now, window);
    let mut snapshots = sorted(files, Level::SNAPSHOT);
    snapshots.retain(|f| f.name.min.get() == 1);
    let window_begin = files
        .iter()
        .filter(|f| f.created >= cutoff)
        .map(|f| f.name.max)
        .min();
    // The state in which the window begins is older than the window.
    let before = |s: &&FileInfo| window_begin.is_none_or(|begin| s.name.max < begin);
    let Some(base) = snapshots.iter().rev().find(before).map(|s| s.name.max) else {
        return Vec::new();
    };
    let kept = rules.kept(&snapshots, now);
    let mut delete: Vec<(Level, FileName)> = snapshots
        .iter()
        // By TXID as well as by time: after a clock was set back nothing that the window stands on may go.
        .filter(|s| s.name.max < base && s.created < cutoff && !kept.contains(&s.name))
        .map(|s| (s.level, s.name))
        .collect();
    for level in Level::all().filter(|level| *level != Level::L0 && *level != Level::SNAPSHOT) {
        let level = sorted(files, level);
        let below = all_but_newest(&level).filter(|f| f.name.max <= base);
        delete.extend(below.map(|f| (f.level, f.name)));
    }
    delete
}

fn hour(time: UnixMillis) -> i64 {
    time.0.div_euclid(HOUR_MILLIS)
}

fn day(time: UnixMillis) -> i64 {
    time.0.div_euclid(DAY_MILLIS)
}

/// Months since March of the year 0. Years that begin in March have the leap day at their end, which makes the lengths of
/// months a straight line: 153 days for each five of them.
fn month(time: UnixMillis) -> i64 {
    const DAYS_TO_1970: i64 = 719_468;
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let days = day(time) + DAYS_TO_1970;
    let (era, day) = (
        days.div_euclid(DAYS_OF_400_YEARS),
        days.rem_euclid(DAYS_OF_400_YEARS),
    );
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    (era * 400 + year) * 12 + (5 * day_of_year + 2) / 153
}

#[cfg(test)]
mod tests;
