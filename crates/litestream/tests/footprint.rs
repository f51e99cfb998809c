//! The database is none of ours to write: its file is that of a twin that was never replicated, and idle costs nothing.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

mod common;
mod probe;

use std::time::Duration;

use common::{ALL_PAGE_SIZES, Bench, app, assert_same, image};
use litestream::Settings;
use probe::tree;
use rusqlite::Connection;

/// Statements that touch every part of a file, the same each time.
fn script(page_size: u32) -> Vec<String> {
    let bytes = page_size / 3;
    let mut out = vec![
        "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB, n INT)".into(),
        "CREATE INDEX tn ON t(n)".into(),
        "CREATE TABLE u(k TEXT PRIMARY KEY, v) WITHOUT ROWID".into(),
    ];
    for i in 0..150 {
        out.push(format!(
            "INSERT INTO t(b, n) VALUES(zeroblob({}), {})",
            bytes + i * 7 % 90,
            i * 7919 % 101
        ));
        match i % 10 {
            3 => out.push(format!("DELETE FROM t WHERE n % 17 = {}", i % 17)),
            5 => out.push(format!("UPDATE t SET n = n + 1 WHERE id % 5 = {}", i % 5)),
            6 => out.push(format!("REPLACE INTO u VALUES(hex({i} % 23), {i})")),
            7 => out.push(format!(
                "BEGIN; INSERT INTO t(b, n) SELECT b, n FROM t WHERE id < {i}; ROLLBACK"
            )),
            8 => out.push(format!(
                "BEGIN; INSERT INTO t(b, n) SELECT zeroblob({}), n FROM t WHERE id < 9; COMMIT",
                3 * page_size
            )),
            _ => {}
        }
        match i {
            60 => out.push("ALTER TABLE t ADD COLUMN extra TEXT DEFAULT 'x'".into()),
            80 => out.push("PRAGMA user_version = 7; PRAGMA application_id = 99".into()),
            100 => out.push("VACUUM".into()),
            120 => out.push("DROP INDEX tn; PRAGMA incremental_vacuum(3)".into()),
            _ => {}
        }
    }
    out
}

