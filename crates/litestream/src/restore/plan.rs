//! Which files a restore needs.

use litestream_replica::chain::plan::PlanError;
use litestream_replica::env::UnixMillis;
use litestream_replica::{FileInfo, Level, SharedReplica, chain};
use ltx::Txid;

use super::error::RestoreError;

/// Up to where to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The newest state.
    Latest,
    /// The state right after this TXID.
    Txid(Txid),
    /// The newest state from before this time.
    Timestamp(UnixMillis),
}

/// The files that make up a state, in TXID order. Promise: never empty, starting at TXID 1, without a hole, each
/// reaching further than the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The files, oldest first.
    pub files: Vec<FileInfo>,
}

impl Plan {
    fn new(files: Vec<FileInfo>) -> Result<Plan, RestoreError> {
        if files.is_empty() {
            return Err(RestoreError::NoBackup);
        }
        let mut have = Txid::ZERO;
        for file in &files {
            if file.name.min > have.next() || file.name.max <= have {
                return Err(RestoreError::NonContiguous {
                    have,
                    next: file.name.min,
                });
            }
            have = file.name.max;
        }
        if let Some(small) = files.iter().find(|f| f.size < ltx::HEADER_SIZE as u64) {
            return Err(RestoreError::TooSmall(*small));
        }
        Ok(Plan { files })
    }

    /// The newest file: it says how large the database is.
    pub fn newest(&self) -> FileInfo {
        self.files[self.files.len() - 1]
    }

    /// The first TXID.
    pub fn min(&self) -> Txid {
        self.files[0].name.min
    }

    /// The TXID that is restored.
    pub fn max(&self) -> Txid {
        self.newest().name.max
    }

    /// Size of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }
}

/// Listings tried before a hole in them is believed: the levels are listed side by side, and a file may move from one
/// to the next meanwhile.
const LISTINGS_MAX: usize = 3;

/// Lists the replica and picks the files for `target`.
pub async fn plan(target: Target, replica: &SharedReplica) -> Result<Plan, RestoreError> {
    let mut tries = 1;
    loop {
        match plan_once(target, replica).await {
            Err(RestoreError::NonContiguous { .. } | RestoreError::NoBackup)
                if tries < LISTINGS_MAX =>
            {
                tries += 1;
            }
            result => return result,
        }
    }
}

async fn plan_once(target: Target, replica: &SharedReplica) -> Result<Plan, RestoreError> {
    let levels: Vec<Level> = Level::all().collect();
    // Only a point in time needs times that are exact.
    let exact_times = matches!(target, Target::Timestamp(_));
    let files = chain::listing::list_all(replica, &levels, exact_times).await?;
    let target = match target {
        Target::Latest => chain::plan::Target::Latest,
        Target::Txid(txid) => chain::plan::Target::Txid(txid),
        Target::Timestamp(time) => chain::plan::Target::Before(time),
    };
    match chain::plan::plan(&files, target) {
        Ok(plan) => Plan::new(plan.needed()),
        Err(PlanError::NotAvailable) => Err(RestoreError::NoBackup),
        Err(PlanError::NonContiguous { have, next }) => {
            Err(RestoreError::NonContiguous { have, next })
        }
    }
}
