//! Cuts a chain of files into pieces of work, newest file first.
//!
//! A small file is one piece. A large one is read through its page index, a slice of the index at a time, and cut at
//! frame boundaries; which of a part's pages are still needed is decided here, in index order. So memory does not
//! depend on the size of a file, and the pieces of one file can be worked on in any order.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use litestream_replica::FileInfo;
use ltx::{Checksum, Crc64, HEADER_SIZE, Header, IndexEntry, IndexReader, PAGE_HEADER_SIZE, PageNo, PageSize, Trailer, index_location};

use super::claims::{Claims, Turns};
use super::error::RestoreError;
use super::fetch::{Fetch, Ranged};
use super::fold::{Fold, Sum, Verdict};
use super::tally::{Ends, Tally};

/// Index bytes fetched at once. One mebibyte of it stands for some hundred mebibytes of pages.
const INDEX_CHUNK: usize = 1 << 20;
/// Index bytes looked at before the parts found are given out.
const INDEX_SLICE: usize = 1 << 14;
/// Bytes at the end of a file from which its index is found.
const TAIL: usize = 24;

/// How much a piece of work may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Files up to this size are read whole; parts of larger ones are about as large.
    pub(super) piece: usize,
    /// Upper bound of a part's pages in bytes, before compression.
    pub(super) pages: usize,
}

/// What the index says of one frame, and whether its page is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) page: PageNo,
    /// Size of the frame; the top bit says that the page is wanted.
    size: u32,
}

impl Entry {
    const WANTED: u32 = 1 << 31;

    pub(super) fn new(entry: IndexEntry, wanted: bool) -> Entry {
        // The index reader refuses sizes beyond what a page of 64 KiB can need.
        Entry { page: entry.page, size: entry.size as u32 | if wanted { Entry::WANTED } else { 0 } }
    }

    pub(super) fn size(self) -> usize {
        (self.size & !Entry::WANTED) as usize
    }

    pub(super) fn wanted(self) -> bool {
        self.size & Entry::WANTED != 0
    }
}

/// A piece of work for one thread.
pub(super) enum Piece {
    /// A whole file, to be claimed with this ticket.
    Small { ticket: u64, at: usize, file: FileInfo },
    /// Consecutive frames of a large file.
    Part(Part),
}

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

/// Gives out the pieces of a chain.
pub(super) struct Parts {
    /// Newest first.
    files: Vec<FileInfo>,
    at: usize,
    ticket: u64,
    limits: Limits,
    page_size: PageSize,
    large: Option<Large>,
}

impl Parts {
    /// `files` newest first, all of `page_size`.
    pub(super) fn new(files: Vec<FileInfo>, page_size: PageSize, limits: Limits) -> Parts {
        Parts { files, at: 0, ticket: 0, limits, page_size, large: None }
    }

    /// The next piece, `None` at the end. Blocks while pieces given out before have to make their claims first.
    pub(super) fn next(&mut self, fetch: &dyn Fetch, turns: &Turns, tally: &Tally) -> Result<Option<Piece>, RestoreError> {
        loop {
            match &mut self.large {
                Some(large) if !large.ready.is_empty() => return Ok(large.ready.pop_front().map(Piece::Part)),
                Some(large) if !large.complete => {
                    large.fill(tally)?;
                    let (ticket, limits) = (self.ticket, self.limits);
                    turns.take(ticket, |claims| large.advance(claims, limits)).ok_or(RestoreError::Cancelled)??;
                    self.ticket += 1;
                }
                Some(large) => {
                    large.close(self.at, tally)?;
                    self.large = None;
                    self.at += 1;
                }
                None => {
                    let Some(&file) = self.files.get(self.at) else { return Ok(None) };
                    if file.size <= self.limits.piece as u64 {
                        let piece = Piece::Small { ticket: self.ticket, at: self.at, file };
                        self.ticket += 1;
                        self.at += 1;
                        return Ok(Some(piece));
                    }
                    self.large = Some(Large::open(file, self.page_size, fetch, tally)?);
                }
            }
        }
    }
}

/// The large file whose index is being read.
struct Large {
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
    ready: VecDeque<Part>,
    building: Part,
    pages: usize,
    parts: u64,
    complete: bool,
}

impl Large {
    fn open(info: FileInfo, page_size: PageSize, fetch: &dyn Fetch, tally: &Tally) -> Result<Large, RestoreError> {
        let source = fetch.open(info)?;
        let mut bytes = Vec::new();
        source.read(0, HEADER_SIZE, &mut bytes)?;
        let header = decode_header(info, &bytes, page_size)?;
        let fold = Fold::new(ltx::crc64(&bytes));
        let mut tail = Vec::new();
        source.read(info.size - TAIL as u64, TAIL, &mut tail)?;
        let index = locate_index(info, &tail)?;
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
    fn fill(&mut self, tally: &Tally) -> Result<(), RestoreError> {
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
            if self.chunk[..self.seen] != [0; PAGE_HEADER_SIZE] {
                return Err(RestoreError::mismatch(self.file.info, "the page block does not end where the page index begins"));
            }
        }
        Ok(())
    }