fn schema(conn: &Connection) -> Vec<(String, String, i64)> {
    let mut statement = conn
        .prepare("SELECT name, coalesce(sql, ''), rootpage FROM sqlite_schema ORDER BY rowid")
        .unwrap();
    let rows = statement
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

async fn twins(page_size: u32, auto_vacuum: &str, create_before: bool) {
    let bench = Bench::new();
    let twin_path = bench.dir.path().join("twin.db");
    let open = |path: &std::path::Path| {
        let conn = Connection::open(path).unwrap();
        let set = format!("PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum}");
        conn.execute_batch(&set).unwrap();
        drop(conn);
        app(path, page_size)
    };
    let mut pair = [open(&bench.db()), open(&twin_path)];
    let mut script = script(page_size).into_iter();
    if create_before {
        for sql in script.by_ref().take(20) {
            for c in &pair {
                c.execute_batch(&sql).unwrap();
            }
        }
    }
    let settings = Settings {
        checkpoint_interval: Duration::from_millis(30),
        min_checkpoint_page_count: 20,
        ..bench.settings()
    };
    let mut replicator = bench.start_with(settings.clone());
    for (i, sql) in script.enumerate() {
        for c in &pair {
            c.execute_batch(&sql)
                .unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
        match i {
            25 | 70 | 130 => {
                replicator.sync().await.unwrap();
            }
            50 => {
                // Restarted, with a commit while it was away.
                replicator.close().await;
                let sql = "INSERT INTO t(n) VALUES(42)";
                for c in &pair {
                    c.execute_batch(sql).unwrap();
                }
                replicator = bench.start_with(settings.clone());
            }
            90 => {
                // The application closes its last connection; the twin's does, too.
                pair = [app(&bench.db(), page_size), app(&twin_path, page_size)];
            }
            _ if i % 8 == 0 => tokio::time::sleep(Duration::from_millis(3)).await,
            _ => {}
        }
    }
    replicator.sync().await.unwrap();
    let status = replicator.status();
    replicator.close().await;
    let what = format!("page size {page_size}, auto_vacuum {auto_vacuum}");
    assert!(status.counters.checkpoints > 0, "{what}: {status:?}");
    assert_eq!(schema(&pair[0]), schema(&pair[1]), "{what}");
    drop(pair);
    let (replicated, twin) = (image(&bench.db()), image(&twin_path));
    if replicated != twin {
        eprintln!("{what}");
        assert_same(&twin, &replicated);
    }
    assert_same(&replicated, &bench.restore_latest().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn w34_the_file_is_that_of_an_unreplicated_twin() {
    for page_size in ALL_PAGE_SIZES {
        twins(page_size, "NONE", true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w34_the_same_with_auto_vacuum_and_from_an_empty_database() {
    for page_size in [512, 4096, 65536] {
        twins(page_size, "FULL", true).await;
        twins(page_size, "INCREMENTAL", false).await;
        twins(page_size, "NONE", false).await;
    }
}

/// The journal mode is changed as any connection would, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn w34_switching_to_wal_mode_is_all_that_is_written() {
    let bench = Bench::new();
    let twin_path = bench.dir.path().join("twin.db");
    for path in [bench.db(), twin_path.clone()] {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = DELETE; CREATE TABLE t(n); INSERT INTO t VALUES(1)",
        )
        .unwrap();
    }
    let replicator = bench.start();
    replicator.sync().await.unwrap();
    let twin = app(&twin_path, 4096);
    for path in [bench.db(), twin_path.clone()] {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch("INSERT INTO t VALUES(2)").unwrap();
    }
    replicator.sync().await.unwrap();
    replicator.close().await;
    drop(twin);
    assert_same(&image(&twin_path), &image(&bench.db()));
    bench.assert_restores().await;
}

struct Idle {
    bench: Bench,
    replicator: litestream::Replicator,
    app: Connection,
    what: String,
}

/// A database with a burst behind it. The application stays connected and leaves checkpoints to us if `passive`.
async fn after_a_burst(page_size: u32, passive: bool) -> Idle {
    let bench = Bench::new();
    let app = bench.app(page_size);
    if passive {
        app.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    }
    app.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, n)")
        .unwrap();
    let replicator = bench.start_with(Settings {
        sync_interval: Duration::from_millis(10),
        monitor_interval: Duration::from_millis(10),
        checkpoint_interval: Duration::from_millis(100),
        min_checkpoint_page_count: 100,
        ..bench.settings()
    });
    for n in 0..500 {
        app.execute("INSERT INTO t(n) VALUES(?1)", [n]).unwrap();
    }
    replicator.sync().await.unwrap();
    let what = format!("page size {page_size}, passive {passive}");
    Idle {
        bench,
        replicator,
        app,
        what,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w10_w12_w13_idle_costs_no_file_and_no_byte() {
    let mut all = Vec::new();
    for page_size in ALL_PAGE_SIZES {
        all.push(after_a_burst(page_size, page_size.trailing_zeros() % 2 == 0).await);
    }
    // The last checkpoint by time is still due.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let look = |idle: &Idle| {
        let counters = idle.replicator.status().counters;
        let written = (
            counters.files_staged,
            counters.files_uploaded,
            counters.checkpoints,
        );
        (tree(idle.bench.dir.path()), written)
    };
    let before: Vec<_> = all.iter().map(look).collect();
    // A few hundred ticks of each timer.
    tokio::time::sleep(Duration::from_secs(4)).await;
    for (idle, before) in all.iter().zip(before) {
        assert_eq!(look(idle), before, "{}", idle.what);
    }
    for idle in all {
        idle.app.execute("INSERT INTO t(n) VALUES(1)", []).unwrap();
        idle.replicator.sync().await.unwrap();
        idle.replicator.close().await;
        drop(idle.app);
        idle.bench.assert_contiguous().await;
        idle.bench.assert_restores().await;
    }
}

/// A reader keeps the WAL from being checkpointed although it is above every threshold: still nothing is written (W14, W19).
#[tokio::test(flavor = "multi_thread")]
async fn w14_a_long_reader_on_an_idle_database_costs_nothing() {
    let idle = after_a_burst(4096, true).await;
    let reader = idle.bench.app(4096);
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM t")
        .unwrap();
    for n in 0..300 {
        idle.app
            .execute("INSERT INTO t(n) VALUES(?1)", [n])
            .unwrap();
    }
    idle.replicator.sync().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = tree(idle.bench.dir.path());
    let staged = idle.replicator.status().counters.files_staged;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(tree(idle.bench.dir.path()), before);
    assert_eq!(idle.replicator.status().counters.files_staged, staged);
    reader.execute_batch("COMMIT").unwrap();
    idle.replicator.close().await;
    drop((idle.app, reader));
    idle.bench.assert_contiguous().await;
    idle.bench.assert_restores().await;
}
