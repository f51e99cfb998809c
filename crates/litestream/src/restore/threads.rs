//! The threads that fill the temporary file, and the async side that reads for them.
//!
//! Promise: all threads end when [`fill`] is dropped, and have ended when it returns.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use litestream_replica::env::{Env, File, Running, Task, UnixMillis};
use litestream_replica::{FileInfo, SharedReplica};
use ltx::{Checksum, Header};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::claims::{Claims, Turns};
use super::error::RestoreError;
use super::fetch::{self, Fetch, Local, Remote};
use super::flush::Flush;
use super::held::Held;
use super::pace::{Pace, Paced};
use super::parts::{Limits, Parts};
use super::plan::{Plan, Target};
use super::request::{Event, Progress};
use super::tally::Tally;
use super::worker::Job;

/// Upper bound of threads, and so of reads at once.
const THREADS_MAX: usize = 16;
/// Reads at once for each thread that asks for several files, where there are several threads.
const READS_PER_THREAD: usize = 4;
/// Encoded bytes in memory, over all threads.
const PIECES_BYTES: usize = 8 << 20;
/// A part's pages, inflated.
const PAGES_BYTES: usize = 4 << 20;

/// How to read.
pub(crate) struct How {
    pub(crate) target: Target,
    pub(crate) parallelism: usize,
    pub(crate) pace: Option<Arc<Pace>>,
    /// The checksum of the database is wanted, whatever the files say of it.
    pub(crate) checksum: bool,
}

/// What was found out about the database.
pub(crate) struct Filled {
    /// The newest file says what its checksum is, and it is that.
    pub(crate) proved: bool,
    /// Its checksum, where it was computed.
    pub(crate) checksum: Option<Checksum>,
}

/// Where pages go.
pub(crate) struct Output {
    pub(crate) file: Arc<dyn File>,
    /// For errors.
    pub(crate) path: PathBuf,
}

/// Fills the output from the files of the plan.
pub(crate) async fn fill(
    how: How,
    plan: &Plan,
    header: &Header,
    out: Output,
    replica: &SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) -> Result<Filled, RestoreError> {
    let crew = Crew::new(plan.newest(), how.parallelism, replica, env);
    let (mut fetch, mut requests) = crew.fetch(replica, env);
    let pace = how.pace.map(|pace| pace.for_others());
    if let Some(pace) = &pace {
        let pace = Arc::clone(pace);
        fetch = Box::new(Paced { inner: fetch, pace });
    }
    let Crew { threads, piece, .. } = crew;
    let checksums = how.checksum || header.tracks_checksum() || header.chain().after.is_some();
    let newest_first = plan.files.iter().rev().copied().collect();
    let job = Arc::new(Job {
        fetch,
        turns: Turns::new(Claims::new(header.commit, header.page_size)),
        parts: Mutex::new(Parts::new(
            newest_first,
            header.page_size,
            Limits {
                piece,
                pages: PAGES_BYTES,
                threads,
            },
        )),
        tally: Tally::new(plan.files.len()),
        held: Held::default(),
        out: out.file,
        out_path: out.path,
        page_size: header.page_size,
        checksums,
        running: AtomicUsize::new(0),
        error: Mutex::new(None),
    });
    let _stop = StopOnDrop(Arc::clone(&job), pace);
    let tasks = start(&job, threads, env)?;
    let mut flush = attend(&job, &mut requests, replica, env, progress).await;
    for task in tasks {
        task.join().map_err(RestoreError::Thread)?;
    }
    flush.wait()?;
    if let Some(error) = job.error.lock().take() {
        return Err(error);
    }
    if let Some(page) = job.turns.first_free() {
        return Err(RestoreError::PageMissing {
            page,
            pages: header.commit,
            files: plan.files.len(),
            txid: plan.max(),
        });
    }
    let proved = job.tally.judge()?;
    if let Target::Timestamp(time) = how.target {
        check_times(&job.tally, time)?;
    }
    let checksum = checksums.then(|| job.tally.checksum());
    Ok(Filled { proved, checksum })
}

/// The plan looked at the newest files only, if there are very many: whether the others, too, were made before the time.
fn check_times(tally: &Tally, before: UnixMillis) -> Result<(), RestoreError> {
    let mut late = tally.times();
    late.retain(|(_, made)| *made >= before);
    if late.is_empty() {
        Ok(())
    } else {
        Err(RestoreError::Late(late))
    }
}

struct StopOnDrop(Arc<Job>, Option<Arc<Pace>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(pace) = &self.1 {
            pace.stop();
        }
        self.0.stop();
    }
}

