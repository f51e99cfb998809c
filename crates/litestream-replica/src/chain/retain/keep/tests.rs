//! What the rules keep, by example and against the planner.

use ltx::Txid;
use proptest::prelude::*;

use super::*;
use crate::chain::plan::{Target, plan};

/// 2026-11-20T00:00:00Z.
const NOW: UnixMillis = UnixMillis(1_795_132_800_000);
const HOUR: Duration = Duration::from_hours(1);
const RULES: KeepRules = KeepRules {
    hourly: Duration::from_hours(24),
    daily: Duration::from_hours(24 * 30),
    monthly: Duration::from_hours(24 * 365),
};

/// `age` in minutes.
fn file(level: u8, min: u64, max: u64, age: i64) -> FileInfo {
    FileInfo {
        level: Level::new(level).unwrap(),
        name: FileName::new(Txid::new(min), Txid::new(max)),
        size: 1,
        created: UnixMillis(NOW.0 - age * 60_000),
    }
}

fn kept_after(files: &[FileInfo], window: Duration, rules: &KeepRules) -> Vec<FileInfo> {
    let gone = keep_rules_retention(files, NOW, window, rules);
    files
        .iter()
        .filter(|f| !gone.contains(&(f.level, f.name)))
        .copied()
        .collect()
}

#[test]
fn months_of_the_calendar() {
    let millis = |days: i64| UnixMillis(days * DAY_MILLIS);
    let january_1970 = month(millis(0));
    assert_eq!(month(millis(30)), january_1970);
    assert_eq!(month(millis(31)), january_1970 + 1);
    assert_eq!(month(millis(31 + 27)), january_1970 + 1);
    assert_eq!(month(millis(31 + 28)), january_1970 + 2);
    assert_eq!(month(millis(-1)), january_1970 - 1);
    // 2000-02-29 and 2000-03-01, 2100-02-28 and 2100-03-01.
    assert_eq!(
        (month(millis(11_016)), month(millis(11_017))),
        (january_1970 + 361, january_1970 + 362)
    );
    assert_eq!(
        (month(millis(47_540)), month(millis(47_541))),
        (january_1970 + 1561, january_1970 + 1562)
    );
    assert_eq!(month(NOW), january_1970 + 56 * 12 + 10);
    month(UnixMillis(i64::MIN));
    month(UnixMillis(i64::MAX));
}

#[test]
fn hourly_for_a_day_daily_for_a_month_monthly_for_a_year() {
    // A snapshot every 20 minutes for two years.
    let count: i64 = 2 * 365 * 72;
    let files: Vec<FileInfo> = (1..=count)
        .map(|n| file(9, 1, n as u64, (count - n) * 20))
        .collect();
    let kept = kept_after(&files, 3 * HOUR, &RULES);
    let ages: Vec<i64> = kept
        .iter()
        .map(|f| (NOW.0 - f.created.0) / 60_000)
        .collect();
    let within = |from: i64, to: i64| ages.iter().filter(|age| (from..to).contains(*age)).count();
    let (hour, day) = (60, 24 * 60);
    assert_eq!(within(0, 3 * hour + 1), 10, "all of the window");
    assert_eq!(within(3 * hour + 1, day + 1), 21, "one an hour");
    assert_eq!(within(day + 1, 30 * day + 1), 29, "one a day");
    assert_eq!(within(30 * day + 1, 365 * day + 1), 11, "one a month");
    assert_eq!(within(365 * day + 1, i64::MAX), 0);
    // The last of its day: at 23:40.
    assert!(
        ages.iter()
            .filter(|age| **age > day)
            .all(|age| age % day == 20)
    );
}

#[test]
fn the_newest_stays_and_so_does_what_the_window_stands_on() {
    let files = [file(9, 1, 10, 9000), file(9, 1, 20, 8000)];
    assert_eq!(kept_after(&files, HOUR, &KeepRules::default()), files[1..]);
    let files = [
        file(9, 1, 10, 400),
        file(9, 1, 20, 300),
        file(1, 11, 20, 300),
        file(1, 21, 30, 200),
        file(1, 31, 40, 30),
        file(9, 1, 40, 20),
        file(1, 41, 50, 10),
    ];
    // Without the snapshot at 20, the state of 40 at the age of 30 minutes could be had, but not one from before.
    assert_eq!(
        kept_after(&files, HOUR, &KeepRules::default()),
        [files[1], files[3], files[4], files[5], files[6]]
    );
    assert_eq!(
        kept_after(&files, Duration::ZERO, &KeepRules::default()),
        files[5..]
    );
}

