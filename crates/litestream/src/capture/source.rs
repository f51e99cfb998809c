//! Where the pages of a file come from, in ascending order.

use std::iter::Peekable;
use std::sync::atomic::{AtomicBool, Ordering};

use ltx::{PageNo, PageSize};

use super::walfile::WalFile;
use crate::error::{Error, Result};
use crate::ledger::{Entries, Entry, Ledger};
use crate::sqlite::Sentinel;
use crate::wal::{Cursor, FRAME_HEADER_SIZE, PageSet, Place};

/// Bytes read from the database file at once.
const BLOCK_BYTES: usize = 1 << 20;

/// Pages in ascending order.
pub(super) trait PageSource {
    /// Puts the next page's content into `page` and returns its number; `None` at the end.
    fn next(&mut self, sentinel: &Sentinel, page: &mut [u8]) -> Result<Option<PageNo>>;
    /// About how many pages will come.
    fn count(&self) -> usize;
}

/// The pages of a range of frames, and those by which the database grew without writing them.
pub(super) struct WalPages<'a> {
    wal: &'a WalFile,
    set: &'a PageSet,
    captured: Peekable<std::vec::IntoIter<(PageNo, u32)>>,
    growth: Peekable<std::vec::IntoIter<(PageNo, Option<u32>)>>,
    like: Cursor,
    frame: Vec<u8>,
}

impl<'a> WalPages<'a> {
    /// `captured`: entries of `set`; `growth`: page and, if an older frame holds it, that frame. Both ascending.
    pub fn new(
        wal: &'a WalFile,
        set: &'a PageSet,
        captured: Vec<(PageNo, u32)>,
        growth: Vec<(PageNo, Option<u32>)>,
        like: Cursor,
    ) -> WalPages<'a> {
        WalPages {
            wal,
            set,
            captured: captured.into_iter().peekable(),
            growth: growth.into_iter().peekable(),
            like,
            frame: Vec::new(),
        }
    }

    fn read_frame(&mut self, index: u32, number: PageNo, page: &mut [u8]) -> Result<()> {
        self.wal
            .read_page(index, number, &self.like, &mut self.frame)?;
        page.copy_from_slice(&self.frame[FRAME_HEADER_SIZE..]);
        Ok(())
    }
}

impl PageSource for WalPages<'_> {
    fn next(&mut self, sentinel: &Sentinel, page: &mut [u8]) -> Result<Option<PageNo>> {
        let grown = match (self.captured.peek(), self.growth.peek()) {
            (Some(c), Some(g)) => g.0 < c.0,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if grown && let Some((number, frame)) = self.growth.next() {
            match frame {
                Some(index) => self.read_frame(index, number, page)?,
                None => sentinel.read_database(page, number.offset(self.like.page_size))?,
            }
            return Ok(Some(number));
        }
        let Some((number, entry)) = self.captured.next() else {
            return Ok(None);
        };
        match self.set.place(entry) {
            Place::Memory(data) => page.copy_from_slice(data),
            Place::Frame(index) => self.read_frame(index, number, page)?,
        }
        Ok(Some(number))
    }

    fn count(&self) -> usize {
        self.captured.len() + self.growth.len()
    }
}

/// Every page of the database: from the frames not yet backfilled, else from the database file.
pub(super) struct DatabasePages<'a> {
    wal: &'a WalFile,
    frames: Peekable<std::vec::IntoIter<(PageNo, u32)>>,
    next: u32,
    commit: u32,
    page_size: PageSize,
    like: Cursor,
    block: Vec<u8>,
    block_start: Option<u64>,
    frame: Vec<u8>,
}

impl<'a> DatabasePages<'a> {
    /// `frames`: pages whose newest version is in the WAL, ascending.
    pub fn new(
        wal: &'a WalFile,
        frames: Vec<(PageNo, u32)>,
        commit: u32,
        like: &Cursor,
    ) -> DatabasePages<'a> {
        DatabasePages {
            wal,
            frames: frames.into_iter().peekable(),
            next: 1,
            commit,
            page_size: like.page_size,
            like: *like,
            block: vec![0; BLOCK_BYTES.min(commit as usize * like.page_size.bytes())],
            block_start: None,
            frame: Vec::new(),
        }
    }

    /// Leaves out the pages before this one.
    pub fn starting_at(mut self, page: u32) -> Self {
        self.next = page;
        while self.frames.next_if(|e| e.0.get() < page).is_some() {}
        self
    }
}

impl PageSource for DatabasePages<'_> {
    fn next(&mut self, sentinel: &Sentinel, page: &mut [u8]) -> Result<Option<PageNo>> {
        if PageNo::new(self.next) == Some(self.page_size.lock_page()) {
            self.next += 1;
        }
        let Some(number) = PageNo::new(self.next).filter(|_| self.next <= self.commit) else {
            return Ok(None);
        };
        self.next += 1;
        if let Some((_, index)) = self.frames.next_if(|e| e.0 == number) {
            self.wal
                .read_page(index, number, &self.like, &mut self.frame)?;
            page.copy_from_slice(&self.frame[FRAME_HEADER_SIZE..]);
            return Ok(Some(number));
        }
        let offset = number.offset(self.page_size);
        let start = offset - offset % BLOCK_BYTES as u64;
        if self.block_start != Some(start) {
            self.block_start = None;
            sentinel.read_database(&mut self.block, start)?;
            self.block_start = Some(start);
        }
        let at = (offset - start) as usize;
        page.copy_from_slice(&self.block[at..at + page.len()]);
        Ok(Some(number))
    }

    fn count(&self) -> usize {
        (self.commit - self.next.saturating_sub(1).min(self.commit)) as usize
    }
}

/// The pages of the database that are not as a ledger says. Page 1 always, so that there is one.
pub(super) struct Differing<'a> {
    pages: DatabasePages<'a>,
    old: Entries<'a>,
    /// The ledger could not be read: the rest counts as differing.
    failed: bool,
    stop: &'a AtomicBool,
}

impl<'a> Differing<'a> {
    pub fn new(pages: DatabasePages<'a>, old: &'a Ledger, stop: &'a AtomicBool) -> Differing<'a> {
        Differing {
            pages,
            old: old.entries(),
            failed: false,
            stop,
        }
    }

    /// What the ledger says of a page; asked in ascending order.
    fn old(&mut self, number: PageNo) -> Option<Entry> {
        while !self.failed {
            match self.old.next() {
                Ok(Some((page, _))) if page < number => {}
                Ok(Some((_, entry))) => return entry,
                Ok(None) => return None,
                Err(error) => {
                    tracing::debug!(%error, "ledger cannot be read");
                    self.failed = true;
                }
            }
        }
        None
    }
}

impl PageSource for Differing<'_> {
    fn next(&mut self, sentinel: &Sentinel, page: &mut [u8]) -> Result<Option<PageNo>> {
        loop {
            let Some(number) = self.pages.next(sentinel, page)? else {
                return Ok(None);
            };
            // Nobody else looks as long as nothing differs.
            if number.get().is_multiple_of(256) && self.stop.load(Ordering::Relaxed) {
                return Err(Error::Closed);
            }
            let same = self.old(number) == Some(Entry::of(number, page));
            if !same || number == PageNo::FIRST {
                return Ok(Some(number));
            }
        }
    }

    fn count(&self) -> usize {
        self.pages.count()
    }
}
