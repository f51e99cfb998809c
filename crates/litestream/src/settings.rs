//! How one database is replicated.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::policy::Policy;

/// Settings of one database; defaults are Litestream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The database.
    pub path: PathBuf,
    /// Local state: staged files.
    pub meta_path: PathBuf,
    /// How often the database is looked at when no event announces a change.
    pub monitor_interval: Duration,
    /// At most one LTX file in this time, unless the WAL must be emptied.
    pub sync_interval: Duration,
    /// A checkpoint at least this often while there is something to checkpoint; zero: never by time.
    pub checkpoint_interval: Duration,
    /// A checkpoint when the WAL has this many pages.
    pub min_checkpoint_page_count: u32,
    /// How long opening the database waits for the locks of others.
    pub busy_timeout: Duration,
    /// SQLite VFS to open databases with; the default one if `None`.
    pub vfs: Option<String>,
    /// Page content kept in memory while a file is made of it. A larger transaction is read twice instead.
    pub capture_bytes_max: usize,
    /// Bytes of the database that are read at a time while its page ledger is built.
    pub ledger_slice_bytes: u32,
    /// What its replicas are to hold.
    pub policy: Policy,
    /// Local files: what waits for a replica, and copies of what is there. More is not kept, but for the newest file and one snapshot;
    /// without compacted levels all that waits is.
    pub local_bytes_max: u64,
}

impl Settings {
    /// The defaults for a database.
    pub fn for_database(path: impl Into<PathBuf>) -> Settings {
        let path = path.into();
        Settings {
            meta_path: meta_path(&path),
            path,
            monitor_interval: Duration::from_secs(1),
            sync_interval: Duration::from_secs(1),
            checkpoint_interval: Duration::from_mins(1),
            min_checkpoint_page_count: 1000,
            busy_timeout: Duration::from_secs(1),
            vfs: None,
            capture_bytes_max: 16 << 20,
            ledger_slice_bytes: 32 << 20,
            policy: Policy::default(),
            local_bytes_max: 1 << 30,
        }
    }

    /// The database's WAL.
    pub fn wal_path(&self) -> PathBuf {
        suffixed(&self.path, "-wal")
    }
}

/// `.NAME-litestream` beside the database.
fn meta_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push("-litestream");
    path.with_file_name(name)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
