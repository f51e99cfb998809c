//! LTX files at levels in some storage, and all that can be done with only those.
//!
//! [`Replica`] is the contract that every storage backend keeps; [`suite`] is the test that it does.

#[cfg(feature = "abs")]
pub mod abs;
#[cfg(any(feature = "sftp", feature = "nats"))]
mod blocks;
pub mod chain;
pub mod conditional;
#[cfg(any(feature = "sftp", feature = "nats"))]
mod connection;
pub mod env;
mod error;
pub mod faulty;
pub mod file;
#[cfg(feature = "gs")]
pub mod gs;
#[cfg(any(feature = "sftp", feature = "webdav"))]
mod header_times;
pub mod key;
#[cfg(feature = "http")]
pub mod lease;
pub mod limits;
pub mod memory;
pub mod metered;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "http")]
#[allow(dead_code, unused_imports, reason = "not every storage uses all of it")]
mod net;
#[cfg(any(feature = "abs", feature = "gs", feature = "oss"))]
mod object;
#[cfg(feature = "oss")]
pub mod oss;
pub mod probe;
pub mod retry;
#[cfg(feature = "s3")]
pub mod s3;
pub mod settings;
#[cfg(feature = "sftp")]
pub mod sftp;
#[cfg(any(feature = "abs", feature = "oss"))]
mod signing;
pub mod suite;
#[cfg(any(feature = "sftp", feature = "webdav"))]
mod temporary;
pub mod url;
pub mod v3;
#[cfg(feature = "webdav")]
pub mod webdav;

pub use error::{Error, ErrorKind, Result};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::UnixMillis;
use ltx::{FileName, Txid};

/// A level of the replica: 0 is what came from the WAL, 1 to 8 are compacted, 9 holds snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// What came from the WAL.
    pub const L0: Level = Level(0);
    /// What level 0 is compacted into.
    pub const L1: Level = Level(1);
    /// Snapshots.
    pub const SNAPSHOT: Level = Level(9);

    /// `None` if `n` is above 9.
    pub const fn new(n: u8) -> Option<Level> {
        if n <= 9 { Some(Level(n)) } else { None }
    }

    /// 0 to 9.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// 0, 1, … 9.
    pub fn all() -> impl DoubleEndedIterator<Item = Level> {
        (0..=9).map(Level)
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a listing says of one LTX file in the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileInfo {
    /// Its level.
    pub level: Level,
    /// Its first and last TXID: its name.
    pub name: FileName,
    /// Its size in bytes.
    pub size: u64,
    /// The time in its header where the backend keeps it, else the storage's modification time.
    pub created: UnixMillis,
}

/// What to write. Backends that can do better with a local file than copy its bytes may do so.
#[derive(Clone)]
pub enum Source {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A complete local file that nobody will change any more (it may be removed later). It need not be
    /// durable yet.
    File(PathBuf),
}

/// LTX files at levels in some storage.
///
/// Every operation is safe to call concurrently. Errors tell missing, forbidden, unreachable, throttled
/// and corrupt apart ([`ErrorKind`]); an absent bucket or root that should exist is never "empty".
#[async_trait::async_trait]
pub trait Replica: Send + Sync {
    /// `file`, `s3`, …: for logs, metrics and JSON.
    fn kind(&self) -> &'static str;

    /// A human-readable place, without secrets.
    fn location(&self) -> String;

    /// How old a listing may be; zero where it shows everything that was written before.
    fn list_delay(&self) -> Duration {
        Duration::ZERO
    }

    /// The files of a level whose *max* TXID is at least `seek`, by min TXID, then max TXID. Names that are
    /// not LTX names are skipped. A level that was never written is an empty list. With `exact_times`,
    /// `created` is the header time even if that costs requests.
    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        exact_times: bool,
    ) -> Result<Vec<FileInfo>>;

    /// Reads up to `len` bytes (all, if `None`) from `offset`. Less is returned only at the end of the file;
    /// an offset at or beyond the end gives no bytes. A missing file is [`ErrorKind::NotFound`].
    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes>;

    /// Writes a file: durable and whole when this returns, never visible in part, replacing one of the same
    /// name. `created` is the time of its header.
    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo>;

    /// Deletes files. Missing ones are no error. Nothing else is touched.
    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()>;

    /// Clears away what a killed writer left half written, where the storage keeps such things. For the replica's one writer,
    /// when it begins; readers change nothing.
    async fn tidy(&self) -> Result<()> {
        Ok(())
    }

    /// The writer is done: gives back what it holds of the replica for itself.
    async fn close(&self) {}

    /// Everything that Litestream 0.3 left here, that is every object below `generations/` whatever its name, by path.
    /// None is an empty list.
    async fn list_v3(&self) -> Result<Vec<v3::Object>>;

    /// Reads an object that [`Replica::list_v3`] named, as [`Replica::read`] does.
    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes>;

    /// A local path at which the file can be read directly, if this storage is a local folder.
    fn local_path(&self, level: Level, name: FileName) -> Option<PathBuf> {
        let _ = (level, name);
        None
    }

    /// Writing on a condition, if this storage offers it.
    fn conditional(&self) -> Option<&dyn conditional::Conditional> {
        None
    }
}

/// A replica shared between tasks.
pub type SharedReplica = Arc<dyn Replica>;
