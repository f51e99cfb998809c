//! One restore from beginning to end.
//!
//! Owns the temporary file. Promise: dropping the future ends the threads soon and leaves nothing
//! behind, and no failure changes what is at the output.

use std::sync::Arc;
use std::time::Duration;

use litestream_replica::SharedReplica;
use litestream_replica::env::Env;
use litestream_replica::retry::Backoff;
use ltx::{Header, PAGE_HEADER_SIZE};
use tokio::sync::oneshot;

use super::error::RestoreError;
use super::fetch;
use super::integrity::{self, IntegrityCheck, Interrupt};
use super::plan::{Plan, plan};
use super::request::{Event, Outcome, Progress, Request};
use super::target::Destination;
use super::temp::Temp;
use super::threads;

/// How often a restore is planned anew because a file of the plan had gone.
const PLANS_MAX: usize = 8;
/// The first wait before that; it doubles.
const PLAN_WAIT: Duration = Duration::from_millis(20);

/// Restores a database.
pub async fn run(
    request: &Request,
    replica: SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) -> Result<Outcome, RestoreError> {
    let destination = Destination::check(&*env.disk, &request.output, request.force)?;
    let mut backoff = Backoff::with_max(PLAN_WAIT, PLAN_WAIT * 50);
    let mut attempt = 1;
    loop {
        let plan = plan(request.target, &replica).await?;
        match restore(request, &plan, &destination, &replica, env, progress).await {
            // Compaction and retention go on while we read.
            Err(error) if error.plan_is_stale() && attempt < PLANS_MAX => {
                tracing::info!(%error, attempt, "planning the restore again");
                env.clock
                    .sleep_async(backoff.next(env.entropy.next_u64()))
                    .await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

async fn restore(
    request: &Request,
    plan: &Plan,
    destination: &Destination,
    replica: &SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) -> Result<Outcome, RestoreError> {
    let header = fetch::header(replica, env, plan.newest()).await?;
    check_size(plan, &header)?;
    progress(Event::Planned {
        files: plan.files.len(),
        bytes: plan.bytes(),
        pages: u64::from(header.commit),
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

    threads::fill(request, plan, &header, &temp, replica, env, progress).await?;
    finish(request, &temp, env, progress).await?;
    destination.replace(env, request.vfs.as_deref(), temp)?;
    progress(Event::Done);
    Ok(Outcome {
        txid: plan.max(),
        page_size: header.page_size,
        pages: u64::from(header.commit),
        files: plan.files.len(),
        bytes_read: plan.bytes(),
    })
}

/// A damaged header must not make us reserve space for pages that no file can hold.
fn check_size(plan: &Plan, header: &Header) -> Result<(), RestoreError> {
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
async fn finish(
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
async fn on_thread<T: Send + 'static>(
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
