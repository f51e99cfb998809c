//! What the bytes of a whole WAL mean, as SQLite's recovery would judge, and what they prove about the past.

use super::cursor::{Cursor, ScanEnd, scan};
use super::frame::{FRAME_HEADER_SIZE, FrameHeader};
use super::header::{Salts, WalHeader};
use ltx::PageNo;
use std::collections::BTreeMap;

/// The committed pages in the bytes of a WAL: newest version of each, and the database size in pages. `None` if
/// nothing is committed in it. The reference for property tests and small files; the engine streams instead.
pub fn recover(bytes: &[u8]) -> Option<(BTreeMap<PageNo, Vec<u8>>, u32)> {
    let header = WalHeader::parse(bytes)?;
    let mut cursor = Cursor::start(&header);
    let mut pending: Vec<(PageNo, &[u8])> = Vec::new();
    let mut pages = BTreeMap::new();
    let mut commit = None;
    let size = super::frame::frame_size(header.page_size) as usize;
    for frame in bytes[super::header::WAL_HEADER_SIZE..].chunks_exact(size) {
        let mut seen = None;
        if scan(&mut cursor, frame, |h, _, _| {
            seen = Some(*h);
            true
        }) != ScanEnd::Consumed
        {
            break;
        }
        let Some(h) = seen else { break };
        pending.push((h.page, &frame[FRAME_HEADER_SIZE..]));
        if h.commit != 0 {
            for (page, data) in pending.drain(..) {
                pages.insert(page, data.to_vec());
            }
            commit = Some(h.commit);
        }
    }
    let commit = commit?;
    pages.retain(|page, _| page.get() <= commit);
    Some((pages, commit))
}

/// What the WAL file still tells about a generation that has been overwritten from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The last frame read then is still in the file and no committed frame of that generation follows it: nothing was missed.
    NothingMissed,
    /// It can't be told, or something was missed.
    None,
}

/// Judges, after exactly one restart (checked by the salts), whether the previous generation ended where `last`
/// stood. `tail` is the file from the start of the last frame then read (`last.frames` − 1) on; `overwritten` is how many frames
/// the current generation has written so far. Sound because frames of a generation are only ever appended until the restart, and
/// the restart overwrites from the start of the file. `complete`: whether `tail` reaches the end of the file.
pub fn restart_evidence(
    last: &Cursor,
    now: Salts,
    overwritten: u32,
    tail: &[u8],
    complete: bool,
) -> Evidence {
    if !now.follows(last.salts) || last.frames == 0 || overwritten >= last.frames {
        return Evidence::None;
    }
    let size = super::frame::frame_size(last.page_size) as usize;
    let Some(header) = tail.get(..size).and_then(FrameHeader::parse) else {
        return Evidence::None;
    };
    if header.salts != last.salts || header.checksum != last.checksum || header.commit == 0 {
        return Evidence::None;
    }
    let mut cursor = *last;
    let mut missed = false;
    let end = scan(&mut cursor, &tail[size..], |h, _, _| {
        missed |= h.commit != 0;
        !missed
    });
    let seen_to_the_end = end == ScanEnd::Invalid || (end == ScanEnd::Consumed && complete);
    if seen_to_the_end && !missed {
        Evidence::NothingMissed
    } else {
        Evidence::None
    }
}
