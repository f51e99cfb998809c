//! The families about databases: one table, from which the values are read when somebody scrapes.
//!
//! A database that is no longer registered has no series. What is not known has none either.

use std::collections::BTreeMap;

use litestream_replica::env::UnixMillis;

use super::exposition::{Head, Kind, Samples};
use crate::view::{Database, Replica};

/// A family and where its samples come from.
pub(super) struct Family {
    pub head: Head,
    write: Write,
}

enum Write {
    /// One sample `{db}`.
    One(fn(&Database) -> Option<f64>),
    /// Samples `{db,LABEL}`.
    Labelled(&'static str, fn(&Database) -> Vec<(&'static str, f64)>),
    /// One sample `{db,replica_type}`, given what is known of all replicas of that type.
    Replica(fn(&Replica) -> Option<f64>),
    /// Level-0 files by base name, which several databases may share.
    L0ByName,
}

const fn family(name: &'static str, kind: Kind, help: &'static str, write: Write) -> Family {
    Family {
        head: Head { name, kind, help },
        write,
    }
}

use Kind::{Counter, Gauge};
use Write::{L0ByName, Labelled, One, Replica as ByReplica};

/// All of them. Those of Litestream come first, under its names and help texts.
pub(super) const FAMILIES: [Family; 26] = [
    family(
        "litestream_db_size",
        Gauge,
        "The current size of the real DB",
        One(|d| d.database_bytes.map(number)),
    ),
    family(
        "litestream_wal_size",
        Gauge,
        "The current size of the real WAL",
        One(|d| d.wal_copied_bytes.map(number)),
    ),
    family(
        "litestream_total_wal_bytes",
        Counter,
        "Total number of bytes written to shadow WAL",
        One(|d| Some(number(d.wal_bytes_total))),
    ),
    family(
        "litestream_txid",
        Gauge,
        "The current transaction ID",
        One(|d| Some(number(d.position.map_or(0, ltx::Txid::get)))),
    ),
    family(
        "litestream_sync_count",
        Counter,
        "Number of sync operations performed",
        One(|d| d.syncs.map(|s| number(s.count))),
    ),
    family(
        "litestream_sync_error_count",
        Counter,
        "Number of sync errors that have occurred",
        One(|d| d.syncs.and_then(|s| s.errors).map(number)),
    ),
    family(
        "litestream_sync_seconds",
        Counter,
        "Time spent syncing shadow WAL, in seconds",
        One(|d| d.syncs.map(|s| s.time.as_secs_f64())),
    ),
    family(
        "litestream_disk_full",
        Gauge,
        "Whether replication is paused because the local disk is full",
        One(|d| d.is_disk_full.map(|full| f64::from(u8::from(full)))),
    ),
    family(
        "litestream_checkpoint_count",
        Counter,
        "Number of checkpoint operations performed",
        Labelled("mode", |d| {
            let each = d.checkpoints.iter();
            each.map(|(mode, work)| (*mode, number(work.count)))
                .collect()
        }),
    ),
    family(
        "litestream_checkpoint_error_count",
        Counter,
        "Number of checkpoint errors that have occurred",
        Labelled("mode", |d| {
            let each = d.checkpoints.iter();
            each.filter_map(|(mode, work)| Some((*mode, number(work.errors?))))
                .collect()
        }),
    ),
    family(
        "litestream_checkpoint_seconds",
        Counter,
        "Time spent checkpointing WAL, in seconds",
        Labelled("mode", |d| {
            let each = d.checkpoints.iter();
            each.map(|(mode, work)| (*mode, work.time.as_secs_f64()))
                .collect()
        }),
    ),
    family(
        "litestream_compaction_verify_error_count",
        Counter,
        "Number of post-compaction verification failures",
        One(|d| d.compaction_verify_errors.map(number)),
    ),
    family(
        "litestream_l0_retention_files_total",
        Gauge,
        "Number of L0 files by status during retention enforcement",
        L0ByName,
    ),
    family(
        "litestream_l0_retention_files",
        Gauge,
        "Number of L0 files by status during retention enforcement, by the full path of the database",
        Labelled("status", l0_files),
    ),
    family(
        "litestream_wal_file_size",
        Gauge,
        "The current size of the WAL file in bytes",
        One(|d| d.wal_file_bytes.map(number)),
    ),
    family(
        "litestream_checkpoint_hold_seconds_max",
        Gauge,
        "The longest time that a checkpoint held up transactions since start, in seconds",
        One(|d| Some(d.hold_max.as_secs_f64())),
    ),
    family(
        "litestream_db_status",
        Gauge,
        "1 for the status that the database has: stopped, stopping, missing, opening, error or replicating",
        Labelled("status", |d| vec![(d.condition().word(), 1.0)]),
    ),
    family(
        "litestream_capture_error",
        Gauge,
        "Whether capture of the database fails at the moment",
        One(|d| Some(flag(d.capture_error.is_some() && !d.is_missing))),
    ),
    family(
        "litestream_replica_lag_seconds",
        Gauge,
        "Age of the oldest commit that is not in the replica, in seconds; 0 if there is none",
        ByReplica(|r| r.lag.map(|lag| lag.as_secs_f64())),
    ),
    family(
        "litestream_replica_lag_bytes",
        Gauge,
        "Bytes of the files that are not in the replica yet",
        ByReplica(|r| r.lag_bytes.map(number)),
    ),
    family(
        "litestream_last_sync_timestamp_seconds",
        Gauge,
        "When the replica last held everything, in seconds since 1970",
        ByReplica(|r| r.synced_at.map(seconds)),
    ),
    family(
        "litestream_upload_queue_files",
        Gauge,
        "Files that wait for their upload",
        ByReplica(|r| r.queue_files.map(number)),
    ),
    family(
        "litestream_upload_error",
        Gauge,
        "Whether upload to the replica fails at the moment",
        ByReplica(|r| Some(flag(r.upload_error.is_some()))),
    ),
    family(
        "litestream_upload_error_count",
        Counter,
        "Number of uploads and snapshots that failed and are tried again",
        ByReplica(|r| Some(number(r.failures))),
    ),
    family(
        "litestream_last_verified_timestamp_seconds",
        Gauge,
        "When the replica was last verified, in seconds since 1970",
        ByReplica(|r| r.verified_at.map(seconds)),
    ),
    family(
        "litestream_verify_damage",
        Gauge,
        "Damaged or missing files that the last verification of the replica found",
        ByReplica(|r| r.damage.as_ref().map(|found| found.len() as f64)),
    ),
];

