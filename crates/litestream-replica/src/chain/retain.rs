//! Which files may go: snapshots and what lies below them here, level 0 in [`l0`], and rules for snapshots that are kept longer
//! in [`keep`].
//!
//! Promise: every restore point from the oldest kept snapshot on keeps its plan, and the newest file of every level
//! stays whatever its age.

mod ages;
mod keep;
mod l0;

use std::time::Duration;

pub use ages::Ages;
pub use keep::{KeepRules, keep_rules_retention};
pub use l0::l0_retention;

use ltx::{FileName, Txid};

use crate::env::UnixMillis;
use crate::{FileInfo, Level};

/// What to delete after a snapshot was written, given all files of all levels in any order: snapshots older than
/// `keep`, and in the compacted levels what ends before the last of those. That is the last deleted snapshot, not
/// the first kept one: a restore that planned with the deleted one a moment ago still finds the files it needs.
///
/// Snapshots go from the oldest TXID on and stop at the first that is too young, so that clocks that disagree never
/// make a hole. Level 0 is not touched; it has its own rule.
pub fn snapshot_retention(
    files: &[FileInfo],
    now: UnixMillis,
    keep: Duration,
) -> Vec<(Level, FileName)> {
    let cutoff = cutoff(now, keep);
    let mut snapshots = sorted(files, Level::SNAPSHOT);
    // What lies there and doesn't begin at the beginning restores nothing, so it replaces nothing.
    snapshots.retain(|f| f.name.min.get() == 1);
    let mut delete: Vec<(Level, FileName)> = all_but_newest(&snapshots)
        .take_while(|f| f.created < cutoff)
        .map(|f| (f.level, f.name))
        .collect();

    let Some(last_deleted) = delete.last().map(|(_, name)| name.max) else {
        return delete;
    };
    for level in Level::all().filter(|level| *level != Level::L0 && *level != Level::SNAPSHOT) {
        let level = sorted(files, level);
        delete.extend(
            all_but_newest(&level)
                .filter(|f| f.name.max < last_deleted)
                .map(|f| (f.level, f.name)),
        );
    }
    delete
}

/// What was made before this is older than `keep`.
fn cutoff(now: UnixMillis, keep: Duration) -> UnixMillis {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    UnixMillis(now.0.saturating_sub(keep_ms))
}

/// The files of a level by max TXID, then min TXID, each once.
fn sorted(files: &[FileInfo], level: Level) -> Vec<FileInfo> {
    let mut files: Vec<FileInfo> = files.iter().filter(|f| f.level == level).copied().collect();
    // Of several reports about one file the youngest counts: it goes last of all.
    files.sort_unstable_by_key(|f| (f.name.max, f.name.min, std::cmp::Reverse(f.created)));
    files.dedup_by_key(|f| f.name);
    files
}

/// Those that end before the newest does; the newest itself may lie there under several names.
fn all_but_newest(sorted: &[FileInfo]) -> impl Iterator<Item = &FileInfo> {
    let newest = sorted.last().map_or(Txid::ZERO, |f| f.name.max);
    sorted.iter().filter(move |f| f.name.max < newest)
}

#[cfg(test)]
mod tests;
