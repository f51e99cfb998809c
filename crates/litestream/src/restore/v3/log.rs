//! One WAL, as its parts come in: verified, set aside in a file, then brought into the database.
//!
//! Promise: the result is what SQLite's checkpoint of that WAL gives: the newest committed version of each page within the
//! size that the last commit names, and that size. It differs where SQLite would stop in silence: a frame that does not
//! continue the chain is an error, since 0.3 copied none.

use std::sync::Arc;

use litestream_replica::env::File;
use ltx::PageSize;

use crate::wal::{
    Cursor, FRAME_HEADER_SIZE, PageSet, Place, ScanEnd, WAL_HEADER_SIZE, WalHeader, frame_offset,
    frame_size, scan,
};

/// See the module.
pub(super) struct Log {
    file: Arc<dyn File>,
    page_size: PageSize,
    /// Bytes that came in.
    len: u64,
    /// Those of them that are not read yet: less than a frame.
    rest: Vec<u8>,
    cursor: Option<Cursor>,
    /// The newest committed frame of each page.
    pages: PageSet,
    /// The same for the transaction that has not ended yet.
    open: PageSet,
    /// Frames up to the last commit, and the size of the database in pages that it names.
    committed: Option<(u32, u32)>,
}

/// What is wrong with a frame or header, and the offset at which it begins.
pub(super) struct Broken {
    pub(super) at: u64,
    pub(super) what: String,
}

impl Log {
    /// An empty WAL, to be set aside in `file`, whose content does not matter.
    pub(super) fn new(file: Arc<dyn File>, page_size: PageSize) -> Log {
        Log {
            file,
            page_size,
            len: 0,
            rest: Vec::new(),
            cursor: None,
            pages: PageSet::offsets_only(page_size),
            open: PageSet::offsets_only(page_size),
            committed: None,
        }
    }

    /// How many bytes came in.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Takes the bytes that follow. They are verified as far as whole frames are there.
    pub(super) fn push(&mut self, bytes: &[u8]) -> std::io::Result<Result<(), Broken>> {
        self.file.write_at(bytes, self.len)?;
        self.len += bytes.len() as u64;
        self.rest.extend_from_slice(bytes);
        Ok(self.verify())
    }

    fn verify(&mut self) -> Result<(), Broken> {
        let mut cursor = match self.cursor {
            Some(cursor) => cursor,
            None if self.rest.len() < WAL_HEADER_SIZE => return Ok(()),
            None => self.header()?,
        };
        let size = frame_size(self.page_size) as usize;
        let whole = self.rest.len() / size * size;
        let (pages, open, committed) = (&mut self.pages, &mut self.open, &mut self.committed);
        let mut full = false;
        let end = scan(&mut cursor, &self.rest[..whole], |header, frame, _| {
            open.push(header.page, frame, &[]);
            full = frame == u32::MAX - 1;
            if header.commit != 0 {
                for (page, frame) in open.sorted(u32::MAX) {
                    pages.push(page, frame, &[]);
                }
                *committed = Some((frame + 1, header.commit));
            }
            !full
        });
        self.cursor = Some(cursor);
        let broken = |what: String| Broken {
            at: frame_offset(cursor.frames, cursor.page_size),
            what,
        };
        match end {
            ScanEnd::Consumed => {
                self.rest.drain(..whole);
                Ok(())
            }
            ScanEnd::Invalid => Err(broken(format!(
                "frame {} of this WAL has a wrong checksum, or is of another WAL",
                u64::from(cursor.frames) + 1
            ))),
            ScanEnd::Stopped => Err(broken(
                "a WAL with more frames than SQLite can number".to_owned(),
            )),
        }
    }

    fn header(&mut self) -> Result<Cursor, Broken> {
        let broken = |what: String| Broken { at: 0, what };
        let header = WalHeader::parse(&self.rest)
            .ok_or_else(|| broken("it does not begin with the header of a WAL".to_owned()))?;
        if header.page_size != self.page_size {
            return Err(broken(format!(
                "it is of a database with pages of {} bytes, the snapshot's have {}",
                header.page_size.get(),
                self.page_size.get()
            )));
        }
        self.rest.drain(..WAL_HEADER_SIZE);
        Ok(Cursor::start(&header))
    }

    /// Whether it ends with a commit, or before its first frame: as 0.3 leaves a WAL that another follows.
    pub(super) fn is_whole(&self) -> bool {
        let frames = self.cursor.map(|cursor| cursor.frames);
        self.rest.is_empty() && frames == Some(self.committed.map_or(0, |(frames, _)| frames))
    }

    /// Writes the committed pages in their places; the size of the database in bytes if anything was committed.
    /// `wrote` hears of every page.
    pub(super) fn checkpoint(
        mut self,
        database: &dyn File,
        mut wrote: impl FnMut(u64),
    ) -> Result<Option<u64>, CheckpointError> {
        let Some((_, commit)) = self.committed else {
            return Ok(None);
        };
        let mut page = vec![0; self.page_size.bytes()];
        for (number, entry) in self.pages.sorted(commit) {
            let Place::Frame(frame) = self.pages.place(entry) else {
                unreachable!("only offsets are kept");
            };
            let at = frame_offset(frame, self.page_size) + FRAME_HEADER_SIZE as u64;
            let read = self.file.read_exact_at(&mut page, at);
            read.map_err(CheckpointError::Read)?;
            let write = database.write_at(&page, number.offset(self.page_size));
            write.map_err(CheckpointError::Write)?;
            wrote(page.len() as u64);
        }
        let len = u64::from(commit) * u64::from(self.page_size.get());
        database.set_len(len).map_err(CheckpointError::Write)?;
        Ok(Some(len))
    }
}

/// Which of the two files failed.
pub(super) enum CheckpointError {
    Read(std::io::Error),
    Write(std::io::Error),
}
