//! The page index: where each page's frame lies. Written and checked as bytes, read entry by entry.

use std::ops::Range;

use crate::frame::{PAGE_HEADER_SIZE, max_frame_size};
use crate::order::PageOrder;
use crate::{Crc64, Error, HEADER_SIZE, Header, PageNo, PageSize, Result, TRAILER_SIZE, varint};

/// Bytes of the index size and the trailer, at the end of every file.
const TAIL_SIZE: u64 = 8 + TRAILER_SIZE as u64;

/// One page's place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The page.
    pub page: PageNo,
    /// Offset of its frame.
    pub offset: u64,
    /// Size of its whole frame.
    pub size: u64,
}

impl IndexEntry {
    /// Appends the entry as the index holds it.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, self.page.get().into());
        varint::put(out, self.offset);
        varint::put(out, self.size);
    }
}

/// Where the index (its final zero included) lies in a file, from the file's size and last 24 bytes.
pub fn index_location(file_size: u64, last_24_bytes: &[u8; 24]) -> Result<Range<u64>> {
    let mut size = [0; 8];
    size.copy_from_slice(&last_24_bytes[..8]);
    let size = u64::from_be_bytes(size);
    let begin_min = (HEADER_SIZE + PAGE_HEADER_SIZE) as u64;
    let Some(end) = file_size
        .checked_sub(TAIL_SIZE)
        .filter(|&end| end > begin_min)
    else {
        return Err(Error::Truncated { offset: file_size });
    };
    match end
        .checked_sub(size)
        .filter(|&begin| begin >= begin_min && size >= 1)
    {
        Some(begin) => Ok(begin..end),
        None => Err(Error::IndexSize { size, file_size }),
    }
}

/// Reads an index that arrives in pieces, checking that it describes consecutive frames of ascending pages.
#[derive(Debug)]
pub struct IndexReader {
    order: Option<PageOrder>,
    frame_max: u64,
    number: varint::Partial,
    page: Option<PageNo>,
    offset: Option<u64>,
    last: Option<PageNo>,
    /// Where the next frame must begin.
    next_offset: u64,
    ended: bool,
}

impl IndexReader {
    /// For a file whose header is not at hand.
    pub fn new() -> Self {
        Self {
            order: None,
            frame_max: PageSize::new(65536).map_or(0, max_frame_size) as u64,
            number: varint::Partial::default(),
            page: None,
            offset: None,
            last: None,
            next_offset: HEADER_SIZE as u64,
            ended: false,
        }
    }

    /// For a file with this header; checks also what only the header tells (commit, lock page, snapshot).
    pub fn with_header(header: &Header) -> Self {
        Self {
            order: Some(PageOrder::new(header)),
            frame_max: max_frame_size(header.page_size) as u64,
            ..Self::new()
        }
    }

    /// Continues with `bytes`; each entry that is complete and valid goes to `each`.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(IndexEntry)) -> Result<()> {
        for &byte in bytes {
            if self.ended {
                return Err(Error::Index("it goes on after its end"));
            }
            if let Some(value) = self.number.push(byte)?
                && let Some(entry) = self.take(value)?
            {
                each(entry);
            }
        }
        Ok(())
    }

    /// Takes the next of an entry's three numbers; the entry if it was the last.
    fn take(&mut self, value: u64) -> Result<Option<IndexEntry>> {
        let Some(page) = self.page else {
            let number =
                u32::try_from(value).map_err(|_| Error::Index("a page number exceeds 32 bits"))?;
            self.page = PageNo::new(number);
            self.ended = number == 0;
            return self
                .page
                .map_or(Ok(()), |page| self.check_page(page))
                .map(|()| None);
        };
        let Some(offset) = self.offset else {
            if value != self.next_offset {
                let reason = "its offset is not the end of the frame before it";
                return Err(Error::IndexEntry {
                    page: page.get(),
                    reason,
                });
            }
            self.offset = Some(value);
            return Ok(None);
        };
        let next = offset
            .checked_add(value)
            .filter(|_| value > PAGE_HEADER_SIZE as u64 && value <= self.frame_max);
        let Some(next) = next else {
            return Err(Error::IndexEntry {
                page: page.get(),
                reason: "its size is not that of one page",
            });
        };
        (self.page, self.offset, self.last, self.next_offset) = (None, None, Some(page), next);
        if let Some(order) = &mut self.order {
            order.accept(page);
        }
        Ok(Some(IndexEntry {
            page,
            offset,
            size: value,
        }))
    }

    fn check_page(&self, page: PageNo) -> Result<()> {
        if let Some(last) = self.last.filter(|&last| page <= last) {
            return Err(Error::PageOrder {
                page: page.get(),
                previous: last.get(),
            });
        }
        self.order
            .as_ref()
            .map_or(Ok(()), |order| order.check(page))
    }

    /// Where the page block must end: right after the last frame and the six zero bytes, where the index begins.
    pub fn expected_start(&self) -> u64 {
        self.next_offset + PAGE_HEADER_SIZE as u64
    }

    /// Whether the index is complete.
    pub fn finish(&self) -> Result<()> {
        if !self.ended || !self.number.is_empty() {
            return Err(Error::Index("its end is missing"));
        }
        self.order.as_ref().map_or(Ok(()), PageOrder::check_end)
    }
}

impl Default for IndexReader {
    fn default() -> Self {
        Self::new()
    }
}

/// What the index of the frames read so far must be, without keeping it: its length and its CRC.
#[derive(Debug)]
pub(crate) struct IndexDigest {
    pending: Vec<u8>,
    crc: Crc64,
    len: u64,
}

impl IndexDigest {
    /// Entries are hashed in batches of about this many bytes.
    const BATCH: usize = 4096;

    pub(crate) fn new() -> Self {
        Self {
            pending: Vec::with_capacity(Self::BATCH + 32),
            crc: Crc64::new(),
            len: 0,
        }
    }

    pub(crate) fn add(&mut self, entry: IndexEntry) {
        entry.put(&mut self.pending);
        if self.pending.len() >= Self::BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.crc.update(&self.pending);
        self.len += self.pending.len() as u64;
        self.pending.clear();
    }

    /// Length and plain CRC of the whole index, its final zero included.
    pub(crate) fn finish(mut self) -> (u64, u64) {
        self.pending.push(0);
        self.flush();
        (self.len, self.crc.value())
    }
}
