//! `litestream restore -f`: a restored database that is kept up to date until a signal comes.

use std::time::Duration;

use litestream::follow::{self, Ended};
use litestream::restore::{Event, Target};
use litestream_replica::SharedReplica;

use super::Job;
use crate::args::Parsed;
use crate::failure::{Failure, Result};
use crate::progress::Display;
use crate::signals::Signals;

/// Taken if none, or one that is not positive, is given.
const INTERVAL: Duration = Duration::from_secs(1);

/// The interval, if follow mode is asked for.
pub fn interval(parsed: &Parsed, target: Target) -> Result<Option<Duration>> {
    if !parsed.bool("f") {
        return Ok(None);
    }
    let conflict = match target {
        Target::Txid(_) => "cannot use follow mode with -txid",
        Target::Timestamp(_) => "cannot use follow mode with -timestamp",
        Target::Latest if parsed.bool("dry-run") => "cannot use -dry-run with -f",
        Target::Latest => {
            let given = parsed.duration("follow-interval");
            return Ok(Some(if given.is_zero() { INTERVAL } else { given }));
        }
    };
    Err(Failure::new(conflict))
}

/// Follows until a signal comes.
pub async fn run(
    job: &Job,
    interval: Duration,
    replica: &SharedReplica,
    signals: &mut Signals,
) -> Result {
    let start = job.env.clock.monotonic();
    let display = Display::new(job.progress, job.env.clock.clone());
    let progress = |event| {
        display.show(&event);
        if matches!(event, Event::Done { .. }) {
            display.finish();
            job.tell_integrity();
        }
    };
    let request = follow::Request {
        output: job.request.output.clone(),
        interval,
        parallelism: job.request.parallelism,
        integrity_check: job.request.integrity_check,
        vfs: None,
    };
    let mut signal = None;
    let stop = async { signal = Some(signals.next().await) };
    let ended = follow::run(&request, replica.clone(), &job.env, &progress, stop).await;
    display.finish();
    match ended {
        Ok(Ended::Following(_) | Ended::Resuming) => {
            let elapsed = job.env.clock.monotonic().since(start);
            job.document(replica.kind(), None, elapsed, None)
        }
        Ok(Ended::Restoring) => Err(match signal {
            Some(signal) => job.interrupted(signal),
            None => Failure::new("restore interrupted"),
        }),
        Err(follow::FollowError::Restore(error)) => job.failed(error, replica).await,
        Err(error) => Err(Failure::new(error)),
    }
}
