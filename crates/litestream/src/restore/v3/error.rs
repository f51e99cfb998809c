//! What can be wrong with a backup of Litestream 0.3, with the way out.

use std::fmt;

use litestream_replica::env::UnixMillis;
use litestream_replica::v3::{Generation, Object};

use super::when::When;

/// How far a restore gets without an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The last object before it; `None` if it was the first.
    pub last: Option<Object>,
    /// The time to ask for to get what comes before it, where a time can tell them apart.
    pub timestamp: Option<UnixMillis>,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = &self.last else {
            return write!(f, "nothing before it can be restored");
        };
        let time = When(last.created);
        write!(
            f,
            "the last point that can be restored is the end of {} of {time}",
            last.path
        )?;
        match self.timestamp {
            Some(time) => write!(f, ": restore it with -timestamp {}", When(time)),
            None => write!(
                f,
                ", but what follows bears the same time: move it away to restore that point"
            ),
        }
    }
}

/// Why a backup of 0.3 can't be restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum V3Error {
    /// A name that 0.3 would not write, where it writes.
    #[error(
        "cannot restore the 0.3 backup: the name of {path} is none that Litestream 0.3 writes, and what it holds may be needed: restore its name, or move it out of the replica if it doesn't belong there"
    )]
    Unreadable {
        /// The object.
        path: String,
    },
    /// WAL without the snapshot that it begins at.
    #[error(
        "cannot restore the 0.3 backup: generation {generation} has WAL ({path}) but no generation has a snapshot, so nothing can be restored from it"
    )]
    NoSnapshot {
        /// Whose.
        generation: Generation,
        /// One of them.
        path: String,
    },
    /// An object that must exist since a later one does.
    #[error(
        "cannot restore the 0.3 backup: {path} is missing, or younger than the time asked for, although {next} exists; {reach}"
    )]
    Missing {
        /// The object, or the first of those.
        path: String,
        /// The one after the gap.
        next: String,
        /// What can be done.
        reach: Reach,
    },
    /// Two objects hold the same place.
    #[error(
        "cannot restore the 0.3 backup: {path} reaches to {end:08x} and so into {next}, as if two programs had written here; {reach}"
    )]
    Overlap {
        /// The first.
        path: String,
        /// Where it ends.
        end: u64,
        /// The second.
        next: String,
        /// What can be done.
        reach: Reach,
    },
    /// The content is not what was written.
    #[error("cannot restore the 0.3 backup: {path} is damaged: {what}; {reach}")]
    Damaged {
        /// The object.
        path: String,
        /// What is wrong.
        what: String,
        /// What can be done.
        reach: Reach,
    },
    /// An object is no longer there, or not as listed, although the restore was planned again several times.
    #[error("cannot restore the 0.3 backup: {path} changed while it was read: {what}")]
    Changed {
        /// The object.
        path: String,
        /// How.
        what: String,
    },
    /// The replica failed while an object was read.
    #[error("cannot read {path}: {source}")]
    Fetch {
        /// The object.
        path: String,
        /// Why it failed.
        source: litestream_replica::Error,
    },
}
