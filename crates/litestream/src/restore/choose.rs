//! Which kind of backup to restore: LTX files, or what Litestream 0.3 left in the same place.
//!
//! Promise: the one whose newest usable object is newer, so that an upgrade (or a way back) is followed in time; what
//! cannot be listed is an error, and what is damaged is not passed over for something older.

use litestream_replica::SharedReplica;
use litestream_replica::chain::before::{Times, read_times};
use litestream_replica::env::UnixMillis;
use litestream_replica::{Level, chain};

use super::error::RestoreError;
use super::plan::{Plan, Target, plan_with};
use super::v3::{Catalogue, V3Plan, confirmed};

/// What to restore from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backup {
    /// LTX files.
    Ltx(Plan),
    /// A backup of Litestream 0.3.
    V3(V3Plan),
}

impl Backup {
    /// When its newest object came, as far as listings and what was read for the plan tell.
    pub(super) fn created(&self) -> UnixMillis {
        match self {
            Backup::Ltx(plan) => plan.newest().created,
            Backup::V3(plan) => plan.newest(),
        }
    }

    /// The same, by the time inside the file where there is one: a copy of a folder has new times for its files.
    pub(super) async fn made(
        &self,
        replica: &SharedReplica,
        times: &mut Times,
    ) -> Result<UnixMillis, RestoreError> {
        match self {
            Backup::Ltx(plan) => Ok(read_times(replica, &[plan.newest()], times).await?[0]),
            Backup::V3(plan) => Ok(plan.newest()),
        }
    }
}

/// Listings of 0.3 objects tried before two agree: something still writes there.
const LISTINGS_MAX: usize = 8;

/// Lists the replica and picks the files for `target`.
pub async fn choose(target: Target, replica: &SharedReplica) -> Result<Backup, RestoreError> {
    let backup = choose_with(target, replica, &mut Times::new()).await?;
    if let Backup::Ltx(plan) = &backup {
        plan.check_sizes()?;
    }
    Ok(backup)
}

/// As [`choose`]; `times` are those that were read out of LTX files before.
pub(super) async fn choose_with(
    target: Target,
    replica: &SharedReplica,
    times: &mut Times,
) -> Result<Backup, RestoreError> {
    let ltx = plan_with(target, replica, times, &[])
        .await
        .map(Backup::Ltx);
    let until = match target {
        // 0.3 counted no transactions.
        Target::Txid(_) => return ltx,
        Target::Timestamp(time) => Some(time),
        Target::Latest => None,
    };
    let listed = Catalogue::new(replica.list_v3().await?, until);
    let Some(newest) = listed.newest() else {
        return ltx;
    };
    let ltx_newest = match &ltx {
        Ok(backup) => Some(backup.made(replica, times).await?),
        Err(error @ (RestoreError::NoBackup | RestoreError::NonContiguous { .. })) => {
            newest_unplanned(error, target, replica).await?
        }
        Err(_) => return ltx,
    };
    if ltx_newest.is_some_and(|ltx| ltx >= newest) {
        return ltx;
    }
    match plan_v3(listed, until, replica).await? {
        Some(plan) => Ok(Backup::V3(plan)),
        None => ltx,
    }
}

/// When the newest LTX file came of those that make up no plan. They count as damage, but for a time long ago: there they
/// are what retention left.
async fn newest_unplanned(
    error: &RestoreError,
    target: Target,
    replica: &SharedReplica,
) -> Result<Option<UnixMillis>, RestoreError> {
    if matches!(target, Target::Timestamp(_)) && error.is_no_backup() {
        return Ok(None);
    }
    let levels: Vec<Level> = Level::all().collect();
    // The time in the header: a copy of a folder has new times for its files.
    let files = chain::listing::list_all(replica, &levels, true).await?;
    let times = files.iter().map(|file| file.created);
    let counts = |time: &UnixMillis| match target {
        Target::Timestamp(until) => *time < until,
        Target::Latest | Target::Txid(_) => true,
    };
    Ok(times.filter(counts).max())
}

/// Plans until a later listing agrees.
async fn plan_v3(
    listed: Catalogue,
    until: Option<UnixMillis>,
    replica: &SharedReplica,
) -> Result<Option<V3Plan>, RestoreError> {
    let mut before = listed.plan();
    for _ in 1..LISTINGS_MAX {
        let now = Catalogue::new(replica.list_v3().await?, until).plan();
        match (&before, &now) {
            (Ok(Some(plan)), Ok(Some(later))) if confirmed(plan, later) => break,
            (Ok(None), Ok(None)) => break,
            (Err(a), Err(b)) if a.to_string() == b.to_string() => break,
            _ => before = now,
        }
    }
    Ok(before?)
}
