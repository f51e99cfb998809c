//! Storage and local disk that fail, stall or fill up: nothing is lost, nobody waits, everything is told, and it ends by itself.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

mod brokendisk;
mod common;
mod probe;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brokendisk::BrokenDisk;
use common::{Bench, assert_same, fill};
use litestream::{Replicator, Settings};
use litestream_replica::ErrorKind;
use litestream_replica::faulty::{Faulty, Op, When};
use probe::{leftovers, live_image, tree};
use rusqlite::Connection;

const INTERVAL: Duration = Duration::from_millis(50);
/// What a busy test machine may add.
const SLACK: Duration = Duration::from_secs(3);

struct Faults {
    bench: Bench,
    faulty: Faulty,
    app: Connection,
}

impl Faults {
    fn new() -> Faults {
        let bench = Bench::new();
        let app = bench.app(4096);
        app.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        let faulty = Faulty::new(Arc::clone(&bench.replica));
        // So large that a commit touches a small part of it.
        fill(&app, 60, 3000);
        Faults { bench, faulty, app }
    }

    fn settings(&self) -> Settings {
        Settings {
            sync_interval: INTERVAL,
            ..self.bench.settings()
        }
    }

    fn start(&self) -> Replicator {
        self.start_with(self.settings())
    }

    fn start_with(&self, settings: Settings) -> Replicator {
        Replicator::start(
            settings,
            vec![Arc::new(self.faulty.clone())],
            self.bench.env.clone(),
        )
        .unwrap()
    }

    /// Returns how long the application waited.
    fn commit(&self) -> Duration {
        let start = Instant::now();
        fill(&self.app, 3, 200);
        start.elapsed()
    }

