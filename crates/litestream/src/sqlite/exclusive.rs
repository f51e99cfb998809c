//! A database at rest, written page by page under SQLite's own locks.
//!
//! Runs no SQL: pages are read and written through the connection's file, so that the locks are those that every other
//! SQLite, of this process too, respects. Promise: nothing is written without the exclusive lock.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::file::{DbFile, code};
use crate::error::{Error, Result};

/// See the module.
pub struct Exclusive {
    file: DbFile,
    held: bool,
    /// Last, so that it is closed after what points into it.
    _conn: Connection,
}

fn open(path: &Path, vfs: Option<&str>) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match vfs {
        None => Connection::open_with_flags(path, flags),
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
    };
    opened.map_err(|source| Error::Sqlite {
        what: "open database",
        source,
    })
}

/// Lets SQLite roll back what an interrupted transaction left, if it left something. `false` if somebody is in the way.
pub fn roll_back(path: &Path, vfs: Option<&str>) -> Result<bool> {
    let conn = open(path, vfs)?;
    let read = conn
        .busy_timeout(Duration::ZERO)
        .and_then(|()| conn.query_row("PRAGMA schema_version", [], |_| Ok(())));
    match read {
        Ok(()) => Ok(true),
        Err(e)
            if matches!(
                e.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ) =>
        {
            Ok(false)
        }
        Err(source) => Err(Error::Sqlite {
            what: "roll back",
            source,
        }),
    }
}

impl Exclusive {
    /// Opens the database. No lock is held yet.
    pub fn open(path: &Path, vfs: Option<&str>) -> Result<Exclusive> {
        let conn = open(path, vfs)?;
        Ok(Exclusive {
            file: DbFile::of(&conn)?,
            held: false,
            _conn: conn,
        })
    }

    /// Tries to take the lock that readers share.
    pub fn try_shared(&self) -> Result<bool> {
        self.file.try_lock_database(ffi::SQLITE_LOCK_SHARED)
    }

    /// Tries to take the lock that excludes everybody. If it fails, new readers may be kept off until this is called again
    /// with success, or [`Exclusive::unlock`].
    pub fn try_exclusive(&mut self) -> Result<bool> {
        for level in [
            ffi::SQLITE_LOCK_SHARED,
            ffi::SQLITE_LOCK_RESERVED,
            ffi::SQLITE_LOCK_EXCLUSIVE,
        ] {
            if !self.file.try_lock_database(level)? {
                return Ok(false);
            }
        }
        self.held = true;
        Ok(true)
    }

    /// Gives all locks back.
    pub fn unlock(&mut self) -> Result<()> {
        self.held = false;
        self.file.unlock_database()
    }

    /// Fills `buf` from `offset`; bytes beyond the end read as zero. Under any lock.
    pub fn read(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file.read(buf, offset)
    }

    /// The length of the file.
    pub fn size(&self) -> Result<u64> {
        self.file.len()
    }

    /// Writes `bytes` at `offset`.
    pub fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.demand_lock()?;
        self.file.write(bytes, offset)
    }

    /// Sets the length of the file.
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.demand_lock()?;
        self.file.set_len(len)
    }

    /// Makes the file durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync()
    }

    fn demand_lock(&self) -> Result<()> {
        if self.held {
            Ok(())
        } else {
            Err(code(
                ffi::SQLITE_MISUSE,
                "write database without the exclusive lock",
            ))
        }
    }
}
