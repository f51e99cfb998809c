//! Any listing: what is planned from it can be restored, what can be restored is planned, and what goes is not needed.

use std::collections::BTreeSet;
use std::time::Duration;

use litestream_replica::chain::plan::{Plan, PlanError, Target, plan};
use litestream_replica::chain::position::position;
use litestream_replica::chain::retain::{KeepRules, keep_rules_retention};
use litestream_replica::env::UnixMillis;
use litestream_replica::{FileInfo, Level};
use ltx::{FileName, Txid};

use crate::script::Script;

/// Listings stay short: the judge tries everything.
const FILES_MAX: usize = 40;

/// A listing: TXIDs close together, so that they meet, from a start that may be near either end of the numbers.
fn listing(script: &mut Script<'_>) -> Vec<FileInfo> {
    let start = match script.byte() {
        byte @ 0..0xf0 => u64::from(byte >> 7),
        byte => u64::MAX - u64::from(byte),
    };
    let mut files = Vec::new();
    while !script.is_empty() && files.len() < FILES_MAX {
        let kind = script.byte();
        let level = Level::new(kind % 10).unwrap_or(Level::L0);
        let first = script.byte();
        // Most snapshots begin where snapshots do.
        let min = if level == Level::SNAPSHOT && first < 0xe0 {
            1
        } else if kind >= 0xfa {
            1 + u64::from(first % 32)
        } else {
            start.saturating_add(u64::from(first % 32)).max(1)
        };
        let length = script.byte();
        let max = if length >= 0xf8 {
            u64::MAX
        } else if level == Level::SNAPSHOT {
            start.saturating_add(u64::from(length % 40)).max(min)
        } else {
            min.saturating_add(u64::from(length % 8))
        };
        files.push(FileInfo {
            level,
            name: FileName::new(Txid::new(min), Txid::new(max)),
            // Of one name and time there is one size.
            size: (max - min).saturating_add(1),
            created: time(script.byte()),
        });
    }
    files
}

fn time(byte: u8) -> UnixMillis {
    UnixMillis(match byte {
        0xff => i64::MAX,
        0xfe => i64::MIN,
        byte => i64::from(byte % 32),
    })
}

/// The script: a target, then a listing.
pub fn chain_plan(data: &[u8]) {
    let mut script = Script::new(data);
    let kind = script.byte();
    let value = script.byte();
    let mut files = listing(&mut script);
    let target = match kind % 3 {
        0 => Target::Latest,
        1 if value >= 0xf0 => Target::Txid(Txid::new(u64::MAX - u64::from(value & 15))),
        1 => Target::Txid(Txid::new(
            files
                .get(usize::from(value) % (files.len() + 1))
                .map_or(u64::from(value % 40), |f| f.name.max.get()),
        )),
        _ => Target::Before(time(value)),
    };
    let planned = plan(&files, target);
    judge(&files, target, &planned);
    let at = usize::from(kind) % (files.len() + 1);
    files.rotate_left(at);
    assert!(
        planned == plan(&files, target),
        "the order of the listing matters"
    );
    files.reverse();
    assert!(
        planned == plan(&files, target),
        "the order of the listing matters"
    );
    if let Ok(planned) = planned {
        let again = plan(&planned.files, target).unwrap();
        assert!(
            again == planned,
            "the files of a plan alone give another plan"
        );
    }
    let position = position(&files);
    let ends = reachable(&files.iter().collect::<Vec<_>>());
    assert!(position.contiguous.get() == ends.last().copied().unwrap_or(0));
    let highest = files.iter().map(|f| f.name.max).max();
    assert!(position.highest == highest.unwrap_or_default());
}

/// Every TXID at which some way through the files ends: from nothing or a snapshot on, each file beginning no later
/// than right after the end of those before.
fn reachable(files: &[&FileInfo]) -> BTreeSet<u64> {
    let snapshot = |f: &FileInfo| f.level == Level::SNAPSHOT;
    let mut ends: BTreeSet<u64> = files
        .iter()
        .filter(|f| snapshot(f) && f.name.min.get() == 1)
        .map(|f| f.name.max.get())
        .collect();
    loop {
        let more: Vec<u64> = files
            .iter()
            .filter(|f| !snapshot(f))
            .filter(|f| {
                let before = f.name.min.get() - 1;
                before == 0 || ends.iter().any(|end| *end >= before)
            })
            .map(|f| f.name.max.get())
            .filter(|max| !ends.contains(max))
            .collect();
        if more.is_empty() {
            return ends;
        }
        ends.extend(more);
    }
}

