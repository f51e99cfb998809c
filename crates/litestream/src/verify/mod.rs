//! Whether a replica can be restored, shown without the database that it comes from.
//!
//! [`run`] lists a replica and looks for holes ([`layout`]), compares what files say of the database before and after them
//! ([`links`]), and proves states: quickly the newest one, which is streamed to nowhere as a restore would, or deeply every file of every
//! level and every state between, from the checksums of their pages ([`replay`]).
//!
//! Promises: what is reported as damage was seen again in a later listing; a replica that is compacted and trimmed meanwhile is
//! sound; nothing is written; memory is bounded (12 bytes for each page of the database up to [`Options::pages_max`] pages, and buffers).

mod cost;
mod database;
mod deep;
mod heads;
mod layout;
mod links;
mod live;
mod memory;
mod prove;
pub(crate) mod read;
mod repair;
pub(crate) mod replay;
mod report;
mod run;
mod select;
mod target;
pub(crate) mod words;

use std::time::Duration;

use litestream_replica::env::UnixMillis;
use ltx::Txid;

pub use crate::restore::Target;
pub use database::database;
pub use memory::{Memory, MemoryError};
pub use repair::{Repaired, repair};
pub use report::{Finding, Kind, Live, Point, Range, Report};
pub use run::run;

/// Pages up to which a deep verification proves every state: their checksums take 384 MiB.
const PAGES_MAX: u32 = 32 << 20;

/// How thoroughly to verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names, sizes and headers of all files, and a full proof of one state.
    Quick,
    /// All bytes of all files, and every state that they lead to.
    Deep,
}

/// What to verify, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// How thoroughly.
    pub depth: Depth,
    /// The state to prove.
    pub target: Target,
    /// The TXID that the replica should reach, for instance that of the live database when it was last synced.
    pub expected: Option<Txid>,
    /// Read also what was proved before and is unchanged.
    pub full: bool,
    /// What was proved longer ago than this is read again: damage of a disk changes neither name, size nor time of a file. `None`:
    /// never, unless it changed.
    pub max_age: Option<Duration>,
    /// Read at most so many bytes per second.
    pub bandwidth: Option<u64>,
    /// How many reads may run at once (at most 16 count).
    pub parallelism: usize,
    /// Of a larger database only the state at the target is proved.
    pub pages_max: u32,
}

impl Options {
    /// Of everything, the newest state.
    pub fn new(depth: Depth) -> Options {
        Options {
            depth,
            target: Target::Latest,
            expected: None,
            full: false,
            max_age: None,
            bandwidth: None,
            parallelism: 8,
            pages_max: PAGES_MAX,
        }
    }
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The replica was listed.
    Listed {
        /// Its files.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// So much will be read. May come again, with more or anew.
    Reading {
        /// Files to read.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// Bytes read since [`Event::Reading`].
    Progress {
        /// Bytes.
        bytes_read: u64,
    },
}

/// Called with each [`Event`].
pub type Progress<'a> = &'a (dyn Fn(Event) + Send + Sync);

/// Why a verification did not come to an end. It says nothing of the replica.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There are no LTX files.
    #[error("no LTX files in {location}: nothing to verify (check the path with litestream ltx)")]
    Empty {
        /// The replica.
        location: String,
    },
    /// What is asked for is not there.
    #[error("cannot verify the state at {what}: no files lead there")]
    NoSuchPoint {
        /// TXID or time.
        what: String,
    },
    /// The replica can't be listed or read.
    #[error("cannot verify: {0}")]
    Replica(#[from] litestream_replica::Error),
    /// Files can't be read for a reason that is none of theirs, or a thread could not be started.
    #[error("cannot verify: {0}")]
    Read(crate::restore::RestoreError),
    /// The live database can't be read.
    #[error("cannot compare with {}: {source}", path.display())]
    Database {
        /// The database.
        path: std::path::PathBuf,
        /// Why.
        source: Box<crate::Error>,
    },
    /// Something that was to mend the replica failed.
    #[error("cannot repair the replica of {}: {source}{}", path.display(), if source.is_busy() { "; a running litestream replicate mends what it can by itself, stop it for more" } else { "" })]
    Repair {
        /// The database.
        path: std::path::PathBuf,
        /// Why.
        source: Box<crate::Error>,
    },
    /// Files go faster than they can be read.
    #[error(
        "cannot verify: the files that make up the state change all the time; is another program deleting files there?"
    )]
    Churn,
}

/// A time as [`Report`]s give it.
pub type Time = UnixMillis;
