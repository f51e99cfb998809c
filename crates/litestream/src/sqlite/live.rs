//! A read transaction on a live database, and what it sees, without SQL on its content.

use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rusqlite::Connection;

use super::conn::open;
use super::file::DbFile;
use super::shm::{self, WalState};
use crate::error::{Error, Result};

/// Holds a read transaction: neither the database file nor the frames that it sees change.
pub struct Live {
    file: DbFile,
    index: NonNull<[AtomicU32; shm::WORDS]>,
    /// Last, so that it is closed after everything that points into it.
    conn: Connection,
}

impl Live {
    /// Opens a database in WAL mode; any other is refused.
    pub fn open(path: &Path, busy_timeout: Duration) -> Result<Live> {
        let conn = open(path, None, busy_timeout)?;
        let fail = |what| move |source| Error::Sqlite { what, source };
        let mode: String = conn
            .pragma_query_value(None, "journal_mode", |r| r.get(0))
            .map_err(fail("read journal mode"))?;
        if !mode.eq_ignore_ascii_case("wal") {
            return Err(Error::NotWal {
                path: path.to_owned(),
                mode,
            });
        }
        // Maps the WAL-index, and recovers it if need be.
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            .map_err(fail("read schema"))?;
        let file = DbFile::of(&conn)?;
        let index = file.map_index()?;
        Ok(Live { file, index, conn })
    }

    fn state(&self) -> Option<WalState> {
        // SAFETY: mapped since open, unmapped only when the connection closes, which `self` owns.
        shm::read(unsafe { self.index.as_ref() }, || self.file.database_size())
    }

    /// Begins the transaction: what it sees, if nobody committed in the same moment.
    pub fn begin(&self) -> Result<Option<WalState>> {
        let before = self.state();
        let begun = self.conn.execute_batch("BEGIN").and_then(|()| {
            self.conn
                .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        });
        begun.map_err(|source| Error::Sqlite {
            what: "begin read",
            source,
        })?;
        let after = self.state();
        let same = |a: &WalState, b: &WalState| {
            (a.change, a.frames, a.salts) == (b.change, b.frames, b.salts)
        };
        match (before, after) {
            (Some(before), Some(after)) if same(&before, &after) => Ok(Some(after)),
            _ => {
                self.end()?;
                Ok(None)
            }
        }
    }

    /// Ends the transaction.
    pub fn end(&self) -> Result<()> {
        self.conn
            .execute_batch("ROLLBACK")
            .map_err(|source| Error::Sqlite {
                what: "end read",
                source,
            })
    }

    /// Reads from the database file; bytes beyond its end are zero.
    pub fn read_database(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file.read(buf, offset)
    }
}
