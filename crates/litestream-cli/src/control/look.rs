//! What is shown: pure functions from how databases stand to documents.

use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use litestream::ReplicaStatus;
use litestream::fleet::{DatabaseStatus, Phase};
use litestream_replica::env::UnixMillis;
use ltx::Txid;

use super::About;
use super::documents::{Doing, Info, Listed, ListedReplica};
use crate::time::zone_exact;

/// About the daemon.
pub fn info(about: &About, database_count: usize, zone: &TimeZone) -> Info {
    Info {
        version: about.version.clone(),
        pid: about.pid,
        uptime_seconds: about.uptime.as_secs(),
        started_at: zone_exact(about.started_at, zone),
        database_count,
    }
}

/// One database and its replicas.
pub fn listed(database: &DatabaseStatus, zone: &TimeZone) -> Listed {
    let status = &database.status;
    let is_stopped = database.phase == Phase::Stopped;
    let synced = status
        .replicas
        .iter()
        .map(|r| r.last_sync_at)
        .min()
        .flatten();
    let lag = status.replicas.iter().map(|r| r.lag.age).max();
    let error = status
        .capture_error
        .clone()
        .or_else(|| status.upload_error.clone());
    Listed {
        path: text(&database.path),
        status: match (database.phase, database.monitored) {
            (Phase::Stopped, _) => "stopped",
            (Phase::Running | Phase::Stopping, true) => "replicating",
            (Phase::Running | Phase::Stopping, false) => "open",
        }
        .to_owned(),
        last_sync_at: synced.map(|at| zone_exact(at, zone)),
        // Of a stopped database it says nothing any more.
        error: error.filter(|_| !is_stopped),
        missing: status.seen.is_missing && !is_stopped,
        lag_seconds: lag.filter(|_| !is_stopped).map(seconds),
        replicas: status.replicas.iter().map(|r| replica(r, zone)).collect(),
    }
}

fn replica(replica: &ReplicaStatus, zone: &TimeZone) -> ListedReplica {
    ListedReplica {
        r#type: replica.kind.to_owned(),
        location: replica.location.clone(),
        txid: replica.position.map(Txid::get),
        last_sync_at: replica.last_sync_at.map(|at| zone_exact(at, zone)),
        lag_seconds: seconds(replica.lag.age),
        lag_bytes: replica.lag.bytes,
        error: replica.upload_error.clone(),
        upkeep_error: replica.upkeep_error.clone(),
    }
}

/// What a database is doing, or did last.
pub fn doing(database: &DatabaseStatus, now: UnixMillis, zone: &TimeZone) -> Doing {
    let (seen, ages) = (&database.status.seen, &database.status.request_ages);
    let operation = &seen.operation;
    let some = |n: u64| Some(n).filter(|n| *n > 0);
    let active = operation.is_active && database.phase != Phase::Stopped;
    // The first request may be what is being done.
    let waiting = ages.get(usize::from(active)..).unwrap_or_default();
    let waited = waiting.first().copied();
    let since = waited.map(|age| UnixMillis(now.0.saturating_sub(age.as_millis() as i64)));
    let doing = Doing {
        path: text(&database.path),
        active,
        executor_waiter_count: some(waiting.len() as u64),
        executor_wait_started_at: since.map(|at| zone_exact(at, zone)),
        executor_wait_seconds: waited.map_or(0.0, seconds),
        wal_size: some(seen.wal_file_bytes),
        last_synced_wal_offset: some(seen.wal_end),
        ..Doing::default()
    };
    if operation.name.is_empty() {
        return doing;
    }
    let end = if active { now } else { operation.updated_at };
    let elapsed_millis = end.0.saturating_sub(operation.started_at.0).max(0);
    Doing {
        operation: operation.name,
        phase: operation.phase,
        started_at: Some(zone_exact(operation.started_at, zone)),
        updated_at: Some(zone_exact(operation.updated_at, zone)),
        elapsed_seconds: elapsed_millis as f64 / 1000.0,
        txid: some(operation.txid.map_or(0, Txid::get)),
        snapshotting: operation.is_full,
        // The only one that is ever used.
        checkpoint_mode: if operation.name == "checkpoint" {
            "PASSIVE"
        } else {
            ""
        },
        reason: operation.reason.clone(),
        error: operation.error.clone(),
        ..doing
    }
}

