//! Whether a file is a database, asked without harm to those that are open.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::file::DbFile;

/// What database files begin with (SQLite's file format, section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Whether a regular file begins as databases do. SQLite reads it: were it closed by hand, all locks that this process holds on it would
/// be gone, and it may be one that is being replicated.
pub fn is_database(path: &Path) -> bool {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(conn) = Connection::open_with_flags(path, flags) else {
        return false;
    };
    let mut header = [0; MAGIC.len()];
    let read = DbFile::of(&conn).and_then(|file| file.read(&mut header, 0));
    read.is_ok() && header == *MAGIC
}
