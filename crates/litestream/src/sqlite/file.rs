//! The file methods of a connection's main database: reads, WAL-index memory, locks.

use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

use ltx::PageSize;
use rusqlite::{Connection, ffi};

use super::shm::{REGION_SIZE, WORDS};
use crate::error::{Error, Result};

/// Locks of the WAL-index: SQLite's "WAL-mode File Format", section 2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Held by whoever commits.
    Write = 0,
    /// Held by whoever copies frames into the database.
    Checkpoint = 1,
    /// Held by whoever recovers the index, together with all others.
    Recover = 2,
    /// Held, shared, by whoever reads frames up to the first read mark; the others alike.
    Read1 = 4,
    /// The second.
    Read2 = 5,
    /// The third.
    Read3 = 6,
    /// The fourth.
    Read4 = 7,
}

impl Slot {
    /// The slots of all transactions that read from the WAL, the least used first.
    pub(super) const READS: [Slot; 4] = [Slot::Read4, Slot::Read3, Slot::Read2, Slot::Read1];
}

/// The `sqlite3_file` of an open connection. Must not outlive it: the owner keeps both together and drops this first.
pub(super) struct DbFile {
    file: NonNull<ffi::sqlite3_file>,
}

// SAFETY: a `sqlite3_file` has no thread affinity; the owner (one worker) never uses it from two threads at once.
unsafe impl Send for DbFile {}

