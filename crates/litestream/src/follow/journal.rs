//! A rollback journal, as "The Rollback Journal" in SQLite's file format has it.
//!
//! Promise: from [`Journal::seal`] on, until the file is removed, whoever opens the database through SQLite and finds no lock
//! brings the pages that were added back, and the old size. Before, the journal says that there is nothing to bring back.

use std::path::{Path, PathBuf};

use litestream_replica::env::{Disk, File};
use ltx::{PageNo, PageSize};

use super::Place;
use super::error::FollowError;
use crate::restore::aside;

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// The header takes up a sector; the smallest that disks have, so that nothing is padded in vain.
const SECTOR: u32 = 512;
/// Where the number of pages is in the header.
const COUNT_AT: u64 = 8;
const BUFFER: usize = 1 << 18;

/// See the module. Unless sealed, it is removed when dropped.
pub(super) struct Journal<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    file: Box<dyn File>,
    page_size: PageSize,
    nonce: u32,
    buffer: Vec<u8>,
    written: u64,
    count: u32,
    sealed: bool,
}

/// The header of a journal without pages.
fn header(nonce: u32, pages: u32, page_size: PageSize) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    for field in [0, nonce, pages, SECTOR, page_size.get()] {
        header.extend(field.to_be_bytes());
    }
    header.resize(SECTOR as usize, 0);
    header
}

/// SQLite's own: every 200th byte from the end, the first left out.
fn checksum(nonce: u32, page: &[u8]) -> u32 {
    let bytes = page.iter().rev().skip(199).step_by(200);
    bytes.fold(nonce, |sum, &byte| sum.wrapping_add(u32::from(byte)))
}

impl<'a> Journal<'a> {
    /// Begins the journal of a database that has `pages` pages.
    pub(super) fn create(
        place: &'a Place,
        page_size: PageSize,
        pages: u32,
    ) -> Result<Journal<'a>, FollowError> {
        let (disk, path) = (&*place.env.disk, place.journal());
        let database = disk
            .metadata(&place.real)
            .map_err(FollowError::io("look at", &place.real))?;
        // Who may write the database must be able to roll it back.
        let mode = database.mode & 0o777;
        let file = disk
            .create_new(&path, mode)
            .map_err(FollowError::io("create", &path))?;
        let nonce = place.env.entropy.next_u64() as u32;
        let journal = Journal {
            disk,
            file,
            page_size,
            nonce,
            buffer: header(nonce, pages, page_size),
            written: 0,
            count: 0,
            sealed: false,
            path,
        };
        let _ = disk.set_mode(&journal.path, mode);
        let _ = disk.set_owner(&journal.path, database.uid, database.gid);
        Ok(journal)
    }

    /// Keeps a page as it is. Each page once.
    pub(super) fn add(&mut self, number: PageNo, page: &[u8]) -> Result<(), FollowError> {
        debug_assert_eq!(page.len(), self.page_size.bytes());
        self.buffer.extend(number.get().to_be_bytes());
        self.buffer.extend(page);
        self.buffer.extend(checksum(self.nonce, page).to_be_bytes());
        self.count += 1;
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FollowError> {
        self.file
            .write_at(&self.buffer, self.written)
            .map_err(FollowError::io("write", &self.path))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the journal durable, and then valid: from here on it is rolled back unless it is removed.
    pub(super) fn seal(&mut self) -> Result<(), FollowError> {
        self.flush()?;
        let sync = |journal: &Journal| {
            let synced = journal.file.sync();
            synced.map_err(FollowError::io("sync", &journal.path))
        };
        sync(self)?;
        self.file
            .write_at(&self.count.to_be_bytes(), COUNT_AT)
            .map_err(FollowError::io("write", &self.path))?;
        sync(self)?;
        sync_dir(self.disk, &self.path)?;
        self.sealed = true;
        Ok(())
    }

    /// The new state is durable: the old one does not come back.
    pub(super) fn commit(self) -> Result<(), FollowError> {
        self.disk
            .remove(&self.path)
            .map_err(FollowError::io("remove", &self.path))?;
        sync_dir(self.disk, &self.path)
    }
}

impl Drop for Journal<'_> {
    fn drop(&mut self) {
        if !self.sealed
            && let Err(error) = self.disk.remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a journal that was not used");
        }
    }
}

/// Whether the file is one that SQLite would roll back.
pub(super) fn is_hot(disk: &dyn Disk, path: &Path) -> Result<bool, FollowError> {
    let mut first = [0];
    match disk.open(path).and_then(|file| file.read_at(&mut first, 0)) {
        Ok(read) => Ok(read == 1 && first != [0]),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(FollowError::io("read", path)(e)),
    }
}

pub(super) fn sync_dir(disk: &dyn Disk, path: &Path) -> Result<(), FollowError> {
    let dir = aside::dir(path);
    disk.sync_dir(dir)
        .map_err(FollowError::io("sync folder", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_the_format() {
        let bytes = header(0x0102_0304, 9, PageSize::new(4096).unwrap());
        assert_eq!(bytes.len(), 512);
        assert_eq!(bytes[..8], MAGIC);
        assert_eq!(bytes[8..12], [0; 4], "no pages yet");
        assert_eq!(bytes[12..16], [1, 2, 3, 4]);
        assert_eq!(bytes[16..28], [0, 0, 0, 9, 0, 0, 2, 0, 0, 0, 16, 0]);
    }

    #[test]
    fn the_checksum_takes_every_200th_byte_from_the_end() {
        let mut page = vec![0; 512];
        (page[312], page[112], page[0], page[511]) = (1, 2, 100, 100);
        assert_eq!(checksum(10, &page), 13);
        assert_eq!(checksum(u32::MAX, &page), 2, "it wraps");
    }
}
