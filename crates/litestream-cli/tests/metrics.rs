//! Metrics and health of a real fleet, asked for over HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "a test; values are whole numbers"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use litestream::Settings;
use litestream::fleet::{Ending, Fleet, Spec};
use litestream_cli::http::{Address, Pages, Server};
use litestream_cli::metrics::Metrics;
use litestream_cli::view::View;
use litestream_replica::env::{Env, real};
use litestream_replica::faulty::{Faulty, Op, When};
use litestream_replica::memory::Memory;
use litestream_replica::metered::Metered;
use litestream_replica::{ErrorKind, SharedReplica};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

struct World {
    env: Env,
    fleet: Arc<Fleet>,
    metrics: Arc<Metrics>,
    server: Server,
}

impl World {
    async fn new() -> World {
        let env = real::env();
        let fleet = Arc::new(Fleet::new(env.clone()));
        let metrics = Arc::new(Metrics::new(fleet.clone()).unwrap());
        let pages = Pages {
            metrics: metrics.clone(),
            view: fleet.clone() as Arc<dyn View>,
            max_lag: Duration::from_mins(5),
            is_alive: Arc::new(|| true),
        };
        let address = Address::parse("127.0.0.1:0").unwrap();
        let server = Server::start(&address, pages, &env).await.unwrap();
        World {
            env,
            fleet,
            metrics,
            server,
        }
    }

    /// Replicates a database to memory that can be made to fail.
    fn register(&self, path: &Path) -> Faulty {
        let faulty = Faulty::new(Arc::new(Memory::new(self.env.disk.clone())));
        let metered = Metered::new(
            Arc::new(faulty.clone()),
            self.metrics.operations(),
            self.env.clock.clone(),
        );
        let mut settings = Settings::for_database(path);
        settings.checkpoint_interval = Duration::from_millis(100);
        let spec = Spec {
            settings,
            replicas: vec![Arc::new(metered) as SharedReplica],
            on_demand: false,
        };
        self.fleet.register(spec).unwrap();
        faulty
    }

