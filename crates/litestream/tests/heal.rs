//! Background verification: whatever object of a replica is damaged or goes missing while the daemon runs, the newest state can be
//! restored again within one verification, by itself, and no history is deleted.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Bench, fill};
use litestream::{Policy, Replicator, Settings};
use litestream_replica::chain::listing;
use litestream_replica::{FileInfo, Level};
use ltx::Txid;

const INTERVAL: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_mins(1);

fn settings(bench: &Bench) -> Settings {
    Settings {
        policy: Policy {
            levels: vec![
                (Level::L1, Duration::from_millis(100)),
                (Level::new(2).unwrap(), Duration::from_millis(700)),
            ],
            l0_retention: Duration::from_hours(1),
            verify_interval: INTERVAL,
            verify_age: Duration::ZERO,
            verify_bandwidth: 1 << 30,
            ..Policy::default()
        },
        ..bench.settings()
    }
}

async fn files(bench: &Bench) -> Vec<FileInfo> {
    let levels: Vec<Level> = Level::all().collect();
    listing::list_all(&bench.replica, &levels, false)
        .await
        .unwrap()
}

fn path(bench: &Bench, file: &FileInfo) -> PathBuf {
    bench.replica.local_path(file.level, file.name).unwrap()
}

/// Restores to nowhere what can be restored now.
async fn try_restore(bench: &Bench) -> Result<Vec<u8>, String> {
    let output = bench.dir.path().join("tried.db");
    let _ = std::fs::remove_file(&output);
    let request = litestream::restore::Request {
        output: output.clone(),
        ..common::restore_request()
    };
    litestream::restore::run(&request, Arc::clone(&bench.replica), &bench.env, &|_| {})
        .await
        .map_err(|e| e.to_string())?;
    Ok(std::fs::read(&output).unwrap())
}

struct Running {
    bench: Bench,
    app: rusqlite::Connection,
    replicator: Replicator,
}

impl Running {
    /// A database with levels 0 to 2 and a snapshot, and a daemon that guards its replica.
    async fn new() -> Running {
        let bench = Bench::new();
        let app = bench.app(4096);
        fill(&app, 50, 300);
        let replicator = bench.start_with(settings(&bench));
        for _ in 0..12 {
            fill(&app, 5, 300);
            replicator.sync().await.unwrap();
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        replicator.snapshot().await.unwrap();
        for _ in 0..6 {
            fill(&app, 5, 300);
            replicator.sync().await.unwrap();
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        Running {
            bench,
            app,
            replicator,
        }
    }

    /// Waits until a verification that began after now has found nothing that it could not answer, and the newest state is there.
    async fn is_healed(&self, what: &str) {
        let begin = Instant::now();
        let asked = self.bench.env.clock.now();
        loop {
            let status = self.replicator.status().replicas.remove(0);
            let verified = status.verified.clone().unwrap_or_default();
            let later = verified.at.is_some_and(|at| at > asked);
            if later && self.restores().await {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{what}: {status:?}, {:?}",
                try_restore(&self.bench).await.err()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether what the replica gives has all rows.
    async fn restores(&self) -> bool {
        let Ok(bytes) = try_restore(&self.bench).await else {
            return false;
        };
        let at = self.bench.dir.path().join("looked-at.db");
        std::fs::write(&at, bytes).unwrap();
        let count = |conn: &rusqlite::Connection| -> i64 {
            conn.query_row("SELECT count(*) FROM t", [], |r| r.get(0))
                .unwrap()
        };
        let restored = rusqlite::Connection::open(&at).unwrap();
        let same = count(&restored) == count(&self.app);
        drop(restored);
        for side in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{side}", at.display()));
        }
        same
    }
}

fn damage(path: &std::path::Path, how: &str) {
    let bytes = std::fs::read(path).unwrap();
    // Another inode: what is here may be a second name of the local file.
    std::fs::remove_file(path).unwrap();
    match how {
        "flipped" => {
            let mut bytes = bytes;
            let at = bytes.len() / 2;
            bytes[at] ^= 0x10;
            std::fs::write(path, bytes).unwrap();
        }
        "cut" => std::fs::write(path, &bytes[..bytes.len() - 20]).unwrap(),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_object_that_is_flipped_cut_or_deleted() {
    for how in ["flipped", "cut", "deleted"] {
        let running = Running::new().await;
        running.is_healed("at first").await;
        // One of each kind: the newest and an older one of each level.
        let mut chosen = Vec::new();
        for level in [0, 1, 2, 9].map(|n| Level::new(n).unwrap()) {
            let mut of_level = files(&running.bench).await;
            of_level.retain(|f| f.level == level);
            chosen.extend(of_level.last().copied());
            chosen.extend(of_level.get(of_level.len() / 2).copied());
        }
        for file in chosen {
            let what = format!("{how} {}/{}", file.level, file.name);
            let path = path(&running.bench, &file);
            if !path.exists() {
                continue; // compacted meanwhile and gone
            }
            let before: BTreeSet<_> = files(&running.bench)
                .await
                .iter()
                .map(|f| (f.level, f.name))
                .collect();
            damage(&path, how);
            fill(&running.app, 3, 300);
            running.is_healed(&what).await;
            let after: BTreeSet<_> = files(&running.bench)
                .await
                .iter()
                .map(|f| (f.level, f.name))
                .collect();
            let mut lost = before.difference(&after).copied().collect::<Vec<_>>();
            lost.retain(|known| *known != (file.level, file.name));
            assert!(lost.is_empty(), "{what}: history was deleted: {lost:?}");
        }
        running.replicator.sync().await.unwrap();
        running.replicator.close().await;
        running.bench.assert_restores().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damage_is_answered_once() {
    let running = Running::new().await;
    running.is_healed("at first").await;
    let mut old = files(&running.bench).await;
    old.retain(|f| f.level == Level::L0 && f.name.max > Txid::new(1));
    damage(&path(&running.bench, &old[2]), "flipped");
    running.is_healed("an old file").await;
    tokio::time::sleep(4 * INTERVAL).await;
    let snapshots = || async {
        let mut all = files(&running.bench).await;
        all.retain(|f| f.level == Level::SNAPSHOT);
        all.len()
    };
    let before = snapshots().await;
    fill(&running.app, 3, 300);
    running.replicator.sync().await.unwrap();
    tokio::time::sleep(6 * INTERVAL).await;
    assert_eq!(snapshots().await, before, "no second snapshot for it");
    running.replicator.close().await;
    running.bench.assert_restores().await;
}