/// Paths go into documents as text; what is no text is shown as far as it is.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// As a number with milliseconds.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use litestream::{Lag, Operation, Seen, Status};
    use serde_json::json;

    use super::*;

    fn database(phase: Phase, monitored: bool) -> DatabaseStatus {
        let synced = |at| ReplicaStatus {
            kind: "file",
            location: "/b".into(),
            last_sync_at: Some(UnixMillis(at)),
            lag: Lag {
                age: Duration::from_millis(1500),
                bytes: 7,
                files: 1,
            },
            ..ReplicaStatus::default()
        };
        DatabaseStatus {
            path: "/a".into(),
            phase,
            monitored,
            status: Status {
                upload_error: Some("no".into()),
                replicas: vec![synced(2000), synced(1000)],
                ..Status::default()
            },
        }
    }

    #[test]
    fn the_worst_replica_counts() {
        let shown = |phase, monitored| {
            let listed = listed(&database(phase, monitored), &TimeZone::UTC);
            serde_json::to_value(&listed).unwrap()
        };
        let running = shown(Phase::Running, true);
        assert_eq!(running["status"], "replicating");
        assert_eq!(running["last_sync_at"], "1970-01-01T00:00:01Z");
        assert_eq!(
            (&running["lag_seconds"], &running["error"]),
            (&json!(1.5), &json!("no"))
        );
        assert_eq!(running["replicas"][0]["lag_bytes"], 7);
        assert_eq!(shown(Phase::Stopping, true)["status"], "replicating");
        assert_eq!(shown(Phase::Running, false)["status"], "open");
        let stopped = shown(Phase::Stopped, true);
        assert_eq!(stopped["status"], "stopped");
        assert!(stopped.get("error").is_none() && stopped.get("lag_seconds").is_none());
        let never = DatabaseStatus {
            status: Status {
                replicas: vec![
                    ReplicaStatus::default(),
                    database(Phase::Running, true).status.replicas[0].clone(),
                ],
                ..Status::default()
            },
            ..database(Phase::Running, true)
        };
        assert_eq!(super::listed(&never, &TimeZone::UTC).last_sync_at, None);
    }

    #[test]
    fn what_is_being_done_and_who_waits() {
        let now = UnixMillis(10_000);
        let shown = |database: &DatabaseStatus| {
            serde_json::to_value(doing(database, now, &TimeZone::UTC)).unwrap()
        };
        let mut idle = database(Phase::Running, true);
        assert_eq!(shown(&idle), json!({ "path": "/a", "active": false }));
        idle.status.request_ages = vec![Duration::from_secs(3), Duration::from_secs(2)];
        idle.status.seen = Seen {
            wal_end: 32,
            operation: Operation {
                name: "checkpoint",
                is_active: true,
                phase: "checkpoint_exec",
                started_at: UnixMillis(7000),
                updated_at: UnixMillis(8000),
                error: Some("x".into()),
                ..Operation::default()
            },
            ..Seen::default()
        };
        let busy = shown(&idle);
        let expected = json!({
            "path": "/a", "active": true, "operation": "checkpoint", "phase": "checkpoint_exec",
            "started_at": "1970-01-01T00:00:07Z", "updated_at": "1970-01-01T00:00:08Z", "elapsed_seconds": 3.0,
            "last_synced_wal_offset": 32, "checkpoint_mode": "PASSIVE", "error": "x", "executor_waiter_count": 1,
            "executor_wait_started_at": "1970-01-01T00:00:08Z", "executor_wait_seconds": 2.0,
        });
        assert_eq!(busy, expected);
        idle.status.seen.operation.is_active = false;
        let over = shown(&idle);
        assert_eq!(
            (&over["elapsed_seconds"], &over["executor_waiter_count"]),
            (&json!(1.0), &json!(2))
        );
    }
}