#[test]
fn without_a_snapshot_before_the_window_all_files_stay() {
    let files = [file(1, 1, 5, 400), file(1, 6, 9, 300), file(9, 1, 9, 10)];
    assert_eq!(kept_after(&files[..2], HOUR, &RULES).len(), 2);
    let files = [files[0], files[1], file(0, 9, 9, 20), files[2]];
    assert_eq!(kept_after(&files, HOUR, &RULES), files);
    let junk = [file(9, 5, 9, 9000), file(1, 1, 3, 100), file(1, 4, 5, 10)];
    assert_eq!(kept_after(&junk, HOUR, &KeepRules::default()), junk);
}

#[test]
fn duplicates_and_extreme_times() {
    let (old, base, new) = (file(9, 1, 5, 9500), file(9, 1, 10, 9000), file(9, 1, 20, 0));
    let files = [old, old, base, base, new, new];
    let gone = |now, window| keep_rules_retention(&files, now, window, &KeepRules::default());
    assert_eq!(gone(NOW, HOUR), [(old.level, old.name)]);
    assert_eq!(gone(NOW, Duration::MAX), []);
    assert_eq!(gone(UnixMillis(i64::MIN), HOUR), []);
}

fn replica() -> impl Strategy<Value = Vec<FileInfo>> {
    let runs = || prop::collection::vec(1..6u64, 1..20);
    let parts = (
        runs(),
        runs(),
        prop::collection::btree_set(1..40u64, 0..8),
        0..40u64,
        1..200i64,
    );
    (parts, prop::collection::vec((1..40u64, -500..500i64), 0..4)).prop_map(
        |((one, two, snapshots, first, step), skews)| {
            let age = |txid: u64| {
                let skew: i64 = skews
                    .iter()
                    .filter(|(at, _)| *at == txid)
                    .map(|(_, skew)| skew)
                    .sum();
                step * (40 - txid as i64) + skew
            };
            let mut files: Vec<FileInfo> = (1..=40)
                .filter(|t| *t >= first)
                .map(|t| file(0, t, t, age(t)))
                .collect();
            for (level, runs) in [(1, one), (2, two)] {
                let mut min = 1;
                for run in runs {
                    let max = min + run - 1;
                    files.push(file(level, min, max, age(max.min(40))));
                    min += run;
                }
            }
            files.extend(snapshots.into_iter().map(|t| file(9, 1, t, age(t))));
            files
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_window_and_every_kept_snapshot_restore(
        files in replica(),
        window in 0..5000u64,
        spans in (0..100u64, 0..2000u64, 0..9000u64),
    ) {
        let window = Duration::from_mins(window);
        let rules = KeepRules {
            hourly: Duration::from_hours(spans.0),
            daily: Duration::from_hours(spans.1),
            monthly: Duration::from_hours(spans.2),
        };
        let kept = kept_after(&files, window, &rules);
        let same = |target: Target| plan(&files, target).is_ok() == plan(&kept, target).is_ok();
        for f in &files {
            if f.created.0 >= NOW.0 - window.as_millis() as i64 {
                prop_assert!(same(Target::Txid(f.name.max)), "{} of the window", f.name);
            }
        }
        let cutoff = NOW.0 - window.as_millis() as i64;
        let first = files.iter().filter(|f| f.created.0 >= cutoff).map(|f| f.name.max).min();
        let at_begin = files.iter().map(|f| f.name.max).filter(|max| first.is_none_or(|first| *max < first)).max();
        if let Some(txid) = at_begin {
            prop_assert!(same(Target::Txid(txid)), "{txid}, the state in which the window begins");
        }
        for f in kept.iter().filter(|f| f.level == Level::SNAPSHOT) {
            prop_assert!(plan(&kept, Target::Txid(f.name.max)).is_ok());
        }
        prop_assert!(same(Target::Latest));
        for level in Level::all() {
            let newest = |files: &[FileInfo]| files.iter().filter(|f| f.level == level).map(|f| f.name.max).max();
            prop_assert_eq!(newest(&files), newest(&kept));
        }
    }
}
