//! What metrics, health, heartbeat and hooks see of the databases: plain values, taken when somebody asks.
//!
//! Promise: looking waits for nothing and touches no file. What the engine does not know is `None`, never a made-up zero.

use std::path::{Path, PathBuf};
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
    /// The newest local TXID: known once it was opened.
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

/// What is committed and not yet in a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pending {
    /// Not known.
    #[default]
    Unknown,
    /// Nothing.
    Nothing,
    /// Something; the oldest was committed then.
    Since(UnixMillis),
}

impl Pending {
    /// The age of the oldest commit that is not in the replica; zero if all are.
    pub fn lag(self, now: UnixMillis) -> Option<Duration> {
        match self {
            Pending::Unknown => None,
            Pending::Nothing => Some(Duration::ZERO),
            // A clock that was set back makes nothing younger than now.
            Pending::Since(then) => Some(Duration::from_millis(
                u64::try_from(now.0.saturating_sub(then.0)).unwrap_or_default(),
            )),
        }
    }
}

/// One replica of a database.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// `file`, `s3`, …
    pub kind: &'static str,
    /// What it lacks.
    pub pending: Pending,
    /// Its bytes.
    pub pending_bytes: Option<u64>,
    /// Staged files that wait.
    pub queue_files: Option<u64>,
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
            Phase::Running if self.position.is_none() => Condition::Opening,
            Phase::Running => Condition::Replicating,
        }
    }

    /// Why replication does not work, if it does not. That there is no database is no error.
    pub fn error(&self) -> Option<&str> {
        let capture = self.capture_error.as_deref().filter(|_| !self.is_missing);
        let mut uploads = self.replicas.iter().map(|r| r.upload_error.as_deref());
        capture.or_else(|| uploads.find_map(|error| error))
    }

    /// The age of the oldest commit that some replica lacks, where that is known.
    pub fn lag(&self, now: UnixMillis) -> Option<Duration> {
        self.replicas
            .iter()
            .filter_map(|r| r.pending.lag(now))
            .max()
    }
}

impl View for Fleet {
    fn databases(&self) -> Vec<Database> {
        Fleet::databases(self).iter().map(of_engine).collect()
    }
}

/// What the engine tells of a database.
pub fn of_engine(seen: &fleet::DatabaseStatus) -> Database {
    let counters = &seen.status.counters;
    let position = seen.status.position;
    let replicas = &seen.status.replicas;
    Database {
        path: seen.path.clone(),
        phase: match seen.phase {
            fleet::Phase::Stopped => Phase::Stopped,
            fleet::Phase::Running => Phase::Running,
            fleet::Phase::Stopping => Phase::Stopping,
        },
        is_missing: is_missing(&seen.path, seen.status.capture_error.as_deref()),
        position,
        wal_bytes_total: counters.wal_bytes,
        // The engine's only mode: it never truncates.
        checkpoints: match counters.checkpoints {
            0 => Vec::new(),
            count => vec![(
                "PASSIVE",
                Work {
                    count,
                    errors: None,
                    time: counters.checkpoint_time,
                },
            )],
        },
        hold_max: counters.held_max,
        capture_error: seen.status.capture_error.clone(),
        replicas: replicas.iter().map(|r| replica(r, position)).collect(),
        ..Database::default()
    }
}

fn is_missing(path: &Path, capture_error: Option<&str>) -> bool {
    let missing = litestream::Error::NoDatabase(path.to_owned()).to_string();
    capture_error == Some(missing.as_str())
}

fn replica(seen: &litestream::ReplicaStatus, position: Option<Txid>) -> Replica {
    let verified = seen.verified.as_ref();
    Replica {
        kind: seen.kind,
        pending: match (position, seen.position) {
            (Some(local), Some(there)) if there >= local => Pending::Nothing,
            _ => Pending::Unknown,
        },
        upload_error: seen.upload_error.clone(),
        verified_at: verified.and_then(|v| v.at),
        damage: verified.map(|v| v.damage.clone()),
        ..Replica::default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// A view whose content tests set.
    #[derive(Clone, Default)]
    pub struct Shown(pub Arc<Mutex<Vec<Database>>>);

    impl View for Shown {
        fn databases(&self) -> Vec<Database> {
            self.0.lock().clone()
        }
    }

    /// One that is well: opened, everything in its one replica.
    pub fn well(path: &str) -> Database {
        Database {
            path: path.into(),
            position: Some(Txid::new(1)),
            replicas: vec![Replica {
                kind: "file",
                pending: Pending::Nothing,
                ..Replica::default()
            }],
            ..Database::default()
        }
    }

    #[test]
    fn conditions() {
        let with = |change: fn(&mut Database)| {
            let mut database = well("/a.db");
            change(&mut database);
            database.condition().word()
        };
        assert_eq!(with(|_| {}), "replicating");
        assert_eq!(with(|d| d.position = None), "opening");
        assert_eq!(with(|d| d.capture_error = Some("x".into())), "error");
        assert_eq!(
            with(|d| d.replicas[0].upload_error = Some("x".into())),
            "error"
        );
        assert_eq!(
            with(|d| (d.is_missing, d.capture_error) = (true, Some("x".into()))),
            "missing"
        );
        assert_eq!(with(|d| d.phase = Phase::Stopping), "stopping");
        assert_eq!(with(|d| d.phase = Phase::Stopped), "stopped");
    }

    #[test]
    fn lag_is_the_age_of_the_oldest_commit_that_waits() {
        let now = UnixMillis(90_000);
        assert_eq!(Pending::Unknown.lag(now), None);
        assert_eq!(Pending::Nothing.lag(now), Some(Duration::ZERO));
        let since = |millis| Pending::Since(UnixMillis(millis)).lag(now);
        assert_eq!(since(88_500), Some(Duration::from_millis(1500)));
        assert_eq!(since(90_001), Some(Duration::ZERO));
    }

    #[test]
    fn what_the_engine_tells_is_taken_over() {
        let mut seen = fleet::DatabaseStatus {
            path: "/a/b.db".into(),
            phase: fleet::Phase::Running,
            monitored: true,
            status: litestream::Status::default(),
        };
        seen.status.capture_error =
            Some(litestream::Error::NoDatabase("/a/b.db".into()).to_string());
        assert_eq!(of_engine(&seen).condition(), Condition::Missing);
        seen.status.capture_error = Some("disk I/O error".into());
        assert_eq!(of_engine(&seen).condition(), Condition::Error);
        seen.status.capture_error = None;
        seen.status.position = Some(Txid::new(7));
        seen.status.counters.checkpoints = 3;
        seen.status.replicas.push(litestream::ReplicaStatus {
            kind: "s3",
            position: Some(Txid::new(6)),
            verified: Some(litestream::Verified {
                at: Some(UnixMillis(5)),
                damage: vec!["gone".into()],
                ..litestream::Verified::default()
            }),
            ..litestream::ReplicaStatus::default()
        });
        let database = of_engine(&seen);
        assert_eq!(database.condition(), Condition::Replicating);
        assert_eq!(database.checkpoints[0].1.count, 3);
        assert_eq!(database.replicas[0].pending, Pending::Unknown);
        assert_eq!(database.replicas[0].damage, Some(vec!["gone".into()]));
        seen.status.replicas[0].position = seen.status.position;
        assert_eq!(of_engine(&seen).replicas[0].pending, Pending::Nothing);
    }
}
