//! A thread of a restore: takes a piece, reads it, checks it, writes what is wanted of it, until there are none.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use litestream_replica::FileInfo;
use litestream_replica::env::File;
use ltx::{
    Crc64, HEADER_SIZE, Header, IndexReader, PAGE_HEADER_SIZE, PageSize, decompress_frame,
    frame_prefix,
};
use parking_lot::Mutex;

use super::claims::{Claims, Turns};
use super::error::RestoreError;
use super::fetch::Fetch;
use super::fold::Sum;
use super::held::Held;
use super::large::Part;
use super::layout;
use super::paint::Painter;
use super::parts::{Entry, Parts, Piece};
use super::tally::{Ends, Tally};

/// What all threads of a restore share.
pub(super) struct Job {
    pub(super) fetch: Box<dyn Fetch>,
    pub(super) turns: Turns,
    pub(super) parts: Mutex<Parts>,
    pub(super) tally: Tally,
    /// Pages of small files, not written yet.
    pub(super) held: Held,
    pub(super) out: Arc<dyn File>,
    pub(super) out_path: std::path::PathBuf,
    pub(super) page_size: PageSize,
    /// Whether the checksum of the whole database is wanted.
    pub(super) checksums: bool,
    /// Threads that have not ended.
    pub(super) running: AtomicUsize,
    /// The first error.
    pub(super) error: Mutex<Option<RestoreError>>,
}

impl Job {
    /// Ends all threads at their next piece.
    pub(super) fn stop(&self) {
        self.turns.stop();
    }

    pub(super) fn fail(&self, error: RestoreError) {
        // Those that follow are consequences of the first.
        self.error.lock().get_or_insert(error);
        self.stop();
    }

    /// Counts a thread as ended, however it ends.
    pub(super) fn run(self: Arc<Job>) {
        let _ended = Ended(Arc::clone(&self));
        if let Err(error) = Worker::new(&self).run() {
            self.fail(error);
        }
    }
}

struct Ended(Arc<Job>);

impl Drop for Ended {
    fn drop(&mut self) {
        // A thread that panics must not leave others waiting for its claims.
        if std::thread::panicking() {
            self.0.stop();
        }
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.tally.changed.notify_one();
    }
}

