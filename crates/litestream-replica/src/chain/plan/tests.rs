//! Plans by example, and against a checker that follows the rules word by word.

use ltx::FileName;
use proptest::prelude::*;

use super::*;

pub(in crate::chain) fn file(level: u8, min: u64, max: u64) -> FileInfo {
    made(level, min, max, max as i64)
}

fn made(level: u8, min: u64, max: u64, created: i64) -> FileInfo {
    FileInfo {
        level: Level::new(level).unwrap(),
        name: FileName::new(Txid::new(min), Txid::new(max)),
        size: 10,
        created: UnixMillis(created),
    }
}

fn names(plan: &[FileInfo]) -> Vec<(u8, u64, u64)> {
    plan.iter()
        .map(|f| (f.level.get(), f.name.min.get(), f.name.max.get()))
        .collect()
}

fn latest(files: &[FileInfo]) -> Result<Vec<(u8, u64, u64)>, PlanError> {
    plan(files, Target::Latest).map(|plan| names(&plan.files))
}

fn at(files: &[FileInfo], txid: u64) -> Result<Vec<(u8, u64, u64)>, PlanError> {
    plan(files, Target::Txid(Txid::new(txid))).map(|plan| names(&plan.files))
}

fn before(files: &[FileInfo], time: i64) -> Result<Vec<(u8, u64, u64)>, PlanError> {
    plan(files, Target::Before(UnixMillis(time))).map(|plan| names(&plan.files))
}

#[test]
fn nothing_is_not_available() {
    for target in [
        Target::Latest,
        Target::Txid(Txid::new(1)),
        Target::Txid(Txid::ZERO),
        Target::Before(UnixMillis(9)),
    ] {
        assert_eq!(plan(&[], target), Err(PlanError::NotAvailable));
    }
}

#[test]
fn snapshot_then_the_furthest_reaching() {
    let files = [
        file(0, 22, 22),
        file(9, 1, 10),
        file(1, 11, 20),
        file(0, 20, 20),
        file(0, 21, 21),
        file(9, 1, 5),
    ];
    assert_eq!(
        latest(&files).unwrap(),
        [(9, 1, 10), (1, 11, 20), (0, 21, 21), (0, 22, 22)]
    );
    let plan = plan(&files, Target::Latest).unwrap();
    assert_eq!(
        (
            plan.min_txid().get(),
            plan.max_txid().get(),
            plan.total_bytes()
        ),
        (1, 22, 40)
    );
}

#[test]
fn r18_a_single_snapshot_is_enough() {
    assert_eq!(latest(&[file(9, 1, 7)]).unwrap(), [(9, 1, 7)]);
}

#[test]
fn without_a_snapshot() {
    assert_eq!(
        latest(&[file(0, 2, 2), file(0, 1, 1)]).unwrap(),
        [(0, 1, 1), (0, 2, 2)]
    );
}

#[test]
fn ties_go_to_lower_min_then_higher_level_then_earlier() {
    let files = [
        file(9, 1, 5),
        file(2, 6, 9),
        file(1, 4, 9),
        made(3, 4, 9, 50),
        made(3, 4, 9, 40),
    ];
    let plan = plan(&files, Target::Latest).unwrap();
    assert_eq!(names(&plan.files), [(9, 1, 5), (3, 4, 9)]);
    assert_eq!(plan.files[1].created, UnixMillis(40));
}

#[test]
fn r04_overlaps_and_duplicates_are_harmless() {
    let files = [
        file(1, 1, 6),
        file(1, 1, 6),
        file(1, 4, 12),
        file(1, 5, 8),
        file(1, 12, 13),
        file(0, 3, 3),
    ];
    assert_eq!(
        latest(&files).unwrap(),
        [(1, 1, 6), (1, 4, 12), (1, 12, 13)]
    );
}

#[test]
fn r14_a_gap_is_named() {
    let files = [
        file(9, 1, 10),
        file(0, 11, 11),
        file(0, 14, 14),
        file(1, 13, 14),
    ];
    let gap = PlanError::NonContiguous {
        have: Txid::new(11),
        next: Txid::new(13),
    };
    assert_eq!(latest(&files), Err(gap));
    assert_eq!(
        gap.to_string(),
        "non-contiguous transaction files: have up to 000000000000000b, next file starts at 000000000000000d"
    );
    assert_eq!(at(&files, 11).unwrap(), [(9, 1, 10), (0, 11, 11)]);
    assert_eq!(at(&files, 14), Err(PlanError::NotAvailable));
    // Files that can't be reached at all are a gap too, not "no backup".
    assert_eq!(
        latest(&[file(0, 5, 5)]),
        Err(PlanError::NonContiguous {
            have: Txid::ZERO,
            next: Txid::new(5)
        })
    );
}

