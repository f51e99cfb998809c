//! A large file: its page index is read a slice at a time and tells which parts there are.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use litestream_replica::FileInfo;
use ltx::{Crc64, HEADER_SIZE, Header, IndexReader, PAGE_HEADER_SIZE, PageSize};

use super::claims::Claims;
use super::error::RestoreError;
use super::fetch::{Fetch, Ranged};
use super::fold::{Fold, Sum, Verdict};
use super::layout::{self, TAIL};
use super::parts::{Entry, Limits};
use super::tally::{Ends, Tally};

/// Index bytes fetched at once. One mebibyte of it stands for some hundred mebibytes of pages.
const INDEX_CHUNK: usize = 1 << 20;
/// Index bytes looked at before the parts found are given out.
const INDEX_SLICE: usize = 1 << 14;

/// Consecutive frames of a large file.
pub(super) struct Part {
    pub(super) file: Arc<LargeFile>,
    pub(super) number: u64,
    pub(super) bytes: Range<u64>,
    pub(super) entries: Vec<Entry>,
}

/// A large file that is being read in parts.
pub(super) struct LargeFile {
    pub(super) info: FileInfo,
    pub(super) source: Box<dyn Ranged>,
    pub(super) fold: Fold,
}

/// The large file whose index is being read.
pub(super) struct Large {
    file: Arc<LargeFile>,
    header: Header,
    index: Range<u64>,
    /// Size of the index and trailer, as they stand in the file.
    tail: Vec<u8>,
    /// Index bytes fetched, and how many of them were looked at.
    chunk: Vec<u8>,
    seen: usize,
    /// Where the next chunk begins.
    at: u64,
    reader: IndexReader,
    /// Over everything after the last frame.
    crc: Crc64,
    /// Parts that were not given out yet.
    pub(super) ready: VecDeque<Part>,
    building: Part,
    pages: usize,
    parts: u64,
    /// All parts were found.
    pub(super) complete: bool,
}

impl Large {
    pub(super) fn open(
        info: FileInfo,
        page_size: PageSize,
        fetch: &dyn Fetch,
        tally: &Tally,
    ) -> Result<Large, RestoreError> {
        let source = fetch.open(info)?;
        let mut bytes = Vec::new();
        source.read(0, HEADER_SIZE, &mut bytes)?;
        let header = layout::decode_header(info, &bytes, page_size)?;
        let fold = Fold::new(ltx::crc64(&bytes));
        let mut tail = Vec::new();
        source.read(info.size - TAIL as u64, TAIL, &mut tail)?;
        let index = layout::locate_index(info, &tail)?;
        tally.read(HEADER_SIZE + TAIL);
        let file = Arc::new(LargeFile { info, source, fold });
        Ok(Large {
            building: Part::new(&file, 0, HEADER_SIZE as u64),
            file,
            header,
            at: index.start - PAGE_HEADER_SIZE as u64,
            index,
            tail,
            chunk: Vec::new(),
            seen: 0,
            reader: IndexReader::with_header(&header),
            crc: Crc64::new(),
            ready: VecDeque::new(),
            pages: 0,
            parts: 0,
            complete: false,
        })
    }

    /// Fetches more of the index if all of it was looked at.
    pub(super) fn fill(&mut self, tally: &Tally) -> Result<(), RestoreError> {
        if self.seen < self.chunk.len() {
            return Ok(());
        }
        let first = self.at < self.index.start;
        let len = (self.index.end - self.at).min(INDEX_CHUNK as u64) as usize;
        self.file.source.read(self.at, len, &mut self.chunk)?;
        tally.read(len);
        self.crc.update(&self.chunk);
        self.at += len as u64;
        self.seen = 0;
        if first {
            self.seen = PAGE_HEADER_SIZE;
            layout::check_page_block_end(self.file.info, &self.chunk[..self.seen])?;
        }
        Ok(())
    }

    /// Looks at a slice of the index: claims pages and cuts parts.
    pub(super) fn advance(
        &mut self,
        claims: &mut Claims,
        limits: Limits,
    ) -> Result<(), RestoreError> {
        let info = self.file.info;
        let end = self.chunk.len().min(self.seen + INDEX_SLICE);
        let page_size = self.header.page_size.bytes();
        let Large {
            reader,
            chunk,
            ready,
            building,
            pages,
            parts,
            file,
            ..
        } = self;
        reader
            .push(&chunk[self.seen..end], |entry| {
                let len = (entry.offset - building.bytes.start + entry.size) as usize;
                if !building.entries.is_empty()
                    && (len > limits.piece || *pages + page_size > limits.pages)
                {
                    *parts += 1;
                    ready.push_back(std::mem::replace(
                        building,
                        Part::new(file, *parts, entry.offset),
                    ));
                    *pages = 0;
                }
                *pages += page_size;
                building.bytes.end = entry.offset + entry.size;
                building
                    .entries
                    .push(Entry::new(entry, claims.claim(entry.page)));
            })
            .map_err(RestoreError::damaged(info))?;
        self.seen = end;
        if self.building.bytes.end > self.index.start - PAGE_HEADER_SIZE as u64 {
            return Err(RestoreError::damaged(info)(ltx::Error::Index(
                "it describes frames beyond its own beginning",
            )));
        }
        if self.seen == self.chunk.len() && self.at == self.index.end {
            self.reader.finish().map_err(RestoreError::damaged(info))?;
            layout::check_index_start(info, &self.reader, &self.index)?;
            if !self.building.entries.is_empty() {
                self.parts += 1;
                let next = Part::new(&self.file, self.parts, self.index.start);
                self.ready
                    .push_back(std::mem::replace(&mut self.building, next));
            }
            self.complete = true;
        }
        Ok(())
    }

    /// All parts were given out: says what the file's checksum should be.
    pub(super) fn close(&mut self, at: usize, tally: &Tally) -> Result<(), RestoreError> {
        let trailer = layout::decode_trailer(self.file.info, &self.header, &self.tail)?;
        self.crc.update(&self.tail[..16]);
        let len = self.index.end - self.index.start + PAGE_HEADER_SIZE as u64 + 16;
        let rest = Sum {
            crc: self.crc.value(),
            len,
        };
        tally.ends(
            at,
            Ends {
                info: self.file.info,
                header: self.header,
                post_apply: trailer.post_apply_checksum,
            },
        );
        self.file.judge(
            self.file.fold.end(self.parts, rest, trailer.file_checksum),
            tally,
        )
    }
}

impl Part {
    fn new(file: &Arc<LargeFile>, number: u64, start: u64) -> Part {
        Part {
            file: Arc::clone(file),
            number,
            bytes: start..start,
            entries: Vec::new(),
        }
    }
}

impl LargeFile {
    /// Counts the file as verified, or fails, or neither if it is not read to the end yet.
    pub(super) fn judge(&self, verdict: Verdict, tally: &Tally) -> Result<(), RestoreError> {
        match verdict {
            Verdict::Open => Ok(()),
            Verdict::Verified => {
                tally.verified();
                Ok(())
            }
            Verdict::Wrong { actual, expected } => {
                Err(RestoreError::damaged(self.info)(ltx::Error::FileChecksum {
                    stored: expected,
                    computed: actual,
                }))
            }
        }
    }
}
