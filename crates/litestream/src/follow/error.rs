//! Why a database can't be followed, in words that name the file and the way out.

use std::io;
use std::path::PathBuf;

use litestream_replica::FileInfo;
use ltx::{PageSize, Txid};

use crate::restore::RestoreError;

/// Why following failed. Whatever it says, readers of the database see the state at one TXID.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The first restore failed, or reading the replica.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The replica could not be listed.
    #[error("list replica: {0}")]
    Replica(#[from] litestream_replica::Error),
    /// SQLite said no.
    #[error(transparent)]
    Sqlite(#[from] crate::Error),
    /// A local file could not be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `write`, `sync`, …
        action: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Merging what is new failed.
    #[error("merge ltx files: {0}")]
    Merge(ltx::Error),
    /// There is a database, and nothing says how far it goes.
    #[error("cannot resume follow mode: database exists but no -txid file found; delete the database to re-restore: {}", .0.display())]
    NoPosition(PathBuf),
    /// The position file holds something else.
    #[error("read txid file for crash recovery: parse txid file: {}: {content:?} is not a TXID of 16 hex digits; delete it and the database to re-restore", path.display())]
    BadPosition {
        /// The file.
        path: PathBuf,
        /// What is in it.
        content: String,
    },
    /// The replica ends before the saved position.
    #[error("cannot resume follow mode: saved TXID {saved} is ahead of the replica (max TXID {newest}); if the replica is the right one, delete {0} and {0}-txid to re-restore", output.display())]
    Ahead {
        /// The saved position.
        saved: Txid,
        /// The end of the replica.
        newest: Txid,
        /// The database.
        output: PathBuf,
    },
    /// Nothing in the replica leads on from the position.
    #[error("cannot follow: no file of the replica continues after TXID {have} (the next starts at {next}, and no snapshot reaches further); replica history has been pruned -- delete {0} and {0}-txid to re-restore", output.display())]
    Gap {
        /// The position.
        have: Txid,
        /// Where the files go on.
        next: Txid,
        /// The database.
        output: PathBuf,
    },
    /// The database is not in the state that its position says.
    #[error("cannot follow: {} is not what follow mode made of it at TXID {saved}: another program has written to it, or it was replaced. A followed database is for reading only; to keep what is in it, move it away, else delete it, and delete {0}-txid, to re-restore", output.display())]
    Changed {
        /// The database.
        output: PathBuf,
        /// The saved position.
        saved: Txid,
    },
    /// Not a database at all.
    #[error("cannot follow: {} is not an SQLite database ({what}); delete it to re-restore", output.display())]
    NotDatabase {
        /// The file.
        output: PathBuf,
        /// Why not.
        what: String,
    },
    /// Somebody writes to the database in WAL mode.
    #[error("cannot follow: {} holds changes of another program; a followed database is for reading only. Close that program and, to discard its changes, delete the file; to keep them, move the database away", wal.display())]
    Wal {
        /// The write-ahead log.
        wal: PathBuf,
    },
    /// A journal that does not go away.
    #[error("cannot follow: the interrupted transaction in {} could not be rolled back; open the database once with sqlite3, or delete the database, this file and the -txid file to re-restore", journal.display())]
    Journal {
        /// The rollback journal.
        journal: PathBuf,
    },
    /// The page size changed and there is no whole copy in the new one.
    #[error("cannot follow: the page size changes from {from} to {to} with {file}, which does not hold the whole database, and there is no snapshot beyond it yet; take one (litestream replicate -once -force-snapshot), or delete {0} and {0}-txid to re-restore", output.display())]
    PageSize {
        /// The page size of the database.
        from: PageSize,
        /// That of the file.
        to: PageSize,
        /// The file.
        file: ltx::FileName,
        /// The database.
        output: PathBuf,
    },
    /// New pages are missing.
    #[error(
        "cannot follow: the database grows to {commit} pages with the files up to TXID {txid}, but page {page} is in none of them"
    )]
    PageMissing {
        /// The new size.
        commit: u32,
        /// The new position.
        txid: Txid,
        /// The page.
        page: u32,
    },
    /// Told to stop while fetching.
    #[error("follow mode stopped")]
    Stopped,
}

impl FollowError {
    /// Listing again may help: the replica is not what was listed.
    pub(super) fn plan_is_stale(&self) -> bool {
        matches!(self, FollowError::Restore(e) if e.plan_is_stale())
    }

    /// There is no backup, as opposed to one that cannot be reached or read.
    pub fn is_no_backup(&self) -> bool {
        matches!(self, FollowError::Restore(e) if e.is_no_backup())
    }

    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> FollowError {
        let path = path.into();
        move |source| FollowError::Io {
            action,
            path,
            source,
        }
    }

    pub(super) fn damaged(file: FileInfo) -> impl FnOnce(ltx::Error) -> FollowError {
        move |source| FollowError::Restore(RestoreError::Damaged { file, source })
    }
}
