//! What a restore is asked for, what it tells on the way, and what it gives.

use std::path::PathBuf;

use litestream_replica::env::UnixMillis;
use ltx::{PageSize, Txid};

use super::integrity::IntegrityCheck;
use super::plan::Target;

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The database file to write.
    pub output: PathBuf,
    /// Up to where.
    pub target: Target,
    /// How many reads from the storage may run at once (at least 1, at most 16 count).
    pub parallelism: usize,
    /// Replace what is at the output.
    pub force: bool,
    /// Let SQLite check the result before it is put in place.
    pub integrity_check: IntegrityCheck,
    /// SQLite VFS for that check.
    pub vfs: Option<String>,
}

/// How far a restore is. There may be thousands of [`Event::Progress`] per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is known what has to be done. Comes again if the files changed meanwhile and all starts over.
    Planned {
        /// Files to read.
        files: usize,
        /// Their bytes.
        bytes: u64,
        /// Size of the database in pages; zero if that is not known yet.
        pages: u64,
        /// The state that will be restored; `None` if it comes from a backup of Litestream 0.3.
        txid: Option<Txid>,
        /// When it was made, as in [`Outcome::time`].
        time: UnixMillis,
    },
    /// Some was done. Both count from [`Event::Planned`] on.
    Progress {
        /// Bytes read of those planned.
        bytes_read: u64,
        /// Bytes of the database that are written.
        bytes_written: u64,
    },
    /// SQLite is checking the result.
    Checking,
    /// The database is in place.
    Done {
        /// As in [`Outcome::proved`].
        proved: bool,
    },
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The state that was restored; `None` if it came from a backup of Litestream 0.3, which counted otherwise.
    pub txid: Option<Txid>,
    /// When it was made; of a backup of 0.3, when the newest object that it was made from came.
    pub time: UnixMillis,
    /// Its page size.
    pub page_size: PageSize,
    /// Its size in pages.
    pub pages: u64,
    /// How many files it was made from.
    pub files: usize,
    /// Their bytes.
    pub bytes_read: u64,
    /// Whether the newest file says what the checksum of the whole database is, and it is that.
    pub proved: bool,
}

/// Called with each [`Event`].
pub type Progress<'a> = &'a (dyn Fn(Event) + Send + Sync);
