//! A run of `replicate`: restore what is missing, start, then wait for a signal, a child, or one sync.
//!
//! Promise: once replication has started, every way out ends with [`shutdown`].

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::Duration;

use litestream::Error;
use litestream::env::Kind;
use litestream::fleet::Member;
use tokio::process::Child;
use tracing::{error, info};

use super::shutdown::{self, Ends, log_signal};
use super::{Job, Mode};
use crate::config::{Config, Source};
use crate::daemon;
use crate::exec;
use crate::failure::{Failure, Result};
use crate::monitor;
use crate::services::Services;
use crate::signals::{Event, Signal, Signals};

/// How long an `-exec` child waits for what was committed before to be replicated.
const FIRST_SYNC_WAIT: Duration = Duration::from_secs(10);

/// Runs a job to its end.
pub async fn run(job: &Job, options: monitor::Options) -> Result {
    // Only what came from a file can be read again.
    let reloads = job.reloads && !matches!(job.mode, Mode::Once { .. });
    let signals = Signals::new(job.env.disk.as_ref(), reloads)
        .map_err(|e| Failure::new(format!("cannot handle signals: {e}")));
    let mut signals = signals?;
    let config = job.daemon.config();
    tokio::select! {
        result = daemon::restore_missing(&config, job.restore_missing, &job.env) => result?,
        signal = signals.next() => {
            log_signal(signal);
            info!("litestream shut down");
            return Err(interrupted(&config, job, signal));
        }
    }
    let started = match job.daemon.start().await {
        Ok(()) => Services::start(&job.daemon, options).await,
        Err(failure) => Err(failure),
    };
    let services = match started {
        Ok(services) => services,
        Err(failure) => {
            // What was started by then is ended as ever.
            let closed = shutdown::run(job, None, &mut signals, Ends::Abandon).await;
            return closed.and(Err(failure));
        }
    };
    match &job.mode {
        Mode::Daemon => {
            log_signal(ending(job, &mut signals).await);
            shutdown::run(job, Some(services), &mut signals, Ends::Sync).await
        }
        Mode::Once {
            snapshot,
            retention,
        } => once(job, services, &mut signals, *snapshot, *retention).await,
        Mode::Exec { words, environment } => {
            let child = child(job, &mut signals, words, environment).await;
            let ends = if matches!(child, Err(Stopped::Now(_))) {
                Ends::Abandon
            } else {
                Ends::Sync
            };
            let closed = shutdown::run(job, Some(services), &mut signals, ends).await;
            match (child, closed) {
                (Ok(()), closed) => closed,
                // A signal to the whole process group, of which the child's end was seen first.
                (Err(Stopped::Killed(number, _)), closed)
                    if signals.first().map(Signal::number) == Some(number) =>
                {
                    closed
                }
                (Err(Stopped::Now(failure)), _)
                | (Err(Stopped::Because(failure) | Stopped::Killed(_, failure)), Ok(())) => {
                    Err(failure)
                }
                (Err(Stopped::Because(failure) | Stopped::Killed(_, failure)), Err(closed)) => {
                    Err(Failure {
                        message: format!("{}; {}", failure.message, closed.message),
                        ..failure
                    })
                }
            }
        }
    }
}

/// Which databases are not there yet.
fn interrupted(config: &Config, job: &Job, signal: Signal) -> Failure {
    let paths = config
        .databases
        .iter()
        .filter_map(|entry| match &entry.source {
            Source::Path(path) if job.env.disk.metadata(path).is_err() => Some(path),
            _ => None,
        });
    let names: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    let text = format!(
        "{}: restore before replication interrupted by signal",
        names.join(", ")
    );
    Failure::new(text).code(signal.exit_code())
}

/// Waits for the signal to end; a signal to read the configuration again is obeyed meanwhile.
async fn ending(job: &Job, signals: &mut Signals) -> Signal {
    loop {
        match signals.event().await {
            Event::End(signal) => return signal,
            Event::Reload => {
                if let Some(signal) = reload_until(job, signals.next()).await {
                    return signal;
                }
            }
        }
    }
}

/// Reads the configuration again. If something else happens meanwhile, that is the result, and no final sync is waited for any more.
async fn reload_until<T>(job: &Job, other: impl Future<Output = T>) -> Option<T> {
    let mut reload = std::pin::pin!(reload(job));
    tokio::select! {
        () = &mut reload => None,
        other = other => {
            job.daemon.hurry();
            reload.await;
            Some(other)
        }
    }
}

async fn reload(job: &Job) {
    info!("hangup received, reading the configuration again");
    if let Err(text) = job.daemon.reload_file().await {
        error!(
            error = text,
            "the configuration was not reloaded, the old one stays in force"
        );
    }
}

/// `-once`: every database is tried, whatever becomes of the others. A signal ends the run before its end, with an error: not everything was
/// replicated.
async fn once(
    job: &Job,
    services: Services,
    signals: &mut Signals,
    snapshot: bool,
    retention: bool,
) -> Result {
    let result = tokio::select! {
        result = all_once(job, snapshot, retention) => result,
        signal = signals.next() => {
            log_signal(signal);
            Err(Failure::new("one-shot replication interrupted by signal").code(signal.exit_code()))
        }
    };
    if result.is_ok() {
        info!("one-shot replication complete");
    }
    info!("replication complete, litestream shutting down");
    let ends = if result.is_ok() {
        Ends::Sync
    } else {
        Ends::Abandon
    };
    let closed = shutdown::run(job, Some(services), signals, ends).await;
    result.and(closed)
}

