//! What can go wrong, told apart by what the caller can do.

use std::path::PathBuf;

use ltx::FileName;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the engine. Each names the file it is about and, where there is one, the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database file does not exist (yet).
    #[error("database does not exist: {}", .0.display())]
    NoDatabase(PathBuf),
    /// The database can't be put into WAL mode.
    #[error("database {} is in journal mode {mode:?} and cannot be switched to WAL, which replication needs", path.display())]
    NotWal {
        /// The database.
        path: PathBuf,
        /// The mode that it stays in.
        mode: String,
    },
    /// SQLite said no.
    #[error("{what}: {source}")]
    Sqlite {
        /// What was being done.
        what: &'static str,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// A local file or directory could not be used.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A staged file could not be made durable. The system may have lost its bytes and report success next time, so it is written
    /// again or removed before anybody relies on it.
    #[error("sync {}: {source}", path.display())]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A staged file is damaged.
    #[error("local file {}: {source}", path.display())]
    Staged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ltx::Error,
    },
    /// An LTX file could not be written.
    #[error("write ltx file {name}: {source}")]
    Encode {
        /// The file.
        name: FileName,
        /// Why.
        source: ltx::Error,
    },
    /// The WAL changed under the reader: what was read can't be proved to be one history. The next pass starts over.
    #[error("wal of {} changed while it was read: {what}", path.display())]
    WalChanged {
        /// The database.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// The database holds other pages than were captured. What differs is captured next.
    #[error("database {} does not hold what was captured up to {txid}: it was changed by something else than SQLite", path.display())]
    ContentDiffers {
        /// The database.
        path: PathBuf,
        /// Up to where.
        txid: ltx::Txid,
    },
    /// Another connection holds a lock for longer than we wait; tried again later.
    #[error("database {} is busy: {what}", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
        /// Which lock.
        what: &'static str,
    },
    /// The replica could not be used.
    #[error("{0}")]
    Replica(#[from] litestream_replica::Error),
    /// The replica is in the folder of local state.
    #[error("replica must not lie in {}, where local state is kept and removed; choose another folder", .0.display())]
    StateAsReplica(PathBuf),
    /// Retention would have made a hole: what is known of the replica is wrong.
    #[error(
        "deleting {0} and what lies before it would leave a hole in the replica; nothing was deleted"
    )]
    WouldMakeHole(FileName),
    /// An upload failed for everybody who waited for it.
    #[error("{0}")]
    Upload(std::sync::Arc<Error>),
    /// A restore failed.
    #[error("{0}")]
    Restore(#[from] crate::restore::RestoreError),
    /// A replica could not be verified.
    #[error("{0}")]
    Verify(String),
    /// Nothing has been captured yet.
    #[error("no position, waiting for data")]
    NoPosition,
    /// The replicator was closed.
    #[error("replication of this database has been closed")]
    Closed,
}

impl Error {
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { what, path, source }
    }

    /// A local file is not what was written.
    pub(crate) fn is_corrupt_file(&self) -> bool {
        matches!(self, Error::Staged { source, .. } if source.is_corrupt())
    }

    /// Whether the local disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Error::Io { source, .. }
            | Error::Encode {
                source: ltx::Error::Io(source),
                ..
            } => source.kind() == std::io::ErrorKind::StorageFull,
            Error::Sqlite { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            _ => false,
        }
    }

    /// Whether another connection's lock was in the way.
    pub fn is_busy(&self) -> bool {
        match self {
            Error::Busy { .. } => true,
            Error::Sqlite { source, .. } => {
                matches!(
                    source.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
                )
            }
            _ => false,
        }
    }
}
