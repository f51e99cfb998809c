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
    /// The last frame read then is still in the file and what follows it is older: nothing was missed.
    NothingMissed,
    /// The last frame read then is still in the file, and no commit follows it up to the end, which is the end of a frame. What
    /// followed may have been cut off: SQLite can shorten a WAL after a restart (`journal_size_limit`), though hardly ever to whole
    /// frames.
    EndOfFile,
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
    match end {
        _ if missed => Evidence::None,
        ScanEnd::Invalid => Evidence::NothingMissed,
        // A part of a frame: the file was cut, and what stood there is gone. The change counter need not show it, since it
        // begins anew whenever SQLite recovers the WAL-index.
        ScanEnd::Consumed if complete && tail.len().is_multiple_of(size) => Evidence::EndOfFile,
        ScanEnd::Consumed | ScanEnd::Stopped => Evidence::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{ByteOrder, frame_size};
    use ltx::PageSize;

    /// Frames of one generation (page, commit), from its header on; the cursor after all of them.
    fn generation(salts: Salts, order: ByteOrder, frames: &[(u32, u32)]) -> (Vec<u8>, Cursor) {
        let page_size = PageSize::new(512).expect("valid");
        let mut bytes = WalHeader::encode(order, page_size, 0, salts).to_vec();
        let mut cursor = Cursor::start(&WalHeader::parse(&bytes).expect("just made"));
        for &(page, commit) in frames {
            let page = PageNo::new(page).expect("not zero");
            let data = [(page.get() as u8) ^ (salts.0 as u8); 512];
            let (frame, sum) =
                FrameHeader::encode(page, commit, salts, cursor.checksum, order, &data);
            bytes.extend_from_slice(&frame);
            cursor = Cursor {
                frames: cursor.frames + 1,
                checksum: sum,
                ..cursor
            };
        }
        (bytes, cursor)
    }

    /// `new` written over the start of `old`.
    fn overwrite(old: &[u8], new: &[u8]) -> Vec<u8> {
        let mut out = old.to_vec();
        out[..new.len()].copy_from_slice(new);
        out
    }

    fn judge(file: &[u8], last: &Cursor, now: Salts, overwritten: u32) -> Evidence {
        let step = frame_size(last.page_size) as usize;
        let from = 32 + (last.frames as usize - 1) * step;
        restart_evidence(
            last,
            now,
            overwritten,
            file.get(from..).unwrap_or_default(),
            true,
        )
    }

    #[test]
    fn a_restart_right_after_the_last_frame_missed_nothing() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let (old, last) = generation(Salts(1, 2), order, &[(1, 0), (2, 2), (3, 3)]);
            let (new, _) = generation(Salts(2, 9), order, &[(1, 3)]);
            let file = overwrite(&old, &new);
            assert_eq!(judge(&file, &last, Salts(2, 9), 1), Evidence::EndOfFile);
            let (older, _) = generation(Salts(0, 7), order, &[(1, 1); 5]);
            let longer = overwrite(&older, &file);
            assert_eq!(
                judge(&longer, &last, Salts(2, 9), 1),
                Evidence::NothingMissed
            );
            assert_eq!(
                judge(&file, &last, Salts(3, 9), 1),
                Evidence::None,
                "two restarts"
            );
            assert_eq!(
                judge(&file, &last, Salts(2, 9), 3),
                Evidence::None,
                "overwritten"
            );
        }
    }

    #[test]
    fn a_commit_after_the_last_frame_is_seen() {
        let (_, last) = generation(Salts(1, 2), ByteOrder::Little, &[(1, 1), (2, 2)]);
        let (old, _) = generation(
            Salts(1, 2),
            ByteOrder::Little,
            &[(1, 1), (2, 2), (5, 0), (3, 3)],
        );
        let (new, _) = generation(Salts(2, 9), ByteOrder::Little, &[(1, 3)]);
        assert_eq!(
            judge(&overwrite(&old, &new), &last, Salts(2, 9), 1),
            Evidence::None
        );
        let (rolled_back, _) = generation(
            Salts(1, 2),
            ByteOrder::Little,
            &[(1, 1), (2, 2), (5, 0), (3, 0)],
        );
        assert_eq!(
            judge(&overwrite(&rolled_back, &new), &last, Salts(2, 9), 1),
            Evidence::EndOfFile
        );
    }

    #[test]
    fn a_file_that_was_cut_within_the_next_frame_proves_nothing() {
        let frames = [(1, 1), (2, 2), (3, 3)];
        let (_, last) = generation(Salts(1, 2), ByteOrder::Little, &frames[..2]);
        let (old, _) = generation(Salts(1, 2), ByteOrder::Little, &frames);
        let (new, _) = generation(Salts(2, 9), ByteOrder::Little, &[(1, 3)]);
        let file = overwrite(&old, &new);
        for len in last.offset() as usize..file.len() {
            let expected = if len as u64 == last.offset() {
                Evidence::EndOfFile
            } else {
                Evidence::None
            };
            assert_eq!(judge(&file[..len], &last, Salts(2, 9), 1), expected);
        }
    }

    #[test]
    fn w24_an_identical_last_page_does_not_pass_for_the_same_frame() {
        let (_, last) = generation(Salts(1, 2), ByteOrder::Little, &[(1, 1), (2, 2)]);
        let (other, _) = generation(Salts(1, 2), ByteOrder::Little, &[(7, 7), (2, 2)]);
        let (new, _) = generation(Salts(2, 9), ByteOrder::Little, &[(1, 3)]);
        assert_eq!(
            judge(&overwrite(&other, &new), &last, Salts(2, 9), 1),
            Evidence::None
        );
    }

    #[test]
    fn w25_an_uncommitted_tail_is_not_recovered() {
        let (bytes, _) = generation(
            Salts(1, 2),
            ByteOrder::Big,
            &[(1, 0), (2, 2), (3, 0), (4, 0)],
        );
        let (pages, commit) = recover(&bytes).expect("one commit");
        assert_eq!((pages.len(), commit), (2, 2));
        assert!(recover(&bytes[..32 + 536]).is_none());
    }

    #[test]
    fn w37_headers_that_are_none() {
        let (bytes, _) = generation(Salts(1, 2), ByteOrder::Little, &[(1, 1)]);
        for cut in [0, 1, 31] {
            assert!(recover(&bytes[..cut]).is_none());
        }
        assert!(recover(&[0; 32]).is_none());
        assert!(recover(&[0xa5; 600]).is_none());
    }
}
