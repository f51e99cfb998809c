//! Follow mode: a restored database that is kept up to date with its replica, for readers.
//!
//! What is new is fetched, verified and merged into one local file ([`stage`]) before the database is touched. Then it is
//! applied under SQLite's exclusive lock with a rollback journal in SQLite's own format ([`apply`], [`journal`]).
//!
//! Promise: whoever reads the database through SQLite sees the state at one TXID, never a mix, also when we are killed
//! in between: then the journal is hot, and the next who opens the database rolls back. Any kill leaves what the next run goes on
//! from ([`resume`]). Nothing is ever applied to a file that is not known to hold the state that the TXID stands for, so a
//! database that somebody else wrote to is refused and not mixed up.
//!
//! How it is known: the change counter in the database's header is the TXID, disguised ([`counter`]). It changes with each
//! apply, as readers need it, is written with the pages, and any other writer spoils it.

mod apply;
mod counter;
mod error;
mod journal;
mod next;
mod position;
mod resume;
mod run;
mod stage;
mod verify;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::FollowError;
use litestream_replica::env::Env;
pub use run::{Ended, run};

use crate::restore::IntegrityCheck;
use crate::restore::aside::with_suffix;

/// What to follow, and where.
#[derive(Clone, Debug)]
pub struct Request {
    /// The database file. Its position is kept beside it in `<output>-txid`.
    pub output: PathBuf,
    /// Pause between looks at the replica.
    pub interval: Duration,
    /// How many reads from the storage may run at once during the first restore.
    pub parallelism: usize,
    /// Let SQLite check the first restore before it is put in place.
    pub integrity_check: IntegrityCheck,
    /// SQLite VFS.
    pub vfs: Option<String>,
}

/// The followed database and the files beside it.
#[derive(Clone)]
struct Place {
    env: Env,
    /// As given: messages and the position file go by it.
    output: PathBuf,
    /// Links followed: SQLite puts its journal beside this.
    real: PathBuf,
    vfs: Option<String>,
}

impl Place {
    fn journal(&self) -> PathBuf {
        with_suffix(&self.real, "-journal")
    }

    fn wal(&self) -> PathBuf {
        with_suffix(&self.real, "-wal")
    }

    fn vfs(&self) -> Option<&str> {
        self.vfs.as_deref()
    }

    fn exists(&self, path: &Path) -> Result<Option<u64>, FollowError> {
        match self.env.disk.symlink_metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(FollowError::io("look at", path)(e)),
        }
    }
}
