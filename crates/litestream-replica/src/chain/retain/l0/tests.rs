//! What goes of level 0, by example and against the planner.

use proptest::prelude::*;

use super::*;
use crate::chain::plan::{Target, plan};
use crate::chain::position::position;

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

fn gone(files: &[FileInfo], keep: Duration) -> Vec<u64> {
    gone_with(files, keep, keep)
}

fn gone_with(files: &[FileInfo], keep: Duration, window: Duration) -> Vec<u64> {
    l0_retention(files, NOW, keep, Some(cutoff(NOW, window)))
        .into_iter()
        .map(|(level, name)| {
            assert_eq!(level, Level::L0);
            name.max.get()
        })
        .collect()
}

/// Files 1 to `count` of level 0, each a second older than the next, the newest of `age` seconds.
fn level_0(count: u64, age: i64) -> Vec<FileInfo> {
    (1..=count)
        .map(|t| file(0, t, t, age + (count - t) as i64))
        .collect()
}

#[test]
fn old_and_covered_goes_oldest_first() {
    let mut files = level_0(10, 150);
    assert!(gone(&files, KEEP).is_empty(), "nothing is compacted");
    files.push(file(1, 1, 4, 150));
    files.push(file(1, 5, 8, 150));
    assert_eq!(gone(&files, KEEP), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(gone(&files, Duration::from_secs(500)).is_empty());
    files.push(file(1, 9, 10, 150));
    assert_eq!(
        gone(&files, KEEP),
        [1, 2, 3, 4, 5, 6, 7, 8],
        "the newest stays, and what it stands on"
    );
}

#[test]
fn k23_zero_keeps_all() {
    let mut files = level_0(3, 1_000_000);
    files.push(file(1, 1, 2, 0));
    assert!(gone(&files, Duration::ZERO).is_empty());
    assert_eq!(gone(&files, Duration::from_nanos(1)), [1, 2]);
    assert!(gone(&files, Duration::MAX).is_empty());
}

#[test]
fn young_files_keep_what_they_stand_on() {
    let mut files: Vec<FileInfo> = (1..=10)
        .map(|t| file(0, t, t, if t <= 6 { 200 } else { 10 }))
        .collect();
    files.push(file(1, 1, 4, 100));
    files.push(file(1, 5, 10, 5));
    // 5 and 6 are old and covered, but 7, 8 and 9 could not be restored without them.
    assert_eq!(gone(&files, KEEP), [1, 2, 3, 4]);
}

#[test]
fn k01_no_hole_is_made() {
    let mut files = level_0(12, 200);
    files.push(file(1, 1, 4, 200));
    files.push(file(1, 7, 11, 200));
    assert_eq!(gone(&files, KEEP), [1, 2, 3, 4], "level 1 lacks 5 and 6");
    files.push(file(9, 1, 6, 200));
    assert_eq!(
        gone(&files, KEEP),
        [1, 2, 3, 4],
        "a snapshot alone doesn't stand for each of them"
    );
    files.push(file(1, 5, 6, 200));
    assert_eq!(gone(&files, KEEP).len(), 11);
}

#[test]
fn what_is_older_than_level_1_goes_below_a_snapshot_only() {
    let mut files = level_0(12, 200);
    files.push(file(1, 7, 11, 200));
    assert!(gone(&files, KEEP).is_empty());
    files.push(file(9, 1, 8, 200));
    assert_eq!(gone(&files, KEEP), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
}

/// The state that a file of level 0 leads to is within the window, and no compacted file ends there.
#[test]
fn what_no_level_holds_stays_for_the_window() {
    let mut files = level_0(5, 200);
    files.extend([file(1, 2, 3, 200), file(1, 4, 5, 200), file(9, 1, 3, 200)]);
    let hour = Duration::from_hours(1);
    assert_eq!(gone_with(&files, KEEP, hour), [2, 3]);
    assert_eq!(gone(&files, Duration::from_mins(1)), [1, 2, 3]);
    assert_eq!(gone_with(&files, KEEP, KEEP), [1, 2, 3]);
    // Whoever keeps level 0 for longer than the window keeps it for no longer than that.
    let long = Duration::from_secs(150);
    assert_eq!(gone_with(&files, long, KEEP), [1, 2, 3]);
    // What goes together: 2 would have nothing to stand on without 1.
    let mut files = vec![file(0, 1, 1, 300)];
    files.extend((2..=6).map(|t| file(0, t, t, 150)));
    files.extend([file(1, 3, 5, 150), file(9, 1, 4, 150)]);
    let window = Duration::from_secs(200);
    assert_eq!(gone_with(&files, KEEP, window), [3, 4, 5]);
}

#[test]
fn files_of_several_txids() {
    let files = [
        file(0, 1, 3, 200),
        file(0, 4, 6, 200),
        file(0, 7, 7, 200),
        file(1, 1, 5, 200),
    ];
    assert!(
        gone(&files, KEEP).is_empty(),
        "the second is not covered whole, and the first does not end with level 1"
    );
    let files = [
        file(0, 1, 3, 200),
        file(0, 4, 6, 200),
        file(0, 7, 7, 200),
        file(1, 1, 6, 200),
    ];
    assert_eq!(gone(&files, KEEP), [3, 6]);
}

fn replica() -> impl Strategy<Value = Vec<FileInfo>> {
    let ordered = (
        1..30u64,
        prop::collection::vec(1..6u64, 0..8),
        prop::collection::vec(1..9u64, 0..4),
        prop::option::of(1..30u64),
    );
    let ordered = ordered.prop_map(|(count, one, two, snapshot)| {
        let age = |txid: u64| 8 * (count as i64 - txid as i64).max(0);
        let mut files: Vec<FileInfo> = (1..=count).map(|t| file(0, t, t, age(t))).collect();
        for (level, runs) in [(1, one), (2, two)] {
            let mut min = 1;
            for run in runs {
                files.push(file(level, min, min + run - 1, age(min + run - 1)));
                min += run;
            }
        }
        files.extend(snapshot.map(|t| file(9, 1, t, age(t))));
        files
    });
    // Some are missing, and some are where they shouldn't be.
    let odd = prop::collection::vec((0..=2u8, 1..30u64, 0..5u64, 0..300i64), 0..6);
    (
        ordered,
        odd,
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    )
        .prop_map(|(mut files, odd, lost)| {
            for index in lost {
                files.remove(index.index(files.len()));
                if files.is_empty() {
                    break;
                }
            }
            files.extend(
                odd.into_iter()
                    .map(|(level, min, more, age)| file(level, min, min + more, age)),
            );
            files
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_point_that_a_kept_file_ends_at_stays(files in replica(), keep in 1..250u64, window in 0..300u64) {
        let keep = Duration::from_secs(keep);
        let promised_from = (window > 0).then(|| cutoff(NOW, Duration::from_secs(window)));
        let gone = l0_retention(&files, NOW, keep, promised_from);
        let kept: Vec<FileInfo> = files.iter().filter(|f| !gone.contains(&(f.level, f.name))).copied().collect();
        for f in &kept {
            let target = Target::Txid(f.name.max);
            prop_assert_eq!(plan(&files, target).is_ok(), plan(&kept, target).is_ok(), "{}", f.name);
        }
        prop_assert_eq!(position(&kept), position(&files));
        prop_assert_eq!(plan(&files, Target::Latest).is_ok(), plan(&kept, Target::Latest).is_ok());
        for (level, name) in &gone {
            prop_assert_eq!(*level, Level::L0);
            let old = |f: &&FileInfo| (f.level, f.name) == (*level, *name) && f.created.0 < NOW.0 - keep.as_millis() as i64;
            prop_assert!(files.iter().any(|f| old(&f)));
            let level_1 = |txid: Txid| files.iter().any(|f| f.level.get() == 1 && f.name.min <= txid && txid <= f.name.max);
            let below = files.iter().filter(|f| f.level.get() == 1).all(|f| f.name.min > name.max);
            prop_assert!(below || (name.min.get()..=name.max.get()).all(|t| level_1(Txid::new(t))));
        }
    }
}
