//! Which files a restore needs.

use litestream_replica::chain::before::{BeforeError, Times, plan_before};
use litestream_replica::chain::listing::list_all;
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
    /// The newest state from before this time, by the times inside the files.
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
    pub(crate) fn new(files: Vec<FileInfo>) -> Result<Plan, RestoreError> {
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
        Ok(Plan { files })
    }

    /// An error if a file cannot even hold a header.
    pub(crate) fn check_sizes(&self) -> Result<(), RestoreError> {
        let is_small = |f: &&FileInfo| f.size < ltx::HEADER_SIZE as u64;
        match self.files.iter().find(is_small) {
            Some(small) => Err(RestoreError::TooSmall(*small)),
            None => Ok(()),
        }
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

/// Listings tried before a hole in them is believed.
const LISTINGS_MAX: usize = 3;

/// Lists the replica and picks the files for `target`.
pub async fn plan(target: Target, replica: &SharedReplica) -> Result<Plan, RestoreError> {
    let plan = plan_with(target, replica, &mut Times::new(), &[]).await?;
    plan.check_sizes()?;
    Ok(plan)
}

/// As [`plan`]; `times` are those that were read out of files before, `avoid` files that are damaged.
pub(crate) async fn plan_with(
    target: Target,
    replica: &SharedReplica,
    times: &mut Times,
    avoid: &[FileInfo],
) -> Result<Plan, RestoreError> {
    let mut tries = 1;
    loop {
        let mut files = list(replica, tries == 1).await?;
        files.retain(|file| !avoid.contains(file));
        match pick(target, replica, &files, times).await {
            Err(RestoreError::NonContiguous { .. } | RestoreError::NoBackup)
                if tries < LISTINGS_MAX =>
            {
                tries += 1;
            }
            result => return result,
        }
    }
}

/// All files. Listed side by side, a file may seem to be missing that moves from one level to the next meanwhile. Listed
/// upwards, one after the other, it is found: it is in the higher level before it leaves the lower.
pub(crate) async fn list(
    replica: &SharedReplica,
    side_by_side: bool,
) -> litestream_replica::Result<Vec<FileInfo>> {
    let levels: Vec<Level> = Level::all().collect();
    if side_by_side {
        return list_all(replica, &levels, false).await;
    }
    let mut files = Vec::new();
    for level in levels {
        files.extend(replica.list(level, None, false).await?);
    }
    Ok(files)
}

async fn pick(
    target: Target,
    replica: &SharedReplica,
    files: &[FileInfo],
    times: &mut Times,
) -> Result<Plan, RestoreError> {
    use chain::plan::{Target as Point, plan};
    let picked = match target {
        Target::Latest => plan(files, Point::Latest).map_err(BeforeError::Plan),
        Target::Txid(txid) => plan(files, Point::Txid(txid)).map_err(BeforeError::Plan),
        Target::Timestamp(time) => plan_before(replica, files, time, times).await,
    };
    match picked {
        Ok(plan) => Plan::new(plan.needed()),
        Err(error) => Err(error.into()),
    }
}

impl From<BeforeError> for RestoreError {
    fn from(error: BeforeError) -> RestoreError {
        match error {
            BeforeError::Plan(PlanError::NotAvailable) => RestoreError::NoBackup,
            BeforeError::Plan(PlanError::NonContiguous { have, next }) => {
                RestoreError::NonContiguous { have, next }
            }
            BeforeError::Read { file, source } if source.is_not_found() => RestoreError::Gone(file),
            BeforeError::Read { file, source } => RestoreError::Fetch { file, source },
        }
    }
}
