//! One restore from beginning to end.
//!
//! Owns the temporary file. Promise: dropping the future ends the threads soon and leaves nothing
//! behind, and no failure changes what is at the output.

use std::sync::Arc;

use litestream_replica::SharedReplica;
use litestream_replica::env::{Env, File, UnixMillis};
use ltx::{Header, PAGE_HEADER_SIZE, Txid};
use tokio::sync::oneshot;

use super::attempts::Attempts;
use super::blame::blame;
use super::choose::Backup;
use super::error::RestoreError;
use super::fetch;
use super::integrity::{self, IntegrityCheck, Interrupt};
use super::plan::Plan;
use super::request::{Event, Outcome, Progress, Request};
use super::target::Destination;
use super::temp::Temp;
use super::threads::{self, How, Output};
use super::v3;

/// What else is to be done before the database gets its final name: called with the state that was restored and the
/// finished file, which is not durable yet.
pub(crate) type Prepare = Arc<dyn Fn(Txid, &dyn File) -> Result<(), RestoreError> + Send + Sync>;

/// Restores a database.
pub async fn run(
    request: &Request,
    replica: SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) -> Result<Outcome, RestoreError> {
    run_prepared(request, replica, env, progress, None).await
}

/// [`run`] with something to do before the end. What is to be prepared is told by its TXID, so backups of Litestream 0.3, which
/// have none, are passed over then.
pub(crate) async fn run_prepared(
    request: &Request,
    replica: SharedReplica,
    env: &Env,
    progress: Progress<'_>,
    prepare: Option<Prepare>,
) -> Result<Outcome, RestoreError> {
    let destination = Destination::check(&*env.disk, &request.output, request.force)?;
    let mut attempts = Attempts::new(prepare.is_some());
    loop {
        // Each attempt writes a file of its own: nothing of an older plan gets into the result.
        let restored = match attempts.choose(request.target, &replica).await {
            Ok(Backup::Ltx(plan)) => {
                let prepare = prepare.clone();
                restore(
                    request,
                    &plan,
                    &destination,
                    &replica,
                    env,
                    progress,
                    prepare,
                )
                .await
            }
            Ok(Backup::V3(plan)) => {
                v3::restore(request, &plan, &destination, &replica, env, progress).await
            }
            Err(error) => Err(error),
        };
        let error = match restored {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let wait = attempts.after(error)?;
        env.clock
            .sleep_async(wait.mul_f64(0.75 + (env.entropy.next_u64() >> 34) as f64 / 4e9))
            .await;
    }
}

/// Says which file breaks the chain, if that is what is wrong.
pub(crate) async fn named(
    error: RestoreError,
    plan: &Plan,
    parallelism: usize,
    replica: &SharedReplica,
    env: &Env,
) -> RestoreError {
    match error {
        RestoreError::BrokenChain { .. } | RestoreError::DatabaseChecksum { .. } => {
            blame(plan, parallelism, replica, env)
                .await
                .unwrap_or(error)
        }
        error => error,
    }
}

async fn restore(
    request: &Request,
    plan: &Plan,
    destination: &Destination,
    replica: &SharedReplica,
    env: &Env,
    progress: Progress<'_>,
    prepare: Option<Prepare>,
) -> Result<Outcome, RestoreError> {
    plan.check_sizes()?;
    let header = fetch::header(replica, env, plan.newest()).await?;
    check_size(plan, &header)?;
    progress(Event::Planned {
        files: plan.files.len(),
        bytes: plan.bytes(),
        pages: u64::from(header.commit),
        txid: Some(plan.max()),
        time: UnixMillis(header.timestamp_ms),
    });

    destination.create_dir(&*env.disk)?;
    let temp = Temp::create(env, destination)?;
    let size = u64::from(header.commit) * u64::from(header.page_size.get());
    // Some file systems write all of it.
    let (file, path) = (temp.file(), temp.path().to_owned());
    on_thread(env, move || {
        file.allocate(size)
            .map_err(RestoreError::output("reserve space for", path))
    })
    .await?;

    let how = How {
        target: request.target,
        parallelism: request.parallelism,
        pace: None,
        checksum: false,
    };
    let out = Output {
        file: temp.file(),
        path: temp.path().to_owned(),
    };
    let filled = threads::fill(how, plan, &header, out, replica, env, progress).await;
    let proved = match filled {
        Ok(filled) => filled.proved,
        Err(error) => return Err(named(error, plan, request.parallelism, replica, env).await),
    };
    if let Some(prepare) = prepare {
        let (file, txid) = (temp.file(), plan.max());
        on_thread(env, move || prepare(txid, &*file)).await?;
    }
    finish(request, &temp, env, progress).await?;
    destination.replace(env, request.vfs.as_deref(), temp)?;
    progress(Event::Done { proved });
    Ok(Outcome {
        txid: Some(plan.max()),
        time: UnixMillis(header.timestamp_ms),
        page_size: header.page_size,
        pages: u64::from(header.commit),
        files: plan.files.len(),
        bytes_read: plan.bytes(),
        proved,
    })
}

/// A damaged header must not make us reserve space for pages that no file can hold.
pub(crate) fn check_size(plan: &Plan, header: &Header) -> Result<(), RestoreError> {
    // The smallest LZ4 block for a page is about a 255th of it.
    let frame_min = PAGE_HEADER_SIZE as u64 + 4 + u64::from(header.page_size.get()) / 256;
    let lock_page = u64::from(header.commit >= header.page_size.lock_page().get());
    if (u64::from(header.commit) - lock_page).saturating_mul(frame_min) <= plan.bytes() {
        return Ok(());
    }
    let oldest = plan.files[0];
    let what = format!(
        "its header demands {} pages, more than the {} bytes of all files can hold: it is damaged, or one of the files from level {} {} on is cut short",
        header.commit,
        plan.bytes(),
        oldest.level,
        oldest.name
    );
    Err(RestoreError::mismatch(plan.newest(), what))
}

/// Makes the temporary file durable and lets SQLite look at it.
pub(super) async fn finish(
    request: &Request,
    temp: &Temp,
    env: &Env,
    progress: Progress<'_>,
) -> Result<(), RestoreError> {
    let (file, path) = (temp.file(), temp.path().to_owned());
    on_thread(env, move || {
        file.sync_all().map_err(RestoreError::output("sync", path))
    })
    .await?;
    if request.integrity_check == IntegrityCheck::None {
        return Ok(());
    }
    progress(Event::Checking);
    let interrupt = Arc::new(Interrupt::default());
    let _stop = InterruptOnDrop(Arc::clone(&interrupt));
    let (path, mode, vfs) = (
        temp.path().to_owned(),
        request.integrity_check,
        request.vfs.clone(),
    );
    on_thread(env, move || {
        integrity::check(&path, mode, vfs.as_deref(), &interrupt)
    })
    .await
}

struct InterruptOnDrop(Arc<Interrupt>);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Runs blocking work on a thread of its own.
pub(crate) async fn on_thread<T: Send + 'static>(
    env: &Env,
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    let (reply, answer) = oneshot::channel();
    let task = env
        .spawn
        .spawn("restore-file", Box::new(move || drop(reply.send(work()))));
    let task = task.map_err(RestoreError::Thread)?;
    match answer.await {
        Ok(result) => result,
        // It panicked.
        Err(_) => Err(RestoreError::Thread(
            task.join()
                .err()
                .unwrap_or_else(|| std::io::Error::other("no answer")),
        )),
    }
}
