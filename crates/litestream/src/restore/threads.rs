//! The threads that fill the temporary file, and the async side that reads for them.
//!
//! Promise: all threads end when [`fill`] is dropped, and have ended when it returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use litestream_replica::SharedReplica;
use litestream_replica::env::{Env, Running, Task, UnixMillis};
use ltx::Header;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::claims::{Claims, Turns};
use super::error::RestoreError;
use super::fetch::{self, Fetch, Local, Remote};
use super::flush::Flush;
use super::held::Held;
use super::parts::{Limits, Parts};
use super::plan::{Plan, Target};
use super::request::{Event, Progress, Request};
use super::tally::Tally;
use super::temp::Temp;
use super::worker::Job;

/// Upper bound of threads, and so of reads at once.
const THREADS_MAX: usize = 16;
/// Encoded bytes in memory, over all threads.
const PIECES_BYTES: usize = 8 << 20;
/// A part's pages, inflated.
const PAGES_BYTES: usize = 4 << 20;

/// Fills the temporary file from the files of the plan.
pub(super) async fn fill(
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
    let limit = if local || cores == 1 {
        cores
    } else {
        THREADS_MAX
    };
    let threads = request.parallelism.clamp(1, limit.min(THREADS_MAX));
    let piece = (PIECES_BYTES / threads).min(if local { 1 << 20 } else { 2 << 20 });

    let (fetch, requests): (Box<dyn Fetch>, _) = if local {
        (
            Box::new(Local {
                disk: Arc::clone(&env.disk),
                replica: Arc::clone(replica),
            }),
            None,
        )
    } else {
        let (remote, requests) = Remote::new(&env.spawn, threads);
        (Box::new(remote), Some(requests))
    };
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
        out: temp.file(),
        out_path: temp.path().to_owned(),
        page_size: header.page_size,
        checksums: header.tracks_checksum() || header.chain().after.is_some(),
        running: AtomicUsize::new(0),
        error: Mutex::new(None),
    });
    let _stop = StopOnDrop(Arc::clone(&job));
    let tasks = start(&job, threads, env)?;
    let mut flush = attend(&job, requests, replica, env, progress).await;
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
    job.tally.judge()?;
    match request.target {
        Target::Timestamp(time) => check_times(&job.tally, time),
        Target::Latest | Target::Txid(_) => Ok(()),
    }
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
    mut requests: Option<mpsc::Receiver<fetch::Request>>,
    replica: &SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) -> Flush {
    let mut reads = Reads::default();
    let mut flush = Flush::default();
    let mut told = (0, 0);
    loop {
        tokio::select! {
            biased;
            Some(request) = next_request(&mut requests) => {
                reads.start(request, replica, env);
            }
            () = job.tally.changed.notified() => {}
        }
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
        if job.running.load(Ordering::Acquire) == 0 {
            return flush;
        }
    }
}

/// The reads that run; at most one for each thread. They end when this is dropped.
#[derive(Default)]
struct Reads(Vec<Box<dyn Running>>);

impl Reads {
    fn start(&mut self, request: fetch::Request, replica: &SharedReplica, env: &Env) {
        self.0.retain(|read| !read.is_finished());
        let work = request.serve(Arc::clone(replica), env.clone());
        self.0.push(env.spawn.task("restore-read", Box::pin(work)));
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.0.iter().for_each(|read| read.abort());
    }
}

async fn next_request(
    requests: &mut Option<mpsc::Receiver<fetch::Request>>,
) -> Option<fetch::Request> {
    match requests {
        Some(requests) => requests.recv().await,
        None => std::future::pending().await,
    }
}