async fn all_once(job: &Job, snapshot: bool, retention: bool) -> Result {
    let mut failures = Vec::new();
    for member in job.daemon.fleet.members() {
        if let Err(failure) = sync_once(job, &member, snapshot, retention).await {
            failures.push(failure.message);
        }
    }
    match failures.as_slice() {
        [] => Ok(()),
        [one] => Err(Failure::new(one)),
        several => Err(Failure::new(format!(
            "{} databases could not be replicated: {}",
            several.len(),
            several.join("; ")
        ))),
    }
}

async fn sync_once(job: &Job, member: &Arc<Member>, snapshot: bool, retention: bool) -> Result {
    let path = member.path().display();
    let Some(replicator) = member.replicator() else {
        return Err(Failure::new(format!(
            "sync database {path}: it was stopped"
        )));
    };
    info!(path = %path, "syncing database");
    replicator
        .sync_with_snapshots()
        .await
        .map_err(|e| match e {
            Error::NoDatabase(_) | Error::NoPosition => Failure::new(format!(
                "sync replica for {path}: no position, waiting for data"
            )),
            Error::Replica(_) | Error::Upload(_) => {
                Failure::new(format!("sync replica for {path}: {e}"))
            }
            e => Failure::new(format!("sync database {path}: {e}")),
        })?;
    if snapshot {
        info!(path = %path, "taking snapshot");
        replicator
            .snapshot()
            .await
            .map_err(|e| Failure::new(format!("snapshot {path}: {e}")))?;
    }
    if retention {
        info!(path = %path, "enforcing retention");
        let keep = job.daemon.config().snapshot_retention;
        let done = replicator.enforce_retention(keep).await;
        done.map_err(|e| Failure::new(format!("enforce retention for {path}: {e}")))?;
    }
    Ok(())
}

/// Why there is something to say after the databases have been closed.
enum Stopped {
    /// The child could not be started or ended badly.
    Because(Failure),
    /// The signal of this number ended the child, and none had come to us.
    Killed(i32, Failure),
    /// A second signal: nothing more is waited for.
    Now(Failure),
}

/// Brings what was committed before into the replicas, as far as that works. A failure is in the log and tried again; nobody need wait for that.
async fn first_sync(job: &Job) {
    let syncs = job
        .daemon
        .fleet
        .members()
        .into_iter()
        .map(|member| async move {
            let there = job.env.disk.metadata(member.path());
            if there.is_ok_and(|m| m.kind == Kind::File) {
                let _ = member.sync(true).await;
            }
        });
    futures_util::future::join_all(syncs).await;
}

/// `-exec`: what was committed before is replicated first, then the child runs to its end.
async fn child(
    job: &Job,
    signals: &mut Signals,
    words: &[String],
    environment: &[(&str, std::ffi::OsString)],
) -> std::result::Result<(), Stopped> {
    tokio::select! {
        () = first_sync(job) => {}
        () = job.env.clock.sleep_async(FIRST_SYNC_WAIT) => {}
        signal = signals.next() => {
            log_signal(signal);
            let text = "signal received before the exec command was started";
            return Err(Stopped::Because(Failure::new(text).code(signal.exit_code())));
        }
    }
    let mut child = exec::start(words, environment).map_err(Stopped::Because)?;
    let signal = loop {
        tokio::select! {
            // A signal to the whole process group may end the child, too: that it came must not be missed.
            biased;
            event = signals.event() => match event {
                Event::End(signal) => break signal,
                Event::Reload => {
                    let other = async {
                        tokio::select! {
                            biased;
                            signal = signals.next() => Some(signal),
                            // Its status is there again afterwards.
                            _ = child.wait() => None,
                        }
                    };
                    if let Some(Some(signal)) = reload_until(job, other).await {
                        break signal;
                    }
                }
            },
            status = child.wait() => {
                info!("subprocess exited, litestream shutting down");
                let status = status.map_err(|e| wait_failed(&e))?;
                return match (exec::failure(status), status.signal()) {
                    (Some(failure), Some(number)) => Err(Stopped::Killed(number, failure)),
                    (Some(failure), None) => Err(Stopped::Because(failure)),
                    (None, _) => Ok(()),
                };
            }
        }
    };
    log_signal(signal);
    stop_child(&mut child, signal, signals).await
}

fn wait_failed(error: &std::io::Error) -> Stopped {
    Stopped::Because(Failure::new(format!(
        "cannot wait for exec process: {error}"
    )))
}

/// Passes the signal on and waits without limit; a second one is passed on as well and ends the waiting.
async fn stop_child(
    child: &mut Child,
    signal: Signal,
    signals: &mut Signals,
) -> std::result::Result<(), Stopped> {
    let pid = child.id();
    let send = |signal: Signal| pid.into_iter().for_each(|pid| signal.send(pid));
    info!("sending signal to exec process");
    send(signal);
    info!("waiting for exec process to close");
    tokio::select! {
        status = child.wait() => {
            let status = status.map_err(|e| wait_failed(&e))?;
            match exec::failure(status) {
                // It ended by the signal that we sent, as it should.
                Some(failure) if status.signal() != Some(signal.number()) => Err(Stopped::Because(Failure {
                    message: format!("cannot wait for exec process: {}", failure.message),
                    ..failure
                })),
                _ => Ok(()),
            }
        }
        second = signals.next() => {
            send(second);
            let pid = pid.unwrap_or_default();
            Err(Stopped::Now(Failure::new(format!(
                "second signal received, ended without waiting for exec process {pid} and without a final sync"
            ))))
        }
    }
}
