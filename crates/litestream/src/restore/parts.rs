//! Cuts a chain of files into pieces of work, newest file first.
//!
//! A small file is one piece. A large one is read through its page index, a slice of the index at a time, and cut at
//! frame boundaries; which of a part's pages are still needed is decided here, in index order. So memory does not
//! depend on the size of a file, and the pieces of one file can be worked on in any order.

use litestream_replica::FileInfo;
use ltx::{IndexEntry, PageNo, PageSize};

use super::claims::Turns;
use super::error::RestoreError;
use super::fetch::Fetch;
use super::large::{Large, OPENED, Part};
use super::tally::Tally;

/// How much a piece of work may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Files up to this size are read whole; parts of larger ones are about as large.
    pub(crate) piece: usize,
    /// Upper bound of a part's pages in bytes, before compression.
    pub(crate) pages: usize,
    /// Threads that share the pieces.
    pub(crate) threads: usize,
}

/// Small files in one piece: taking a turn costs more than reading one that lies in a local folder.
const BATCH_FILES: usize = 64;
/// Their bytes.
const BATCH_BYTES: u64 = 256 << 10;

/// What the index says of one frame, and whether its page is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) page: PageNo,
    /// Size of the frame; the top bit says that the page is wanted.
    size: u32,
}

impl Entry {
    const WANTED: u32 = 1 << 31;

    pub(crate) fn new(entry: IndexEntry, wanted: bool) -> Entry {
        // The index reader refuses sizes beyond what a page of 64 KiB can need.
        Entry {
            page: entry.page,
            size: entry.size as u32 | if wanted { Entry::WANTED } else { 0 },
        }
    }

    pub(crate) fn size(self) -> usize {
        (self.size & !Entry::WANTED) as usize
    }

    pub(crate) fn wanted(self) -> bool {
        self.size & Entry::WANTED != 0
    }
}

/// A piece of work for one thread.
pub(crate) enum Piece {
    /// Whole files, newest first, to be claimed with this ticket; the first one's position is `at`.
    Small {
        ticket: u64,
        at: usize,
        files: Vec<FileInfo>,
    },
    /// Consecutive frames of a large file.
    Part(Part),
}

/// Gives out the pieces of a chain.
pub(crate) struct Parts {
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
    pub(crate) fn new(files: Vec<FileInfo>, page_size: PageSize, limits: Limits) -> Parts {
        Parts {
            files,
            at: 0,
            ticket: 0,
            limits,
            page_size,
            large: None,
        }
    }

    /// The next piece, `None` at the end. Blocks while pieces given out before have to make their claims first.
    pub(crate) fn next(
        &mut self,
        fetch: &dyn Fetch,
        turns: &Turns,
        tally: &Tally,
    ) -> Result<Option<Piece>, RestoreError> {
        loop {
            match &mut self.large {
                Some(large) if !large.ready.is_empty() => {
                    return Ok(large.ready.pop_front().map(Piece::Part));
                }
                Some(large) if !large.complete => {
                    tally.read(large.fill()?);
                    let (ticket, limits) = (self.ticket, self.limits);
                    turns
                        .take(ticket, |claims| large.advance(claims, limits))
                        .ok_or(RestoreError::Cancelled)??;
                    self.ticket += 1;
                }
                Some(large) => {
                    let (ends, verified) = large.close()?;
                    tally.ends(self.at, ends);
                    if verified {
                        tally.verified();
                    }
                    self.large = None;
                    self.at += 1;
                }
                None => {
                    let Some(&file) = self.files.get(self.at) else {
                        return Ok(None);
                    };
                    if file.size <= self.limits.piece as u64 {
                        return Ok(Some(self.batch(file)));
                    }
                    self.large = Some(Large::open(file, Some(self.page_size), fetch)?);
                    tally.read(OPENED);
                }
            }
        }
    }

    /// The small files from here on that one thread should take: few while there are few, so that all threads read.
    fn batch(&mut self, first: FileInfo) -> Piece {
        let rest = &self.files[self.at + 1..];
        let files_max = (rest.len() / (4 * self.limits.threads)).min(BATCH_FILES);
        let piece_max = (self.limits.piece as u64).min(BATCH_BYTES);
        let (at, mut size) = (self.at, first.size);
        let mut files = vec![first];
        files.extend(rest.iter().take(files_max).take_while(|file| {
            size += file.size;
            size <= piece_max
        }));
        let ticket = self.ticket;
        self.ticket += 1;
        self.at += files.len();
        Piece::Small { ticket, at, files }
    }
}