    /// Everything committed is in the replica, without anybody asking for it.
    async fn converged(&self, replicator: &Replicator, within: Duration, what: &str) {
        let start = Instant::now();
        let expected = live_image(&self.bench.db());
        loop {
            let status = replicator.status();
            let even = status.position.is_some()
                && status.position == status.replica_position
                && status.upload_error.is_none()
                && status.capture_error.is_none();
            if even && self.bench.restore_latest().await == expected {
                break;
            }
            assert!(start.elapsed() < within + SLACK, "{what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.bench.assert_contiguous().await;
    }

    async fn finish(self, replicator: Replicator, what: &str) {
        replicator
            .sync()
            .await
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        replicator.close().await;
        let left = leftovers(self.bench.dir.path());
        assert!(left.is_empty(), "{what}: {left:?}");
        drop(self.app);
        self.bench.assert_contiguous().await;
        self.bench.assert_restores().await;
    }
}

/// Waits for a condition that must come true by itself.
async fn soon(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < INTERVAL * 4 + SLACK, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k01_any_write_may_fail_before_or_after_its_effect() {
    for kind in [
        ErrorKind::Unreachable,
        ErrorKind::Throttled,
        ErrorKind::Corrupt,
    ] {
        for when in [When::Before, When::After] {
            for nth in 1..=6 {
                let what = format!("write {nth} fails {when:?} with {kind:?}");
                let faults = Faults::new();
                faults.faulty.fail(Op::Write, nth, kind, when);
                let replicator = faults.start();
                for _ in 0..6 {
                    faults.commit();
                    // Fails once at most, and then says so.
                    let _ = replicator.sync().await;
                }
                assert!(faults.faulty.calls(Op::Write) >= nth, "{what}");
                faults.converged(&replicator, INTERVAL * 2, &what).await;
                faults.finish(replicator, &what).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k01_a_write_fails_and_the_process_ends() {
    for when in [When::Before, When::After] {
        for nth in 1..=6 {
            for close in [true, false] {
                let what = format!("write {nth} fails {when:?}, closed {close}");
                let faults = Faults::new();
                faults
                    .faulty
                    .fail(Op::Write, nth, ErrorKind::Unreachable, when);
                let mut replicator = faults.start();
                for _ in 0..6 {
                    faults.commit();
                    if replicator.sync().await.is_err() {
                        if close {
                            replicator.close().await;
                        }
                        drop(replicator);
                        faults.commit();
                        replicator = faults.start();
                    }
                }
                faults.converged(&replicator, INTERVAL * 2, &what).await;
                faults.finish(replicator, &what).await;
            }
        }
    }
}

/// Several staged files wait while the storage is away; one of them fails again when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn k01_a_backlog_goes_up_without_a_hole() {
    for nth in 1..=5 {
        let faults = Faults::new();
        faults
            .faulty
            .fail_always(Op::Write, ErrorKind::Unreachable, When::Before);
        let replicator = faults.start();
        for _ in 0..5 {
            faults.commit();
            let before = replicator.status().position;
            soon("captured although the storage is away", || {
                replicator.status().position > before
            })
            .await;
        }
        faults.faulty.heal();
        faults
            .faulty
            .fail(Op::Write, nth, ErrorKind::Throttled, When::Before);
        let what = format!("backlog, write {nth}");
        let _ = replicator.sync().await;
        faults.converged(&replicator, INTERVAL * 4, &what).await;
        faults.finish(replicator, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_reads_may_fail_too() {
    for op in [Op::List, Op::Read, Op::Delete] {
        for nth in [1, 2, 5, 10, 11, 20] {
            let what = format!("{op:?} {nth}");
            let faults = Faults::new();
            faults
                .faulty
                .fail(op, nth, ErrorKind::Unreachable, When::Before);
            let mut replicator = faults.start();
            for round in 0..4 {
                faults.commit();
                let _ = replicator.sync().await;
                if round == 1 {
                    drop(replicator);
                    replicator = faults.start();
                }
            }
            faults.converged(&replicator, INTERVAL * 2, &what).await;
            assert_eq!(faults.bench.full_files().await.len(), 1, "{what}");
            faults.finish(replicator, &what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c21_every_kind_of_failure_is_told_and_capture_goes_on() {
    let kinds = [
        ErrorKind::NotFound,
        ErrorKind::Forbidden,
        ErrorKind::Unreachable,
        ErrorKind::Throttled,
        ErrorKind::Corrupt,
        ErrorKind::NoSpace,
        ErrorKind::Invalid,
        ErrorKind::Interrupted,
        ErrorKind::Other,
    ];
    for kind in kinds {
        for op in [Op::Write, Op::List] {
            let what = format!("{op:?} {kind:?}");
            let faults = Faults::new();
            faults.faulty.fail_always(op, kind, When::Before);
            let replicator = faults.start();
            let error = replicator.sync().await.expect_err(&what).to_string();
            assert!(error.contains("failed on purpose"), "{what}: {error}");
            soon(&what, || {
                let error = replicator.status().upload_error;
                error.is_some_and(|e| e.contains("failed on purpose"))
            })
            .await;
            let before = replicator.status().position;
            faults.commit();
            soon(&what, || replicator.status().position > before).await;
            assert_eq!(replicator.status().capture_error, None, "{what}");
            faults.faulty.heal();
            faults
                .converged(&replicator, Duration::from_secs(3), &what)
                .await;
            faults.finish(replicator, &what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w28_a_stalled_upload_holds_up_nobody() {
    let faults = Faults::new();
    let replicator = faults.start_with(Settings {
        min_checkpoint_page_count: 50,
        ..faults.settings()
    });
    replicator.sync().await.unwrap();
    let stall = faults.faulty.stall(Op::Write, 1);
    let before = replicator.status();
    let mut slowest = Duration::ZERO;
    for _ in 0..60 {
        slowest = slowest.max(faults.commit());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = replicator.status();
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    assert_eq!(status.replica_position, before.replica_position);
    assert!(status.position.unwrap().get() > before.position.unwrap().get() + 5);
    assert!(status.counters.checkpoints_complete > 0, "{status:?}");
    let wal = std::fs::metadata(faults.settings().wal_path()).unwrap();
    assert!(wal.len() < 4 << 20, "{}", wal.len());
    stall.release();
    faults.converged(&replicator, INTERVAL * 2, "stall").await;
    faults.finish(replicator, "stall").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w28_closing_during_a_stalled_upload_is_quick() {
    let faults = Faults::new();
    let replicator = faults.start();
    replicator.sync().await.unwrap();
    let stall = faults.faulty.stall(Op::Write, 1);
    faults.commit();
    let waiting = tokio::time::timeout(Duration::from_millis(200), replicator.sync()).await;
    assert!(waiting.is_err(), "the sync waits for its upload");
    let start = Instant::now();
    replicator.close().await;
    assert!(start.elapsed() < Duration::from_secs(1));
    let busy: i64 = faults
        .app
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))
        .unwrap();
    assert_eq!(busy, 0, "no lock is left");
    stall.release();
    let replicator = faults.start();
    faults.finish(replicator, "closed during a stall").await;
}

/// A storage that does not answer at start: the database is captured all the same.
#[tokio::test(flavor = "multi_thread")]
async fn k01_a_storage_that_does_not_answer_at_start() {
    let faults = Faults::new();
    let replicator = faults.start();
    replicator.sync().await.unwrap();
    replicator.close().await;
    let stalls: Vec<_> = (1..=40).map(|n| faults.faulty.stall(Op::List, n)).collect();
    let replicator = faults.start();
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    while replicator.status().position.is_none_or(|p| p.get() < 3) {
        slowest = slowest.max(faults.commit());
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            replicator.status()
        );
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    drop(stalls);
    faults
        .converged(&replicator, INTERVAL * 2, "stalled lists")
        .await;
    assert_eq!(faults.bench.full_files().await.len(), 1);
    faults.finish(replicator, "stalled lists").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_upload_fails_leaves_nothing_behind() {
    for when in [When::Before, When::After] {
        let faults = Faults::new();
        let replicator = faults.start();
        replicator.sync().await.unwrap();
        faults
            .faulty
            .fail(Op::Write, 1, ErrorKind::Unreachable, when);
        // The next attempt comes soon; whoever is told that it is there can read it.
        if let Ok(info) = replicator.snapshot().await {
            let bytes = faults.bench.replica.read(info.level, info.name, 0, None);
            assert_eq!(bytes.await.unwrap().len() as u64, info.size);
        }
        faults.commit();
        let done = replicator.snapshot().await.unwrap();
        assert_eq!(done.name.max, replicator.status().position.unwrap());
        faults.finish(replicator, "snapshot").await;
    }
}

/// Whatever happens, whoever asks for a sync is not left waiting.
async fn answered(replicator: &Replicator, state: &std::path::Path, what: &str) {
    let answer = tokio::time::timeout(Duration::from_secs(10), replicator.sync()).await;
    let staged: Vec<_> = tree(state).into_keys().collect();
    assert!(
        answer.is_ok(),
        "{what}: no answer, {:?}, {staged:?}",
        replicator.status()
    );
}

/// Every changing call on the local disk fails in turn (C15, C17).
#[tokio::test(flavor = "multi_thread")]
async fn c15_any_local_write_may_fail() {
    let run = |fail_at: u64, kind: io::ErrorKind| async move {
        let what = format!("local call {fail_at} fails with {kind:?}");
        let faults = Faults::new();
        let settings = Settings {
            min_checkpoint_page_count: 5,
            checkpoint_interval: Duration::from_millis(20),
            ..faults.settings()
        };
        let (env, disk) = BrokenDisk::env(&faults.bench.env, &settings.meta_path);
        disk.fail(fail_at, kind);
        let start = || {
            let replica = Arc::clone(&faults.bench.replica);
            Replicator::start(settings.clone(), vec![replica], env.clone()).unwrap()
        };
        let replicator = start();
        for _ in 0..3 {
            faults.commit();
            answered(&replicator, &settings.meta_path, &what).await;
        }
        drop(replicator);
        let replicator = start();
        faults.commit();
        answered(&replicator, &settings.meta_path, &what).await;
        let calls = disk.calls();
        disk.heal();
        faults
            .converged(&replicator, Duration::from_secs(2), &what)
            .await;
        faults.finish(replicator, &what).await;
        calls
    };
    let total = run(u64::MAX / 2, io::ErrorKind::StorageFull).await;
    assert!(total > 30, "{total} calls");
    for nth in 1..=total {
        run(nth, io::ErrorKind::StorageFull).await;
    }
    for nth in (1..=total).step_by(7) {
        run(nth, io::ErrorKind::Other).await;
    }
}

/// After a failed fsync the next one succeeds without writing anything. A replica in a folder shares the file with the state folder,
/// so it must not get one of which that is known, however often its bytes can't be written again.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_sync_failed_is_not_uploaded() {
    for calls in [0, 1, 2, 3, 4, 6, 9] {
        let what = format!("{calls} calls fail after the sync");
        let faults = Faults::new();
        let settings = faults.settings();
        let (env, disk) = BrokenDisk::env(&faults.bench.env, &settings.meta_path);
        disk.trap(calls);
        let replica = Arc::clone(&faults.bench.replica);
        let replicator = Replicator::start(settings.clone(), vec![replica], env).unwrap();
        for _ in 0..2 {
            fill(&faults.app, 60, 3000); // so much is given a second name, not copied
            let _ = replicator.sync().await;
        }
        assert_eq!(disk.lost().len(), 1, "{what}");
        faults
            .converged(&replicator, Duration::from_secs(2), &what)
            .await;
        let lost = disk.lost();
        for path in tree(faults.bench.dir.path()).into_keys() {
            let found = faults.bench.env.disk.metadata(&path).unwrap();
            assert!(!lost.contains(&found.id), "{what}: {path:?}");
        }
        faults.finish(replicator, &what).await;
    }
}

/// The local disk is full for a while: the application goes on, the files do not pile up, and it ends by itself (C16, W11).
#[tokio::test(flavor = "multi_thread")]
async fn c16_a_full_local_disk() {
    let faults = Faults::new();
    let settings = faults.settings();
    let (env, disk) = BrokenDisk::env(&faults.bench.env, &settings.meta_path);
    let replica = Arc::clone(&faults.bench.replica);
    let replicator = Replicator::start(settings.clone(), vec![replica], env).unwrap();
    replicator.sync().await.unwrap();
    disk.fail_always(io::ErrorKind::StorageFull);
    let calls = disk.calls();
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        slowest = slowest.max(faults.commit());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    soon("the error is told", || {
        replicator.status().capture_error.is_some()
    })
    .await;
    // One second: no busy loop.
    assert!(disk.calls() - calls < 200, "{} calls", disk.calls() - calls);
    let left = leftovers(&settings.meta_path);
    assert!(left.is_empty(), "{left:?}");
    disk.heal();
    faults
        .converged(&replicator, Duration::from_secs(2), "full disk")
        .await;
    assert_eq!(
        faults.bench.full_files().await.len(),
        1,
        "nothing was missed"
    );
    assert_same(
        &live_image(&faults.bench.db()),
        &faults.bench.restore_latest().await,
    );
    faults.finish(replicator, "full disk").await;
}
