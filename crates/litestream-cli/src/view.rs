//! What metrics, health, heartbeat and hooks see of the databases: plain values, taken when somebody asks.
//!
//! Promise: looking waits for nothing and touches no file. What the engine does not know is `None`, never a made-up zero.

use std::path::PathBuf;
use std::time::Duration;

use litestream::fleet::{self, Fleet};
use litestream_replica::env::UnixMillis;
use ltx::Txid;

/// Gives a look at all databases.
pub trait View: Send + Sync {
    /// Each of them, in the order in which they were registered.
    fn databases(&self) -> Vec<Database>;
}

/// Whether a database is replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No, as somebody wished.
    Stopped,
    /// Yes.
    #[default]
    Running,
    /// For the last time.
    Stopping,
}

/// What to say about a database in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Not replicated, as somebody wished.
    Stopped,
    /// Its final sync is under way.
    Stopping,
    /// There is no such file (yet).
    Missing,
    /// It was not opened yet.
    Opening,
    /// Capture or upload fails.
    Error,
    /// All is well.
    Replicating,
}

impl Condition {
    /// For labels and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Condition::Stopped => "stopped",
            Condition::Stopping => "stopping",
            Condition::Missing => "missing",
            Condition::Opening => "opening",
            Condition::Error => "error",
            Condition::Replicating => "replicating",
        }
    }
}

/// One database.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// Its absolute path.
    pub path: PathBuf,
    /// Whether it is replicated.
    pub phase: Phase,
    /// There is no such file.
    pub is_missing: bool,
    /// It was opened at least once.
    pub was_opened: bool,
    /// The newest local TXID.
    pub position: Option<Txid>,
    /// Size of the database file.
    pub database_bytes: Option<u64>,
    /// End of what was copied of the WAL, its header included.
    pub wal_copied_bytes: Option<u64>,
    /// Size of the WAL file.
    pub wal_file_bytes: Option<u64>,
    /// WAL bytes copied since start.
    pub wal_bytes_total: u64,
    /// Passes from the WAL to LTX files.
    pub syncs: Option<Work>,
    /// Whether the last pass failed because the local disk is full.
    pub is_disk_full: Option<bool>,
    /// Checkpoints by mode.
    pub checkpoints: Vec<(&'static str, Work)>,
    /// Longest time that a checkpoint held up transactions.
    pub hold_max: Duration,
    /// Failed checks after compactions.
    pub compaction_verify_errors: Option<u64>,
    /// Files of level 0 at the last retention.
    pub l0_files: Option<L0Files>,
    /// Why capture fails.
    pub capture_error: Option<String>,
    /// Since when its worker is at the same short piece of work.
    pub busy_since: Option<UnixMillis>,
    /// Where it goes.
    pub replicas: Vec<Replica>,
}

/// Something done again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// How often, with or without success.
    pub count: u64,
    /// How often without, where that is known.
    pub errors: Option<u64>,
    /// The time that it took.
    pub time: Duration,
}

/// Files of level 0, by what the last retention thought of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L0Files {
    /// To be deleted.
    pub eligible: u64,
    /// Not yet in level 1.
    pub not_compacted: u64,
    /// In level 1, but not for long enough.
    pub too_recent: u64,
}

/// One replica of a database.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// `file`, `s3`, …
    pub kind: &'static str,
    /// Age of the oldest commit that it lacks; zero if it lacks none.
    pub lag: Option<Duration>,
    /// Bytes of what it lacks.
    pub lag_bytes: Option<u64>,
    /// Staged files that wait.
    pub queue_files: Option<u64>,
    /// Uploads and snapshots that failed, since start.
    pub failures: u64,
    /// When it last had everything.
    pub synced_at: Option<UnixMillis>,
    /// Why upload fails.
    pub upload_error: Option<String>,
    /// When it was last verified.
    pub verified_at: Option<UnixMillis>,
    /// What that found; `None` if it was never verified.
    pub damage: Option<Vec<String>>,
}

