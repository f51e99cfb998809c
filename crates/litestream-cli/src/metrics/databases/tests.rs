//! Every family moves when what it tells of does.

use std::time::Duration;

use super::*;
use crate::view::tests::well;
use crate::view::{L0Files, Phase, Work};

fn text(databases: &[Database]) -> String {
    let mut out = String::new();
    write(&mut out, databases);
    out
}

/// The change, and the samples that come of it.
type Case = (fn(&mut Database), &'static [&'static str]);

const CASES: [Case; 23] = [
    (
        |d| d.database_bytes = Some(4096),
        &["litestream_db_size{db=\"/d/a.db\"} 4096"],
    ),
    (
        |d| d.wal_copied_bytes = Some(4152),
        &["litestream_wal_size{db=\"/d/a.db\"} 4152"],
    ),
    (
        |d| d.wal_bytes_total = 77,
        &["litestream_total_wal_bytes{db=\"/d/a.db\"} 77"],
    ),
    (
        |d| d.position = Some(ltx::Txid::new(9)),
        &["litestream_txid{db=\"/d/a.db\"} 9"],
    ),
    (
        |d| {
            d.syncs = Some(Work {
                count: 5,
                errors: Some(2),
                time: Duration::from_millis(1500),
            });
        },
        &[
            "litestream_sync_count{db=\"/d/a.db\"} 5",
            "litestream_sync_error_count{db=\"/d/a.db\"} 2",
            "litestream_sync_seconds{db=\"/d/a.db\"} 1.5",
        ],
    ),
    (
        |d| d.is_disk_full = Some(true),
        &["litestream_disk_full{db=\"/d/a.db\"} 1"],
    ),
    (
        |d| d.is_disk_full = Some(false),
        &["litestream_disk_full{db=\"/d/a.db\"} 0"],
    ),
    (
        |d| {
            let work = Work {
                count: 3,
                errors: Some(1),
                time: Duration::from_secs(2),
            };
            d.checkpoints.push(("PASSIVE", work));
        },
        &[
            "litestream_checkpoint_count{db=\"/d/a.db\",mode=\"PASSIVE\"} 3",
            "litestream_checkpoint_error_count{db=\"/d/a.db\",mode=\"PASSIVE\"} 1",
            "litestream_checkpoint_seconds{db=\"/d/a.db\",mode=\"PASSIVE\"} 2",
        ],
    ),
    (
        |d| d.compaction_verify_errors = Some(4),
        &["litestream_compaction_verify_error_count{db=\"/d/a.db\"} 4"],
    ),
    (
        |d| {
            d.l0_files = Some(L0Files {
                eligible: 1,
                not_compacted: 2,
                too_recent: 3,
            });
        },
        &[
            "litestream_l0_retention_files_total{db=\"a.db\",status=\"eligible\"} 1",
            "litestream_l0_retention_files_total{db=\"a.db\",status=\"not_compacted\"} 2",
            "litestream_l0_retention_files_total{db=\"a.db\",status=\"too_recent\"} 3",
            "litestream_l0_retention_files{db=\"/d/a.db\",status=\"too_recent\"} 3",
        ],
    ),
    (
        |d| d.wal_file_bytes = Some(8272),
        &["litestream_wal_file_size{db=\"/d/a.db\"} 8272"],
    ),
    (
        |d| d.hold_max = Duration::from_millis(5),
        &["litestream_checkpoint_hold_seconds_max{db=\"/d/a.db\"} 0.005"],
    ),
    (
        |d| d.phase = Phase::Stopped,
        &["litestream_db_status{db=\"/d/a.db\",status=\"stopped\"} 1"],
    ),
    (
        |d| d.capture_error = Some("x".into()),
        &[
            "litestream_capture_error{db=\"/d/a.db\"} 1",
            "litestream_db_status{db=\"/d/a.db\",status=\"error\"} 1",
        ],
    ),
    (
        |d| d.replicas[0].lag = Some(Duration::from_millis(1500)),
        &["litestream_replica_lag_seconds{db=\"/d/a.db\",replica_type=\"file\"} 1.5"],
    ),
    (
        |d| d.replicas[0].lag_bytes = Some(11),
        &["litestream_replica_lag_bytes{db=\"/d/a.db\",replica_type=\"file\"} 11"],
    ),
    (
        |d| d.replicas[0].synced_at = Some(UnixMillis(999_500)),
        &["litestream_last_sync_timestamp_seconds{db=\"/d/a.db\",replica_type=\"file\"} 999.5"],
    ),
    (
        |d| d.replicas[0].queue_files = Some(6),
        &["litestream_upload_queue_files{db=\"/d/a.db\",replica_type=\"file\"} 6"],
    ),
    (
        |d| d.replicas[0].failures = 8,
        &["litestream_upload_error_count{db=\"/d/a.db\",replica_type=\"file\"} 8"],
    ),
    (
        |d| d.replicas[0].upload_error = Some("x".into()),
        &["litestream_upload_error{db=\"/d/a.db\",replica_type=\"file\"} 1"],
    ),
    (
        |d| d.replicas[0].verified_at = Some(UnixMillis(1000)),
        &["litestream_last_verified_timestamp_seconds{db=\"/d/a.db\",replica_type=\"file\"} 1"],
    ),
    (
        |d| d.replicas[0].damage = Some(vec!["x".into(), "y".into()]),
        &["litestream_verify_damage{db=\"/d/a.db\",replica_type=\"file\"} 2"],
    ),
    (
        |d| d.replicas[0].damage = Some(Vec::new()),
        &["litestream_verify_damage{db=\"/d/a.db\",replica_type=\"file\"} 0"],
    ),
];

