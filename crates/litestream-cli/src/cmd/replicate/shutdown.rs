//! The end of `replicate`: final syncs with retries, all at the same time, then release of the databases.
//!
//! Promise: the result is Ok only if everything committed is in the replicas. A second signal ends it at once; the first
//! may come here, too, if the run ended by itself.

use std::time::Duration;

use litestream::fleet::{Ending, Unfinished, not_uploaded};
use tracing::{error, info, warn};

use super::Job;
use crate::failure::{Failure, Result};
use crate::services::Services;
use crate::signals::{Signal, Signals};

/// After a second signal, until the end whatever happens.
const INTERRUPTED_WAIT: Duration = Duration::from_secs(2);

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// With a final sync.
    Sync,
    /// Without: it is known already that it failed, or nobody wants to wait for it.
    Abandon,
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
    mut services: Option<Services>,
    signals: &mut Signals,
    ends: Ends,
) -> Result {
    job.daemon.stop_folders();
    if let Some(services) = &mut services {
        services.stopping().await;
    }
    let ending = Ending {
        abandon: ends == Ends::Abandon,
        ..job.daemon.ending(None)
    };
    // A reload that somebody asked for over the socket may be under way.
    let close = async {
        let _turn = job.daemon.settle().await;
        let unfinished = job.daemon.fleet.close(&ending).await;
        (unfinished, job.daemon.left_behind().await)
    };
    let mut close = std::pin::pin!(close);
    let (unfinished, left_behind) = tokio::select! {
        unfinished = &mut close => unfinished,
        () = second(signals) => {
            job.daemon.interrupt();
            // Whatever still holds up the end: nobody waits for it.
            tokio::select! {
                unfinished = &mut close => unfinished,
                () = job.env.clock.sleep_async(INTERRUPTED_WAIT) => {
                    info!("litestream shut down");
                    return Err(Failure::new("interrupted before all databases were closed; what is not uploaded is in the local files"));
                }
            }
        }
    };
    let mut failures = Vec::new();
    for (member, cause) in &unfinished {
        match cause {
            Unfinished::Interrupted { .. } => {
                warn!(path = %member.path().display(), error = %cause, "shutdown sync skipped by user interrupt");
            }
            Unfinished::TimedOut { .. } => {
                error!(path = %member.path().display(), error = %cause, "failed to close database");
            }
        }
        failures.push(not_uploaded(member, cause).await);
    }
    failures.extend(left_behind);
    if let Some(services) = services {
        services.stop().await;
    }
    info!("litestream shut down");
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(failures.join("; ")))
    }
}