fn start(job: &Arc<Job>, threads: usize, env: &Env) -> Result<Vec<Box<dyn Task>>, RestoreError> {
    let mut tasks = Vec::with_capacity(threads);
    for number in 0..threads {
        let worker = Arc::clone(job);
        job.running.fetch_add(1, Ordering::AcqRel);
        let task = env
            .spawn
            .spawn(&format!("restore-{number}"), Box::new(move || worker.run()));
        tasks.push(task.map_err(RestoreError::Thread)?);
    }
    Ok(tasks)
}

/// Reads what the threads ask for, and tells of progress, until all threads have ended. Returns the last flush.
async fn attend(
    job: &Arc<Job>,
    requests: &mut Requests,
    replica: &SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) -> Flush {
    let mut flush = Flush::default();
    let mut told = (0, 0);
    let changed = &job.tally.changed;
    serve(requests, &job.running, changed, replica, env, || {
        let now = job.tally.progress();
        if now != told {
            told = now;
            progress(Event::Progress {
                bytes_read: now.0,
                bytes_written: now.1,
            });
            if let Err(error) = flush.advance(now.1, job, env) {
                job.fail(error);
            }
        }
    })
    .await;
    flush
}

/// Reads what threads ask for, until none is `running`. `tick` is called after everything that happens.
pub(crate) async fn serve(
    requests: &mut Requests,
    running: &AtomicUsize,
    changed: &Notify,
    replica: &SharedReplica,
    env: &Env,
    mut tick: impl FnMut(),
) {
    let Requests { queue, reads } = requests;
    loop {
        tokio::select! {
            biased;
            Some(request) = next_request(queue) => {
                reads.start(request, replica, env);
            }
            () = changed.notified() => {}
        }
        tick();
        if running.load(Ordering::Acquire) == 0 {
            return;
        }
    }
}

/// How many threads read, and how.
pub(crate) struct Crew {
    /// Their files can be opened.
    local: bool,
    pub(crate) threads: usize,
    /// Encoded bytes that each holds.
    pub(crate) piece: usize,
}

/// What threads ask for, if they can't read themselves.
pub(crate) struct Requests {
    queue: Option<mpsc::Receiver<fetch::Request>>,
    reads: Reads,
}

impl Crew {
    /// For a replica that holds this file.
    pub(crate) fn new(file: FileInfo, threads: usize, replica: &SharedReplica, env: &Env) -> Crew {
        let local = replica.local_path(file.level, file.name).is_some();
        let cores = env.spawn.parallelism().max(1);
        // With one core everything happens in one fixed order.
        let limit = if cores == 1 {
            cores
        } else if local {
            // While some wait for the disk the others work.
            2 * cores
        } else {
            THREADS_MAX
        };
        let threads = threads.clamp(1, limit.min(THREADS_MAX));
        Crew {
            local,
            threads,
            piece: (PIECES_BYTES / threads).min(if local { 1 << 20 } else { 2 << 20 }),
        }
    }

    fn requests(&self, queue: Option<mpsc::Receiver<fetch::Request>>) -> Requests {
        Requests {
            queue,
            reads: Reads::new(self.threads),
        }
    }

    /// What they read with.
    pub(crate) fn fetch(&self, replica: &SharedReplica, env: &Env) -> (Box<dyn Fetch>, Requests) {
        if self.local {
            let local = Local {
                disk: Arc::clone(&env.disk),
                replica: Arc::clone(replica),
            };
            return (Box::new(local), self.requests(None));
        }
        let (remote, queue) = Remote::new(&env.spawn, self.threads);
        (Box::new(remote), self.requests(Some(queue)))
    }
}

/// The reads that run or wait for a place. They end when this is dropped.
struct Reads {
    tasks: Vec<Box<dyn Running>>,
    places: Arc<Semaphore>,
}

impl Reads {
    fn new(threads: usize) -> Reads {
        let places = if threads > 1 {
            threads * READS_PER_THREAD
        } else {
            1
        };
        Reads {
            tasks: Vec::new(),
            places: Arc::new(Semaphore::new(places)),
        }
    }

    fn start(&mut self, request: fetch::Request, replica: &SharedReplica, env: &Env) {
        self.tasks.retain(|read| !read.is_finished());
        let places = Arc::clone(&self.places);
        let work = request.serve(Arc::clone(replica), env.clone(), places);
        self.tasks
            .push(env.spawn.task("restore-read", Box::pin(work)));
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|read| read.abort());
    }
}

async fn next_request(
    queue: &mut Option<mpsc::Receiver<fetch::Request>>,
) -> Option<fetch::Request> {
    match queue {
        Some(queue) => queue.recv().await,
        None => std::future::pending().await,
    }
}
