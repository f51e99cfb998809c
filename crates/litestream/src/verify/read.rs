//! Reads files whole, with several threads, checks all their checksums, and hands out the checksums of their pages, in order.
//!
//! Large files are cut into parts as a restore does. Promise: each file is reported once, in the order in which files were given, as
//! whole or with what is wrong with it; nothing is read twice. What is read ahead is bounded, and so memory: some 12 bytes for a page
//! of the files at hand.

mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use litestream_replica::env::{Env, Task};
use litestream_replica::{FileInfo, SharedReplica};
use ltx::{Checksum, Crc64, Decoder, Header, decompress_frame, frame_prefix};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::replay::Sums;
use crate::restore::RestoreError;
use crate::restore::fetch::Fetch;
use crate::restore::fold::Sum;
use crate::restore::large::Part;
use crate::restore::pace::{Pace, Paced};
use crate::restore::tally::Ends;
use crate::restore::threads::{Crew, serve};
use queue::{Piece, Queue};

/// Bytes read between two tellings of progress.
const TELL_BYTES: u64 = 1 << 20;

/// What became of a file. Page checksums are missing where the database is larger than they are wanted for.
pub(crate) type Checked = Result<Sums, RestoreError>;

/// Called for each file, in order, with its number.
pub(crate) type Sink = Box<dyn FnMut(usize, FileInfo, Checked) + Send>;

/// How to read.
pub(crate) struct How {
    pub parallelism: usize,
    pub pace: Option<Arc<Pace>>,
    /// No page checksums of databases with more pages.
    pub pages_max: u32,
}

/// Reads all files and gives each to the sink. Dropping the future ends the threads. An error is none of a file.
pub(crate) async fn read(
    files: Vec<FileInfo>,
    how: How,
    sink: Sink,
    replica: &SharedReplica,
    env: &Env,
    mut progress: impl FnMut(u64),
) -> Result<(), RestoreError> {
    let Some(first) = files.first() else {
        return Ok(());
    };
    let crew = Crew::new(*first, how.parallelism, replica, env);
    let (mut fetch, mut requests) = crew.fetch(replica, env);
    let pace = how.pace.map(|pace| pace.for_others());
    if let Some(pace) = &pace {
        let pace = Arc::clone(pace);
        fetch = Box::new(Paced { inner: fetch, pace });
    }
    let job = Arc::new(Job {
        fetch,
        queue: Queue::new(files, &crew),
        pages_max: how.pages_max,
        done: Mutex::new(Done {
            next: 0,
            early: BTreeMap::new(),
            sink,
        }),
        bytes: AtomicU64::new(0),
        running: AtomicUsize::new(0),
        changed: Notify::new(),
        stop: AtomicBool::new(false),
        error: Mutex::new(None),
    });
    let _stop = StopOnDrop(Arc::clone(&job), pace);
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for number in 0..crew.threads {
        job.running.fetch_add(1, Ordering::AcqRel);
        let worker = Arc::clone(&job);
        let name = format!("verify-{number}");
        let task = env.spawn.spawn(&name, Box::new(move || worker.run()));
        tasks.push(task.map_err(RestoreError::Thread)?);
    }
    serve(
        &mut requests,
        &job.running,
        &job.changed,
        replica,
        env,
        || {
            progress(job.bytes.load(Ordering::Relaxed));
        },
    )
    .await;
    for task in tasks {
        task.join().map_err(RestoreError::Thread)?;
    }
    match job.error.lock().take() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// What the threads share.
struct Job {
    fetch: Box<dyn Fetch>,
    queue: Queue,
    pages_max: u32,
    done: Mutex<Done>,
    bytes: AtomicU64,
    running: AtomicUsize,
    changed: Notify,
    stop: AtomicBool,
    error: Mutex<Option<RestoreError>>,
}

/// Brings files into order.
struct Done {
    next: usize,
    early: BTreeMap<usize, (FileInfo, Checked)>,
    sink: Sink,
}

struct StopOnDrop(Arc<Job>, Option<Arc<Pace>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // First those that wait: they may hold what the others need.
        if let Some(pace) = &self.1 {
            pace.stop();
        }
        self.0.stop();
    }
}

/// Counts a thread as ended, however it ends.
struct Ended(Arc<Job>);

impl Drop for Ended {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// What a thread works with.
#[derive(Default)]
struct Hands {
    bytes: Vec<u8>,
    page: Vec<u8>,
}

impl Job {
    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.queue.stop();
    }

