//! Whether somebody works with the database that is about to be replaced.
//!
//! Promise: the old database keeps its content and a WAL that was there (a transaction that a crash cut off is rolled
//! back, as whoever opens the database does). Whoever has it open in WAL mode is seen, also
//! when idle; in the other journal modes only a transaction is.

use std::path::Path;

use litestream_replica::env::Disk;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::aside::with_suffix;
use super::error::RestoreError;

/// An error if another connection, of whatever process, has locks on the database.
pub(super) fn refuse(disk: &dyn Disk, path: &Path, vfs: Option<&str>) -> Result<(), RestoreError> {
    let has_wal = disk.symlink_metadata(&with_suffix(path, "-wal")).is_ok();
    match lock(path, vfs, has_wal).map_err(|e| e.sqlite_error_code()) {
        Err(Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => {
            Err(RestoreError::OutputInUse(path.to_owned()))
        }
        // What SQLite cannot read is nobody's database.
        _ => Ok(()),
    }
}

/// Takes all locks for a moment.
fn lock(path: &Path, vfs: Option<&str>, has_wal: bool) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match vfs {
        None => Connection::open_with_flags(path, flags)?,
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
    };
    conn.busy_timeout(std::time::Duration::ZERO)?;
    // A WAL that is there stays; an empty one that only this connection makes goes with it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_wal)?;
    // With it, the lock excludes idle connections in WAL mode too, and no WAL-index is made.
    conn.pragma_update(None, "locking_mode", "exclusive")?;
    conn.execute_batch("BEGIN EXCLUSIVE; ROLLBACK")
}
