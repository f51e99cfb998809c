//! Writes an LTX file, front to back, without ever seeking.
//!
//! What a file says of the database after it is known only once its pages were seen: [`Encoder::finish_chained`] gives the header
//! that is to be put over the first one then.
//!
//! Promises that what it wrote will be accepted by [`crate::Decoder`]: it refuses pages out of order, beyond
//! the end, the lock page, and snapshots with gaps. Keeps the page index encoded, about nine bytes per page; of a large file elsewhere
//! ([`Encoder::spill_to`]).

use std::io::Write;

use crate::chain::Chain;
use crate::checksum::{DatabaseChecksum, crc64, crc64_combine};
use crate::frame::{BLOCK_PREFIX, FLAG_BLOCK, PAGE_HEADER_SIZE, max_block_size};
use crate::order::PageOrder;
use crate::spill::{IndexBuffer, Spill};
use crate::{
    Checksum, Compressor, Crc64, Error, HEADER_SIZE, Header, IndexEntry, PageNo, Result, Trailer,
};

/// Written data goes to the writer in pieces of at least this size.
const FLUSH_SIZE: usize = 256 * 1024;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file.
    pub size: u64,
    /// Its checksum, as in its trailer.
    pub file_checksum: u64,
    /// How many pages it holds.
    pub page_count: u32,
}

/// Writes an LTX file to `W`, which need not be buffered.
pub struct Encoder<W: Write> {
    writer: W,
    header: Header,
    compressor: Compressor,
    /// Bytes not yet given to the writer.
    buffer: Vec<u8>,
    /// Bytes given to the writer.
    flushed: u64,
    index: IndexBuffer,
    /// Over what comes after the header, and how much that is.
    body: Crc64,
    body_len: u64,
    order: PageOrder,
    /// Kept for snapshots that track it, to refuse a wrong post-apply checksum.
    database: Option<DatabaseChecksum>,
    page_count: u32,
}

impl<W: Write> Encoder<W> {
    /// Begins a file. Reserved bytes of the header that are no [`Chain`] are written as zero.
    pub fn new(writer: W, header: Header) -> Result<Self> {
        header.validate()?;
        let header = header.with_chain(header.chain());
        let buffer = header.encode().to_vec();
        Ok(Self {
            writer,
            header,
            compressor: Compressor::new(),
            buffer,
            flushed: 0,
            index: IndexBuffer::default(),
            body: Crc64::new(),
            body_len: 0,
            order: PageOrder::new(&header),
            database: (header.tracks_checksum() && header.is_snapshot())
                .then(DatabaseChecksum::new),
            page_count: 0,
        })
    }

    /// Where the page index goes while the file is written, if it becomes large.
    pub fn spill_to(&mut self, spill: Box<dyn Spill>) {
        self.index.spill_to(spill);
    }

    /// The header as it was written.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Adds a page; pages must ascend.
    pub fn write_page(&mut self, page: PageNo, data: &[u8]) -> Result<()> {
        self.check_page(page, data)?;
        let begin = self.begin_frame(page);
        self.compressor.compress(data, &mut self.buffer);
        self.end_frame(page, begin, data)
    }

    /// Adds a page that is compressed already: `block` is an LZ4 block that inflates to `data`, which serves
    /// the checksum only. That they belong together is the caller's promise.
    pub fn write_compressed(&mut self, page: PageNo, block: &[u8], data: &[u8]) -> Result<()> {
        self.check_page(page, data)?;
        let max = max_block_size(self.header.page_size);
        if block.len() > max {
            return Err(Error::FrameTooLarge {
                page: page.get(),
                size: block.len() as u64,
                max: max as u64,
            });
        }
        let begin = self.begin_frame(page);
        self.buffer.extend_from_slice(block);
        self.end_frame(page, begin, data)
    }

    fn check_page(&self, page: PageNo, data: &[u8]) -> Result<()> {
        let (expected, actual) = (self.header.page_size.bytes(), data.len());
        if expected != actual {
            return Err(Error::PageLength {
                page: page.get(),
                expected,
                actual,
            });
        }
        self.order.check(page)
    }

