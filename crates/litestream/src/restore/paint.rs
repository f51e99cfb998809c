//! Puts pages in their place in the output.
//!
//! Promise: pages that lie side by side go out in one write, up to the size of the buffer, and nothing else is kept.

use litestream_replica::env::File;
use ltx::{Checksum, PageNo, PageSize};

use super::tally::Tally;

/// Bytes written at once: small enough to stay in a core's cache between inflating and writing.
const BUFFER: usize = 256 << 10;

/// Writes pages to a file that is all zeros where nobody wrote yet.
pub(super) struct Painter<'a> {
    out: &'a dyn File,
    tally: &'a Tally,
    page_size: PageSize,
    /// Whether the checksum of the whole database is wanted.
    checksums: bool,
    buf: Vec<u8>,
    filled: usize,
    /// First page in the buffer, and the one that would continue it.
    first: Option<PageNo>,
    next: Option<PageNo>,
}

impl<'a> Painter<'a> {
    pub(super) fn new(
        out: &'a dyn File,
        tally: &'a Tally,
        page_size: PageSize,
        checksums: bool,
    ) -> Painter<'a> {
        Painter {
            out,
            tally,
            page_size,
            checksums,
            buf: vec![0; BUFFER],
            filled: 0,
            first: None,
            next: None,
        }
    }

    /// A page's place in the buffer. What is put there counts only after [`Painter::keep`].
    pub(super) fn slot(&mut self, page: PageNo) -> std::io::Result<&mut [u8]> {
        if self.filled == self.buf.len() || self.next.is_some_and(|next| next != page) {
            self.flush()?;
        }
        let slot = self.filled..self.filled + self.page_size.bytes();
        Ok(&mut self.buf[slot])
    }

    /// The slot of this page was filled.
    pub(super) fn keep(&mut self, page: PageNo) -> std::io::Result<()> {
        let slot = &self.buf[self.filled..self.filled + self.page_size.bytes()];
        if self.checksums {
            self.tally.pages(Checksum::page(page, slot).get());
        }
        if is_zero(slot) {
            // The file is zero there already: a database with much unused space stays cheap.
            self.tally.wrote(slot.len() as u64);
            return self.flush();
        }
        self.first.get_or_insert(page);
        self.next = Some(page.next());
        self.filled += self.page_size.bytes();
        Ok(())
    }

    /// Puts a page in its place.
    pub(super) fn put(&mut self, page: PageNo, content: &[u8]) -> std::io::Result<()> {
        self.slot(page)?.copy_from_slice(content);
        self.keep(page)
    }

    /// Writes what is in the buffer.
    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        let filled = std::mem::take(&mut self.filled);
        self.next = None;
        let Some(first) = self.first.take() else {
            return Ok(());
        };
        self.out
            .write_at(&self.buf[..filled], first.offset(self.page_size))?;
        self.tally.wrote(filled as u64);
        Ok(())
    }
}

fn is_zero(page: &[u8]) -> bool {
    // All page sizes are multiples of it.
    const ZEROS: [u8; 512] = [0; 512];
    page.chunks(ZEROS.len()).all(|part| part == ZEROS)
}
