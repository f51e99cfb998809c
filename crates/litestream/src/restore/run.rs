//! One restore from beginning to end.
//!
//! Owns the threads and the temporary file. Promise: dropping the future ends the threads soon and leaves nothing
//! behind, and no failure changes what is at the output.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use litestream_replica::SharedReplica;
use litestream_replica::env::{Env, Task};
use litestream_replica::retry::Backoff;
use ltx::{Header, PAGE_HEADER_SIZE, PageSize, Txid};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::claims::{Claims, Turns};
use super::error::RestoreError;
use super::fetch::{self, Fetch, Local, Remote};
use super::integrity::{self, IntegrityCheck, Interrupt};
use super::parts::{Limits, Parts};
use super::plan::{Plan, Target, plan};
use super::tally::Tally;
use super::target::Destination;
use super::temp::Temp;
use super::worker::Job;

/// How often a restore is planned anew because a file of the plan had gone.
const PLANS_MAX: usize = 8;
/// The first wait before that; it doubles.
const PLAN_WAIT: Duration = Duration::from_millis(20);
/// Upper bound of threads, and so of reads at once.
const THREADS_MAX: usize = 16;
/// Encoded bytes in memory, over all threads.
const PIECES_BYTES: usize = 16 << 20;

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The database file to write.
    pub output: PathBuf,
    /// Up to where.
    pub target: Target,
    /// How many reads from the storage may run at once (at least 1, at most 16 count).
    pub parallelism: usize,
    /// Replace what is at the output.
    pub force: bool,
    /// Let SQLite check the result before it is put in place.
    pub integrity_check: IntegrityCheck,
    /// SQLite VFS for that check.
    pub vfs: Option<String>,
}

/// How far a restore is. There may be thousands of [`Event::Progress`] per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is known what has to be done. Comes again if the files changed meanwhile and all starts over.
    Planned {
        /// Files to read.
        files: usize,
        /// Their bytes.
        bytes: u64,
        /// Size of the database in pages.
        pages: u64,
    },
    /// Some was done. Both count from [`Event::Planned`] on.
    Progress {
        /// Bytes read of those planned.
        bytes_read: u64,
        /// Bytes of the database that are written.
        bytes_written: u64,
    },
    /// SQLite is checking the result.
    Checking,
    /// The database is in place.
    Done,
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The state that was restored.
    pub txid: Txid,
    /// Its page size.
    pub page_size: PageSize,
    /// Its size in pages.
    pub pages: u64,
    /// How many files it was made from.
    pub files: usize,
    /// Their bytes.
    pub bytes_read: u64,
}

/// Called with each [`Event`].
pub type Progress<'a> = &'a (dyn Fn(Event) + Send + Sync);