#[test]
fn txid_takes_only_what_ends_by_then() {
    let files = [
        file(9, 1, 10),
        file(9, 1, 4),
        file(1, 5, 8),
        file(0, 5, 5),
        file(0, 6, 6),
    ];
    assert_eq!(at(&files, 10).unwrap(), [(9, 1, 10)]);
    assert_eq!(at(&files, 8).unwrap(), [(9, 1, 4), (1, 5, 8)]);
    assert_eq!(at(&files, 6).unwrap(), [(9, 1, 4), (0, 5, 5), (0, 6, 6)]);
    assert_eq!(at(&files, 7), Err(PlanError::NotAvailable));
    assert_eq!(at(&files, 11), Err(PlanError::NotAvailable));
    assert_eq!(at(&files, 0), Err(PlanError::NotAvailable));
    assert_eq!(at(&files, u64::MAX), Err(PlanError::NotAvailable));
}

#[test]
fn r01_a_time_takes_what_was_made_before_it_whatever_gap_comes_later() {
    let files = [
        made(9, 1, 10, 100),
        made(0, 11, 11, 110),
        made(0, 12, 12, 120),
        made(0, 15, 15, 150),
    ];
    assert_eq!(before(&files, 100), Err(PlanError::NotAvailable));
    assert_eq!(before(&files, 101).unwrap(), [(9, 1, 10)]);
    assert_eq!(before(&files, 120).unwrap(), [(9, 1, 10), (0, 11, 11)]);
    assert_eq!(
        before(&files, 150).unwrap(),
        [(9, 1, 10), (0, 11, 11), (0, 12, 12)]
    );
}

#[test]
fn a_time_after_a_gap_is_an_error() {
    let files = [
        made(0, 1, 1, 10),
        made(0, 2, 2, 20),
        made(0, 4, 4, 40),
        made(1, 7, 8, 80),
    ];
    let gap = |have, next| PlanError::NonContiguous {
        have: Txid::new(have),
        next: Txid::new(next),
    };
    assert_eq!(before(&files, 41), Err(gap(2, 4)));
    assert_eq!(before(&files, 999), Err(gap(2, 4)));
    assert_eq!(before(&files, 40).unwrap(), [(0, 1, 1), (0, 2, 2)]);
    assert_eq!(before(&files[2..], 41), Err(gap(0, 4)));
    assert_eq!(before(&files[2..], 40), Err(PlanError::NotAvailable));
}

#[test]
fn r01_a_file_that_reaches_over_the_time_leaves_the_last_point_before() {
    let files = [
        made(1, 1, 10, 100),
        made(1, 11, 20, 200),
        made(0, 15, 15, 150),
        made(0, 16, 16, 160),
        made(1, 21, 30, 300),
    ];
    assert_eq!(before(&files, 155).unwrap(), [(1, 1, 10)]);
    assert_eq!(before(&files, 250).unwrap(), [(1, 1, 10), (1, 11, 20)]);
    let fine: Vec<FileInfo> = (11..=14)
        .map(|t| made(0, t, t, 10 * t as i64))
        .chain(files)
        .collect();
    assert_eq!(before(&fine, 155).unwrap().last(), Some(&(0, 15, 15)));
    assert_eq!(
        before(&files[2..], 155),
        Err(PlanError::NonContiguous {
            have: Txid::ZERO,
            next: Txid::new(15)
        })
    );
}

#[test]
fn r20_extreme_numbers_do_not_panic() {
    let max = u64::MAX;
    let files = [
        file(9, 1, max),
        file(0, max, max),
        file(0, 1, max - 1),
        file(9, 5, 7),
    ];
    assert_eq!(latest(&files).unwrap(), [(9, 1, max)]);
    assert_eq!(at(&files, max).unwrap(), [(9, 1, max)]);
    let mut huge = file(0, 1, 1);
    huge.size = max;
    assert_eq!(
        Plan {
            files: vec![huge, huge]
        }
        .total_bytes(),
        max
    );
    assert_eq!(Plan { files: vec![] }.max_txid(), Txid::ZERO);
}

#[test]
fn needed_leaves_out_what_later_files_hold() {
    let files = [
        file(9, 1, 10),
        file(3, 1, 50),
        file(2, 51, 60),
        file(1, 55, 70),
        file(0, 51, 71),
    ];
    let plan = plan(&files, Target::Latest).unwrap();
    assert_eq!(names(&plan.files), [(9, 1, 10), (3, 1, 50), (0, 51, 71)]);
    assert_eq!(names(&plan.needed()), [(3, 1, 50), (0, 51, 71)]);
    let plan = Plan {
        files: vec![file(9, 1, 10), file(0, 11, 11)],
    };
    assert_eq!(plan.needed(), plan.files);
}

#[test]
fn r03_a_hundred_thousand_files_are_planned_quickly() {
    let files: Vec<FileInfo> = (1..=100_000)
        .rev()
        .map(|txid| file(0, txid, txid))
        .collect();
    let start = crate::env::real::env().clock;
    let begun = start.monotonic();
    assert_eq!(latest(&files).unwrap().len(), 100_000);
    assert!(
        start.monotonic().since(begun).as_secs() < 5,
        "that is quadratic"
    );
}

