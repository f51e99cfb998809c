//! Compaction, snapshots and retention on a live database, several replicas, and long outages.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, assert_same, fill, image};
use litestream::{Policy, Replicator, Settings, restore};
use litestream_replica::env::{Clock, Monotonic, UnixMillis, Work};
use litestream_replica::faulty::{Faulty, Op, When};
use litestream_replica::memory::Memory;
use litestream_replica::{ErrorKind, Level, SharedReplica};
use ltx::Txid;

fn level(n: u8) -> Level {
    Level::new(n).unwrap()
}

/// Everything in a hurry.
fn policy() -> Policy {
    let ms = Duration::from_millis;
    Policy {
        levels: vec![(level(1), ms(50)), (level(2), ms(150)), (level(3), ms(400))],
        snapshot_interval: ms(700),
        snapshot_retention: ms(1500),
        l0_retention: ms(100),
        ..Policy::default()
    }
}

fn settings(bench: &Bench, policy: Policy) -> Settings {
    Settings {
        policy,
        ..bench.settings()
    }
}

async fn soon(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn names(replica: &SharedReplica, n: u8) -> Vec<(u64, u64)> {
    let files = replica.list(level(n), None, false).await.unwrap();
    files
        .iter()
        .map(|f| (f.name.min.get(), f.name.max.get()))
        .collect()
}

async fn restored_from(bench: &Bench, replica: &SharedReplica) -> Vec<u8> {
    let output = bench.dir.path().join("other.db");
    let request = restore::Request {
        output: output.clone(),
        force: true,
        ..common::restore_request()
    };
    restore::run(&request, Arc::clone(replica), &bench.env, &|_| {})
        .await
        .unwrap();
    std::fs::read(&output).unwrap()
}

/// The local files, by level.
fn local_files(bench: &Bench) -> Vec<String> {
    let mut found = Vec::new();
    for n in 0..=9 {
        let dir = bench.dir.path().join(format!(".app.db-litestream/ltx/{n}"));
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            found.push(format!("{n}/{}", entry.unwrap().file_name().display()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn k04_replica_and_local_files_stay_small_and_everything_promised_restores() {
    for memory in [false, true] {
        let mut bench = Bench::new();
        if memory {
            bench.replica = Arc::new(Memory::new(bench.env.disk.clone()));
        }
        let app = bench.app(4096);
        let replicator = bench.start_with(settings(&bench, policy()));
        for _ in 0..150 {
            fill(&app, 2, 300);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let last = replicator.sync().await.unwrap().get();
        assert!(last > 60, "only {last} files");
        soon("level 0 was deleted", async || {
            names(&bench.replica, 0).await.len() < 12
        })
        .await;
        let highest = names(&bench.replica, 3).await;
        assert!(!highest.is_empty(), "nothing in level 3");
        // Those of the window, what it stands on, and what has come since they were looked through.
        assert!(
            names(&bench.replica, 9).await.len() <= 6,
            "old snapshots were deleted"
        );
        assert!(local_files(&bench).len() < 40, "{:?}", local_files(&bench));
        // Each point that is still there has a plan.
        let levels: Vec<Level> = Level::all().collect();
        let files = litestream_replica::chain::listing::list_all(&bench.replica, &levels, false);
        let points = litestream_replica::chain::points::restorable(&files.await.unwrap());
        assert_eq!(points.last(), Some(&Txid::new(last)));
        replicator.close().await;
        bench.assert_restores().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k18_idle_costs_no_requests() {
    let bench = Bench::new();
    let app = bench.app(4096);
    let faulty = Faulty::new(Arc::clone(&bench.replica));
    let replica: SharedReplica = Arc::new(faulty.clone());
    let settings = settings(&bench, policy());
    let replicator = Replicator::start(settings, vec![replica], bench.env.clone()).unwrap();
    for _ in 0..20 {
        fill(&app, 2, 300);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    replicator.sync().await.unwrap();
    let calls = || {
        let ops = [Op::List, Op::Read, Op::Write, Op::Delete];
        ops.map(|op| faulty.calls(op))
    };
    // Until what is left to compact and delete is done: level 0 is looked through every 15 s, twice where a clock was a little behind.
    tokio::time::sleep(Duration::from_secs(33)).await;
    let before = calls();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(calls(), before, "requests without a commit");
    let lists = faulty.calls(Op::List);
    assert_eq!(lists, 10, "each level once, at the start");
    replicator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_restores_during_maximal_churn() {
    let count: usize = std::env::var("LITESTREAM_RESTORES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(40);
    let bench = Bench::new();
    let app = bench.app(4096);
    let replicator = bench.start_with(settings(&bench, policy()));
    fill(&app, 20, 500);
    replicator.sync().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                fill(&app, 2, 400);
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    for number in 0..count {
        let bytes = bench.restore_latest().await;
        let path = bench.dir.path().join("check.db");
        std::fs::write(&path, &bytes).unwrap();
        let check = rusqlite::Connection::open(&path).unwrap();
        let ok: String = check
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(ok, "ok", "restore {number}");
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    replicator.sync().await.unwrap();
    replicator.close().await;
    bench.assert_restores().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c08_a_dead_replica_delays_no_other_and_converges_without_a_full_copy() {
    let bench = Bench::new();
    let app = bench.app(4096);
    fill(&app, 200, 3000);
    let other: SharedReplica = Arc::new(Memory::new(bench.env.disk.clone()));
    let dead = Faulty::new(Arc::clone(&other));
    let replicas = vec![
        Arc::clone(&bench.replica),
        Arc::new(dead.clone()) as SharedReplica,
    ];
    let quick = Policy {
        l0_retention: Duration::from_millis(200),
        snapshot_interval: Duration::ZERO,
        ..policy()
    };
    let replicator =
        Replicator::start(settings(&bench, quick), replicas, bench.env.clone()).unwrap();
    replicator.sync().await.unwrap();
    for op in [Op::List, Op::Read, Op::Write, Op::Delete] {
        dead.fail_always(op, ErrorKind::Unreachable, When::Before);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..40 {
        fill(&app, 2, 300);
        let start = Instant::now();
        let now = replicator.status().position;
        soon("the other replica goes on", async || {
            replicator.status().replicas[0].position > now
        })
        .await;
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    assert!(replicator.sync().await.is_err(), "one replica is dead");
    assert!(replicator.status().replicas[1].upload_error.is_some());
    let waiting = local_files(&bench);
    assert!(
        waiting.iter().any(|name| name.starts_with("1/")),
        "what waits is merged: {waiting:?}"
    );
    let snapshots = names(&other, 9).await;
    dead.heal();
    soon("it converges", async || replicator.sync().await.is_ok()).await;
    assert_eq!(names(&other, 9).await, snapshots, "no full copy");
    replicator.close().await;
    let source = image(&bench.db());
    assert_same(&source, &bench.restore_latest().await);
    assert_same(&source, &restored_from(&bench, &other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_outage_stays_within_the_local_budget() {
    let bench = Bench::new();
    let app = bench.app(4096);
    fill(&app, 20, 2000);
    let faulty = Faulty::new(Arc::clone(&bench.replica));
    let budget = 300_000;
    let quick = Settings {
        local_bytes_max: budget,
        ..settings(&bench, policy())
    };
    let replica: SharedReplica = Arc::new(faulty.clone());
    let replicator = Replicator::start(quick, vec![replica], bench.env.clone()).unwrap();
    replicator.sync().await.unwrap();
    for op in [Op::List, Op::Read, Op::Write, Op::Delete] {
        faulty.fail_always(op, ErrorKind::Unreachable, When::Before);
    }
    for _ in 0..60 {
        // Content that does not compress.
        fill(&app, 1, 20_000);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut bytes = 0;
    for name in local_files(&bench) {
        if name.starts_with("9/") {
            continue; // one snapshot may wait beside
        }
        let path = bench.dir.path().join(".app.db-litestream/ltx").join(name);
        bytes += std::fs::metadata(path).map_or(0, |m| m.len());
    }
    assert!(bytes <= budget + 60_000, "{bytes} bytes");
    faulty.heal();
    soon("it converges", async || replicator.sync().await.is_ok()).await;
    replicator.close().await;
    bench.assert_restores().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn level_0_goes_on_while_a_snapshot_hangs() {
    let bench = Bench::new();
    let app = bench.app(4096);
    let faulty = Faulty::new(Arc::clone(&bench.replica));
    let replica: SharedReplica = Arc::new(faulty.clone());
    let settings = settings(&bench, Policy::uploads_only());
    let replicator = Replicator::start(settings, vec![replica], bench.env.clone()).unwrap();
    fill(&app, 50, 400);
    replicator.sync().await.unwrap();
    let stall = faulty.stall_level(Op::Write, Level::SNAPSHOT);
    let snapshot = replicator.snapshot();
    let work = async {
        soon("the snapshot hangs", async || stall.is_waited_for()).await;
        for _ in 0..5 {
            fill(&app, 2, 300);
            let synced = tokio::time::timeout(Duration::from_secs(5), replicator.sync());
            let txid = synced.await.expect("no wait for the snapshot").unwrap();
            assert_eq!(bench.level0().await.last(), Some(&txid));
        }
        let restored = bench.restore_latest().await;
        assert_eq!(names(&bench.replica, 9).await, []);
        stall.release();
        restored
    };
    let (snapshot, restored) = tokio::join!(snapshot, work);
    let name = snapshot.unwrap().name;
    assert_eq!(
        names(&bench.replica, 9).await,
        [(name.min.get(), name.max.get())]
    );
    assert_eq!(
        bench.assert_contiguous().await,
        name.max.get() + 5,
        "nothing is uploaded twice"
    );
    replicator.close().await;
    drop(app);
    assert_same(&bench.source_image(), &restored);
    bench.assert_restores().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_fails_is_reported_and_comes_later() {
    let bench = Bench::new();
    let app = bench.app(4096);
    let faulty = Faulty::new(Arc::clone(&bench.replica));
    let replica: SharedReplica = Arc::new(faulty.clone());
    let settings = settings(&bench, Policy::uploads_only());
    let replicator = Replicator::start(settings, vec![replica], bench.env.clone()).unwrap();
    fill(&app, 5, 400);
    replicator.sync().await.unwrap();
    faulty.fail_always(Op::Write, ErrorKind::Unreachable, When::Before);
    replicator.snapshot().await.unwrap_err();
    assert!(replicator.status().upload_error.is_some());
    faulty.heal();
    fill(&app, 5, 400);
    replicator.sync().await.unwrap();
    soon("it is tried again", async || {
        names(&bench.replica, 9).await.len() == 1
    })
    .await;
    soon("nothing is wrong any more", async || {
        replicator.status().upload_error.is_none()
    })
    .await;
    assert!(local_files(&bench).iter().all(|f| !f.starts_with('9')));
    replicator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_file_does_not_wait_for_a_higher_level_that_hangs() {
    let mut bench = Bench::new();
    bench.replica = Arc::new(Memory::new(bench.env.disk.clone()));
    let app = bench.app(4096);
    let faulty = Faulty::new(Arc::clone(&bench.replica));
    let replica: SharedReplica = Arc::new(faulty.clone());
    let ms = Duration::from_millis;
    let policy = Policy {
        levels: vec![(level(1), ms(50)), (level(2), ms(100))],
        l0_retention: ms(100),
        ..Policy::uploads_only()
    };
    let stall = faulty.stall_level(Op::Write, level(2));
    let settings = settings(&bench, policy);
    let replicator = Replicator::start(settings, vec![replica], bench.env.clone()).unwrap();
    let commits = async |count: usize| {
        for _ in 0..count {
            fill(&app, 2, 300);
            tokio::time::sleep(ms(30)).await;
        }
    };
    commits(20).await;
    replicator.sync().await.unwrap();
    soon("level 1 is filled", async || {
        !names(&bench.replica, 1).await.is_empty()
    })
    .await;
    soon("level 2 hangs", async || stall.is_waited_for()).await;
    faulty.fail_always(Op::Write, ErrorKind::Unreachable, When::Before);
    commits(30).await;
    soon("what waits was merged", async || {
        local_files(&bench).iter().any(|f| f.starts_with('1'))
    })
    .await;
    // Also forgets that level 2 hangs: what hangs already goes on hanging.
    faulty.heal();
    let _hangs = faulty.stall_level(Op::Write, level(2));
    tokio::time::timeout(Duration::from_secs(10), replicator.sync())
        .await
        .expect("no wait for level 2")
        .unwrap();
    assert_eq!(names(&bench.replica, 2).await, []);
    drop(stall);
    replicator.close().await;
    bench.assert_restores().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn close_does_not_wait_for_a_merge_that_reads_dead_storage() {
    let mut bench = Bench::new();
    bench.replica = Arc::new(Memory::new(bench.env.disk.clone()));
    let app = bench.app(4096);
    let ms = Duration::from_millis;
    let policy = |levels: u8| Policy {
        levels: (1..=levels).map(|n| (level(n), ms(50))).collect(),
        ..Policy::uploads_only()
    };
    let replicator = bench.start_with(settings(&bench, policy(1)));
    while names(&bench.replica, 1).await.len() < 3 {
        fill(&app, 2, 300);
        tokio::time::sleep(ms(30)).await;
    }
    replicator.sync().await.unwrap();
    replicator.close().await;
    let faulty = Faulty::new(Arc::clone(&bench.replica));
    let stall = faulty.stall_level(Op::Read, level(1));
    let replica: SharedReplica = Arc::new(faulty.clone());
    let settings = settings(&bench, policy(2));
    let replicator = Replicator::start(settings, vec![replica], bench.env.clone()).unwrap();
    soon("a read hangs", async || stall.is_waited_for()).await;
    tokio::time::timeout(Duration::from_secs(2), replicator.close())
        .await
        .expect("closed at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_wait_for_a_place_and_level_0_does_not() {
    let bench = Bench::new();
    let app = bench.app(4096);
    let places = bench.env.spawn.places(Work::Heavy);
    let taken = places
        .acquire_many(Work::Heavy.places() as u32)
        .await
        .unwrap();
    let policy = Policy {
        levels: vec![(level(1), Duration::from_millis(50))],
        ..Policy::uploads_only()
    };
    let replicator = bench.start_with(settings(&bench, policy));
    for _ in 0..20 {
        fill(&app, 2, 300);
        replicator.sync().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(names(&bench.replica, 1).await, []);
    drop(taken);
    soon("level 1 is filled", async || {
        !names(&bench.replica, 1).await.is_empty()
    })
    .await;
    replicator.close().await;
}

/// A clock that somebody sets.
struct Set {
    real: Arc<dyn Clock>,
    ahead: AtomicI64,
}

impl Clock for Set {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.real.now().0 + self.ahead.load(Ordering::Relaxed))
    }
    fn monotonic(&self) -> Monotonic {
        self.real.monotonic()
    }
    fn boot(&self) -> Option<u128> {
        self.real.boot()
    }
    fn sleep(&self, duration: Duration) {
        self.real.sleep(duration);
    }
    fn sleep_async<'a, 'b>(
        &'a self,
        duration: Duration,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        self.real.sleep_async(duration)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_forward_by_days_deletes_nothing_that_is_promised() {
    let mut bench = Bench::new();
    let clock = Arc::new(Set {
        real: Arc::clone(&bench.env.clock),
        ahead: AtomicI64::new(0),
    });
    bench.env.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let app = bench.app(4096);
    let policy = Policy {
        snapshot_retention: Duration::from_mins(1),
        l0_retention: Duration::from_mins(1),
        ..policy()
    };
    let replicator = bench.start_with(settings(&bench, policy));
    let commits = async |count: usize| {
        for _ in 0..count {
            fill(&app, 2, 300);
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    commits(60).await;
    soon("two snapshots", async || {
        fill(&app, 1, 100);
        names(&bench.replica, 9).await.len() >= 2
    })
    .await;
    clock.ahead.store(2 * 86_400_000, Ordering::Relaxed);
    commits(60).await;
    let snapshots = names(&bench.replica, 9).await.len();
    soon("another snapshot", async || {
        fill(&app, 1, 100);
        names(&bench.replica, 9).await.len() > snapshots
    })
    .await;
    // By then what is old would have been looked through.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    replicator.sync().await.unwrap();
    bench.assert_contiguous().await;
    replicator.close().await;
    bench.assert_restores().await;
}
