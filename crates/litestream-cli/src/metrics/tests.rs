//! What a scrape gives.

use std::time::Duration;

use bytes::Bytes;
use litestream_replica::env::UnixMillis;
use litestream_replica::env::real;
use litestream_replica::faulty::{Faulty, Op, When};
use litestream_replica::memory::Memory;
use litestream_replica::metered::{Metered, Observed, Operation, OperationObserver as _};
use litestream_replica::{ErrorKind, Level, Replica as _, Source};
use ltx::{FileName, Txid};

use super::*;
use crate::view::tests::{Shown, well};

fn metrics(shown: &Shown) -> Metrics {
    Metrics::new(Arc::new(shown.clone())).unwrap()
}

fn has(text: &str, sample: &str) {
    assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
}

#[tokio::test]
async fn operations_of_replicas_are_counted() {
    let env = real::env();
    let metrics = metrics(&Shown::default());
    let faulty = Faulty::new(Arc::new(Memory::new(env.disk)));
    let replica = Metered::new(Arc::new(faulty.clone()), metrics.operations(), env.clock);
    let kind = replica.kind();
    let name = FileName::single(Txid::new(1));
    let source = Source::Bytes(Bytes::from_static(b"abc"));
    let write = || replica.write(Level::L0, name, source.clone(), UnixMillis(1));
    write().await.unwrap();
    write().await.unwrap();
    replica.read(Level::L0, name, 0, Some(2)).await.unwrap();
    replica.list(Level::L0, None, false).await.unwrap();
    for failure in [ErrorKind::Throttled, ErrorKind::Forbidden] {
        faulty.fail(Op::Write, 1, failure, When::Before);
        write().await.unwrap_err();
    }
    replica.delete(&[(Level::L0, name); 3]).await.unwrap();
    let text = metrics.text().unwrap();
    for (family, operation, value) in [
        ("operation_total", "PUT", 2),
        ("operation_bytes", "PUT", 6),
        ("retries_total", "PUT", 1),
        ("operation_total", "GET", 1),
        ("operation_bytes", "GET", 2),
        ("operation_total", "LIST", 1),
        ("operation_total", "DELETE", 3),
        ("operation_duration_seconds_count", "PUT", 4),
        ("operation_duration_seconds_count", "DELETE", 1),
    ] {
        let labels = format!("operation=\"{operation}\",replica_type=\"{kind}\"");
        has(
            &text,
            &format!("litestream_replica_{family}{{{labels}}} {value}"),
        );
    }
    for code in ["throttled", "forbidden"] {
        let labels = format!("code=\"{code}\",operation=\"PUT\",replica_type=\"{kind}\"");
        has(
            &text,
            &format!("litestream_replica_operation_errors_total{{{labels}}} 1"),
        );
    }
}

#[test]
fn durations_have_the_buckets_of_litestream() {
    let metrics = metrics(&Shown::default());
    metrics.operations().observe(&Observed {
        operation: Operation::Delete,
        kind: "s3",
        files: 1,
        took: Duration::from_millis(700),
        outcome: Ok(0),
    });
    let text = metrics.text().unwrap();
    for (bucket, count) in [
        ("0.01", 0),
        ("0.05", 0),
        ("0.1", 0),
        ("0.5", 0),
        ("1", 1),
        ("5", 1),
        ("10", 1),
        ("30", 1),
        ("60", 1),
        ("+Inf", 1),
    ] {
        let labels = format!("operation=\"DELETE\",replica_type=\"s3\",le=\"{bucket}\"");
        has(
            &text,
            &format!("litestream_replica_operation_duration_seconds_bucket{{{labels}}} {count}"),
        );
    }
}

#[test]
fn a_scrape_shows_databases_as_they_are_then() {
    let shown = Shown::default();
    let metrics = metrics(&shown);
    assert!(!metrics.text().unwrap().contains("/d/a.db"));
    shown.0.lock().push(well("/d/a.db"));
    has(
        &metrics.text().unwrap(),
        "litestream_txid{db=\"/d/a.db\"} 1",
    );
    shown.0.lock().clear();
    assert!(!metrics.text().unwrap().contains("/d/a.db"));
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_described() {
    let text = metrics(&Shown::default()).text().unwrap();
    for name in [
        "cpu_seconds_total",
        "open_fds",
        "max_fds",
        "virtual_memory_bytes",
        "virtual_memory_max_bytes",
        "resident_memory_bytes",
        "start_time_seconds",
    ] {
        let line = format!("process_{name} ");
        assert!(text.lines().any(|l| l.starts_with(&line)), "{line}\n{text}");
    }
}
