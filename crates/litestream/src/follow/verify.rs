//! Whether the database is the replica's at some TXID, by comparing every page.
//!
//! For the rare starts where nothing else proves it; costs a restore.

use std::path::Path;

use litestream_replica::SharedReplica;
use ltx::Txid;

use super::Place;
use super::counter;
use super::error::FollowError;
use crate::restore::aside::with_suffix;
use crate::restore::{self, RestoreError, Target, on_thread};
use crate::sqlite::Exclusive;

const CHUNK: usize = 1 << 18;

/// `false` also if the replica can't give that state any more.
pub(super) async fn is_state_at(
    place: &Place,
    replica: &SharedReplica,
    txid: Txid,
) -> Result<bool, FollowError> {
    tracing::info!(%txid, "comparing the database with the replica");
    let request = restore::Request {
        output: with_suffix(&place.real, ".follow-check"),
        target: Target::Txid(txid),
        parallelism: 4,
        force: true,
        integrity_check: restore::IntegrityCheck::None,
        vfs: place.vfs.clone(),
    };
    match restore::run(&request, replica.clone(), &place.env, &|_| {}).await {
        Err(RestoreError::NoBackup | RestoreError::NonContiguous { .. }) => return Ok(false),
        result => result?,
    };
    let at = place.clone();
    let same = on_thread(&place.env, move || {
        let same = same(&at, &request.output);
        let _ = at.env.disk.remove(&request.output);
        Ok(same)
    });
    same.await?
}

fn same(place: &Place, other: &Path) -> Result<bool, FollowError> {
    let fail = || FollowError::io("read", other);
    let other = place.env.disk.open(other).map_err(fail())?;
    let file = Exclusive::open(&place.real, place.vfs())?;
    // Without the lock a difference may be one of the moment, and then the next start compares again.
    file.try_shared()?;
    let size = file.size()?;
    if size != other.metadata().map_err(fail())?.len {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < size {
        let len = (size - at).min(CHUNK as u64) as usize;
        file.read(&mut ours[..len], at)?;
        other
            .read_exact_at(&mut theirs[..len], at)
            .map_err(fail())?;
        if at == 0 {
            for page in [&mut ours, &mut theirs] {
                page[counter::JOURNAL_MODE].fill(0);
                page[counter::COUNTER].fill(0);
            }
        }
        if ours[..len] != theirs[..len] {
            return Ok(false);
        }
        at += len as u64;
    }
    Ok(true)
}
