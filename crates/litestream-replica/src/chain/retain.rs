//! Which files may go: snapshots and what lies below them in [`keep`], level 0 in [`l0`]; what time it is for both in [`ages`].
//!
//! Promise: every restore point of the window keeps its plan, and so does every snapshot that stays; the newest file of every level stays
//! whatever its age.

mod ages;
mod keep;
mod l0;

use std::time::Duration;

pub use ages::Ages;
pub use keep::{KeepRules, keep_rules_retention};
pub use l0::l0_retention;

use ltx::Txid;

use crate::env::UnixMillis;
use crate::{FileInfo, Level};

/// What was made before this is older than `keep`.
pub fn cutoff(now: UnixMillis, keep: Duration) -> UnixMillis {
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