fn number(value: u64) -> f64 {
    value as f64
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn seconds(time: UnixMillis) -> f64 {
    time.0 as f64 / 1000.0
}

fn l0_files(database: &Database) -> Vec<(&'static str, f64)> {
    let each = |files: crate::view::L0Files| {
        vec![
            ("eligible", number(files.eligible)),
            ("not_compacted", number(files.not_compacted)),
            ("too_recent", number(files.too_recent)),
        ]
    };
    database.l0_files.map(each).unwrap_or_default()
}

/// Writes all families.
pub(super) fn write(out: &mut String, databases: &[Database]) {
    let paths: Vec<_> = databases.iter().map(|d| d.path.to_string_lossy()).collect();
    let replicas: Vec<_> = databases.iter().map(|d| by_kind(&d.replicas)).collect();
    for family in &FAMILIES {
        let mut samples = Samples::new(out, family.head);
        if matches!(family.write, L0ByName) {
            l0_by_name(&mut samples, databases);
            continue;
        }
        for ((database, path), replicas) in databases.iter().zip(&paths).zip(&replicas) {
            match family.write {
                One(value) => {
                    if let Some(value) = value(database) {
                        samples.add(&[("db", path)], value);
                    }
                }
                Labelled(label, values) => {
                    for (text, value) in values(database) {
                        samples.add(&[("db", path), (label, text)], value);
                    }
                }
                ByReplica(value) => {
                    for replica in replicas {
                        if let Some(value) = value(replica) {
                            samples.add(&[("db", path), ("replica_type", replica.kind)], value);
                        }
                    }
                }
                L0ByName => {}
            }
        }
    }
}

fn l0_by_name(samples: &mut Samples<'_>, databases: &[Database]) {
    let mut sums: BTreeMap<(String, &str), f64> = BTreeMap::new();
    for database in databases {
        for (status, files) in l0_files(database) {
            *sums.entry((database.name(), status)).or_default() += files;
        }
    }
    for ((name, status), files) in &sums {
        samples.add(&[("db", name), ("status", status)], files);
    }
}

/// One for each type: several of the same type would be series of the same name. The one that is worst off speaks for them.
fn by_kind(replicas: &[Replica]) -> Vec<Replica> {
    let mut kinds: Vec<Replica> = Vec::with_capacity(replicas.len());
    for replica in replicas {
        match kinds.iter_mut().find(|k| k.kind == replica.kind) {
            None => kinds.push(replica.clone()),
            Some(kind) => join(kind, replica),
        }
    }
    kinds
}

fn join(one: &mut Replica, other: &Replica) {
    // If one of them is not known, the worst is not.
    one.lag = one.lag.zip(other.lag).map(|(a, b)| a.max(b));
    one.lag_bytes = one.lag_bytes.max(other.lag_bytes);
    one.queue_files = one.queue_files.max(other.queue_files);
    one.failures += other.failures;
    // `None` is the oldest.
    one.synced_at = one.synced_at.min(other.synced_at);
    one.verified_at = one.verified_at.min(other.verified_at);
    if let Some(found) = &other.damage {
        let all = one.damage.get_or_insert_default();
        all.extend(found.iter().cloned());
    }
    if one.upload_error.is_none() {
        one.upload_error.clone_from(&other.upload_error);
    }
}

#[cfg(test)]
mod tests;
