//! A restore from the best of several replicas of one database.
//!
//! Promise: the replica that reaches furthest is tried first, another only if that one is damaged or can't be read, which is said
//! in the log; and "no backup" is the answer only if every replica could be listed and none holds anything.

use litestream_replica::SharedReplica;
use litestream_replica::env::{Env, UnixMillis};
use ltx::Txid;

use super::error::RestoreError;
use super::plan::plan;
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

/// How far a replica reaches: the TXID, then the time of the file that ends there.
type Reach = (Txid, UnixMillis);

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
                    tracing::info!(replica = %replica.location(), txid = %outcome.txid, "restored");
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
    let plans = replicas.iter().map(|replica| plan(request.target, replica));
    let plans = futures_util::future::join_all(plans).await;
    let mut found: Vec<(Reach, usize)> = Vec::new();
    for (number, plan) in plans.into_iter().enumerate() {
        match plan {
            Ok(plan) => found.push(((plan.max(), plan.newest().created), number)),
            // It was there a moment ago; restoring plans again.
            Err(RestoreError::Gone(_)) => found.push((Reach::default(), number)),
            Err(error) => note(&replicas[number], error, failure),
        }
    }
    found.sort_by_key(|(reach, number)| (std::cmp::Reverse(*reach), *number));
    found.into_iter().map(|(_, number)| number).collect()
}

/// The first failure that says more than that there is nothing is the one to report.
fn note(replica: &SharedReplica, error: RestoreError, failure: &mut RestoreError) {
    tracing::warn!(replica = %replica.location(), %error, "cannot restore from this replica");
    if failure.is_no_backup() {
        *failure = error;
    }
}