impl DbFile {
    /// Fetches the file of `conn`'s main database.
    pub(super) fn of(conn: &Connection) -> Result<DbFile> {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: the handle is open; FILE_POINTER stores one pointer at the given address.
        let rc = unsafe {
            ffi::sqlite3_file_control(
                conn.handle(),
                c"main".as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut file).cast::<c_void>(),
            )
        };
        check(rc, "file pointer")?;
        NonNull::new(file)
            .map(|file| DbFile { file })
            .ok_or_else(|| code(ffi::SQLITE_ERROR, "file pointer"))
    }

    fn methods(&self) -> &ffi::sqlite3_io_methods {
        // SAFETY: an open file always has methods, and they are static.
        unsafe { &*(*self.file.as_ptr()).pMethods }
    }

    /// Fills `buf` from the database file at `offset`; bytes beyond its end read as zero.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let read = self
            .methods()
            .xRead
            .ok_or_else(|| code(ffi::SQLITE_ERROR, "xRead"))?;
        // SAFETY: the buffer is valid for its length, which callers keep far below 2 GiB.
        let rc = unsafe {
            read(
                self.file.as_ptr(),
                buf.as_mut_ptr().cast(),
                buf.len() as c_int,
                offset as i64,
            )
        };
        if rc == ffi::SQLITE_IOERR_SHORT_READ {
            Ok(())
        } else {
            check(rc, "read database")
        }
    }

    /// Takes the shared lock that keeps a closing connection from removing the WAL.
    pub(super) fn lock_shared(&self) -> Result<()> {
        let lock = self
            .methods()
            .xLock
            .ok_or_else(|| code(ffi::SQLITE_ERROR, "xLock"))?;
        // SAFETY: plain call; a lock already held is left alone.
        check(
            unsafe { lock(self.file.as_ptr(), ffi::SQLITE_LOCK_SHARED) },
            "lock database",
        )
    }

    /// Tries to raise the lock on the database to `level`, which follows the one held (shared, reserved, exclusive); `false`
    /// if another connection is in the way.
    pub(super) fn try_lock_database(&self, level: c_int) -> Result<bool> {
        let lock = self
            .methods()
            .xLock
            .ok_or_else(|| code(ffi::SQLITE_ERROR, "xLock"))?;
        // SAFETY: plain call; the owner asks for the levels in order and runs no SQL on the connection.
        match unsafe { lock(self.file.as_ptr(), level) } {
            ffi::SQLITE_OK => Ok(true),
            rc if rc & 0xff == ffi::SQLITE_BUSY => Ok(false),
            rc => Err(code(rc, "lock database")),
        }
    }

    /// Gives all locks on the database back.
    pub(super) fn unlock_database(&self) -> Result<()> {
        let unlock = self
            .methods()
            .xUnlock
            .ok_or_else(|| code(ffi::SQLITE_ERROR, "xUnlock"))?;
        // SAFETY: plain call; without a lock it does nothing.
        check(
            unsafe { unlock(self.file.as_ptr(), ffi::SQLITE_LOCK_NONE) },
            "unlock database",
        )
    }

    /// Writes to the database file. The caller holds the exclusive lock.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let write = self
            .methods()
            .xWrite
            .ok_or_else(|| code(ffi::SQLITE_ERROR, "xWrite"))?;
        // SAFETY: the bytes are valid for their length, which callers keep far below 2 GiB.
        let rc = unsafe {
            write(
                self.file.as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len() as c_int,
                offset as i64,
            )
        };
        check(rc, "write database")
    }

    /// Sets the length of the database file. The caller holds the exclusive lock.
    pub(super) fn set_len(&self, len: u64) -> Result<()> {
        let truncate = self
            .methods()
            .xTruncate
            .ok_or_else(|| code(ffi::SQLITE_ERROR, "xTruncate"))?;
        // SAFETY: plain call.
        check(
            unsafe { truncate(self.file.as_ptr(), len as i64) },
            "truncate database",
        )
    }

    /// The length of the database file.
    pub(super) fn len(&self) -> Result<u64> {
        let size = self
            .methods()
            .xFileSize
            .ok_or_else(|| code(ffi::SQLITE_ERROR, "xFileSize"))?;
        let mut len = 0;
        // SAFETY: stores one integer at the given address.
        check(
            unsafe { size(self.file.as_ptr(), &raw mut len) },
            "size of database",
        )?;
        Ok(len as u64)
    }

    /// Makes the database file durable.
    pub(super) fn sync(&self) -> Result<()> {
        let sync = self
            .methods()
            .xSync
            .ok_or_else(|| code(ffi::SQLITE_ERROR, "xSync"))?;
        // SAFETY: plain call.
        check(
            unsafe { sync(self.file.as_ptr(), ffi::SQLITE_SYNC_NORMAL) },
            "sync database",
        )
    }

    /// Tries to take a WAL-index lock exclusively; `false` if another connection holds it.
    pub(super) fn try_lock(&self, slot: Slot) -> Result<bool> {
        match self.shm_lock(slot, ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_EXCLUSIVE) {
            ffi::SQLITE_OK => Ok(true),
            ffi::SQLITE_BUSY => Ok(false),
            rc => Err(code(rc, "lock WAL-index")),
        }
    }

    /// Gives a WAL-index lock back.
    pub(super) fn unlock(&self, slot: Slot) -> Result<()> {
        check(
            self.shm_lock(slot, ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE),
            "unlock WAL-index",
        )
    }

    fn shm_lock(&self, slot: Slot, flags: c_int) -> c_int {
        match self.methods().xShmLock {
            // SAFETY: one slot within the eight that exist; lock and unlock are paired by the sentinel.
            Some(lock) => unsafe { lock(self.file.as_ptr(), slot as c_int, 1, flags) },
            None => ffi::SQLITE_IOERR_SHMLOCK,
        }
    }

    /// Page size and number of pages as the database file's header says (SQLite's file format, section 1.3). `None` for
    /// an empty file.
    pub(super) fn database_size(&self) -> Option<(PageSize, u32)> {
        let mut header = [0; 32];
        self.read(&mut header, 0).ok()?;
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65536,
            n => u32::from(n),
        };
        Some((
            PageSize::new(page_size)?,
            u32::from_be_bytes([header[28], header[29], header[30], header[31]]),
        ))
    }

    /// The start of the WAL-index. Valid while the connection is open: SQLite unmaps it on close only.
    pub(super) fn map_index(&self) -> Result<NonNull<[AtomicU32; WORDS]>> {
        let map = self.methods().xShmMap.ok_or_else(|| {
            code(
                ffi::SQLITE_IOERR_SHMMAP,
                "no shared memory (exclusive locking mode?)",
            )
        })?;
        let mut region: *mut c_void = ptr::null_mut();
        // SAFETY: region 0 of the size that SQLite itself uses; the pointer is stored at the given address.
        let rc = unsafe {
            map(
                self.file.as_ptr(),
                0,
                REGION_SIZE,
                0,
                (&raw mut region).cast(),
            )
        };
        check(rc, "map WAL-index")?;
        NonNull::new(region.cast()).ok_or_else(|| {
            code(
                ffi::SQLITE_IOERR_SHMMAP,
                "WAL-index is not mapped (exclusive locking mode?)",
            )
        })
    }
}

pub(super) fn check(rc: c_int, what: &'static str) -> Result<()> {
    if rc == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(code(rc, what))
    }
}

pub(super) fn code(rc: c_int, what: &'static str) -> Error {
    Error::Sqlite {
        what,
        source: rusqlite::Error::SqliteFailure(ffi::Error::new(rc), None),
    }
}
