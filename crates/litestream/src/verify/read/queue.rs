//! Gives out the pieces of files, in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use litestream_replica::FileInfo;
use ltx::PageSize;
use parking_lot::{Condvar, Mutex};

use super::{Sums, sums_of};
use crate::restore::RestoreError;
use crate::restore::claims::Claims;
use crate::restore::fetch::Fetch;
use crate::restore::large::{Large, OPENED, Part};
use crate::restore::parts::Limits;
use crate::restore::tally::Ends;
use crate::restore::threads::Crew;

/// Small files in one piece.
const BATCH_FILES: usize = 64;
/// Their bytes.
const BATCH_BYTES: u64 = 256 << 10;
/// A part's pages, inflated.
const PAGES_BYTES: usize = 4 << 20;
/// Bytes of files that are begun while an earlier one is not done. A page's checksum takes less than its frame.
const AHEAD_BYTES: u64 = 64 << 20;

/// A piece of work.
pub(super) enum Piece {
    /// Whole files.
    Whole(Vec<(usize, FileInfo)>),
    /// A part of a large file.
    Part(Arc<File>, Part),
    /// A large file is read to its end.
    Complete(Arc<File>),
    /// A large file that can't be read.
    Failed(usize, FileInfo, RestoreError),
    /// There is nothing more.
    End,
}

/// The pages of a part, and their checksums.
type PartSums = (Vec<u32>, Vec<u64>);

/// A large file that is being read.
pub(super) struct File {
    pub at: usize,
    pub info: FileInfo,
    pub ends: Ends,
    failed: AtomicBool,
    parts: Mutex<BTreeMap<u64, PartSums>>,
}

impl File {
    /// Keeps what a part holds.
    pub fn keep(&self, number: u64, pages: Vec<u32>, sums: Vec<u64>) {
        self.parts.lock().insert(number, (pages, sums));
    }

    /// Everything that was kept, in order.
    pub fn take(&self) -> Sums {
        let parts = std::mem::take(&mut *self.parts.lock());
        let len = parts.values().map(|(pages, _)| pages.len()).sum();
        let (mut pages, mut sums) = (Vec::with_capacity(len), Vec::with_capacity(len));
        for (more_pages, more_sums) in parts.into_values() {
            pages.extend(more_pages);
            sums.extend(more_sums);
        }
        sums_of(&self.ends, pages, sums)
    }

    /// `true` for the first who asks.
    pub fn fail(&self) -> bool {
        !self.failed.swap(true, Ordering::AcqRel)
    }
}

/// See the module.
pub(super) struct Queue {
    state: Mutex<State>,
    room: Condvar,
    limits: Limits,
}

struct State {
    files: Vec<FileInfo>,
    /// The next that is not begun.
    at: usize,
    large: Option<(Arc<File>, Large)>,
    /// How many are done, and the bytes of those that are begun and not done.
    done: usize,
    ahead: u64,
    stopped: bool,
}

impl Queue {
    pub fn new(files: Vec<FileInfo>, crew: &Crew) -> Queue {
        Queue {
            state: Mutex::new(State {
                files,
                at: 0,
                large: None,
                done: 0,
                ahead: 0,
                stopped: false,
            }),
            room: Condvar::new(),
            limits: Limits {
                piece: crew.piece,
                pages: PAGES_BYTES,
                threads: crew.threads,
            },
        }
    }

    /// Ends all waiting.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.room.notify_all();
    }

    /// The next file in order is done.
    pub fn done(&self) {
        let mut state = self.state.lock();
        state.ahead -= state.files[state.done].size;
        state.done += 1;
        self.room.notify_all();
    }

    /// The next piece. Counts what is read to find it.
    pub fn next(&self, fetch: &dyn Fetch, count: impl Fn(usize)) -> Piece {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return Piece::End;
            }
            if let Some((file, mut large)) = state.large.take() {
                if file.failed.load(Ordering::Acquire) {
                    continue;
                }
                match self.advance(&file, &mut large, &count) {
                    Ok(Step::Part(part)) => {
                        state.large = Some((Arc::clone(&file), large));
                        return Piece::Part(file, part);
                    }
                    Ok(Step::More) => state.large = Some((file, large)),
                    Ok(Step::Closed(true)) => return Piece::Complete(file),
                    Err(error) if file.fail() => {
                        return Piece::Failed(file.at, file.info, error);
                    }
                    Ok(Step::Closed(false)) | Err(_) => {}
                }
                continue;
            }
            let Some(&info) = state.files.get(state.at) else {
                return Piece::End;
            };
            if state.ahead > AHEAD_BYTES && state.at > state.done {
                self.room.wait(&mut state);
                continue;
            }
            if info.size <= self.limits.piece as u64 {
                return Piece::Whole(state.batch(self.limits.threads));
            }
            let at = state.begin();
            match open(at, info, fetch) {
                Ok(opened) => {
                    count(OPENED);
                    state.large = Some(opened);
                }
                Err(error) => return Piece::Failed(at, info, error),
            }
        }
    }

    fn advance(
        &self,
        file: &Arc<File>,
        large: &mut Large,
        count: &impl Fn(usize),
    ) -> Result<Step, RestoreError> {
        if let Some(part) = large.ready.pop_front() {
            return Ok(Step::Part(part));
        }
        if large.complete {
            return large.close().map(|(_, verified)| Step::Closed(verified));
        }
        count(large.fill()?);
        // Nobody claims pages here.
        let mut claims = Claims::new(0, file.ends.header.page_size);
        large.advance(&mut claims, self.limits)?;
        Ok(Step::More)
    }
}

enum Step {
    Part(Part),
    More,
    /// All parts were given out; `true` if all were read as well.
    Closed(bool),
}

fn open(at: usize, info: FileInfo, fetch: &dyn Fetch) -> Result<(Arc<File>, Large), RestoreError> {
    let any_size: Option<PageSize> = None;
    let large = Large::open(info, any_size, fetch)?;
    let file = File {
        at,
        info,
        ends: large.ends()?,
        failed: AtomicBool::new(false),
        parts: Mutex::default(),
    };
    Ok((Arc::new(file), large))
}

impl State {
    fn begin(&mut self) -> usize {
        let at = self.at;
        self.ahead += self.files[at].size;
        self.at += 1;
        at
    }

    /// The small files from here on that one thread should take: few while there are few, so that all threads read.
    fn batch(&mut self, threads: usize) -> Vec<(usize, FileInfo)> {
        let left = self.files.len() - self.at;
        let files_max = (left / (4 * threads)).clamp(1, BATCH_FILES);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < files_max
            && let Some(&info) = self.files.get(self.at)
        {
            bytes += info.size;
            if !batch.is_empty() && bytes > BATCH_BYTES {
                break;
            }
            batch.push((self.begin(), info));
        }
        batch
    }
}