fn judge(files: &[FileInfo], target: Target, planned: &Result<Plan, PlanError>) {
    let fitting: Vec<&FileInfo> = files
        .iter()
        .filter(|f| match target {
            Target::Latest => true,
            Target::Txid(txid) => f.name.max <= txid,
            Target::Before(time) => f.created < time,
        })
        .collect();
    let ends = reachable(&fitting);
    let furthest = ends.last().copied().unwrap_or(0);
    let beyond = fitting
        .iter()
        .map(|f| f.name.min.get())
        .filter(|min| *min - 1 > furthest)
        .min();
    // What is missing may lie in a file that reaches beyond the time: then nothing is lost.
    let all = reachable(&files.iter().collect::<Vec<_>>());
    let all_end = all.last().copied().unwrap_or(0);
    let is_hole = beyond.is_some_and(|next| all_end < next - 1);
    let end = match target {
        Target::Txid(txid) => Some(txid.get()).filter(|txid| ends.contains(txid)),
        _ if is_hole => None,
        _ => Some(furthest).filter(|end| *end > 0),
    };
    match (planned, end) {
        (Ok(plan), Some(end)) => {
            covers(&plan.files, &fitting, end);
            covers(&plan.needed(), &fitting, end);
            assert!(plan.max_txid().get() == end && plan.min_txid().get() == 1);
        }
        (Err(PlanError::NonContiguous { have, next }), None) => {
            assert!(is_hole && have.get() == furthest && Some(next.get()) == beyond);
        }
        (Err(PlanError::NotAvailable), None) => {
            assert!(matches!(target, Target::Txid(_)) || !is_hole);
        }
        _ => panic!("{planned:?}, but {end:?} can be reached"),
    }
}

/// A chain of files of the listing that covers everything from 1 to exactly `end`, none of them for nothing.
fn covers(chain: &[FileInfo], fitting: &[&FileInfo], end: u64) {
    let mut covered = 0;
    for (place, file) in chain.iter().enumerate() {
        assert!(fitting.contains(&file), "a file that is not there");
        assert!(place == 0 || file.level != Level::SNAPSHOT);
        let (min, max) = (file.name.min.get(), file.name.max.get());
        assert!(min - 1 <= covered && max > covered, "a gap or no progress");
        covered = max;
    }
    assert!(covered == end);
}

/// The script: how long to keep and the time, then a listing.
pub fn chain_retain(data: &[u8]) {
    let mut script = Script::new(data);
    let keep = match script.byte() {
        0xff => Duration::MAX,
        byte => Duration::from_millis(u64::from(byte % 40)),
    };
    let now = time(script.byte());
    let files = listing(&mut script);
    let gone = keep_rules_retention(&files, now, keep, &KeepRules::default());
    let is_gone = |f: &FileInfo| gone.contains(&(f.level, f.name));
    let names: BTreeSet<_> = gone.iter().collect();
    assert!(names.len() == gone.len(), "a file goes twice");
    for (level, name) in &gone {
        assert!(*level != Level::L0);
        assert!(files.iter().any(|f| (f.level, f.name) == (*level, *name)));
    }
    // A file that is listed twice is as young as its younger report.
    let young = |f: &FileInfo| {
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        f.created.0 >= now.0.saturating_sub(keep)
    };
    for file in &files {
        let of_level = files.iter().filter(|f| f.level == file.level);
        let newest = of_level.map(|f| f.name.max).max();
        assert!(
            !is_gone(file) || newest != Some(file.name.max),
            "the newest of a level goes"
        );
        assert!(!is_gone(file) || file.level != Level::SNAPSHOT || !young(file));
    }
    let kept: Vec<FileInfo> = files.iter().filter(|f| !is_gone(f)).copied().collect();
    still_restores(&files, &kept);
    if keep.is_zero() && !gone.is_empty() {
        let again = keep_rules_retention(&kept, now, keep, &KeepRules::default());
        let snapshots = |files: &[(Level, FileName)]| {
            files
                .iter()
                .filter(|(level, _)| *level == Level::SNAPSHOT)
                .count()
        };
        assert!(
            snapshots(&again) == 0,
            "a second look finds more snapshots to delete"
        );
    }
}

/// Every TXID from the oldest kept snapshot on that could be restored still can; if there was a snapshot, there is one.
fn still_restores(files: &[FileInfo], kept: &[FileInfo]) {
    let oldest = |files: &[FileInfo]| {
        let usable = |f: &&FileInfo| f.level == Level::SNAPSHOT && f.name.min.get() == 1;
        files.iter().filter(usable).map(|f| f.name.max.get()).min()
    };
    let Some(from) = oldest(kept) else {
        assert!(oldest(files).is_none(), "no snapshot is left");
        return;
    };
    let txids: BTreeSet<u64> = files
        .iter()
        .map(|f| f.name.max.get())
        .filter(|txid| *txid >= from)
        .collect();
    // Level 0 has its own retention; with it and without it.
    for lowest in [0, 1] {
        let at_level = |files: &[FileInfo]| -> Vec<FileInfo> {
            files
                .iter()
                .filter(|f| f.level.get() >= lowest)
                .copied()
                .collect()
        };
        let (before, after) = (at_level(files), at_level(kept));
        for txid in &txids {
            let target = Target::Txid(Txid::new(*txid));
            if plan(&before, target).is_ok() {
                assert!(
                    plan(&after, target).is_ok(),
                    "{txid} can't be restored any more"
                );
            }
        }
    }
}
