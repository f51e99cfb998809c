//! Any bytes as a WAL beside a database: what is committed there is what SQLite says.

use std::collections::BTreeMap;

use litestream::wal::{
    Cursor, Evidence, PageSet, Place, Salts, ScanEnd, WAL_HEADER_SIZE, WalHeader, frame_size,
    recover, restart_evidence, scan,
};
use ltx::{PageNo, PageSize};

use crate::sqlite;
use crate::walscript::{Pair, Past};

/// The first byte decides: even is a script of generations, frames and damage; odd is the WAL itself, byte for byte.
/// Whatever the bytes, the readers of the engine and SQLite find the same committed pages.
pub fn wal_scan(data: &[u8]) {
    wal_scan_outcome(data);
}

/// What came of it: whether anything was committed in the WAL, or `None` if SQLite itself could not use the pair.
#[must_use]
pub fn wal_scan_compared(data: &[u8]) -> Option<bool> {
    wal_scan_outcome(data)
}

fn wal_scan_outcome(data: &[u8]) -> Option<bool> {
    let (pair, past) = Pair::from_script(data);
    streamed_as_whole(&pair.wal);
    if let Some(past) = past {
        evidence_is_sound(&pair.wal, &past);
    }
    let committed = recover(&pair.wal);
    let sqlites = sqlite::checkpointed(&pair.base, &pair.wal)?;
    let ours = pair.with(committed.as_ref());
    assert!(
        ours == sqlites,
        "another image than SQLite's: {} and {} bytes, first difference at {:?}, {} bytes of WAL",
        ours.len(),
        sqlites.len(),
        ours.iter().zip(&sqlites).position(|(a, b)| a != b),
        pair.wal.len()
    );
    Some(committed.is_some())
}

/// Read in pieces, kept in memory or by place: the same as read at once.
fn streamed_as_whole(wal: &[u8]) {
    let expected = recover(wal);
    let Some(header) = WalHeader::parse(wal) else {
        assert!(expected.is_none());
        return;
    };
    let step = frame_size(header.page_size) as usize;
    for piece in [step, 3 * step + 7, usize::MAX / 2] {
        for in_memory in [true, false] {
            let got = streamed(wal, &header, piece, in_memory);
            assert!(
                got == expected,
                "in pieces of {piece}, in memory: {in_memory}"
            );
        }
    }
}

type Pages = BTreeMap<PageNo, Vec<u8>>;

fn streamed(wal: &[u8], header: &WalHeader, piece: usize, in_memory: bool) -> Option<(Pages, u32)> {
    let size = header.page_size;
    // Where the last commit is, as the engine finds it first.
    let mut cursor = Cursor::start(header);
    let mut end = None;
    drive(&mut cursor, wal, piece, |frame, commit, _, _| {
        if commit != 0 {
            end = Some((frame + 1, commit));
        }
    });
    let (frames, commit) = end?;
    let mut set = if in_memory {
        PageSet::new(size, usize::MAX / 2)
    } else {
        PageSet::offsets_only(size)
    };
    let mut cursor = Cursor::start(header);
    drive(&mut cursor, wal, piece, |frame, _, page, data| {
        if frame < frames {
            set.push(page, frame, data);
        }
    });
    let sorted = set.sorted(commit);
    let pages = sorted.into_iter().map(|(page, entry)| {
        let data = match set.place(entry) {
            Place::Memory(data) => data.to_vec(),
            Place::Frame(frame) => {
                let at = WAL_HEADER_SIZE + frame as usize * frame_size(size) as usize + 24;
                wal[at..at + size.bytes()].to_vec()
            }
        };
        (page, data)
    });
    Some((pages.collect(), commit))
}

/// Reads on from the cursor, never more than a piece at a time.
fn drive(
    cursor: &mut Cursor,
    wal: &[u8],
    piece: usize,
    mut visit: impl FnMut(u32, u32, PageNo, &[u8]),
) {
    loop {
        let from = cursor.offset() as usize;
        let to = wal.len().min(from.saturating_add(piece));
        let before = cursor.frames;
        let end = scan(cursor, &wal[from..to], |h, frame, data| {
            visit(frame, h.commit, h.page, data);
            true
        });
        assert!(end != ScanEnd::Stopped);
        if end == ScanEnd::Invalid || cursor.frames == before {
            return;
        }
    }
}

/// "Nothing was missed" is never said if something was.
fn evidence_is_sound(wal: &[u8], past: &Past) {
    for (last, commits_after) in &past.stands {
        let step = frame_size(last.page_size) as usize;
        let at = WAL_HEADER_SIZE + (last.frames as usize).saturating_sub(1) * step;
        let tail = wal.get(at..).unwrap_or_default();
        for now in [past.now, Salts(past.now.0.wrapping_add(1), 0)] {
            let evidence = restart_evidence(last, now, past.overwritten, tail, true);
            if evidence == Evidence::NothingMissed {
                assert!(
                    *commits_after == 0 && now == past.now,
                    "a commit was missed"
                );
            }
            if evidence == Evidence::EndOfFile {
                assert!(past.was_cut || *commits_after == 0, "a commit was missed");
            }
        }
    }
}

impl Pair {
    /// The database with what is committed.
    fn with(&self, committed: Option<&(Pages, u32)>) -> Vec<u8> {
        let mut image = self.base.clone();
        if let Some((pages, commit)) = committed {
            let size: PageSize = self.page_size;
            image.resize(*commit as usize * size.bytes(), 0);
            for (page, data) in pages {
                let at = page.offset(size) as usize;
                image[at..at + data.len()].copy_from_slice(data);
            }
        }
        image
    }
}
