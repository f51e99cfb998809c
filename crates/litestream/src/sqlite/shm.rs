//! The WAL-index header in shared memory, read without a system call.
//!
//! Layout: SQLite's "WAL-mode File Format", section 2.1: two copies of 48 bytes, then the checkpoint information.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::wal::{Salts, WalChecksum};
use ltx::PageSize;

/// Bytes of one region of the WAL-index.
pub(super) const REGION_SIZE: i32 = 32 * 1024;
/// 32-bit words of one header copy.
const COPY_WORDS: usize = 12;
/// Word index of nBackfill.
const BACKFILL_WORD: usize = 24;
/// Word index of the read marks; the first belongs to readers that use the database file only.
const READ_MARK_WORD: usize = 25;
/// A read mark that nobody uses.
const READ_MARK_NOT_USED: u32 = 0xffff_ffff;
/// Words that are read: two copies and the checkpoint information.
pub(super) const WORDS: usize = 32;
const INDEX_VERSION: u32 = 3_007_000;

/// What the WAL-index header says: the last committed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalState {
    /// Incremented by every commit.
    pub change: u32,
    /// Page size of the database.
    pub page_size: PageSize,
    /// Committed frames in the WAL.
    pub frames: u32,
    /// Database size in pages.
    pub pages: u32,
    /// Checksum of the chain after the last committed frame.
    pub checksum: WalChecksum,
    /// Generation of the WAL.
    pub salts: Salts,
    /// Frames that are in the database file.
    pub backfilled: u32,
}

/// Reads the header. `None` while a writer is between its two copies, or if the header needs recovery. A WAL-index made for an
/// empty WAL knows neither page size nor page count: `database_size` supplies them.
pub(super) fn read(
    words: &[AtomicU32; WORDS],
    database_size: impl FnOnce() -> Option<(PageSize, u32)>,
) -> Option<WalState> {
    let load = |i: usize| words[i].load(Ordering::Relaxed);
    let copy = |from: usize| -> [u32; COPY_WORDS] { std::array::from_fn(|i| load(from + i)) };
    let first = copy(0);
    fence(Ordering::SeqCst);
    let second = copy(COPY_WORDS);
    if first != second {
        return None;
    }
    fence(Ordering::SeqCst);
    // A restart publishes a header without frames before it takes back what was backfilled of the old ones.
    let backfilled = load(BACKFILL_WORD).min(first[4]);
    parse(&first, backfilled, database_size)
}

/// Clears the read marks 1 to 4 as SQLite's checkpointer does when it finds them unused: the first stands at the last
/// frame, the others at none. All four locks must be held exclusively.
pub(super) fn clear_read_marks(words: &[AtomicU32; WORDS], frames: u32) {
    words[READ_MARK_WORD + 1].store(frames, Ordering::SeqCst);
    for mark in &words[READ_MARK_WORD + 2..READ_MARK_WORD + 5] {
        mark.store(READ_MARK_NOT_USED, Ordering::SeqCst);
    }
}

fn parse(
    copy: &[u32; COPY_WORDS],
    backfilled: u32,
    database_size: impl FnOnce() -> Option<(PageSize, u32)>,
) -> Option<WalState> {
    let initialised = copy[3].to_ne_bytes()[0] == 1;
    if !initialised || copy[0] != INDEX_VERSION {
        return None;
    }
    // Header checksum: native words, as for a WAL in native byte order.
    let (mut s1, mut s2) = (0u32, 0u32);
    for pair in copy[..10].chunks_exact(2) {
        s1 = s1.wrapping_add(pair[0]).wrapping_add(s2);
        s2 = s2.wrapping_add(pair[1]).wrapping_add(s1);
    }
    if (s1, s2) != (copy[10], copy[11]) {
        return None;
    }
    let size = {
        let b = copy[3].to_ne_bytes();
        let raw = u32::from(u16::from_ne_bytes([b[2], b[3]]));
        // 65536 does not fit 16 bits; SQLite stores it as 1.
        (raw & 0xfe00) + ((raw & 0x0001) << 16)
    };
    let (page_size, pages) = if size == 0 {
        database_size()?
    } else {
        (PageSize::new(size)?, copy[5])
    };
    Some(WalState {
        change: copy[2],
        page_size,
        frames: copy[4],
        pages,
        checksum: WalChecksum(copy[6], copy[7]),
        // Stored as raw bytes of the file, which is big-endian.
        salts: Salts(
            u32::from_be_bytes(copy[8].to_ne_bytes()),
            u32::from_be_bytes(copy[9].to_ne_bytes()),
        ),
        backfilled,
    })
}
