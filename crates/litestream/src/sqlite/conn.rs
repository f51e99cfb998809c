//! Connections: how one is opened so that it changes nothing, and the two helpers beside the sentinel.

use std::os::raw::{c_int, c_void};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, ffi};

use super::file::{check, code};
use crate::error::{Error, Result};

/// Opens a connection that never checkpoints by itself, keeps the WAL on close, and never creates a database.
pub(super) fn open(path: &Path, vfs: Option<&str>, busy_timeout: Duration) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match vfs {
        None => Connection::open_with_flags(path, flags),
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
    };
    let conn = opened.map_err(|source| Error::Sqlite {
        what: "open database",
        source,
    })?;
    no_lookaside(&conn)?;
    let fail = |what| move |source| Error::Sqlite { what, source };
    conn.busy_timeout(busy_timeout)
        .map_err(fail("set busy timeout"))?;
    conn.set_db_config(
        rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
        true,
    )
    .map_err(fail("configure connection"))?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)
        .map_err(fail("disable auto-checkpoint"))?;
    // A handful of pages: these connections read next to nothing.
    conn.pragma_update(None, "cache_size", 16)
        .map_err(fail("set cache size"))?;
    persist_wal(&conn)?;
    Ok(conn)
}

/// Without memory set aside for fast allocations: 48 KiB that a connection which hardly runs any SQL does not need.
fn no_lookaside(conn: &Connection) -> Result<()> {
    // SAFETY: open handle that has run nothing; LOOKASIDE takes a buffer, which may be null, a size and a count.
    let rc = unsafe {
        ffi::sqlite3_db_config(
            conn.handle(),
            ffi::SQLITE_DBCONFIG_LOOKASIDE,
            std::ptr::null_mut::<c_void>(),
            0 as c_int,
            0 as c_int,
        )
    };
    check(rc, "configure connection")
}

/// Gives back the memory of pages that were read, which SQLite takes for twenty at a time.
fn release_memory(conn: &Connection) {
    // SAFETY: open handle. What can't be released stays; it always answers OK.
    unsafe {
        ffi::sqlite3_db_release_memory(conn.handle());
    }
}

fn persist_wal(conn: &Connection) -> Result<()> {
    let mut on: c_int = 1;
    // SAFETY: PERSIST_WAL reads and writes one int at the given address.
    let rc = unsafe {
        ffi::sqlite3_file_control(
            conn.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_PERSIST_WAL,
            (&raw mut on).cast::<c_void>(),
        )
    };
    check(rc, "keep WAL on close")
}

/// Opens the sentinel's connection: checks that this is a database in WAL mode (switching it if it is not) and
/// runs one read, so that SQLite recovers the WAL-index. The flag says whether the journal mode was changed.
pub fn open_and_prepare(
    path: &Path,
    vfs: Option<&str>,
    busy_timeout: Duration,
) -> Result<(Connection, bool)> {
    let conn = open(path, vfs, busy_timeout)?;
    let fail = |what| move |source| Error::Sqlite { what, source };
    let mode: String = conn
        .pragma_query_value(None, "journal_mode", |r| r.get(0))
        .map_err(fail("read journal mode"))?;
    let switched = !mode.eq_ignore_ascii_case("wal");
    if switched {
        let now: String = conn
            .pragma_update_and_check(None, "journal_mode", "wal", |r| r.get(0))
            .map_err(fail("switch to WAL mode"))?;
        if !now.eq_ignore_ascii_case("wal") {
            return Err(Error::NotWal {
                path: path.to_owned(),
                mode: now,
            });
        }
    }
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(fail("read schema"))?;
    release_memory(&conn);
    Ok((conn, switched))
}

/// Runs PASSIVE checkpoints; nothing else.
pub struct Checkpointer {
    conn: Connection,
}

impl Checkpointer {
    /// Opens the connection.
    pub fn open(path: &Path, vfs: Option<&str>) -> Result<Checkpointer> {
        let conn = open(path, vfs, Duration::ZERO)?;
        // The journal mode is only known to a connection that read; a checkpoint before that does nothing.
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            .map_err(|source| Error::Sqlite {
                what: "read schema",
                source,
            })?;
        Ok(Checkpointer { conn })
    }

    /// One PASSIVE checkpoint. `false` if another connection is checkpointing.
    pub fn passive(&self) -> Result<bool> {
        let (mut frames, mut done): (c_int, c_int) = (0, 0);
        // SAFETY: open handle, two ints to store to.
        let rc = unsafe {
            ffi::sqlite3_wal_checkpoint_v2(
                self.conn.handle(),
                c"main".as_ptr(),
                ffi::SQLITE_CHECKPOINT_PASSIVE,
                &raw mut frames,
                &raw mut done,
            )
        };
        match rc {
            ffi::SQLITE_OK => Ok(true),
            ffi::SQLITE_BUSY => Ok(false),
            rc => Err(code(rc, "checkpoint")),
        }
    }
}

/// Holds a plain read transaction, which pins the WAL: it can't restart, and no checkpoint gets past its mark.
pub struct Reader {
    conn: Connection,
}

impl Reader {
    /// Opens the connection.
    pub fn open(path: &Path, vfs: Option<&str>, busy_timeout: Duration) -> Result<Reader> {
        Ok(Reader {
            conn: open(path, vfs, busy_timeout)?,
        })
    }

    /// Begins the transaction at the newest committed state.
    pub fn begin(&self) -> Result<()> {
        let fail = |source| Error::Sqlite {
            what: "begin read",
            source,
        };
        self.conn
            .prepare_cached("BEGIN")
            .and_then(|mut s| s.execute([]))
            .map_err(fail)?;
        self.conn
            .prepare_cached("PRAGMA schema_version")
            .and_then(|mut s| s.query_row([], |_| Ok(())))
            .map_err(|e| {
                let _ = self.conn.execute_batch("ROLLBACK");
                fail(e)
            })
    }

    /// Ends it. Ending one that never began is no error.
    pub fn end(&self) -> Result<()> {
        if self.conn.is_autocommit() {
            return Ok(());
        }
        self.conn
            .prepare_cached("ROLLBACK")
            .and_then(|mut s| s.execute([]))
            .map(drop)
            .map_err(|source| Error::Sqlite {
                what: "end read",
                source,
            })
    }
}
