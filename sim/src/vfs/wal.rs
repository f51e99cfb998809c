//! What a WAL file holds, by SQLite's documentation of the format: for the oracle, independent of the engine.

use std::collections::BTreeMap;

/// Length of the file's header.
const HEADER: usize = 32;
/// Length of a frame's header.
const FRAME_HEADER: usize = 24;

/// Where the newest committed version of each page is: page number to offset in the file.
#[derive(Default)]
pub struct Pages {
    pub at: BTreeMap<u32, usize>,
    /// Size of the database in pages after the last commit; 0: no commit.
    pub count: u32,
    pub page_size: usize,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(word)
}

fn checksum(big_endian: bool, mut sum: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    for pair in bytes.chunks_exact(8) {
        let read = |at: usize| {
            let raw = word(pair, at);
            if big_endian { raw } else { raw.swap_bytes() }
        };
        sum[0] = sum[0].wrapping_add(read(0)).wrapping_add(sum[1]);
        sum[1] = sum[1].wrapping_add(read(4)).wrapping_add(sum[0]);
    }
    sum
}

/// Offset of the first byte of frame `index` (from 0).
fn frame_at(index: usize, page_size: usize) -> usize {
    HEADER + index * (FRAME_HEADER + page_size)
}

/// The first `frames` frames, believed as they are (the WAL index vouches for them). `None`: the file is too short.
pub fn believed(wal: &[u8], frames: u32, page_size: usize) -> Option<Pages> {
    let mut pages = Pages {
        page_size,
        ..Pages::default()
    };
    for index in 0..frames as usize {
        let at = frame_at(index, page_size);
        if at + FRAME_HEADER + page_size > wal.len() {
            return None;
        }
        pages.at.insert(word(wal, at), at + FRAME_HEADER);
    }
    Some(pages)
}

/// What recovery finds: the frames up to the last valid commit.
pub fn recovered(wal: &[u8]) -> Pages {
    let mut pages = Pages::default();
    if wal.len() < HEADER {
        return pages;
    }
    let magic = word(wal, 0);
    let page_size = word(wal, 8) as usize;
    let big_endian = magic & 1 == 1;
    let mut sum = checksum(big_endian, [0, 0], &wal[..24]);
    let valid = magic & !1 == 0x377f_0682
        && word(wal, 4) == 3_007_000
        && page_size.is_power_of_two()
        && (512..=65_536).contains(&page_size)
        && sum == [word(wal, 24), word(wal, 28)];
    if !valid {
        return pages;
    }
    pages.page_size = page_size;
    let mut open = Vec::new();
    for index in 0.. {
        let at = frame_at(index, page_size);
        let body = at + FRAME_HEADER;
        if body + page_size > wal.len() || wal[at + 8..at + 16] != wal[16..24] {
            break;
        }
        sum = checksum(big_endian, sum, &wal[at..at + 8]);
        sum = checksum(big_endian, sum, &wal[body..body + page_size]);
        let page = word(wal, at);
        if page == 0 || sum != [word(wal, at + 16), word(wal, at + 20)] {
            break;
        }
        open.push((page, body));
        let count = word(wal, at + 4);
        if count > 0 {
            pages.at.extend(open.drain(..));
            pages.count = count;
        }
    }
    pages
}

/// The header of the WAL index.
pub struct IndexHeader {
    pub frames: u32,
    pub count: u32,
    pub page_size: usize,
}

/// The header if both copies agree and are valid (written by this machine, in its byte order).
pub fn index_header(shm: &[u8]) -> Option<IndexHeader> {
    const LEN: usize = 48;
    let (first, second) = (shm.get(..LEN)?, shm.get(LEN..2 * LEN)?);
    let native = |at: usize| word(first, at).swap_bytes();
    if first != second || first[12] == 0 || cfg!(target_endian = "big") {
        return None;
    }
    if checksum(false, [0, 0], &first[..40]) != [native(40), native(44)] {
        return None;
    }
    let size = usize::from(u16::from_le_bytes([first[14], first[15]]));
    Some(IndexHeader {
        frames: native(16),
        count: native(20),
        page_size: (size & 0xfe00) + ((size & 1) << 16),
    })
}
