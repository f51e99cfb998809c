//! Which kind of backup to restore: LTX files, or what Litestream 0.3 left in the same place.
//!
//! Promise: the one whose newest usable object is newer, so that an upgrade (or a way back) is followed in time; what
//! cannot be listed is an error, and what is damaged is not passed over for something older.

use litestream_replica::SharedReplica;
use litestream_replica::env::UnixMillis;
use litestream_replica::{Level, chain};

use super::error::RestoreError;
use super::plan::{Plan, Target, plan};
use super::v3::{Catalogue, V3Plan, confirmed};

/// What to restore from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backup {
    /// LTX files.
    Ltx(Plan),
    /// A backup of Litestream 0.3.
    V3(V3Plan),
}

/// Listings of 0.3 objects tried before two agree: something still writes there.
const LISTINGS_MAX: usize = 8;

/// Lists the replica and picks the files for `target`.
pub async fn choose(target: Target, replica: &SharedReplica) -> Result<Backup, RestoreError> {
    let ltx = plan(target, replica).await;
    let until = match target {
        // 0.3 counted no transactions.
        Target::Txid(_) => return ltx.map(Backup::Ltx),
        Target::Timestamp(time) => Some(time),
        Target::Latest => None,
    };
    let listed = Catalogue::new(replica.list_v3().await?, until);
    let Some(newest) = listed.newest() else {
        return ltx.map(Backup::Ltx);
    };
    let ltx_newest = match &ltx {
        Ok(_) | Err(RestoreError::NoBackup | RestoreError::NonContiguous { .. }) => {
            newest_ltx(&ltx, target, replica).await?
        }
        Err(_) => return ltx.map(Backup::Ltx),
    };
    if ltx_newest.is_some_and(|ltx| ltx >= newest) {
        return ltx.map(Backup::Ltx);
    }
    match plan_v3(listed, until, replica).await? {
        Some(plan) => Ok(Backup::V3(plan)),
        None => ltx.map(Backup::Ltx),
    }
}

/// When the newest LTX file came that counts. Files without a plan count only for the newest state: there they are damage,
/// while for a time long ago they are what retention left.
async fn newest_ltx(
    ltx: &Result<Plan, RestoreError>,
    target: Target,
    replica: &SharedReplica,
) -> Result<Option<UnixMillis>, RestoreError> {
    if let (Target::Timestamp(_), Err(RestoreError::NoBackup)) = (target, ltx) {
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
