//! Which files of level 0 may go.
//!
//! Promise: what stays restores every TXID that could be restored before and that a file which stays ends at. Litestream
//! deletes up to the first file that is too young, which may lie within a compacted file; the young ones after it then have
//! nothing to stand on. Here level 0 goes by whole compacted files.

use std::time::Duration;

use ltx::{FileName, Txid};

use super::{all_but_newest, cutoff, sorted};
use crate::chain::points::{End, ends};
use crate::env::UnixMillis;
use crate::{FileInfo, Level};

/// The files of level 0 to delete, oldest first, given all files of all levels in any order: those older than `keep` that
/// level 1 covers; the first that is too young or not covered ends it, and the newest always stays. What is older than all of
/// level 1 and lies below a snapshot is all that leads to some points of time, so it goes when all of it is from before
/// `promised_from`, if points are promised at all. A `keep` of zero keeps all.
pub fn l0_retention(
    files: &[FileInfo],
    now: UnixMillis,
    keep: Duration,
    promised_from: Option<UnixMillis>,
) -> Vec<(Level, FileName)> {
    if keep.is_zero() {
        return Vec::new();
    }
    let level_0 = sorted(files, Level::L0);
    let covered = Covered::new(files);
    let candidates: Vec<&FileInfo> = all_but_newest(&level_0).collect();
    let below = candidates.partition_point(|f| covered.is_below(f.name));
    let is_promised = |f: &&FileInfo| promised_from.is_some_and(|from| f.created >= from);
    let expired = !candidates[..below].iter().any(is_promised);
    let keep_from = cutoff(now, keep);
    let mut old: Vec<(Level, FileName)> = candidates[if expired { 0 } else { below }..]
        .iter()
        .take_while(|f| {
            f.created < keep_from && (covered.is_below(f.name) || covered.holds(f.name))
        })
        .map(|f| (f.level, f.name))
        .collect();
    if let Some((_, last)) = old.last() {
        let end = replaced(&ends(files), last.max);
        old.retain(|(_, name)| name.max <= end);
    }
    old
}

/// The last TXID up to `limit` at which all restores that reach beyond it can do without level 0 below it, and none of the
/// restores to an end of the other levels before it needs level 0.
fn replaced(ends: &[End], limit: Txid) -> Txid {
    let (mut with, mut without, mut end) = (Txid::ZERO, Txid::ZERO, Txid::ZERO);
    for (max, starts) in ends.iter().take_while(|(max, _)| *max <= limit) {
        let reaches = |from: Txid, l0: bool| {
            let mut starts = starts.iter().filter(|(_, level)| l0 || *level != Level::L0);
            starts.any(|(min, _)| *min <= from.next())
        };
        let was_reached = reaches(with, true);
        if was_reached {
            with = *max;
        }
        if reaches(without, false) {
            without = *max;
        }
        // Only files of level 0 end here: the compacted file that holds them ends later.
        if starts.iter().all(|(_, level)| *level == Level::L0) {
            continue;
        }
        if was_reached && without != *max {
            return end;
        }
        if with == without {
            end = *max;
        }
    }
    end
}

/// What level 1 holds.
struct Covered {
    /// Disjoint, ascending, and not adjacent.
    runs: Vec<(Txid, Txid)>,
    /// The end of the newest snapshot.
    snapshot: Txid,
}

impl Covered {
    fn new(files: &[FileInfo]) -> Covered {
        let mut level_1: Vec<FileName> = files
            .iter()
            .filter(|f| f.level.get() == 1)
            .map(|f| f.name)
            .collect();
        level_1.sort_unstable();
        let mut runs: Vec<(Txid, Txid)> = Vec::new();
        for name in level_1 {
            match runs.last_mut() {
                Some((_, end)) if name.min <= end.next() => *end = name.max.max(*end),
                _ => runs.push((name.min, name.max)),
            }
        }
        let snapshots = files
            .iter()
            .filter(|f| f.level == Level::SNAPSHOT && f.name.min.get() == 1);
        let snapshot = snapshots.map(|f| f.name.max).max().unwrap_or_default();
        Covered { runs, snapshot }
    }

    /// Whether a file is older than all of level 1 and lies below a snapshot.
    fn is_below(&self, name: FileName) -> bool {
        let first = self.runs.first();
        first.is_some_and(|(min, _)| name.max < *min) && name.max <= self.snapshot
    }

    fn holds(&self, name: FileName) -> bool {
        let next = self.runs.partition_point(|(min, _)| *min <= name.min);
        next > 0 && name.max <= self.runs[next - 1].1
    }
}

#[cfg(test)]
mod tests;
