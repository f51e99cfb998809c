//! A thread of a restore: takes a piece, reads it, checks it, writes what is wanted of it, until there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use litestream_replica::FileInfo;
use litestream_replica::env::File;
use ltx::{
    Crc64, HEADER_SIZE, IndexReader, PAGE_HEADER_SIZE, PageSize, decompress_frame, frame_prefix,
};
use parking_lot::Mutex;

use super::claims::Turns;
use super::error::RestoreError;
use super::fetch::Fetch;
use super::fold::Sum;
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

    fn fail(&self, error: RestoreError) {
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
    /// Encoded bytes of the piece at hand.
    bytes: Vec<u8>,
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
                None => return Ok(()),
                Some(Piece::Small { ticket, at, file }) => self.small(ticket, at, file)?,
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
        self.frames(part.file.info, &bytes, &part.entries, &mut sum)?;
        self.bytes = bytes;
        self.job.tally.read(len as usize);
        part.file
            .judge(part.file.fold.part(part.number, sum.sum()), &self.job.tally)
    }

    fn small(&mut self, ticket: u64, at: usize, info: FileInfo) -> Result<(), RestoreError> {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.job.fetch.open(info)?.read_all(&mut bytes)?;
        let header = layout::decode_header(info, &bytes, self.job.page_size)?;
        let trailer = layout::decode_trailer(info, &header, &bytes)?;
        let index = layout::locate_index(info, &bytes)?;
        let (start, end) = (index.start as usize, index.end as usize);
        let mut reader = IndexReader::with_header(&header);
        let mut entries = Vec::new();
        self.job
            .turns
            .take(ticket, |claims| {
                reader.push(&bytes[start..end], |entry| {
                    entries.push(Entry::new(entry, claims.claim(entry.page)));
                })
            })
            .ok_or(RestoreError::Cancelled)?
            .and_then(|()| reader.finish())
            .map_err(RestoreError::damaged(info))?;
        layout::check_index_start(info, &reader, &index)?;
        let frames_end = start - PAGE_HEADER_SIZE;
        layout::check_page_block_end(info, &bytes[frames_end..start])?;
        let mut sum = Hashed::default();
        sum.update(&bytes[..HEADER_SIZE]);
        self.frames(info, &bytes[HEADER_SIZE..frames_end], &entries, &mut sum)?;
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
            },
        );
        self.job.tally.verified();
        self.job.tally.read(bytes.len());
        self.bytes = bytes;
        Ok(())
    }

    /// Inflates and hashes consecutive frames, and writes the pages that are wanted.
    fn frames(
        &mut self,
        info: FileInfo,
        mut bytes: &[u8],
        entries: &[Entry],
        sum: &mut Hashed,
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
            let out = if entry.wanted() {
                self.painter.slot(page).map_err(write)?
            } else {
                &mut self.spare
            };
            decompress_frame(frame, self.job.page_size, out)
                .map_err(RestoreError::damaged(info))?;
            sum.update(&frame[..prefix]);
            sum.update(out);
            if entry.wanted() {
                self.painter.keep(page).map_err(write)?;
            }
        }
        self.painter.flush().map_err(write)
    }
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
