//! Reads an LTX file, front to back, page by page.
//!
//! Promises that after [`Decoder::finish`] succeeded, every page handed out is what was written: order, index
//! and checksum agree, and nothing follows the trailer. Until then pages are only plausible. After an error the
//! same call gives the same error again. Memory: one buffer of 64 KiB, or two frames if pages are larger.

use std::io::Read;

use crate::checksum::DatabaseChecksum;
use crate::frame::{self, BLOCK_PREFIX, FrameEncoding, FramePrefix, PAGE_HEADER_SIZE};
use crate::index::IndexDigest;
use crate::order::PageOrder;
use crate::source::Source;
use crate::{
    Checksum, Crc64, Error, HEADER_SIZE, Header, IndexEntry, PageNo, Result, TRAILER_SIZE, Trailer,
    lz4frame,
};

/// Reads an LTX file from `R`, which need not be buffered.
pub struct Decoder<R: Read> {
    source: Source<R>,
    header: Header,
    crc: Crc64,
    order: PageOrder,
    index: IndexDigest,
    /// Kept for snapshots that track it.
    database: Option<DatabaseChecksum>,
    pages_ended: bool,
}

impl<R: Read> Decoder<R> {
    /// Reads and validates the header.
    pub fn new(reader: R) -> Result<Self> {
        let mut source = Source::new(reader);
        let bytes = source.need(HEADER_SIZE)?;
        let header = Header::decode(bytes)?;
        let mut crc = Crc64::new();
        crc.update(bytes);
        source.consume(HEADER_SIZE);
        source.reserve(2 * frame::max_frame_size(header.page_size));
        Ok(Self {
            source,
            header,
            crc,
            order: PageOrder::new(&header),
            index: IndexDigest::new(),
            database: (header.tracks_checksum() && header.is_snapshot())
                .then(DatabaseChecksum::new),
            pages_ended: false,
        })
    }

    /// The file's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The number of the page that comes next, without reading it.
    pub fn peek(&mut self) -> Result<Option<PageNo>> {
        Ok(self.prefix()?.map(|prefix| prefix.page))
    }

    /// Inflates the next page into `page`, which must be one page long; `None` after the last.
    pub fn next_page(&mut self, page: &mut [u8]) -> Result<Option<PageNo>> {
        self.step(None, page)
    }

    /// Like [`Decoder::next_page`]; puts also the frame as it stands in the file into `frame`.
    pub fn next_frame(&mut self, frame: &mut Vec<u8>, page: &mut [u8]) -> Result<Option<PageNo>> {
        self.step(Some(frame), page)
    }

    fn step(&mut self, copy: Option<&mut Vec<u8>>, page: &mut [u8]) -> Result<Option<PageNo>> {
        frame::check_buffer(self.header.page_size, page)?;
        let Some(FramePrefix {
            page: number,
            encoding,
        }) = self.prefix()?
        else {
            return Ok(None);
        };
        let size = self.frame_size(number, encoding)?;
        let offset = self.source.offset();
        let bytes = self.source.need(size)?;
        let (prefix, data) = bytes.split_at(encoding.prefix_len());
        frame::inflate(number, encoding, data, page)?;
        self.crc.update(prefix);
        self.crc.update(page);
        if let Some(copy) = copy {
            copy.clear();
            copy.extend_from_slice(bytes);
        }
        if let Some(database) = &mut self.database {
            database.toggle(Checksum::page(number, page));
        }
        self.index.add(IndexEntry {
            page: number,
            offset,
            size: size as u64,
        });
        self.order.accept(number);
        self.source.consume(size);
        Ok(Some(number))
    }

    /// Reads, but does not consume, the next frame's prefix; consumes the end of the page block.
    fn prefix(&mut self) -> Result<Option<FramePrefix>> {
        if self.pages_ended {
            return Ok(None);
        }
        let bytes = self.source.need(PAGE_HEADER_SIZE)?;
        if let Some(prefix) = frame::read_prefix(bytes)? {
            self.order.check(prefix.page)?;
            return Ok(Some(prefix));
        }
        self.order.check_end()?;
        self.crc.update(bytes);
        self.source.consume(PAGE_HEADER_SIZE);
        self.pages_ended = true;
        Ok(None)
    }

    /// The size of the next frame. Refuses an impossible one before asking the source for that many bytes.
    fn frame_size(&mut self, page: PageNo, encoding: FrameEncoding) -> Result<usize> {
        let page_size = self.header.page_size;
        if encoding == FrameEncoding::Block {
            let prefix = self.source.need(BLOCK_PREFIX)?;
            return Ok(BLOCK_PREFIX + frame::block_size(page, prefix, page_size)?);
        }
        let max = frame::max_frame_size(page_size);
        let mut size = PAGE_HEADER_SIZE;
        loop {
            let data = &self.source.need(size)?[PAGE_HEADER_SIZE..];
            match lz4frame::extent(data).map_err(|reason| frame::lz4_error(page, reason))? {
                lz4frame::Extent::Whole(_) => return Ok(size),
                lz4frame::Extent::AtLeast(len) => size = PAGE_HEADER_SIZE + len,
            }
            if size > max {
                return Err(Error::FrameTooLarge {
                    page: page.get(),
                    size: size as u64,
                    max: max as u64,
                });
            }
        }
    }

    /// Reads what is left of the file and verifies it: remaining pages, the index against the frames, the
    /// checksums, and that nothing follows.
    pub fn finish(mut self) -> Result<Trailer> {
        if !self.pages_ended {
            let mut page = vec![0; self.header.page_size.bytes()];
            while self.next_page(&mut page)?.is_some() {}
        }
        let (index_size, index_crc) =
            std::mem::replace(&mut self.index, IndexDigest::new()).finish();
        let mut found = Crc64::new();
        let mut left = index_size;
        while left > 0 {
            let part = self.source.some(left)?;
            let len = part.len();
            found.update(part);
            self.crc.update(part);
            self.source.consume(len);
            left -= len as u64;
        }
        let size = self.source.need(8)?;
        if found.value() != index_crc || *size != index_size.to_be_bytes() {
            return Err(Error::Index("it disagrees with the page frames"));
        }
        self.crc.update(size);
        self.source.consume(8);
        self.finish_trailer()
    }

    fn finish_trailer(mut self) -> Result<Trailer> {
        let bytes = self.source.need(TRAILER_SIZE)?;
        let trailer = Trailer::decode(bytes)?;
        self.crc.update(&bytes[..8]);
        self.source.consume(TRAILER_SIZE);
        let (stored, computed) = (
            trailer.file_checksum,
            Checksum::from_crc(self.crc.value()).get(),
        );
        if stored != computed {
            return Err(Error::FileChecksum { stored, computed });
        }
        self.header.check_post_apply(trailer.post_apply_checksum)?;
        let stored = trailer.post_apply_checksum;
        if let Some(computed) = self
            .database
            .map(|sum| sum.value().get())
            .filter(|&sum| sum != stored)
        {
            return Err(Error::DatabaseChecksum { stored, computed });
        }
        if !self.source.at_end()? {
            return Err(Error::TrailingBytes {
                offset: self.source.offset(),
            });
        }
        Ok(trailer)
    }
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("header", &self.header)
            .field("offset", &self.source.offset())
            .finish_non_exhaustive()
    }
}
