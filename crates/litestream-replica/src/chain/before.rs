//! The plan for a point in time, by the times inside the files.
//!
//! Listings don't know them for sure: some storages keep none, and whoever copies a bucket or folder gives all files new
//! ones. So headers are read, as few as possible: the place of the time is searched among the ends of all files of levels 0 to 8
//! at once, since a compacted file has the time of its last input, and among the snapshots, which were made a while after
//! the TXID they end with. Then the newest files of the plan are read as well.
//!
//! Promise: no file of which it is known that it was made at the time or later is in the plan; with 100,000 files fewer than 150
//! requests are made, side by side. A header that cannot be read leaves the time of the listing: whoever reads the file says so.

use std::collections::BTreeMap;

use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use ltx::{FileName, HEADER_SIZE, Header};

use super::moment::Search;
use super::plan::{Plan, PlanError, plan_among};
use crate::env::UnixMillis;
use crate::{Error, FileInfo, Level, SharedReplica};

/// Headers read at once.
const READS_MAX: usize = 16;
/// Files of a plan whose times are looked at before it is used.
const CHECKED_MAX: usize = 32;

/// Times read out of headers.
pub type Times = BTreeMap<(Level, FileName), UnixMillis>;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum BeforeError {
    /// What there is does not reach.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A header could not be fetched.
    #[error("{source}")]
    Read {
        /// The file.
        file: FileInfo,
        /// Why.
        source: Error,
    },
}

/// The plan for the last state made before `time`, given all files of all levels in any order. `known` are times that the
/// caller has read; what is read here is added. The files of the plan whose time is known have it in `created`.
pub async fn plan_before(
    replica: &SharedReplica,
    files: &[FileInfo],
    time: UnixMillis,
    known: &mut Times,
) -> Result<Plan, BeforeError> {
    let of = |snapshots: bool| {
        let of = move |f: &&FileInfo| (f.level == Level::SNAPSHOT) == snapshots;
        files.iter().filter(of).copied()
    };
    let mut increments = Search::new(of(false), time);
    let mut snapshots = Search::new(of(true).filter(|f| f.name.min.get() == 1), time);
    loop {
        let (mut probes, more) = (increments.probes(), snapshots.probes());
        let count = probes.len();
        probes.extend(more);
        if probes.is_empty() {
            break;
        }
        let times = read_times(replica, &probes, known).await?;
        increments.learn(&times[..count]);
        snapshots.learn(&times[count..]);
    }
    let (end, snapshot_end) = (increments.end(), snapshots.end());
    loop {
        let mut plan = plan_among(files, |f| {
            let end = if f.level == Level::SNAPSHOT {
                snapshot_end
            } else {
                end
            };
            let too_new = known
                .get(&(f.level, f.name))
                .is_some_and(|made| *made >= time);
            f.name.max <= end && !too_new
        })?;
        let unsure: Vec<FileInfo> = plan.needed();
        let unsure = &unsure[unsure.len().saturating_sub(CHECKED_MAX)..];
        let times = read_times(replica, unsure, known).await?;
        // A compacted file with the time of its compaction, or a clock that was set back: without these files.
        if times.iter().all(|made| *made < time) {
            for f in &mut plan.files {
                f.created = known.get(&(f.level, f.name)).copied().unwrap_or(f.created);
            }
            return Ok(plan);
        }
    }
}

/// The times of files, in their order. Those in `known` are not read; what is read is added.
pub async fn read_times(
    replica: &SharedReplica,
    files: &[FileInfo],
    known: &mut Times,
) -> Result<Vec<UnixMillis>, BeforeError> {
    let unknown = files
        .iter()
        .filter(|f| !known.contains_key(&(f.level, f.name)));
    let reads: Vec<_> = unknown.map(|f| read_time(replica.clone(), *f)).collect();
    let read: Vec<_> = iter(reads)
        .buffer_unordered(READS_MAX)
        .try_collect()
        .await?;
    known.extend(read);
    Ok(files.iter().map(|f| known[&(f.level, f.name)]).collect())
}

async fn read_time(
    replica: SharedReplica,
    file: FileInfo,
) -> Result<((Level, FileName), UnixMillis), BeforeError> {
    let len = Some(HEADER_SIZE as u64);
    let bytes = replica.read(file.level, file.name, 0, len).await;
    let bytes = bytes.map_err(|source| BeforeError::Read { file, source })?;
    let header = Header::decode(&bytes).ok();
    let time = header.map_or(file.created, |header| UnixMillis(header.timestamp_ms));
    Ok(((file.level, file.name), time))
}

#[cfg(test)]
mod tests;
