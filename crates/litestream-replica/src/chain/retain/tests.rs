//! What goes, what stays, and that what stays still restores.

use proptest::prelude::*;

use super::*;
use crate::chain::plan::{Target, plan};

const NOW: UnixMillis = UnixMillis(1_000_000);
const KEEP: Duration = Duration::from_secs(100);

/// `age` in seconds.
fn file(level: u8, min: u64, max: u64, age: i64) -> FileInfo {
    FileInfo {
        level: Level::new(level).unwrap(),
        name: FileName::new(Txid::new(min), Txid::new(max)),
        size: 1,
        created: UnixMillis(NOW.0 - age * 1000),
    }
}

fn gone(files: &[FileInfo]) -> Vec<(u8, u64, u64)> {
    let gone = snapshot_retention(files, NOW, KEEP);
    gone.into_iter()
        .map(|(level, name)| (level.get(), name.min.get(), name.max.get()))
        .collect()
}

#[test]
fn nothing_from_nothing() {
    assert!(gone(&[]).is_empty());
}

#[test]
fn the_newest_snapshot_stays_whatever_its_age() {
    assert!(gone(&[file(9, 1, 10, 5000)]).is_empty());
    assert_eq!(
        gone(&[file(9, 1, 20, 4000), file(9, 1, 10, 5000)]),
        [(9, 1, 10)]
    );
}

#[test]
fn exactly_as_old_as_allowed_stays() {
    assert!(gone(&[file(9, 1, 10, 100), file(9, 1, 20, 0)]).is_empty());
    assert_eq!(
        gone(&[file(9, 1, 10, 101), file(9, 1, 20, 0)]),
        [(9, 1, 10)]
    );
}

#[test]
fn files_below_the_last_deleted_snapshot_go_those_between_it_and_the_first_kept_stay() {
    let files = [
        file(9, 1, 10, 300),
        file(9, 1, 20, 200),
        file(9, 1, 30, 50),
        file(1, 1, 9, 300),
        file(1, 10, 19, 200),
        file(1, 20, 20, 200),
        file(1, 21, 29, 100),
        file(1, 30, 31, 40),
        file(2, 1, 19, 200),
        file(2, 20, 31, 40),
        file(0, 5, 5, 300),
    ];
    assert_eq!(
        gone(&files),
        [(9, 1, 10), (9, 1, 20), (1, 1, 9), (1, 10, 19), (2, 1, 19)]
    );
}

#[test]
fn the_newest_of_each_level_stays() {
    let files = [
        file(9, 1, 50, 300),
        file(9, 1, 60, 0),
        file(1, 1, 20, 900),
        file(3, 1, 5, 999),
        file(3, 6, 7, 999),
    ];
    assert_eq!(gone(&files), [(9, 1, 50), (3, 1, 5)]);
}

#[test]
fn nothing_goes_while_all_snapshots_are_young() {
    let files = [
        file(9, 1, 50, 90),
        file(9, 1, 60, 0),
        file(1, 1, 20, 900),
        file(1, 21, 60, 900),
    ];
    assert!(gone(&files).is_empty());
}

#[test]
fn a_young_snapshot_shields_those_after_it() {
    let files = [
        file(9, 1, 10, 5),
        file(9, 1, 20, 500),
        file(9, 1, 30, 0),
        file(1, 11, 15, 500),
        file(1, 16, 30, 0),
    ];
    assert!(gone(&files).is_empty());
}

#[test]
fn what_is_no_snapshot_from_the_beginning_replaces_none() {
    let files = [
        file(9, 1, 10, 300),
        file(9, 5, 30, 0),
        file(9, 2, 12, 400),
        file(1, 1, 9, 300),
        file(1, 10, 30, 0),
    ];
    assert!(gone(&files).is_empty());
}

#[test]
fn duplicates_and_extreme_durations() {
    let files = [
        file(9, 1, 10, 300),
        file(9, 1, 10, 300),
        file(9, 1, 20, 0),
        file(9, 1, 20, 0),
    ];
    assert_eq!(gone(&files), [(9, 1, 10)]);
    assert!(snapshot_retention(&files, NOW, Duration::MAX).is_empty());
    assert_eq!(snapshot_retention(&files, UnixMillis(i64::MIN), KEEP), []);
}

fn replica() -> impl Strategy<Value = Vec<FileInfo>> {
    // Level 0 whole; levels 1 and 2 in runs of random length over it; snapshots at random points. Age falls with TXID.
    let runs = || prop::collection::vec(1..6u64, 1..20);
    (runs(), runs(), prop::collection::btree_set(1..40u64, 0..6)).prop_map(
        |(one, two, snapshots)| {
            let age = |txid: u64| 400 - 10 * txid as i64;
            let mut files: Vec<FileInfo> = (1..=40).map(|t| file(0, t, t, age(t))).collect();
            for (level, runs) in [(1, one), (2, two)] {
                let mut min = 1;
                for run in runs {
                    files.push(file(level, min, min + run - 1, age(min + run - 1)));
                    min += run;
                }
            }
            files.extend(snapshots.into_iter().map(|t| file(9, 1, t, age(t))));
            files
        },
    )
}

proptest! {
    #[test]
    fn restore_points_from_the_oldest_kept_snapshot_on_keep_their_plan(files in replica(), keep in 0..400u64) {
        let gone = snapshot_retention(&files, NOW, Duration::from_secs(keep));
        let kept: Vec<FileInfo> = files.iter().filter(|f| !gone.contains(&(f.level, f.name))).copied().collect();
        // Level 0 has its own retention; without it the levels above must do.
        let compacted = |files: &[FileInfo]| -> Vec<FileInfo> {
            files.iter().filter(|f| f.level != Level::L0).copied().collect()
        };
        let oldest = kept.iter().filter(|f| f.level == Level::SNAPSHOT).map(|f| f.name.max.get()).min().unwrap_or(1);
        for txid in oldest..=60 {
            let target = Target::Txid(Txid::new(txid));
            prop_assert_eq!(plan(&files, target).is_ok(), plan(&kept, target).is_ok());
            prop_assert_eq!(plan(&compacted(&files), target).is_ok(), plan(&compacted(&kept), target).is_ok());
        }
        prop_assert!(gone.iter().all(|(level, _)| *level != Level::L0));
        for level in Level::all() {
            let newest = |files: &[FileInfo]| files.iter().filter(|f| f.level == level).map(|f| f.name.max).max();
            prop_assert_eq!(newest(&files), newest(&kept));
        }
    }
}
