//! The end of `replicate`: final sync with retries, then release of the database.
//!
//! Promise: the result is Ok only if everything committed is in the replica. A second signal ends it at once.

use std::time::Duration;

use litestream::{Error, Replicator};
use tracing::{error, info, warn};

use super::Job;
use crate::args::duration;
use crate::failure::{Failure, Result};
use crate::signals::Signals;

/// How long the final sync is tried.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between tries.
const SYNC_INTERVAL: Duration = Duration::from_millis(500);
/// Releasing the database is waited for no longer than this; the end of the process releases it, too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a final sync.
    Sync,
    /// Without: it is known already that it failed, or nobody wants to wait for it.
    Abandon,
}

/// Ends replication.
pub async fn run(
    job: &Job,
    replicator: &Replicator,
    signals: &mut Signals,
    ending: Ending,
) -> Result {
    let synced = match ending {
        Ending::Sync => final_sync(job, replicator, signals).await,
        Ending::Abandon => Ok(()),
    };
    let interrupted = matches!(&synced, Err(cause) if cause.contains("interrupted"));
    if let Err(cause) = &synced {
        if interrupted {
            warn!(error = cause, "shutdown sync skipped by user interrupt");
        } else {
            error!(error = cause, "failed to close database");
        }
    }
    if !interrupted {
        tokio::select! {
            () = replicator.close() => {}
            () = job.env.clock.sleep_async(CLOSE_TIMEOUT) => {
                warn!(path = %job.database.display(), "database is still in use by a running operation, ending anyway");
            }
            _ = signals.next() => {}
        }
    }
    info!("litestream shut down");
    synced.map_err(|cause| not_uploaded(job, replicator, &cause))
}

/// Names what is not in the replica, and says that it is not lost.
fn not_uploaded(job: &Job, replicator: &Replicator, cause: &str) -> Failure {
    let status = replicator.status();
    let txid = |t: Option<ltx::Txid>| t.map_or_else(|| "unknown".to_owned(), |t| t.to_string());
    Failure::new(format!(
        "{}: not everything committed is in the replica (captured up to TXID {}, uploaded up to TXID {}): {cause}; \
         the rest is still in the local files and is uploaded when replication starts again",
        job.database.display(),
        txid(status.position),
        txid(status.replica_position),
    ))
}

async fn final_sync(
    job: &Job,
    replicator: &Replicator,
    signals: &mut Signals,
) -> std::result::Result<(), String> {
    let clock = &job.env.clock;
    let start = clock.monotonic();
    let db = job
        .database
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut attempts = 0u32;
    loop {
        attempts += 1;
        let elapsed = clock.monotonic().since(start);
        let result = tokio::select! {
            result = replicator.final_sync() => result.map(drop),
            () = clock.sleep_async(SYNC_TIMEOUT.saturating_sub(elapsed)) => {
                let cause = replicator.status().upload_error.unwrap_or_else(|| "no answer".into());
                return Err(timed_out(&db, attempts, SYNC_TIMEOUT, &cause));
            }
            _ = signals.next() => return Err(interrupted(&db, attempts, clock.monotonic().since(start))),
        };
        let elapsed = clock.monotonic().since(start);
        let error = match result {
            Ok(()) => {
                if attempts > 1 {
                    let duration = duration::format(elapsed);
                    info!(
                        system = "store",
                        db, attempts, duration, "shutdown sync succeeded after retry"
                    );
                }
                return Ok(());
            }
            Err(Error::NoDatabase(_)) => return without_database(replicator),
            Err(error) => error,
        };
        let remaining = SYNC_TIMEOUT.saturating_sub(elapsed);
        if remaining.is_zero() {
            return Err(timed_out(&db, attempts, elapsed, &error.to_string()));
        }
        warn!(
            system = "store", db, attempts, %error, elapsed = duration::format(elapsed),
            remaining = duration::format(remaining), "shutdown sync failed, retrying (press Ctrl+C again to skip)"
        );
        tokio::select! {
            () = clock.sleep_async(SYNC_INTERVAL.min(remaining)) => {}
            _ = signals.next() => return Err(interrupted(&db, attempts, clock.monotonic().since(start))),
        }
    }
}

/// A database that never was has nothing to lose; one that was deleted may have left something.
fn without_database(replicator: &Replicator) -> std::result::Result<(), String> {
    let status = replicator.status();
    if status.position > status.replica_position {
        return Err("the database is gone before all that was captured of it was uploaded".into());
    }
    Ok(())
}

fn timed_out(db: &str, attempts: u32, elapsed: Duration, cause: &str) -> String {
    let duration = duration::format(elapsed);
    error!(
        system = "store",
        db,
        attempts,
        duration,
        error = cause,
        "shutdown sync failed after timeout"
    );
    format!("shutdown sync timeout after {attempts} attempts: {cause}")
}

fn interrupted(db: &str, attempts: u32, elapsed: Duration) -> String {
    warn!(
        system = "store",
        db,
        attempts,
        duration = duration::format(elapsed),
        "shutdown sync interrupted by signal"
    );
    format!("after {attempts} attempts: shutdown sync interrupted")
}
