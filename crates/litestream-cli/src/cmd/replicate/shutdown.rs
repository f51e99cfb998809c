//! The end of `replicate`: final sync with retries, then release of the database.
//!
//! Promise: the result is Ok only if everything committed is in the replica. A second signal ends it at once; the first
//! may come here, too, if the run ended by itself.

use std::fmt;
use std::io;
use std::time::Duration;

use litestream::{Error, Replicator, Settings};
use ltx::{FileName, Txid};
use tracing::{error, info, warn};

use super::Job;
use crate::args::duration;
use crate::failure::{Failure, Result};
use crate::signals::{Signal, Signals};
use crate::systemd;

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

/// Why the final sync did not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unfinished {
    /// A second signal: nothing more is waited for.
    Interrupted { attempts: u32 },
    /// It failed until the time was over.
    TimedOut { attempts: u32, cause: String },
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfinished::Interrupted { attempts } => {
                write!(f, "after {attempts} attempts: shutdown sync interrupted")
            }
            Unfinished::TimedOut { attempts, cause } => {
                write!(
                    f,
                    "shutdown sync timeout after {attempts} attempts: {cause}"
                )
            }
        }
    }
}

/// Says that a first signal came.
pub fn log_signal(signal: Signal) {
    info!(
        signal = signal.name(),
        "signal received, litestream shutting down"
    );
}

/// Waits for the second signal. If there was none yet, the first is one to end, and that is being done.
async fn second(signals: &mut Signals) {
    if signals.first().is_none() {
        log_signal(signals.next().await);
    }
    signals.next().await;
}

/// Ends replication.
pub async fn run(
    job: &Job,
    replicator: &Replicator,
    signals: &mut Signals,
    ending: Ending,
) -> Result {
    systemd::stopping("final sync");
    let synced = match ending {
        Ending::Sync => final_sync(job, replicator, signals).await,
        Ending::Abandon => Ok(()),
    };
    match &synced {
        Ok(()) => {}
        Err(cause @ Unfinished::Interrupted { .. }) => {
            warn!(error = %cause, "shutdown sync skipped by user interrupt");
        }
        Err(cause @ Unfinished::TimedOut { .. }) => {
            error!(error = %cause, "failed to close database");
        }
    }
    if !matches!(synced, Err(Unfinished::Interrupted { .. })) {
        tokio::select! {
            () = replicator.close() => {}
            () = job.env.clock.sleep_async(CLOSE_TIMEOUT) => {
                warn!(path = %job.database.display(), "database is still in use by a running operation, ending anyway");
            }
            () = second(signals) => {}
        }
    }
    info!("litestream shut down");
    synced.map_err(|cause| not_uploaded(job, replicator, &cause))
}

/// Names what is not in the replica, and says that it is not lost.
fn not_uploaded(job: &Job, replicator: &Replicator, cause: &Unfinished) -> Failure {
    let status = replicator.status();
    let txid = |t: Option<Txid>| t.map_or_else(|| "unknown".to_owned(), |t| t.to_string());
    Failure::new(format!(
        "{}: not everything committed is in the replica (captured up to TXID {}, uploaded up to TXID {}): {cause}; \
         the rest is still in the local files and is uploaded when replication starts again",
        job.database.display(),
        txid(captured(job, replicator).unwrap_or(status.position)),
        txid(status.replica_position),
    ))
}

async fn final_sync(
    job: &Job,
    replicator: &Replicator,
    signals: &mut Signals,
) -> std::result::Result<(), Unfinished> {
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
            result = replicator.sync() => result.map(drop),
            () = clock.sleep_async(SYNC_TIMEOUT.saturating_sub(elapsed)) => {
                let cause = replicator.status().upload_error.unwrap_or_else(|| "no answer".into());
                return Err(timed_out(&db, attempts, SYNC_TIMEOUT, &cause));
            }
            () = second(signals) => return Err(interrupted(&db, attempts, clock.monotonic().since(start))),
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
            Err(Error::NoDatabase(_)) => match left_behind(job, replicator) {
                None => return Ok(()),
                Some(text) => text,
            },
            Err(error) => error.to_string(),
        };
        let remaining = SYNC_TIMEOUT.saturating_sub(elapsed);
        if remaining.is_zero() {
            return Err(timed_out(&db, attempts, elapsed, &error));
        }
        warn!(
            system = "store", db, attempts, %error, elapsed = duration::format(elapsed),
            remaining = duration::format(remaining), "shutdown sync failed, retrying (press Ctrl+C again to skip)"
        );
        tokio::select! {
            () = clock.sleep_async(SYNC_INTERVAL.min(remaining)) => {}
            () = second(signals) => return Err(interrupted(&db, attempts, clock.monotonic().since(start))),
        }
    }
}

/// A database that never was has nothing to lose; one that was deleted may have left something.
fn left_behind(job: &Job, replicator: &Replicator) -> Option<String> {
    match captured(job, replicator) {
        Ok(captured) if captured <= replicator.status().replica_position => None,
        Ok(_) => {
            Some("the database is gone before all that was captured of it was uploaded".into())
        }
        Err(e) => Some(format!(
            "the database is gone, and its local files cannot be listed: {e}"
        )),
    }
}

/// The newest transaction captured: by this run, or by one before if its files are still here.
fn captured(job: &Job, replicator: &Replicator) -> io::Result<Option<Txid>> {
    let meta = Settings::for_database(&job.database).meta_path;
    let entries = match job.env.disk.list(&meta.join("ltx/0")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        entries => entries?,
    };
    let names = entries
        .iter()
        .filter_map(|e| FileName::parse(e.name.to_str()?));
    let local = names.map(|name| name.max).max();
    Ok(local.max(replicator.status().position))
}

fn timed_out(db: &str, attempts: u32, elapsed: Duration, cause: &str) -> Unfinished {
    let duration = duration::format(elapsed);
    error!(
        system = "store",
        db,
        attempts,
        duration,
        error = cause,
        "shutdown sync failed after timeout"
    );
    Unfinished::TimedOut {
        attempts,
        cause: cause.to_owned(),
    }
}

fn interrupted(db: &str, attempts: u32, elapsed: Duration) -> Unfinished {
    warn!(
        system = "store",
        db,
        attempts,
        duration = duration::format(elapsed),
        "shutdown sync interrupted by signal"
    );
    Unfinished::Interrupted { attempts }
}