    fn run(self: Arc<Job>) {
        let _ended = Ended(Arc::clone(&self));
        let mut hands = Hands::default();
        while !self.stop.load(Ordering::Relaxed) {
            match self.queue.next(&*self.fetch, |bytes| self.count(bytes)) {
                Piece::End => return,
                Piece::Failed(at, info, error) => self.finish(at, info, Err(error)),
                Piece::Whole(files) => {
                    for (at, info) in files {
                        let checked = self.whole(info, &mut hands);
                        self.count(info.size as usize);
                        self.finish(at, info, checked);
                    }
                }
                Piece::Part(large, part) => match self.part(&large, part, &mut hands) {
                    Ok(false) => {}
                    Ok(true) => {
                        let sums = large.take();
                        self.finish(large.at, large.info, Ok(sums));
                    }
                    Err(error) => {
                        if large.fail() {
                            self.finish(large.at, large.info, Err(error));
                        }
                    }
                },
                Piece::Complete(large) => {
                    let sums = large.take();
                    self.finish(large.at, large.info, Ok(sums));
                }
            }
        }
    }

    fn count(&self, bytes: usize) {
        let bytes = bytes as u64;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before / TELL_BYTES != (before + bytes) / TELL_BYTES {
            self.changed.notify_one();
        }
    }

    /// A file is read to its end, or can't be.
    fn finish(&self, at: usize, info: FileInfo, checked: Checked) {
        let mut done = self.done.lock();
        let done = &mut *done;
        done.early.insert(at, (info, checked));
        while let Some((info, checked)) = done.early.remove(&done.next) {
            match checked {
                // It says nothing of the file.
                Err(error @ (RestoreError::Cancelled | RestoreError::Thread(_))) => {
                    self.error.lock().get_or_insert(error);
                    self.stop();
                }
                Err(error @ RestoreError::Fetch { .. }) if !error.is_damage() => {
                    self.error.lock().get_or_insert(error);
                    self.stop();
                }
                checked => (done.sink)(done.next, info, checked),
            }
            done.next += 1;
            self.queue.done();
        }
    }

    /// A small file.
    fn whole(&self, info: FileInfo, hands: &mut Hands) -> Checked {
        if info.size < ltx::HEADER_SIZE as u64 {
            return Err(RestoreError::TooSmall(info));
        }
        self.fetch.open(info)?.read_all(&mut hands.bytes)?;
        let damaged = |error| RestoreError::damaged(info)(error);
        let mut decoder = Decoder::new(&hands.bytes[..]).map_err(damaged)?;
        let header = *decoder.header();
        crate::restore::layout::check_name(info, &header)?;
        hands.page.resize(header.page_size.bytes(), 0);
        let (mut pages, mut sums) = (Vec::new(), Vec::new());
        while let Some(page) = decoder.next_page(&mut hands.page).map_err(damaged)? {
            if header.commit <= self.pages_max {
                pages.push(page.get());
                sums.push(Checksum::page(page, &hands.page).get());
            }
        }
        let trailer = decoder.finish().map_err(damaged)?;
        let ends = Ends {
            info,
            header,
            post_apply: trailer.post_apply_checksum,
            used: true,
        };
        Ok(sums_of(&ends, pages, sums))
    }

    /// A part of a large file; `true` if it was the last that was missing.
    fn part(
        &self,
        large: &queue::File,
        part: Part,
        hands: &mut Hands,
    ) -> Result<bool, RestoreError> {
        let info = large.info;
        let header = large.ends.header;
        let len = part.bytes.end - part.bytes.start;
        part.file
            .source
            .read(part.bytes.start, len as usize, &mut hands.bytes)?;
        hands.page.resize(header.page_size.bytes(), 0);
        let wanted = header.commit <= self.pages_max;
        let (mut pages, mut sums) = (Vec::new(), Vec::new());
        if wanted {
            pages.reserve_exact(part.entries.len());
            sums.reserve_exact(part.entries.len());
        }
        let (mut crc, mut hashed) = (Crc64::new(), 0);
        let mut bytes = &hands.bytes[..];
        for entry in &part.entries {
            let (frame, rest) = bytes.split_at(entry.size());
            bytes = rest;
            let (page, prefix) = frame_prefix(frame).map_err(RestoreError::damaged(info))?;
            if page != entry.page {
                let at = entry.page;
                let what = format!("page {page} lies where the page index says page {at}");
                return Err(RestoreError::mismatch(info, what));
            }
            decompress_frame(frame, header.page_size, &mut hands.page)
                .map_err(RestoreError::damaged(info))?;
            crc.update(&frame[..prefix]);
            crc.update(&hands.page);
            hashed += prefix + hands.page.len();
            if wanted {
                pages.push(page.get());
                sums.push(Checksum::page(page, &hands.page).get());
            }
        }
        self.count(len as usize);
        large.keep(part.number, pages, sums);
        let sum = Sum {
            crc: crc.value(),
            len: hashed as u64,
        };
        part.file.judge(part.file.fold.part(part.number, sum))
    }
}

fn sums_of(ends: &Ends, pages: Vec<u32>, sums: Vec<u64>) -> Sums {
    let header: Header = ends.header;
    Sums {
        info: ends.info,
        header,
        before: ends.before(),
        after: ends.after(),
        pages,
        checksums: sums,
    }
}
