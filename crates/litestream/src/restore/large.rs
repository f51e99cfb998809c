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
use super::tally::Ends;

/// Index bytes fetched at once. One mebibyte of it stands for some hundred mebibytes of pages.
const INDEX_CHUNK: usize = 1 << 20;
/// Index bytes looked at before the parts found are given out.
const INDEX_SLICE: usize = 1 << 14;

/// Bytes read to open a large file.
pub(crate) const OPENED: usize = HEADER_SIZE + TAIL;

/// Consecutive frames of a large file.
pub(crate) struct Part {
    pub(crate) file: Arc<LargeFile>,
    pub(crate) number: u64,
    pub(crate) bytes: Range<u64>,
    pub(crate) entries: Vec<Entry>,
}

/// A large file that is being read in parts.
pub(crate) struct LargeFile {
    pub(crate) info: FileInfo,
    pub(crate) source: Box<dyn Ranged>,
    pub(crate) fold: Fold,
}

/// The large file whose index is being read.
pub(crate) struct Large {
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
    pub(crate) ready: VecDeque<Part>,
    building: Part,
    pages: usize,
    parts: u64,
    /// Some page of it is wanted.
    used: bool,
    /// All parts were found.
    pub(crate) complete: bool,
}

impl Large {
    pub(crate) fn open(
        info: FileInfo,
        page_size: Option<PageSize>,
        fetch: &dyn Fetch,
    ) -> Result<Large, RestoreError> {
        let source = fetch.open(info)?;
        let mut bytes = Vec::new();
        source.read(0, HEADER_SIZE, &mut bytes)?;
        let header = layout::decode_header(info, &bytes, page_size)?;
        let fold = Fold::new(ltx::crc64(&bytes));
        let mut tail = Vec::new();
        source.read(info.size - TAIL as u64, TAIL, &mut tail)?;
        let index = layout::locate_index(info, &tail)?;
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
            used: false,
            complete: false,
        })
    }

    /// Fetches more of the index if all of it was looked at. Returns how many bytes it read.
    pub(crate) fn fill(&mut self) -> Result<usize, RestoreError> {
        if self.seen < self.chunk.len() {
            return Ok(0);
        }
        let first = self.at < self.index.start;
        let len = (self.index.end - self.at).min(INDEX_CHUNK as u64) as usize;
        self.file.source.read(self.at, len, &mut self.chunk)?;
        self.crc.update(&self.chunk);
        self.at += len as u64;
        self.seen = 0;
        if first {
            self.seen = PAGE_HEADER_SIZE;
            layout::check_page_block_end(self.file.info, &self.chunk[..self.seen])?;
        }
        Ok(len)
    }

    /// Looks at a slice of the index: claims pages and cuts parts.
    pub(crate) fn advance(
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
            used,
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
                let wanted = claims.claim(entry.page);
                *used |= wanted;
                building.entries.push(Entry::new(entry, wanted));
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

    /// What the file says of the database.
    pub(crate) fn ends(&self) -> Result<Ends, RestoreError> {
        let trailer = layout::decode_trailer(self.file.info, &self.header, &self.tail)?;
        Ok(Ends {
            info: self.file.info,
            header: self.header,
            post_apply: trailer.post_apply_checksum,
            used: self.used,
        })
    }

    /// All parts were given out: what the file says of the database, and whether its checksum is right, if all parts were read.
    pub(crate) fn close(&mut self) -> Result<(Ends, bool), RestoreError> {
        let trailer = layout::decode_trailer(self.file.info, &self.header, &self.tail)?;
        self.crc.update(&self.tail[..16]);
        let len = self.index.end - self.index.start + PAGE_HEADER_SIZE as u64 + 16;
        let rest = Sum {
            crc: self.crc.value(),
            len,
        };
        let ends = self.ends()?;
        let verdict = self.file.fold.end(self.parts, rest, trailer.file_checksum);
        Ok((ends, self.file.judge(verdict)?))
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
    /// Whether the file is verified; `false` if it is not read to the end yet.
    pub(crate) fn judge(&self, verdict: Verdict) -> Result<bool, RestoreError> {
        match verdict {
            Verdict::Open => Ok(false),
            Verdict::Verified => Ok(true),
            Verdict::Wrong { actual, expected } => {
                Err(RestoreError::damaged(self.info)(ltx::Error::FileChecksum {
                    stored: expected,
                    computed: actual,
                }))
            }
        }
    }
}
