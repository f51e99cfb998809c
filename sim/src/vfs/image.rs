//! The committed state of a database, put together from the bytes that are there now.
//!
//! Promise: the state that a new reader would see, by rules of the file formats only; nothing is opened, locked or changed.

use std::path::Path;

use super::regions::REGION;
use super::shm::DMS;
use super::{beside, stage, wal};
use crate::disk::SimDisk;

/// A committed state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Size of a page; 0 for an empty database.
    pub page_size: usize,
    /// All pages, one after the other.
    pub bytes: Vec<u8>,
}

impl Image {
    /// Number of pages.
    pub fn count(&self) -> u32 {
        self.bytes.len().checked_div(self.page_size).unwrap_or(0) as u32
    }

    /// All pages in order.
    pub fn pages(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.page_size.max(1))
    }

    /// A hash of everything.
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(&self.bytes, self.page_size as u64)
    }
}

/// The locks `PENDING` and `RESERVED` of a database file.
const PENDING: std::ops::Range<u8> = 0..1;
const RESERVED: std::ops::Range<u8> = 1..2;

/// The committed state of `database`: by the WAL index if somebody has it open and it is whole, else as recovery of the
/// WAL would find it, else the database file. `None`: nobody can know without running SQLite (a hot journal, a rollback
/// transaction that writes to the file, frames missing from the WAL), or there is no file.
pub fn committed_image(disk: &SimDisk, database: &Path) -> Option<Image> {
    let file = disk.read(database).ok()?;
    let log = disk.read(&beside(database, "-wal")).unwrap_or_default();
    if let Some(header) = index(disk, database) {
        let mut pages = wal::believed(&log, header.frames, header.page_size)?;
        pages.count = header.count;
        return overlay(file, &log, &pages);
    }
    if log.is_empty() || file.is_empty() {
        if is_being_written(disk, database, &file) {
            return None;
        }
        return overlay(file, &[], &wal::Pages::default());
    }
    overlay(file, &log, &wal::recovered(&log))
}

/// The header of the WAL index, from memory; nothing if nobody keeps it.
fn index(disk: &SimDisk, database: &Path) -> Option<wal::IndexHeader> {
    let path = beside(database, "-shm");
    if !disk.is_locked(&path, DMS) {
        return None;
    }
    let inode = disk.metadata(&path).ok()?.id;
    let stage = stage()?;
    let memory = stage.memory.borrow().get(&inode)?.upgrade()?;
    wal::index_header(memory.head().get(..REGION)?)
}

/// Whether a journal holds pages that belong to the state. (Without a journal on disk, as in the modes `MEMORY` and `OFF`,
/// nobody can tell.)
fn is_being_written(disk: &SimDisk, database: &Path, file: &[u8]) -> bool {
    let journal = disk.read(&beside(database, "-journal")).unwrap_or_default();
    if journal.first().is_none_or(|&byte| byte == 0) {
        return false;
    }
    if disk.is_locked(database, PENDING) {
        return true;
    }
    // Before it has this lock a transaction writes its journal only.
    !disk.is_locked(database, RESERVED) && !file.is_empty()
}

/// The number of pages of a database file. It can be longer than its header says: SQLite cuts it after the commit. The header counts if
/// it was written together with the change counter (SQLite's file format, section 1.3.7).
fn size_of_file(bytes: &[u8], page_size: usize) -> usize {
    let whole = bytes.len() / page_size;
    let word = |at: usize| bytes.get(at..at + 4);
    let stored = word(28).map_or(0, |w| w.iter().fold(0, |n, &b| n << 8 | usize::from(b)));
    if stored > 0 && stored < whole && word(24) == word(92) {
        stored
    } else {
        whole
    }
}

fn overlay(mut bytes: Vec<u8>, log: &[u8], pages: &wal::Pages) -> Option<Image> {
    let mut page_size = pages.page_size;
    if page_size == 0 {
        let stored = bytes
            .get(16..18)
            .map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])));
        page_size = if stored == 1 { 65_536 } else { stored };
    }
    if !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
        return bytes.is_empty().then(Image::default);
    }
    let count = match pages.count {
        0 => size_of_file(&bytes, page_size),
        count => count as usize,
    };
    bytes.resize(count * page_size, 0);
    for (&page, &at) in &pages.at {
        let from = (page as usize).saturating_sub(1) * page_size;
        if let Some(target) = bytes.get_mut(from..from + page_size) {
            target.copy_from_slice(log.get(at..at + page_size)?);
        }
    }
    Some(Image { page_size, bytes })
}