/// The rules as they stand in the description of Litestream, without any cleverness.
fn by_the_book(files: &[FileInfo], target: Target) -> Result<Vec<FileInfo>, PlanError> {
    let ok = |f: &FileInfo| match target {
        Target::Latest => true,
        Target::Txid(txid) => f.name.max <= txid,
        Target::Before(time) => f.created < time,
    };
    let mut taken: Vec<FileInfo> = Vec::new();
    for f in files
        .iter()
        .filter(|f| f.level.get() == 9 && f.name.min.get() == 1 && ok(f))
    {
        let newer = |t: &FileInfo| {
            f.name.max > t.name.max || (f.name.max == t.name.max && f.created < t.created)
        };
        if taken.first().is_none_or(newer) {
            taken = vec![*f];
        }
    }
    loop {
        let end = taken.last().map_or(0, |f| f.name.max.get());
        let mut next: Option<FileInfo> = None;
        for f in files.iter().filter(|f| f.level.get() < 9 && ok(f)) {
            if f.name.min.get() > end + 1 || f.name.max.get() <= end {
                continue;
            }
            let better = |n: FileInfo| {
                if f.name.max != n.name.max {
                    f.name.max > n.name.max
                } else if f.name.min != n.name.min {
                    f.name.min < n.name.min
                } else if f.level != n.level {
                    f.level > n.level
                } else {
                    f.created < n.created
                }
            };
            if next.is_none_or(better) {
                next = Some(*f);
            }
        }
        match next {
            Some(f) => taken.push(f),
            None => break,
        }
    }
    let end = taken.last().map_or(0, |f| f.name.max.get());
    let beyond = files
        .iter()
        .filter(|f| ok(f))
        .map(|f| f.name.min.get())
        .filter(|min| *min > end + 1)
        .min();
    let beyond = beyond.filter(|next| match target {
        Target::Latest => true,
        Target::Txid(_) => false,
        // Not if all files together reach over the gap.
        Target::Before(_) => {
            !(next - 1..60).any(|t| by_the_book(files, Target::Txid(Txid::new(t))).is_ok())
        }
    });
    if let Some(next) = beyond {
        return Err(PlanError::NonContiguous {
            have: Txid::new(end),
            next: Txid::new(next),
        });
    }
    if taken.is_empty() || matches!(target, Target::Txid(txid) if txid.get() != end) {
        return Err(PlanError::NotAvailable);
    }
    Ok(taken)
}

fn any_file() -> impl Strategy<Value = FileInfo> {
    (0..=9u8, 1..30u64, 0..8u64, 0..20i64).prop_map(|(level, min, more, created)| {
        made(level, if level == 9 { 1 } else { min }, min + more, created)
    })
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Latest),
        (0..40u64).prop_map(|txid| Target::Txid(Txid::new(txid))),
        (0..25i64).prop_map(|time| Target::Before(UnixMillis(time))),
    ]
}

/// Whether some way through the files leads from nothing to exactly `end`.
fn can_reach(files: &[FileInfo], end: u64) -> bool {
    let mut ends = std::collections::BTreeSet::from([0]);
    loop {
        let more: Vec<u64> = files
            .iter()
            .filter(|f| ends.iter().any(|end| f.name.min.get() <= end + 1))
            .map(|f| f.name.max.get())
            .filter(|max| *max <= end && !ends.contains(max))
            .collect();
        if more.is_empty() {
            return end > 0 && ends.contains(&end);
        }
        ends.extend(more);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn same_as_the_book(files in prop::collection::vec(any_file(), 0..40), target in any_target()) {
        prop_assert_eq!(plan(&files, target).map(|p| p.files), by_the_book(&files, target));
    }

    #[test]
    fn r04_r17_whatever_can_be_reached_is_planned(files in prop::collection::vec(any_file(), 0..40), end in 1..40u64) {
        match plan(&files, Target::Txid(Txid::new(end))) {
            Ok(plan) => {
                let mut covered = 0;
                for f in &plan.files {
                    prop_assert!(f.name.min.get() <= covered + 1 && f.name.max.get() > covered);
                    covered = f.name.max.get();
                }
                prop_assert_eq!(covered, end);
                prop_assert_eq!(plan.min_txid().get(), 1);
                prop_assert!(can_reach(&plan.needed(), end));
            }
            Err(_) => prop_assert!(!can_reach(&files, end)),
        }
    }

    #[test]
    fn r15_order_of_the_listing_does_not_matter(files in prop::collection::vec(any_file(), 0..40), target in any_target()) {
        let mut other = files.clone();
        other.reverse();
        prop_assert_eq!(plan(&files, target), plan(&other, target));
    }
}

#[test]
fn d01_a_continuation_needs_no_snapshot() {
    let files = [file(9, 1, 5), file(0, 7, 7), file(0, 8, 8), file(0, 10, 10)];
    let next = |after| names(&continuation(&files, Txid::new(after)));
    assert_eq!(next(6), [(0, 7, 7), (0, 8, 8)]);
    assert_eq!(next(7), [(0, 8, 8)]);
    assert_eq!(next(8), [], "a gap");
    assert_eq!(next(9), [(0, 10, 10)]);
    assert_eq!(next(10), []);
    assert_eq!(next(3), [(9, 1, 5)], "a snapshot continues everywhere");
    assert_eq!(
        names(&continuation(&[file(1, 4, 9), file(0, 7, 7)], Txid::new(6))),
        [(1, 4, 9)]
    );
}