#[test]
fn every_family_moves() {
    let before = text(&[well("/d/a.db")]);
    let mut moved = String::new();
    for (change, expected) in CASES {
        let mut database = well("/d/a.db");
        change(&mut database);
        let after = text(&[database]);
        for sample in expected {
            assert!(after.lines().any(|l| l == *sample), "{sample}\n{after}");
            assert!(
                !before.lines().any(|l| l == *sample),
                "{sample} was there before"
            );
            moved += sample;
            moved.push('\n');
        }
    }
    for family in &FAMILIES {
        let name = family.head.name;
        assert!(
            moved.contains(&format!("{name}{{")),
            "{name} moved in no case"
        );
    }
}

#[test]
fn series_end_with_their_database() {
    let both = text(&[well("/d/a.db"), well("/d/b.db")]);
    assert!(both.contains("/d/a.db") && both.contains("/d/b.db"));
    assert_eq!(both.matches("# TYPE litestream_txid gauge\n").count(), 1);
    assert!(!text(&[well("/d/b.db")]).contains("/d/a.db"));
    assert_eq!(text(&[]), "");
}

#[test]
fn no_series_occurs_twice() {
    let mut a = well("/d/a.db");
    a.l0_files = Some(L0Files::default());
    let mut b = well("/e/a.db");
    b.l0_files = Some(L0Files {
        eligible: 7,
        ..L0Files::default()
    });
    b.replicas.push(Replica {
        lag: Some(Duration::from_secs(1000)),
        queue_files: Some(3),
        ..b.replicas[0].clone()
    });
    let text = text(&[a, b]);
    assert!(
        text.contains(
            "litestream_replica_lag_seconds{db=\"/e/a.db\",replica_type=\"file\"} 1000\n"
        )
    );
    assert!(
        text.contains("litestream_upload_queue_files{db=\"/e/a.db\",replica_type=\"file\"} 3\n")
    );
    assert!(
        text.contains("litestream_l0_retention_files_total{db=\"a.db\",status=\"eligible\"} 7\n")
    );
    let mut series: Vec<_> = text.lines().filter_map(|l| l.rsplit_once(' ')).collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup_by_key(|(name, _)| *name);
    assert_eq!(series.len(), all);
}
