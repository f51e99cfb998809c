//! What goes over the socket, as both sides see it. The order of fields is that of Litestream; ours follow.
//!
//! Promise: what may be absent in an answer of Litestream may be absent here.

use serde::{Deserialize, Serialize};

/// `GET /info`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Info {
    /// Of the daemon's program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Whole seconds.
    pub uptime_seconds: u64,
    /// RFC 3339 in the daemon's time zone.
    pub started_at: String,
    /// Stopped ones included.
    pub database_count: usize,
}

/// `GET /list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List {
    /// In the order in which they came.
    pub databases: Vec<Listed>,
}

/// One database of [`List`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Absolute.
    pub path: String,
    /// `replicating`, `open` (on demand only), `stopped`.
    pub status: String,
    /// When everything was in every replica last; absent: not since the daemon was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_at: Option<String>,
    /// Why capture or upload does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// There is no database.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// Age of the oldest commit that is not in every replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// Each of its replicas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ListedReplica>,
}

/// One replica of [`Listed`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedReplica {
    /// `file`, `s3`, …
    pub r#type: String,
    /// Without secrets.
    pub location: String,
    /// End of what it has, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txid: Option<u64>,
    /// When everything was there last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_at: Option<String>,
    /// Age of the oldest commit that it has not.
    pub lag_seconds: f64,
    /// Bytes that it has not.
    pub lag_bytes: u64,
    /// Why upload does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why compaction, snapshots or retention do not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upkeep_error: Option<String>,
}

/// `GET /txid`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Zero: nothing yet.
    pub txid: u64,
}

/// `POST /sync`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Synced {
    /// `no_change`, `synced_local`, `synced`: whether there was something new.
    pub status: String,
    /// Absolute.
    pub path: String,
    /// The position here.
    pub txid: u64,
    /// The position in every replica; zero: not known.
    pub replicated_txid: u64,
    /// Something was uploaded, new or not.
    #[serde(default)]
    pub uploaded: bool,
}

/// What `stop` and `unregister` ask for.
#[derive(Clone, Debug, Serialize)]
pub struct GiveUp {
    /// The database.
    pub path: String,
    /// Seconds; zero: the daemon's own limit.
    pub timeout: u64,
    /// Even if not everything could be uploaded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// `POST /start`, `POST /stop`, `POST /unregister`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moved {
    /// What was done, or that it was so before.
    pub status: String,
    /// Absolute.
    pub path: String,
    /// The position here; zero: nothing yet, or not known.
    pub txid: u64,
    /// What went wrong although it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// `POST /register`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registered {
    /// `registered`, `already_registered`.
    pub status: String,
    /// Absolute.
    pub path: String,
}

/// `POST /reload`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// `reloaded`.
    pub status: String,
    /// Databases that are replicated now and were not before.
    pub added: Vec<String>,
    /// Those that are not any more.
    pub removed: Vec<String>,
    /// Those that are replicated in another way.
    pub changed: Vec<String>,
    /// So many are as they were.
    pub unchanged: usize,
    /// What could not be done.
    pub problems: Vec<String>,
}

/// `GET /debug/sync-status`.
#[derive(Clone, Debug, Serialize)]
pub struct SyncStatus {
    /// In the order in which they came.
    pub databases: Vec<Doing>,
}

/// What one database is doing, or did last. What is zero, empty or false is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Doing {
    /// Absolute.
    pub path: String,
    /// The rest is under way, not over.
    pub active: bool,
    /// `sync`, `checkpoint`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub operation: &'static str,
    /// Which step of it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub phase: &'static str,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When this step began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// How long it takes, or took.
    #[serde(skip_serializing_if = "is_zero")]
    pub elapsed_seconds: f64,
    /// The position then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txid: Option<u64>,
    /// Size of the WAL file in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_size: Option<u64>,
    /// Up to here it was captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_synced_wal_offset: Option<u64>,
    /// All pages are copied or compared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub snapshotting: bool,
    /// How the WAL is emptied.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub checkpoint_mode: &'static str,
    /// Why all pages are needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Requests that wait for their turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor_waiter_count: Option<u64>,
    /// Since when the first of them does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor_wait_started_at: Option<String>,
    /// How long that is.
    #[serde(skip_serializing_if = "is_zero")]
    pub executor_wait_seconds: f64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}