/// Restores a database.
pub async fn run(request: &Request, replica: SharedReplica, env: &Env, progress: Progress<'_>) -> Result<Outcome, RestoreError> {
    let destination = Destination::check(&*env.disk, &request.output, request.force)?;
    let mut backoff = Backoff::with_max(PLAN_WAIT, PLAN_WAIT * 50);
    let mut attempt = 1;
    loop {
        let plan = plan(request.target, &replica).await?;
        match restore(request, &plan, &destination, &replica, env, progress).await {
            // Compaction and retention go on while we read.
            Err(error) if error.plan_is_stale() && attempt < PLANS_MAX => {
                tracing::info!(%error, attempt, "planning the restore again");
                env.clock.sleep_async(backoff.next(env.entropy.next_u64())).await;
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
    progress(Event::Planned { files: plan.files.len(), bytes: plan.bytes(), pages: u64::from(header.commit) });

    destination.create_dir(&*env.disk)?;
    let temp = Temp::create(env, destination)?;
    let size = u64::from(header.commit) * u64::from(header.page_size.get());
    temp.file().allocate(size).map_err(RestoreError::output("reserve space for", temp.path()))?;

    write(request, plan, &header, &temp, replica, env, progress).await?;
    finish(request, &temp, env, progress).await?;
    destination.replace(env, temp)?;
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
    let what = format!("its header demands {} pages, more than the {} bytes of all files can hold", header.commit, plan.bytes());
    Err(RestoreError::mismatch(plan.newest(), what))
}

/// Fills the temporary file from the files of the plan.
async fn write(
    request: &Request,
    plan: &Plan,
    header: &Header,
    temp: &Temp,
    replica: &SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) -> Result<(), RestoreError> {
    let newest = plan.newest();
    let local = replica.local_path(newest.level, newest.name).is_some();
    let cores = env.spawn.parallelism().max(1);
    // With one core everything happens in one fixed order.
    let limit = if local || cores == 1 { cores } else { THREADS_MAX };
    let threads = request.parallelism.clamp(1, limit.min(THREADS_MAX));
    let piece = (PIECES_BYTES / threads).min(if local { 1 << 20 } else { 2 << 20 });

    let (fetch, requests): (Box<dyn Fetch>, _) = if local {
        (Box::new(Local { disk: Arc::clone(&env.disk), replica: Arc::clone(replica) }), None)
    } else {
        let (remote, requests) = Remote::new(threads);
        (Box::new(remote), Some(requests))
    };
    let newest_first = plan.files.iter().rev().copied().collect();
    let job = Arc::new(Job {
        fetch,
        turns: Turns::new(Claims::new(header.commit, header.page_size)),
        parts: Mutex::new(Parts::new(newest_first, header.page_size, Limits { piece, pages: 4 << 20 })),
        tally: Tally::new(plan.files.len()),
        out: temp.file(),
        out_path: temp.path().to_owned(),
        page_size: header.page_size,
        checksums: header.tracks_checksum(),
        running: AtomicUsize::new(0),
        error: Mutex::new(None),
    });
    let _stop = StopOnDrop(Arc::clone(&job));
    let tasks = start(&job, threads, env)?;
    attend(&job, requests, replica, env, progress).await;
    for task in tasks {
        task.join().map_err(RestoreError::Thread)?;
    }
    if let Some(error) = job.error.lock().take() {
        return Err(error);
    }
    if let Some(page) = job.turns.first_free() {
        return Err(RestoreError::PageMissing { page, pages: header.commit, files: plan.files.len(), txid: plan.max() });
    }
    job.tally.judge()
}

struct StopOnDrop(Arc<Job>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn start(job: &Arc<Job>, threads: usize, env: &Env) -> Result<Vec<Box<dyn Task>>, RestoreError> {
    let mut tasks = Vec::with_capacity(threads);
    for number in 0..threads {
        let worker = Arc::clone(job);
        job.running.fetch_add(1, Ordering::AcqRel);
        let task = env.spawn.spawn(&format!("restore-{number}"), Box::new(move || worker.run()));
        tasks.push(task.map_err(RestoreError::Thread)?);
    }
    Ok(tasks)
}

/// Reads what the threads ask for, and tells of progress, until all threads have ended.
async fn attend(
    job: &Job,
    mut requests: Option<mpsc::Receiver<fetch::Request>>,
    replica: &SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) {
    let mut reads = JoinSet::new();
    let mut told = (0, 0);
    loop {
        tokio::select! {
            biased;
            Some(request) = next_request(&mut requests) => {
                reads.spawn(request.serve(Arc::clone(replica), env.clone()));
            }
            Some(_) = reads.join_next() => {}
            () = job.tally.changed.notified() => {}
        }
        let now = job.tally.progress();
        if now != told {
            told = now;
            progress(Event::Progress { bytes_read: now.0, bytes_written: now.1 });
        }
        if job.running.load(Ordering::Acquire) == 0 {
            return;
        }
    }
}

async fn next_request(requests: &mut Option<mpsc::Receiver<fetch::Request>>) -> Option<fetch::Request> {
    match requests {
        Some(requests) => requests.recv().await,
        None => std::future::pending().await,
    }
}

/// Makes the temporary file durable and lets SQLite look at it.
async fn finish(request: &Request, temp: &Temp, env: &Env, progress: Progress<'_>) -> Result<(), RestoreError> {
    let (file, path) = (temp.file(), temp.path().to_owned());
    on_thread(env, move || file.sync_all().map_err(RestoreError::output("sync", path))).await?;
    if request.integrity_check == IntegrityCheck::None {
        return Ok(());
    }
    progress(Event::Checking);
    let interrupt = Arc::new(Interrupt::default());
    let _stop = InterruptOnDrop(Arc::clone(&interrupt));
    let (path, mode, vfs) = (temp.path().to_owned(), request.integrity_check, request.vfs.clone());
    on_thread(env, move || integrity::check(&path, mode, vfs.as_deref(), &interrupt)).await
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
    let task = env.spawn.spawn("restore-finish", Box::new(move || drop(reply.send(work()))));
    let task = task.map_err(RestoreError::Thread)?;
    match answer.await {
        Ok(result) => result,
        // It panicked.
        Err(_) => Err(RestoreError::Thread(task.join().err().unwrap_or_else(|| std::io::Error::other("no answer")))),
    }
}
