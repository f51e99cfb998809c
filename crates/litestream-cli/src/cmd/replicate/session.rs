//! A run of `replicate`: restore if missing, start, then wait for a signal, a child, or one sync.
//!
//! Promise: once replication has started, every way out ends with [`shutdown`].

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::Duration;

use litestream::restore::{self, IntegrityCheck, RestoreError, Target};
use litestream::{Error, Policy, Replicator, Settings, env::Kind};
use litestream_replica::Level;
use tokio::process::Child;
use tracing::info;

use super::shutdown::{self, Ending, log_signal};
use super::{Job, Mode, SNAPSHOT_RETENTION};
use crate::args::duration;
use crate::exec;
use crate::failure::{Failure, Result};
use crate::signals::{Signal, Signals};
use crate::{health, systemd, view};

/// How long an `-exec` child waits for what was committed before to be replicated.
const FIRST_SYNC_WAIT: Duration = Duration::from_secs(10);

/// Runs a job to its end.
pub async fn run(job: &Job) -> Result {
    let signals = Signals::new(job.env.disk.as_ref())
        .map_err(|e| Failure::new(format!("cannot handle signals: {e}")));
    let mut signals = signals?;
    if job.restore_if_missing {
        tokio::select! {
            result = restore_if_missing(job) => result?,
            signal = signals.next() => {
                log_signal(signal);
                info!("litestream shut down");
                return Err(Failure::new(format!(
                    "{}: restore before replication interrupted by signal",
                    job.database.display()
                ))
                .code(signal.exit_code()));
            }
        }
    }
    let mut settings = Settings::for_database(&job.database);
    if matches!(job.mode, Mode::Once { .. }) {
        // It ends too soon for anything by the clock.
        settings.policy = Policy::uploads_only();
    }
    let interval = duration::format(settings.sync_interval);
    let replicator = Replicator::start(settings, vec![job.replica.clone()], job.env.clone())
        .map_err(Failure::new)?;
    info!(path = %job.database.display(), "initialized db");
    info!(
        r#type = job.replica.kind(), path = job.replica.location(), "sync-interval" = %interval, "replicating to"
    );
    systemd::ready("replicating 1 database");
    let replicator = Arc::new(replicator);
    systemd::watch(is_alive(&replicator, job), &job.env);
    match &job.mode {
        Mode::Daemon => {
            log_signal(signals.next().await);
            shutdown::run(job, &replicator, &mut signals, Ending::Sync).await
        }
        Mode::Once {
            snapshot,
            retention,
        } => once(job, &replicator, &mut signals, *snapshot, *retention).await,
        Mode::Exec { words, environment } => {
            let child = child(job, &replicator, &mut signals, words, environment).await;
            let ending = if matches!(child, Err(Stopped::Now(_))) {
                Ending::Abandon
            } else {
                Ending::Sync
            };
            let closed = shutdown::run(job, &replicator, &mut signals, ending).await;
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

/// Whether the worker of the database gets on. Where somebody holds a lock for ever there is no answer, which is one.
fn is_alive(replicator: &Arc<Replicator>, job: &Job) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let replicator = Arc::downgrade(replicator);
    let clock = job.env.clock.clone();
    Arc::new(move || {
        // One that was given up does nothing that could hang.
        let busy = replicator
            .upgrade()
            .map(|r| view::busy_since(&r.status().seen));
        !health::is_stuck(busy.flatten(), clock.now())
    })
}

/// Restores the database if there is none but a backup.
async fn restore_if_missing(job: &Job) -> Result {
    match job.env.disk.metadata(&job.database) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        _ => {
            info!(path = %job.database.display(), "database exists, skipping restore");
            return Ok(());
        }
    }
    info!(path = %job.database.display(), "attempting restore before replication");
    let request = restore::Request {
        output: job.database.clone(),
        target: Target::Latest,
        parallelism: 8,
        force: false,
        integrity_check: IntegrityCheck::None,
        vfs: None,
    };
    match restore::run(&request, job.replica.clone(), &job.env, &|_| {}).await {
        Ok(_) => info!(path = %job.database.display(), "restore completed"),
        Err(RestoreError::NoBackup) if is_empty(job).await? => {
            info!(path = %job.database.display(), "no backup found, starting fresh");
        }
        Err(e) => return Err(Failure::new(format!("restore failed: {e}"))),
    }
    Ok(())
}

/// Files without a chain that leads to a state are a damaged backup, and no reason to start afresh over it.
async fn is_empty(job: &Job) -> Result<bool> {
    for level in Level::all() {
        let files = job.replica.list(level, None, false).await;
        if !files
            .map_err(|e| Failure::new(format!("restore failed: {e}")))?
            .is_empty()
        {
            return Ok(false);
        }
    }
    let old = job.replica.list_v3().await;
    let old = old.map_err(|e| Failure::new(format!("restore failed: {e}")))?;
    Ok(old.is_empty())
}

/// `-once`. A signal ends the run before its end, with an error: not everything was replicated.
async fn once(
    job: &Job,
    replicator: &Replicator,
    signals: &mut Signals,
    snapshot: bool,
    retention: bool,
) -> Result {
    let result = tokio::select! {
        result = sync_once(job, replicator, snapshot, retention) => result,
        signal = signals.next() => {
            log_signal(signal);
            Err(Failure::new(format!("{}: one-shot replication interrupted by signal", job.database.display()))
                .code(signal.exit_code()))
        }
    };
    if result.is_ok() {
        info!("one-shot replication complete");
    }
    info!("replication complete, litestream shutting down");
    let ending = if result.is_ok() {
        Ending::Sync
    } else {
        Ending::Abandon
    };
    let closed = shutdown::run(job, replicator, signals, ending).await;
    result.and(closed)
}

async fn sync_once(job: &Job, replicator: &Replicator, snapshot: bool, retention: bool) -> Result {
    let path = job.database.display();
    info!(path = %path, "syncing database");
    replicator
        .sync_with_snapshots()
        .await
        .map_err(|e| match e {
            Error::NoDatabase(_) | Error::NoPosition => Failure::new(format!(
                "sync replica for {path}: no position, waiting for data"
            )),
            Error::Replica(_) => Failure::new(format!("sync replica for {path}: {e}")),
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
        let done = replicator.enforce_retention(SNAPSHOT_RETENTION).await;
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

/// `-exec`: what was committed before is replicated first, then the child runs to its end.
async fn child(
    job: &Job,
    replicator: &Replicator,
    signals: &mut Signals,
    words: &[String],
    environment: &[(&str, std::ffi::OsString)],
) -> std::result::Result<(), Stopped> {
    if job
        .env
        .disk
        .metadata(&job.database)
        .is_ok_and(|m| m.kind == Kind::File)
    {
        tokio::select! {
            // A failure is in the log and tried again; the child need not wait for that.
            _ = replicator.sync() => {}
            () = job.env.clock.sleep_async(FIRST_SYNC_WAIT) => {}
            signal = signals.next() => {
                log_signal(signal);
                let text = "signal received before the exec command was started";
                return Err(Stopped::Because(Failure::new(text).code(signal.exit_code())));
            }
        }
    }
    let mut child = exec::start(words, environment).map_err(Stopped::Because)?;
    let signal = tokio::select! {
        // A signal to the whole process group may end the child, too: that it came must not be missed.
        biased;
        signal = signals.next() => signal,
        status = child.wait() => {
            info!("subprocess exited, litestream shutting down");
            let status = status.map_err(|e| wait_failed(&e))?;
            return match (exec::failure(status), status.signal()) {
                (Some(failure), Some(number)) => Err(Stopped::Killed(number, failure)),
                (Some(failure), None) => Err(Stopped::Because(failure)),
                (None, _) => Ok(()),
            };
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