    async fn get(&self, target: &str) -> String {
        let address = ("127.0.0.1", self.server.port());
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The value of a series of this database; `None` if there is none.
    async fn value(&self, path: &Path, name: &str, labels: &str) -> Option<f64> {
        let text = self.get("/metrics").await;
        let series = format!("{name}{{db=\"{}\"{labels}}} ", path.display());
        let mut values = text.lines().filter_map(|l| l.strip_prefix(&series));
        values.next().map(|value| value.parse().unwrap())
    }

    /// Waits until a condition on a series holds.
    async fn until(&self, path: &Path, name: &str, labels: &str, is: impl Fn(f64) -> bool) {
        for _ in 0..1000 {
            if self.value(path, name, labels).await.is_some_and(&is) {
                return;
            }
            self.env.clock.sleep_async(Duration::from_millis(20)).await;
        }
        let text = self.get("/metrics").await;
        panic!("{name}{labels} did not become what it should:\n{text}");
    }

    /// Waits for an answer that begins so.
    async fn until_answer(&self, target: &str, is: impl Fn(&str) -> bool) -> String {
        for _ in 0..1000 {
            let answer = self.get(target).await;
            if is(&answer) {
                return answer;
            }
            self.env.clock.sleep_async(Duration::from_millis(20)).await;
        }
        panic!("{target}: {}", self.get(target).await);
    }
}

fn database(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    let made =
        "PRAGMA journal_mode = wal; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000))";
    connection.execute_batch(made).unwrap();
    connection
}

const FILE: &str = ",replica_type=\"memory\"";

#[tokio::test(flavor = "multi_thread")]
async fn series_of_a_database_move_and_end_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let connection = database(&path);
    let world = World::new().await;
    assert_eq!(world.value(&path, "litestream_txid", "").await, None);
    world.register(&path);
    world
        .until(&path, "litestream_txid", "", |v| v >= 1.0)
        .await;
    world
        .until(&path, "litestream_db_size", "", |v| v >= 100_000.0)
        .await;
    world
        .until(&path, "litestream_wal_size", "", |v| v > 32.0)
        .await;
    world
        .until(&path, "litestream_wal_file_size", "", |v| v > 32.0)
        .await;
    world
        .until(&path, "litestream_sync_count", "", |v| v >= 1.0)
        .await;
    world
        .until(&path, "litestream_sync_seconds", "", |v| v > 0.0)
        .await;
    world
        .until(&path, "litestream_disk_full", "", |v| v == 0.0)
        .await;
    let before = world
        .value(&path, "litestream_total_wal_bytes", "")
        .await
        .unwrap();
    connection
        .execute_batch("INSERT INTO t VALUES (zeroblob(9000))")
        .unwrap();
    world
        .until(&path, "litestream_txid", "", |v| v >= 2.0)
        .await;
    world
        .until(&path, "litestream_total_wal_bytes", "", |v| v > before)
        .await;
    world
        .until(
            &path,
            "litestream_checkpoint_count",
            ",mode=\"PASSIVE\"",
            |v| v >= 1.0,
        )
        .await;
    world
        .until(
            &path,
            "litestream_checkpoint_seconds",
            ",mode=\"PASSIVE\"",
            |v| v > 0.0,
        )
        .await;
    world
        .until(
            &path,
            "litestream_db_status",
            ",status=\"replicating\"",
            |v| v == 1.0,
        )
        .await;
    world
        .until(&path, "litestream_replica_lag_seconds", FILE, |v| v == 0.0)
        .await;
    world
        .until(&path, "litestream_last_sync_timestamp_seconds", FILE, |v| {
            v > 1.7e9
        })
        .await;
    let text = world.get("/metrics").await;
    for operation in ["PUT", "LIST"] {
        let labels = format!("operation=\"{operation}\",replica_type=\"memory\"");
        assert!(
            text.contains(&format!("litestream_replica_operation_total{{{labels}}} ")),
            "{text}"
        );
    }
    assert!(
        world
            .until_answer("/readyz", |a| a.starts_with("HTTP/1.1 200 "))
            .await
            .contains("\"ready\"")
    );
    world
        .until_answer("/healthz", |a| a.starts_with("HTTP/1.1 200 "))
        .await;
    let (_interrupt, interrupt) = tokio::sync::watch::channel(false);
    let ending = Ending {
        timeout: Duration::from_secs(30),
        interval: Duration::from_millis(100),
        interrupt,
        abandon: false,
        tell: &|_, _| {},
    };
    world
        .fleet
        .unregister(&path, &ending, false)
        .await
        .unwrap()
        .unwrap();
    let text = world.get("/metrics").await;
    assert!(!text.contains(&path.display().to_string()), "{text}");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_down_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let connection = database(&path);
    let world = World::new().await;
    let faulty = world.register(&path);
    world
        .until(&path, "litestream_replica_lag_seconds", FILE, |v| v == 0.0)
        .await;
    world
        .until_answer("/healthz", |a| a.starts_with("HTTP/1.1 200 "))
        .await;
    faulty.fail_always(Op::Write, ErrorKind::Unreachable, When::Before);
    connection
        .execute_batch("INSERT INTO t VALUES (zeroblob(9000))")
        .unwrap();
    world
        .until(&path, "litestream_replica_lag_seconds", FILE, |v| v > 0.0)
        .await;
    world
        .until(&path, "litestream_replica_lag_bytes", FILE, |v| v > 0.0)
        .await;
    world
        .until(&path, "litestream_upload_queue_files", FILE, |v| v >= 1.0)
        .await;
    world
        .until(&path, "litestream_upload_error", FILE, |v| v == 1.0)
        .await;
    world
        .until(&path, "litestream_upload_error_count", FILE, |v| v >= 1.0)
        .await;
    world
        .until(&path, "litestream_db_status", ",status=\"error\"", |v| {
            v == 1.0
        })
        .await;
    let text = world.get("/metrics").await;
    let labels = "code=\"unreachable\",operation=\"PUT\",replica_type=\"memory\"";
    assert!(
        text.contains(&format!(
            "litestream_replica_operation_errors_total{{{labels}}} "
        )),
        "{text}"
    );
    assert!(
        text.contains(
            "litestream_replica_retries_total{operation=\"PUT\",replica_type=\"memory\"} "
        )
    );
    let sick = world
        .until_answer("/healthz?max_lag=1ms", |a| {
            a.contains("is down") || a.contains("behind")
        })
        .await;
    assert!(sick.starts_with("HTTP/1.1 503 "), "{sick}");
    assert!(
        sick.contains("upload to replica memory fails") && sick.contains("behind, more than 1ms"),
        "{sick}"
    );
    faulty.heal();
    world
        .until(&path, "litestream_replica_lag_seconds", FILE, |v| v == 0.0)
        .await;
    world
        .until(&path, "litestream_upload_error", FILE, |v| v == 0.0)
        .await;
    world
        .until_answer("/healthz", |a| a.starts_with("HTTP/1.1 200 "))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_errors_are_counted_and_a_missing_database_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (missing, broken) = (dir.path().join("missing.db"), dir.path().join("broken.db"));
    let file = real::env().disk.create_new(&broken, 0o600).unwrap();
    file.write_at(&[b'x'; 8192], 0).unwrap();
    let world = World::new().await;
    world.register(&missing);
    world.register(&broken);
    world
        .until(
            &missing,
            "litestream_db_status",
            ",status=\"missing\"",
            |v| v == 1.0,
        )
        .await;
    world
        .until(&broken, "litestream_sync_error_count", "", |v| v >= 1.0)
        .await;
    world
        .until(&broken, "litestream_capture_error", "", |v| v == 1.0)
        .await;
    assert_eq!(
        world.value(&missing, "litestream_capture_error", "").await,
        Some(0.0)
    );
    assert_eq!(
        world
            .value(&missing, "litestream_sync_error_count", "")
            .await,
        Some(0.0)
    );
    let waiting = world.get("/readyz").await;
    assert!(waiting.starts_with("HTTP/1.1 503 "), "{waiting}");
    assert!(
        waiting.contains("broken.db") && !waiting.contains("missing.db"),
        "{waiting}"
    );
    let sick = world.get("/healthz").await;
    assert!(
        sick.contains("broken.db") && !sick.contains("missing.db"),
        "{sick}"
    );
}