impl Database {
    /// The base name, by which logs call it.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// In one word.
    pub fn condition(&self) -> Condition {
        match self.phase {
            Phase::Stopped => Condition::Stopped,
            Phase::Stopping => Condition::Stopping,
            Phase::Running if self.is_missing => Condition::Missing,
            Phase::Running if self.error().is_some() => Condition::Error,
            Phase::Running if !self.was_opened => Condition::Opening,
            Phase::Running => Condition::Replicating,
        }
    }

    /// Why replication does not work, if it does not. That there is no database is no error.
    pub fn error(&self) -> Option<&str> {
        let capture = self.capture_error.as_deref().filter(|_| !self.is_missing);
        let mut uploads = self.replicas.iter().map(|r| r.upload_error.as_deref());
        capture.or_else(|| uploads.find_map(|error| error))
    }
}

impl View for Fleet {
    fn databases(&self) -> Vec<Database> {
        Fleet::databases(self).iter().map(of_engine).collect()
    }
}

/// What the engine tells of a database.
pub fn of_engine(of: &fleet::DatabaseStatus) -> Database {
    let litestream::Status {
        counters,
        seen,
        replicas,
        ..
    } = &of.status;
    let sized = |bytes| seen.was_looked_at.then_some(bytes);
    let phase = match of.phase {
        fleet::Phase::Stopped => Phase::Stopped,
        fleet::Phase::Running => Phase::Running,
        fleet::Phase::Stopping => Phase::Stopping,
    };
    Database {
        path: of.path.clone(),
        phase,
        is_missing: seen.is_missing,
        was_opened: seen.is_open || of.status.position.is_some(),
        position: of.status.position,
        database_bytes: sized(seen.database_bytes),
        wal_copied_bytes: sized(seen.wal_end),
        wal_file_bytes: sized(seen.wal_file_bytes),
        wal_bytes_total: counters.wal_bytes,
        syncs: Some(Work {
            count: counters.syncs,
            errors: Some(counters.sync_errors),
            time: counters.sync_time,
        }),
        is_disk_full: Some(seen.disk_full),
        checkpoints: checkpoints(counters),
        hold_max: counters.held_max,
        capture_error: of.status.capture_error.clone(),
        busy_since: busy_since(seen),
        replicas: replicas.iter().map(|r| replica(r, phase)).collect(),
        compaction_verify_errors: Some(replicas.iter().map(|r| r.compaction_gaps).sum()),
        l0_files: replicas
            .iter()
            .find_map(|r| r.level_0)
            .map(|judged| L0Files {
                eligible: judged.eligible,
                not_compacted: judged.not_compacted,
                too_recent: judged.too_recent,
            }),
    }
}

/// Since when a worker is at what should be done in a moment. A full copy may take hours.
pub fn busy_since(seen: &litestream::Seen) -> Option<UnixMillis> {
    let operation = &seen.operation;
    let is_short = operation.is_active && !operation.is_full;
    is_short.then_some(operation.updated_at)
}

/// Of the engine's only mode: it never truncates. There are none before the first.
fn checkpoints(counters: &litestream::Counters) -> Vec<(&'static str, Work)> {
    let work = Work {
        count: counters.checkpoints,
        errors: Some(counters.checkpoint_errors),
        time: counters.checkpoint_time,
    };
    if work.count == 0 {
        Vec::new()
    } else {
        vec![("PASSIVE", work)]
    }
}

fn replica(seen: &litestream::ReplicaStatus, phase: Phase) -> Replica {
    let verified = seen.verified.as_ref();
    // Of one that is not replicated, and one of which nothing was heard, it is not known what is lacking.
    let is_known = seen.position.is_some() || seen.lag.files > 0;
    let lag = Some(seen.lag).filter(|_| is_known && phase != Phase::Stopped);
    Replica {
        kind: seen.kind,
        lag: lag.map(|lag| lag.age),
        lag_bytes: lag.map(|lag| lag.bytes),
        queue_files: lag.map(|lag| lag.files),
        synced_at: seen.last_sync_at,
        failures: seen.failures,
        upload_error: seen.upload_error.clone(),
        verified_at: verified.and_then(|v| v.at),
        damage: verified.map(|v| v.damage.clone()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