struct Worker<'a> {
    job: &'a Job,
    painter: Painter<'a>,
    /// Encoded bytes of the part at hand.
    bytes: Vec<u8>,
    /// Or the small files at hand.
    batch: Vec<Small>,
    /// Pages that are only hashed.
    spare: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(job: &'a Job) -> Worker<'a> {
        let painter = Painter::new(&*job.out, &job.tally, job.page_size, job.checksums);
        Worker {
            job,
            painter,
            bytes: Vec::new(),
            batch: Vec::new(),
            spare: vec![0; job.page_size.bytes()],
        }
    }

    fn run(&mut self) -> Result<(), RestoreError> {
        loop {
            if self.job.turns.stopped() {
                return Ok(());
            }
            let next =
                self.job
                    .parts
                    .lock()
                    .next(&*self.job.fetch, &self.job.turns, &self.job.tally)?;
            match next {
                None => return self.write_held(),
                Some(Piece::Small { ticket, at, files }) => self.small(ticket, at, &files)?,
                Some(Piece::Part(part)) => self.part(&part)?,
            }
        }
    }

    fn part(&mut self, part: &Part) -> Result<(), RestoreError> {
        let len = part.bytes.end - part.bytes.start;
        let mut bytes = std::mem::take(&mut self.bytes);
        part.file
            .source
            .read(part.bytes.start, len as usize, &mut bytes)?;
        let mut sum = Hashed::default();
        self.frames(part.file.info, &bytes, &part.entries, &mut sum, Kind::Part)?;
        self.bytes = bytes;
        self.job.tally.read(len as usize);
        let verdict = part.file.fold.part(part.number, sum.sum());
        if part.file.judge(verdict)? {
            self.job.tally.verified();
        }
        Ok(())
    }

    /// Reads whole files, claims their pages in one turn, and writes what is wanted.
    fn small(&mut self, ticket: u64, at: usize, infos: &[FileInfo]) -> Result<(), RestoreError> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.resize_with(infos.len().max(batch.len()), Small::default);
        let mut bufs: Vec<_> = batch.iter_mut().map(|small| &mut small.bytes).collect();
        self.job.fetch.read_files(infos, &mut bufs[..infos.len()])?;
        let mut total = 0;
        for (small, &info) in batch.iter_mut().zip(infos) {
            small.locate(info)?;
            total += small.bytes.len();
        }
        self.job
            .turns
            .take(ticket, |claims| {
                let mut files = batch.iter_mut().zip(infos);
                files.try_for_each(|(small, &info)| small.claim(info, claims))
            })
            .ok_or(RestoreError::Cancelled)??;
        for (number, (small, &info)) in batch.iter().zip(infos).enumerate() {
            self.paint(at + number, small, info)?;
        }
        self.job.tally.read(total);
        self.batch = batch;
        Ok(())
    }

    fn paint(&mut self, at: usize, small: &Small, info: FileInfo) -> Result<(), RestoreError> {
        let bytes = &small.bytes;
        let header = layout::decode_header(info, bytes, Some(self.job.page_size))?;
        let trailer = layout::decode_trailer(info, &header, bytes)?;
        let frames_end = small.index.start - PAGE_HEADER_SIZE;
        layout::check_page_block_end(info, &bytes[frames_end..small.index.start])?;
        let mut sum = Hashed::default();
        sum.update(&bytes[..HEADER_SIZE]);
        let frames = &bytes[HEADER_SIZE..frames_end];
        self.frames(info, frames, &small.entries, &mut sum, Kind::Small)?;
        // All but the file checksum itself.
        sum.update(&bytes[frames_end..bytes.len() - 8]);
        let computed = ltx::Checksum::from_crc(sum.sum().crc).get();
        if computed != trailer.file_checksum {
            return Err(RestoreError::damaged(info)(ltx::Error::FileChecksum {
                stored: trailer.file_checksum,
                computed,
            }));
        }
        self.job.tally.ends(
            at,
            Ends {
                info,
                header,
                post_apply: trailer.post_apply_checksum,
                used: small.entries.iter().any(|entry| entry.wanted()),
            },
        );
        self.job.tally.verified();
        Ok(())
    }

    /// Writes what no large file surrounded.
    fn write_held(&mut self) -> Result<(), RestoreError> {
        let write = RestoreError::output("write", &self.job.out_path);
        let pages = self.job.held.take_all();
        pages
            .iter()
            .try_for_each(|(page, content)| self.painter.put(*page, content))
            .and_then(|()| self.painter.flush())
            .map_err(write)
    }

    /// Inflates and hashes consecutive frames, and writes the pages that are wanted: those of small files later.
    fn frames(
        &mut self,
        info: FileInfo,
        mut bytes: &[u8],
        entries: &[Entry],
        sum: &mut Hashed,
        kind: Kind,
    ) -> Result<(), RestoreError> {
        let write = |source| RestoreError::Output {
            action: "write",
            path: self.job.out_path.clone(),
            source,
        };
        for entry in entries {
            let (frame, rest) = bytes.split_at(entry.size());
            bytes = rest;
            let (page, prefix) = frame_prefix(frame).map_err(RestoreError::damaged(info))?;
            if page != entry.page {
                let what = format!(
                    "page {page} lies where the page index says page {}",
                    entry.page
                );
                return Err(RestoreError::mismatch(info, what));
            }
            let at_once = entry.wanted() && kind == Kind::Part;
            let out = if at_once {
                self.painter.slot(page).map_err(write)?
            } else {
                &mut self.spare
            };
            decompress_frame(frame, self.job.page_size, out)
                .map_err(RestoreError::damaged(info))?;
            sum.update(&frame[..prefix]);
            sum.update(out);
            if at_once {
                self.painter.keep(page).map_err(write)?;
            } else if kind == Kind::Part {
                if let Some(newer) = self.job.held.take(page) {
                    self.painter.put(page, &newer).map_err(write)?;
                }
            } else if entry.wanted() && !self.job.held.put(page, &self.spare) {
                self.painter.put(page, &self.spare).map_err(write)?;
            }
        }
        self.painter.flush().map_err(write)
    }
}

/// A file that is read whole.
#[derive(Default)]
struct Small {
    bytes: Vec<u8>,
    /// Where its page index lies.
    index: Range<usize>,
    entries: Vec<Entry>,
}

impl Small {
    fn locate(&mut self, info: FileInfo) -> Result<(), RestoreError> {
        let index = layout::locate_index(info, &self.bytes)?;
        self.index = index.start as usize..index.end as usize;
        Ok(())
    }

    fn claim(&mut self, info: FileInfo, claims: &mut Claims) -> Result<(), RestoreError> {
        let header = Header::decode(&self.bytes).map_err(RestoreError::damaged(info))?;
        let mut reader = IndexReader::with_header(&header);
        self.entries.clear();
        let entries = &mut self.entries;
        reader
            .push(&self.bytes[self.index.clone()], |entry| {
                entries.push(Entry::new(entry, claims.claim(entry.page)));
            })
            .and_then(|()| reader.finish())
            .map_err(RestoreError::damaged(info))?;
        let index = self.index.start as u64..self.index.end as u64;
        layout::check_index_start(info, &reader, &index)
    }
}

/// Where frames come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Small,
    Part,
}

/// A running sum and how much it covers.
#[derive(Default)]
struct Hashed {
    crc: Crc64,
    len: u64,
}

impl Hashed {
    fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.len += bytes.len() as u64;
    }

    fn sum(&self) -> Sum {
        Sum {
            crc: self.crc.value(),
            len: self.len,
        }
    }
}
