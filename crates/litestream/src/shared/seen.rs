//! What a worker saw of its database last, and what it is doing.

use litestream_replica::env::UnixMillis;
use ltx::Txid;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The database is open.
    pub is_open: bool,
    /// It was opened, or found missing, at least once.
    pub was_looked_at: bool,
    /// There is no database.
    pub is_missing: bool,
    /// The local disk is full.
    pub disk_full: bool,
    /// Size of the database in bytes as of the last capture.
    pub database_bytes: u64,
    /// Bytes of the WAL up to the end of what was captured.
    pub wal_end: u64,
    /// Size of the WAL file.
    pub wal_file_bytes: u64,
    /// What the worker does, or did last.
    pub operation: Operation,
}

/// What a worker does, or did last.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    /// `sync`, `checkpoint`; empty: nothing yet.
    pub name: &'static str,
    /// It is under way.
    pub is_active: bool,
    /// Which step of it: a name that Litestream uses, too.
    pub phase: &'static str,
    /// When it began.
    pub started_at: UnixMillis,
    /// When this step began.
    pub updated_at: UnixMillis,
    /// The newest TXID then.
    pub txid: Option<Txid>,
    /// All pages are copied or compared.
    pub is_full: bool,
    /// Why.
    pub reason: Option<String>,
    /// How it failed.
    pub error: Option<String>,
}