    /// Appends a frame's prefix, its size still zero; returns where it begins.
    fn begin_frame(&mut self, page: PageNo) -> usize {
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(&page.get().to_be_bytes());
        self.buffer.extend_from_slice(&FLAG_BLOCK.to_be_bytes());
        self.buffer
            .extend_from_slice(&[0; BLOCK_PREFIX - PAGE_HEADER_SIZE]);
        begin
    }

    fn end_frame(&mut self, page: PageNo, begin: usize, data: &[u8]) -> Result<()> {
        let size = self.buffer.len() - begin;
        let block_size = (size - BLOCK_PREFIX) as u32;
        let prefix = &mut self.buffer[begin..begin + BLOCK_PREFIX];
        prefix[PAGE_HEADER_SIZE..].copy_from_slice(&block_size.to_be_bytes());
        self.body.update(prefix);
        self.body.update(data);
        self.body_len += (BLOCK_PREFIX + data.len()) as u64;
        if let Some(database) = &mut self.database {
            database.toggle(Checksum::page(page, data));
        }
        let entry = IndexEntry {
            page,
            offset: self.flushed + begin as u64,
            size: size as u64,
        };
        self.index.put(|out| entry.put(out))?;
        self.order.accept(page);
        self.page_count += 1;
        if self.buffer.len() >= FLUSH_SIZE {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.write_all(&self.buffer)?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file like [`Encoder::finish`] with zero, and gives the header with `chain`, which the caller must write over the first
    /// bytes of the file: until then it is damaged.
    pub fn finish_chained(mut self, chain: Chain) -> Result<(W, Written, [u8; HEADER_SIZE])> {
        self.header = self.header.with_chain(chain);
        let header = self.header.encode();
        let (writer, written) = self.finish(0)?;
        Ok((writer, written, header))
    }

    /// Ends the file with its index and trailer, flushes the writer and gives it back. The checksum is that of
    /// the database after this file, zero if the header says that it is not tracked.
    pub fn finish(mut self, post_apply_checksum: u64) -> Result<(W, Written)> {
        self.order.check_end()?;
        self.header.check_post_apply(post_apply_checksum)?;
        if let Some(computed) = self
            .database
            .map(|sum| sum.value().get())
            .filter(|&sum| sum != post_apply_checksum)
        {
            return Err(Error::DatabaseChecksum {
                stored: post_apply_checksum,
                computed,
            });
        }
        self.index.put(|out| out.push(0))?;
        let index_len = self.index.len();
        let index_size = index_len.to_be_bytes();
        let end_of_pages = [0; PAGE_HEADER_SIZE];
        let post_apply = post_apply_checksum.to_be_bytes();
        self.body.update(&end_of_pages);
        self.buffer.extend_from_slice(&end_of_pages);
        self.flush()?;
        let body = &mut self.body;
        std::mem::take(&mut self.index)
            .finish(&mut |bytes| body.update(bytes), &mut self.writer)?;
        self.flushed += index_len;
        self.body.update(&index_size);
        self.body.update(&post_apply);
        self.body_len += PAGE_HEADER_SIZE as u64 + index_len + 16;
        let header = crc64(&self.header.encode());
        let crc = crc64_combine(header, self.body.value(), self.body_len);
        let file_checksum = Checksum::from_crc(crc).get();
        self.buffer.extend_from_slice(&index_size);
        self.buffer.extend_from_slice(
            &Trailer {
                post_apply_checksum,
                file_checksum,
            }
            .encode(),
        );
        self.flush()?;
        self.writer.flush()?;
        let written = Written {
            size: self.flushed,
            file_checksum,
            page_count: self.page_count,
        };
        Ok((self.writer, written))
    }
}

impl<W: Write> std::fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("header", &self.header)
            .field("page_count", &self.page_count)
            .finish_non_exhaustive()
    }
}
