//! Made-up databases, and what is taken over from real ones.

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
        was_opened: true,
        position: Some(Txid::new(1)),
        replicas: vec![Replica {
            kind: "file",
            lag: Some(Duration::ZERO),
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
    assert_eq!(with(|d| d.was_opened = false), "opening");
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

fn seen() -> fleet::DatabaseStatus {
    fleet::DatabaseStatus {
        path: "/a/b.db".into(),
        phase: fleet::Phase::Running,
        monitored: true,
        status: litestream::Status::default(),
    }
}

#[test]
fn what_the_engine_tells_is_taken_over() {
    let mut of = seen();
    let fresh = of_engine(&of);
    assert_eq!(fresh.condition(), Condition::Opening);
    assert_eq!((fresh.database_bytes, fresh.checkpoints.len()), (None, 0));
    of.status.capture_error = Some("x".into());
    assert_eq!(of_engine(&of).condition(), Condition::Error);
    of.status.seen.is_missing = true;
    assert_eq!(of_engine(&of).condition(), Condition::Missing);
    of.status = litestream::Status::default();
    of.status.position = Some(Txid::new(7));
    of.status.seen = litestream::Seen {
        was_looked_at: true,
        disk_full: true,
        database_bytes: 1,
        wal_end: 2,
        wal_file_bytes: 3,
        ..litestream::Seen::default()
    };
    of.status.counters = litestream::Counters {
        syncs: 4,
        sync_errors: 5,
        wal_bytes: 6,
        checkpoints: 7,
        checkpoint_errors: 8,
        held_max: Duration::from_secs(9),
        ..litestream::Counters::default()
    };
    let database = of_engine(&of);
    assert_eq!(database.condition(), Condition::Replicating);
    let sizes = [
        database.database_bytes,
        database.wal_copied_bytes,
        database.wal_file_bytes,
    ];
    assert_eq!(sizes, [Some(1), Some(2), Some(3)]);
    assert_eq!(database.is_disk_full, Some(true));
    let syncs = database.syncs.unwrap();
    assert_eq!((syncs.count, syncs.errors), (4, Some(5)));
    assert_eq!(database.wal_bytes_total, 6);
    let (mode, checkpoints) = database.checkpoints[0];
    assert_eq!(
        (mode, checkpoints.count, checkpoints.errors),
        ("PASSIVE", 7, Some(8))
    );
    assert_eq!(database.hold_max, Duration::from_secs(9));
}

#[test]
fn what_the_engine_tells_of_replicas_is_taken_over() {
    let mut of = seen();
    of.status.replicas.push(litestream::ReplicaStatus {
        kind: "s3",
        last_sync_at: Some(UnixMillis(4)),
        failures: 5,
        verified: Some(litestream::Verified {
            at: Some(UnixMillis(6)),
            damage: vec!["gone".into()],
            ..litestream::Verified::default()
        }),
        ..litestream::ReplicaStatus::default()
    });
    let unknown = of_engine(&of).replicas.remove(0);
    assert_eq!((unknown.lag, unknown.queue_files), (None, None));
    assert_eq!(
        (unknown.synced_at, unknown.failures),
        (Some(UnixMillis(4)), 5)
    );
    assert_eq!(unknown.verified_at, Some(UnixMillis(6)));
    assert_eq!(unknown.damage, Some(vec!["gone".into()]));
    of.status.replicas[0].position = Some(Txid::new(1));
    assert_eq!(of_engine(&of).replicas[0].lag, Some(Duration::ZERO));
    of.status.replicas[0].lag = litestream::Lag {
        age: Duration::from_secs(1),
        bytes: 2,
        files: 3,
    };
    let behind = of_engine(&of).replicas.remove(0);
    assert_eq!(behind.lag, Some(Duration::from_secs(1)));
    assert_eq!((behind.lag_bytes, behind.queue_files), (Some(2), Some(3)));
    of.phase = fleet::Phase::Stopped;
    assert_eq!(of_engine(&of).replicas[0].lag, None);
}

#[test]
fn only_short_work_makes_busy() {
    let mut of = seen();
    assert_eq!(of_engine(&of).busy_since, None);
    let operation = &mut of.status.seen.operation;
    (operation.is_active, operation.updated_at) = (true, UnixMillis(5));
    assert_eq!(of_engine(&of).busy_since, Some(UnixMillis(5)));
    of.status.seen.operation.is_full = true;
    assert_eq!(of_engine(&of).busy_since, None);
}
