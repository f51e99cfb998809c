//! The thread that makes the database from the objects of a plan.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use litestream_replica::env::File;
use litestream_replica::v3::wal_path;
use ltx::{Lz4Reader, PageSize};

use super::error::V3Error;
use super::feed::Feed;
use super::log::{Broken, CheckpointError, Log};
use super::plan::V3Plan;
use crate::restore::error::RestoreError;
use crate::restore::tally::Tally;

/// How much of the snapshot is written before the disk is asked to begin.
const WRITEBACK_BYTES: u64 = 32 << 20;
/// What every database file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What it works with.
pub(super) struct Fill {
    pub(super) plan: V3Plan,
    pub(super) feed: Feed,
    /// The database to be.
    pub(super) out: (Arc<dyn File>, PathBuf),
    /// Holds one WAL after the other; none if there is no WAL.
    pub(super) aside: Option<(Arc<dyn File>, PathBuf)>,
    pub(super) tally: Arc<Tally>,
}

impl Fill {
    /// Makes the database; its page size and how many pages it has.
    pub(super) fn run(mut self) -> Result<(PageSize, u64), RestoreError> {
        let (page_size, mut len) = self.snapshot()?;
        let mut from = 0;
        while from < self.plan.segments.len() {
            let index = self.plan.segments[from].start.index;
            let more = self.plan.segments[from..].iter();
            let to = from + more.take_while(|s| s.start.index == index).count();
            if let Some(new) = self.wal(from..to, page_size)? {
                len = new;
            }
            from = to;
        }
        Ok((page_size, len.div_ceil(u64::from(page_size.get()))))
    }

    /// Unpacks the snapshot; its page size and length.
    fn snapshot(&mut self) -> Result<(PageSize, u64), RestoreError> {
        let (out, path) = self.out.clone();
        let tally = Arc::clone(&self.tally);
        let (mut head, mut len, mut begun) = (Vec::new(), 0, 0);
        let result = self.unpack(0, |block| {
            let missing = 100_usize.saturating_sub(head.len()).min(block.len());
            head.extend_from_slice(&block[..missing]);
            out.write_at(block, len)
                .map_err(RestoreError::output("write", &path))?;
            len += block.len() as u64;
            tally.wrote(block.len() as u64);
            if len - begun >= WRITEBACK_BYTES {
                out.start_writeback(begun, len - begun);
                begun = len;
            }
            Ok(())
        });
        result?;
        match page_size(&head) {
            Some(page_size) => Ok((page_size, len)),
            None => Err(self.damaged(0, "it holds no SQLite database".to_owned())),
        }
    }

    /// Brings one WAL into the database; the new length if anything was committed in it.
    fn wal(
        &mut self,
        parts: Range<usize>,
        page_size: PageSize,
    ) -> Result<Option<u64>, RestoreError> {
        let Some((file, path)) = self.aside.clone() else {
            unreachable!("a plan with segments has a file to set them aside");
        };
        let mut log = Log::new(file, page_size);
        for segment in parts.clone() {
            self.check_start(segment, log.len())?;
            let mut broken = None;
            let result = self.unpack(segment + 1, |block| match log.push(block) {
                Err(e) => Err(RestoreError::output("write", &path)(e)),
                Ok(Err(found)) => {
                    broken = Some(found);
                    Err(RestoreError::Cancelled)
                }
                Ok(Ok(())) => Ok(()),
            });
            if let Some(Broken { at, what }) = broken {
                return Err(self.broken(&parts, segment, at, what));
            }
            result?;
        }
        if !log.is_whole() {
            self.judge_end(parts.end, log.len())?;
        }
        let (out, tally) = (self.out.clone(), Arc::clone(&self.tally));
        log.checkpoint(&*out.0, |bytes| tally.wrote(bytes))
            .map_err(|error| match error {
                CheckpointError::Read(e) => RestoreError::output("read", &path)(e),
                CheckpointError::Write(e) => RestoreError::output("write", &out.1)(e),
            })
    }

    /// Whether a segment begins where the one before it ends.
    fn check_start(&self, segment: usize, end: u64) -> Result<(), RestoreError> {
        let start = self.plan.segments[segment].start;
        if start.offset == end {
            return Ok(());
        }
        let next = self.plan.segments[segment].object.path.clone();
        let reach = self.plan.reach_before(segment);
        if start.offset > end {
            let path = self.path_at(start.index, end);
            return Err(V3Error::Missing { path, next, reach }.into());
        }
        let path = self.plan.segments[segment - 1].object.path.clone();
        Err(V3Error::Overlap {
            path,
            end,
            next,
            reach,
        }
        .into())
    }

    /// A WAL that ends within a transaction or a frame: its rest is missing if another follows, else it was never committed.
    fn judge_end(&self, next: usize, end: u64) -> Result<(), RestoreError> {
        let index = self.plan.segments[next - 1].start.index;
        let Some(following) = self.plan.segments.get(next) else {
            tracing::warn!(
                generation = %self.plan.generation, index, end,
                "the 0.3 backup ends within a transaction, which is left out"
            );
            return Ok(());
        };
        Err(V3Error::Missing {
            path: self.path_at(index, end),
            next: following.object.path.clone(),
            reach: self.plan.reach_before(next),
        }
        .into())
    }

    fn path_at(&self, index: u64, offset: u64) -> String {
        let start = litestream_replica::v3::Position { index, offset };
        wal_path(self.plan.generation, start)
    }

    /// Gives the content of an object (0 is the snapshot) to `sink`, block by block.
    fn unpack(
        &mut self,
        object: usize,
        mut sink: impl FnMut(&[u8]) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let mut opened = self.feed.open(object);
        let mut result = Ok(());
        let unpacked = unpack(&mut opened, |block| {
            result = sink(block);
            result.is_ok()
        });
        if let Some(error) = opened.failed.take() {
            return Err(error);
        }
        result?;
        unpacked.map_err(|error| self.damaged(object, error.to_string()))
    }

    fn damaged(&self, object: usize, what: String) -> RestoreError {
        let reach = match object.checked_sub(1) {
            Some(segment) => self.plan.reach_before(segment),
            None => self.plan.reach_before_snapshot(),
        };
        let path = self.feed.object(object).path.clone();
        V3Error::Damaged { path, what, reach }.into()
    }

    /// A frame is wrong that begins at `at` and ends in the given segment.
    fn broken(&self, parts: &Range<usize>, segment: usize, at: u64, what: String) -> RestoreError {
        let starts = &self.plan.segments[parts.start..=segment];
        let first = parts.start + starts.partition_point(|s| s.start.offset <= at).max(1) - 1;
        V3Error::Damaged {
            path: self.plan.segments[segment].object.path.clone(),
            what,
            reach: self.plan.reach_before(first),
        }
        .into()
    }
}

/// Gives the content of a frame to `sink` until it wants no more.
fn unpack(input: &mut impl io::Read, mut sink: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut reader = Lz4Reader::new(input)?;
    while let Some(block) = reader.next_block()? {
        if !sink(block) {
            return Ok(());
        }
    }
    Ok(())
}

/// The page size that a database's header names.
fn page_size(head: &[u8]) -> Option<PageSize> {
    if !head.starts_with(MAGIC) || head.len() < 100 {
        return None;
    }
    match u16::from_be_bytes([head[16], head[17]]) {
        1 => PageSize::new(65_536),
        size => PageSize::new(u32::from(size)),
    }
}
