//! A restore from the best of several replicas of one database.
//!
//! Promise: the replica that reaches furthest is tried first, another only if that one is damaged or can't be read, which is said
//! in the log; and "no backup" is the answer only if every replica could be listed and none holds anything. A backup of
//! Litestream 0.3 has no TXID: by its time it stands before the first replica of LTX files that is older.

use std::cmp::Reverse;
use std::iter::Peekable;

use litestream_replica::SharedReplica;
use litestream_replica::chain::before::Times;
use litestream_replica::env::{Env, UnixMillis};
use ltx::Txid;

use super::choose::{Backup, choose_with};
use super::error::RestoreError;
use super::plan::Target;
use super::request::{Outcome, Progress, Request};
use super::run::run;

/// What was restored, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The place of the replica among those given.
    pub replica: usize,
    /// What was restored.
    pub outcome: Outcome,
}

/// How far a replica reaches: the TXID, then the time of the file that ends there. A backup of 0.3 has only a time.
#[derive(Clone, Copy, Debug)]
struct Reach {
    txid: Option<Txid>,
    time: UnixMillis,
}

/// Restores a database from the one of `replicas` that reaches the target and furthest; of equals from the first. All are
/// listed side by side. If the best turns out to be damaged or unreachable, the next takes its place.
pub async fn run_any(
    request: &Request,
    replicas: &[SharedReplica],
    env: &Env,
    progress: Progress<'_>,
) -> Result<Restored, RestoreError> {
    let mut failure = RestoreError::NoBackup;
    for number in order(request, replicas, &mut failure).await {
        let replica = &replicas[number];
        match run(request, replica.clone(), env, progress).await {
            Ok(outcome) => {
                if replicas.len() > 1 {
                    let txid = outcome.txid.map(tracing::field::display);
                    tracing::info!(replica = %replica.location(), txid, "restored");
                }
                return Ok(Restored {
                    replica: number,
                    outcome,
                });
            }
            Err(error) if error.is_of_replica() => note(replica, error, &mut failure),
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

/// The replicas that have a plan, best first.
async fn order(
    request: &Request,
    replicas: &[SharedReplica],
    failure: &mut RestoreError,
) -> Vec<usize> {
    let backups = replicas.iter().map(|r| choose_one(request.target, r));
    let backups = futures_util::future::join_all(backups).await;
    let mut found: Vec<(Option<Backup>, usize)> = Vec::new();
    for (number, backup) in backups.into_iter().enumerate() {
        match backup {
            Ok(backup) => found.push((Some(backup), number)),
            // It was there a moment ago; restoring plans again.
            Err(RestoreError::Gone(_)) => found.push((None, number)),
            Err(error) => note(&replicas[number], error, failure),
        }
    }
    // Only where 0.3 takes part do times decide; reading them out of the files costs requests.
    let exact = found.iter().any(|(b, _)| matches!(b, Some(Backup::V3(_))));
    let reaches = found.into_iter().map(async |(backup, number)| {
        let reach = reach(backup.as_ref(), &replicas[number], exact).await;
        (reach, number)
    });
    sorted(futures_util::future::join_all(reaches).await)
}

/// What would be restored; that it is damaged is found out later.
async fn choose_one(target: Target, replica: &SharedReplica) -> Result<Backup, RestoreError> {
    choose_with(target, replica, &mut Times::new()).await
}

async fn reach(backup: Option<&Backup>, replica: &SharedReplica, exact: bool) -> Reach {
    let Some(backup) = backup else {
        return Reach {
            txid: Some(Txid::ZERO),
            time: UnixMillis::default(),
        };
    };
    let mut time = backup.created();
    if exact {
        // What can't be read keeps the time of the listing: the restore says what is wrong.
        let made = backup.made(replica, &mut Times::new()).await;
        time = made.unwrap_or(time);
    }
    match backup {
        Backup::Ltx(plan) => Reach {
            txid: Some(plan.max()),
            time,
        },
        Backup::V3(_) => Reach { txid: None, time },
    }
}

/// Best first. TXIDs and times may disagree between replicas, so both kinds are sorted apart and then merged by time.
fn sorted(found: Vec<(Reach, usize)>) -> Vec<usize> {
    let (mut ltx, mut old): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(r, _)| r.txid.is_some());
    for kind in [&mut ltx, &mut old] {
        kind.sort_by_key(|(reach, number)| (Reverse((reach.txid, reach.time)), *number));
    }
    let (mut ltx, mut old) = (ltx.into_iter().peekable(), old.into_iter().peekable());
    let time = |kind: &mut Peekable<std::vec::IntoIter<(Reach, usize)>>| {
        kind.peek().map(|(reach, _)| reach.time)
    };
    let mut order = Vec::new();
    loop {
        let is_old = time(&mut old) > time(&mut ltx);
        let next = if is_old { old.next() } else { ltx.next() };
        match next {
            Some((_, number)) => order.push(number),
            None => return order,
        }
    }
}

/// The first failure that says more than that there is nothing is the one to report.
fn note(replica: &SharedReplica, error: RestoreError, failure: &mut RestoreError) {
    tracing::warn!(replica = %replica.location(), %error, "cannot restore from this replica");
    if failure.is_no_backup() {
        *failure = error;
    }
}
