//! Replicate a live database and give it back, page for page.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

mod common;

use common::{ALL_PAGE_SIZES, Bench, fill};
use litestream::restore::Target;
use ltx::Txid;

#[tokio::test(flavor = "multi_thread")]
async fn every_page_size_comes_back_exactly() {
    for page_size in ALL_PAGE_SIZES {
        let bench = Bench::new();
        let app = bench.app(page_size);
        fill(&app, 200, 300);
        let replicator = bench.start();
        replicator.sync().await.unwrap();
        for _ in 0..20 {
            fill(&app, 20, 900);
            replicator.sync().await.unwrap();
        }
        app.execute_batch("DELETE FROM t WHERE id % 3 = 0; VACUUM")
            .unwrap();
        fill(&app, 100, 100);
        replicator.sync().await.unwrap();
        replicator.close().await;
        bench.assert_contiguous().await;
        if page_size <= 4096 {
            // With larger pages the database is so small that every transaction touches every page.
            assert_eq!(
                bench
                    .full_files()
                    .await
                    .iter()
                    .filter(|t| t.get() < 20)
                    .count(),
                1,
                "one full copy at {page_size}"
            );
        }
        drop(app);
        bench.assert_restores().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_txid_restores_the_state_it_stands_for() {
    let bench = Bench::new();
    let app = bench.app(1024);
    fill(&app, 10, 100);
    let replicator = bench.start();
    let mut states = Vec::new();
    for round in 0..30 {
        fill(&app, 5 + round % 7, 700);
        if round % 10 == 9 {
            app.execute_batch("DELETE FROM t WHERE id % 2 = 0; VACUUM")
                .unwrap();
        }
        let txid = replicator.sync().await.unwrap();
        let rows: Vec<(i64, Vec<u8>)> = rows(&app);
        states.push((txid, rows));
    }
    replicator.close().await;
    for (txid, expected) in states {
        let bytes = bench.restore(Target::Txid(txid)).await;
        let path = bench.dir.path().join("at.db");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(
            rows(&rusqlite::Connection::open(&path).unwrap()),
            expected,
            "at {txid}"
        );
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
    }
}

fn rows(conn: &rusqlite::Connection) -> Vec<(i64, Vec<u8>)> {
    let mut statement = conn.prepare("SELECT id, b FROM t ORDER BY id").unwrap();
    statement
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_continues_without_a_full_copy() {
    let bench = Bench::new();
    let app = bench.app(4096);
    fill(&app, 500, 500);
    for round in 0..5 {
        let replicator = bench.start();
        fill(&app, 50, 500);
        replicator.sync().await.unwrap();
        replicator.close().await;
        if round % 2 == 0 {
            fill(&app, 3, 500); // while nobody watches
        }
    }
    assert_eq!(bench.full_files().await, [Txid::new(1)]);
    let replicator = bench.start();
    replicator.sync().await.unwrap();
    replicator.close().await;
    bench.assert_contiguous().await;
    drop(app);
    bench.assert_restores().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn issue_752_checkpoints_while_down_cost_no_data() {
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        for page_size in ALL_PAGE_SIZES {
            let bench = Bench::new();
            let app = bench.app(page_size);
            fill(&app, 300, 300);
            let replicator = bench.start();
            replicator.sync().await.unwrap();
            fill(&app, 30, 300);
            drop(replicator); // as a crash: no final sync
            fill(&app, 30, 300);
            app.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
                .unwrap();
            fill(&app, 30, 300);
            let replicator = bench.start();
            replicator.sync().await.unwrap();
            fill(&app, 30, 300);
            replicator.sync().await.unwrap();
            replicator.close().await;
            bench.assert_contiguous().await;
            drop(app);
            bench.assert_restores().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_in_the_state_folder_is_refused() {
    let mut bench = Bench::new();
    fill(&bench.app(4096), 10, 100);
    for root in [
        bench.settings().meta_path,
        bench.settings().meta_path.join("below"),
    ] {
        bench.replica = std::sync::Arc::new(litestream_replica::file::FileReplica::new(
            root,
            bench.env.clone(),
            None,
        ));
        let started = litestream::Replicator::start(
            bench.settings(),
            vec![bench.replica.clone()],
            bench.env.clone(),
        );
        assert!(
            started
                .err()
                .expect("refused")
                .to_string()
                .contains("choose another folder")
        );
    }
}

/// Local damage must not become the replica's (C02).
#[tokio::test(flavor = "multi_thread")]
async fn c02_a_damaged_local_file_leaves_the_replica_alone() {
    let bench = Bench::new();
    let app = bench.app(4096);
    fill(&app, 10, 100);
    let replicator = bench.start();
    for _ in 0..3 {
        fill(&app, 10, 100);
        replicator.sync().await.unwrap();
    }
    replicator.close().await;
    let folder = bench.settings().meta_path.join("ltx/0");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(entry.unwrap().path())
            .unwrap();
        file.set_len(150).unwrap();
    }
    let replicator = bench.start();
    fill(&app, 10, 100);
    replicator.sync().await.unwrap();
    replicator.close().await;
    drop(app);
    bench.assert_contiguous().await;
    bench.assert_restores().await;
}