    /// Looks at a slice of the index: claims pages and cuts parts.
    fn advance(&mut self, claims: &mut Claims, limits: Limits) -> Result<(), RestoreError> {
        let info = self.file.info;
        let end = self.chunk.len().min(self.seen + INDEX_SLICE);
        let page_size = self.header.page_size.bytes();
        let Large { reader, chunk, ready, building, pages, parts, file, .. } = self;
        reader
            .push(&chunk[self.seen..end], |entry| {
                let len = (entry.offset - building.bytes.start + entry.size) as usize;
                if !building.entries.is_empty() && (len > limits.piece || *pages + page_size > limits.pages) {
                    *parts += 1;
                    ready.push_back(std::mem::replace(building, Part::new(file, *parts, entry.offset)));
                    *pages = 0;
                }
                *pages += page_size;
                building.bytes.end = entry.offset + entry.size;
                building.entries.push(Entry::new(entry, claims.claim(entry.page)));
            })
            .map_err(RestoreError::damaged(info))?;
        self.seen = end;
        if self.building.bytes.end > self.index.start - PAGE_HEADER_SIZE as u64 {
            return Err(RestoreError::damaged(info)(ltx::Error::Index("it describes frames beyond its own beginning")));
        }
        if self.seen == self.chunk.len() && self.at == self.index.end {
            self.reader.finish().map_err(RestoreError::damaged(info))?;
            check_index_start(info, &self.reader, &self.index)?;
            if !self.building.entries.is_empty() {
                self.parts += 1;
                let next = Part::new(&self.file, self.parts, self.index.start);
                self.ready.push_back(std::mem::replace(&mut self.building, next));
            }
            self.complete = true;
        }
        Ok(())
    }

    /// All parts were given out: says what the file's checksum should be.
    fn close(&mut self, at: usize, tally: &Tally) -> Result<(), RestoreError> {
        let trailer = decode_trailer(self.file.info, &self.header, &self.tail)?;
        self.crc.update(&self.tail[..16]);
        let len = self.index.end - self.index.start + PAGE_HEADER_SIZE as u64 + 16;
        let rest = Sum { crc: self.crc.value(), len };
        tally.ends(at, Ends { info: self.file.info, header: self.header, post_apply: trailer.post_apply_checksum });
        self.file.judge(self.file.fold.end(self.parts, rest, trailer.file_checksum), tally)
    }
}

impl Part {
    fn new(file: &Arc<LargeFile>, number: u64, start: u64) -> Part {
        Part { file: Arc::clone(file), number, bytes: start..start, entries: Vec::new() }
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
                Err(RestoreError::damaged(self.info)(ltx::Error::FileChecksum { stored: expected, computed: actual }))
            }
        }
    }
}

/// Reads a header and checks that it is the one of this file, and of this chain.
pub(super) fn decode_header(info: FileInfo, bytes: &[u8], page_size: PageSize) -> Result<Header, RestoreError> {
    let header = Header::decode(bytes).map_err(RestoreError::damaged(info))?;
    if header.file_name() != info.name {
        return Err(RestoreError::mismatch(info, format!("its header is that of {}", header.file_name())));
    }
    if header.page_size != page_size {
        let what = format!("its page size is {}, that of the newest file {page_size}", header.page_size);
        return Err(RestoreError::mismatch(info, what));
    }
    Ok(header)
}

/// Where the index lies, from the last bytes of a file.
pub(super) fn locate_index(info: FileInfo, tail: &[u8]) -> Result<Range<u64>, RestoreError> {
    let Some(tail) = tail.last_chunk::<TAIL>() else {
        return Err(RestoreError::damaged(info)(ltx::Error::Truncated { offset: info.size }));
    };
    index_location(info.size, tail).map_err(RestoreError::damaged(info))
}

/// Checks that the frames end where the index begins.
pub(super) fn check_index_start(info: FileInfo, reader: &IndexReader, index: &Range<u64>) -> Result<(), RestoreError> {
    if reader.expected_start() == index.start {
        return Ok(());
    }
    Err(RestoreError::mismatch(info, "the page index does not begin where the page block ends"))
}

/// Reads the trailer from the last bytes of a file.
pub(super) fn decode_trailer(info: FileInfo, header: &Header, tail: &[u8]) -> Result<Trailer, RestoreError> {
    let trailer = Trailer::decode(&tail[tail.len() - ltx::TRAILER_SIZE..]).map_err(RestoreError::damaged(info))?;
    let value = trailer.post_apply_checksum;
    let rule = match (header.tracks_checksum(), value) {
        (false, 1..) => "with the no-checksum flag it must be zero",
        (true, v) if v & Checksum::FLAG == 0 => "without the no-checksum flag it must be there, with its top bit set",
        _ => return Ok(trailer),
    };
    Err(RestoreError::damaged(info)(ltx::Error::ApplyChecksum { which: "post", value, rule }))
}
