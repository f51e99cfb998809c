//! The locks and descriptors of an application in the same process are none of ours, whatever we do (W30, C09, C11).
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

mod common;
mod probe;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Bench, assert_same, fill};
use probe::{live_image, side};
use rusqlite::Connection;

/// Bytes of the WAL-index that are locks: SQLite's "WAL-mode File Format", section 2.3.
const WRITE: u64 = 120;
const CHECKPOINT: u64 = 121;
const READS: std::ops::RangeInclusive<u64> = 123..=127;
/// Bytes of the database file that are locks: SQLite's `os.h`.
const SHARED: u64 = 0x4000_0002;

/// Locked bytes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Locks(BTreeSet<(u64, bool)>);

impl Locks {
    /// What this process holds on a file, as the kernel says.
    fn of(path: &Path) -> Locks {
        let inode = std::fs::metadata(path).unwrap().ino();
        let pid = std::process::id().to_string();
        let mut out = BTreeSet::new();
        // In one read, or the list changes in between.
        let mut list = vec![0; 1 << 20];
        let mut file = std::fs::File::open("/proc/locks").unwrap();
        let n = std::io::Read::read(&mut file, &mut list).unwrap();
        for line in std::str::from_utf8(&list[..n]).unwrap().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            // A line with -> is of someone who waits.
            let [_, "POSIX", _, mode, owner, file, from, to] = words[..] else {
                continue;
            };
            let file_inode = file.rsplit(':').next().unwrap();
            if owner != pid || file_inode != inode.to_string() {
                continue;
            }
            let from: u64 = from.parse().unwrap();
            let to: u64 = to.parse().unwrap_or(from + 1000);
            // Of the 510 shared bytes of a database the first stands for all.
            for byte in from..=to.min(from + 8) {
                out.insert((byte, mode == "WRITE"));
            }
        }
        Locks(out)
    }

    fn exclusive(&self, byte: u64) -> bool {
        self.0.contains(&(byte, true))
    }

    fn any(&self, byte: u64) -> bool {
        self.exclusive(byte) || self.0.contains(&(byte, false))
    }
}

/// Descriptors of this process that lead to the file.
fn descriptors(path: &Path) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    entries
        .flatten()
        .filter(|e| std::fs::read_link(e.path()).is_ok_and(|to| to == path))
        .count()
}

fn all_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

struct Files {
    db: std::path::PathBuf,
    shm: std::path::PathBuf,
}

impl Files {
    fn of(bench: &Bench) -> Files {
        let db = std::fs::canonicalize(bench.db()).unwrap();
        Files {
            shm: side(&db, "-shm"),
            db,
        }
    }

    fn counts(&self) -> (usize, usize) {
        (descriptors(&self.db), descriptors(&self.shm))
    }

    /// A lock that was lost never comes back by itself, so a second look tells that from a listing torn by changes.
    fn assert_writer_locks(&self, when: &str) {
        let look = || {
            let (db, shm) = (Locks::of(&self.db), Locks::of(&self.shm));
            let whole =
                db.any(SHARED) && shm.exclusive(WRITE) && READS.filter(|&b| shm.any(b)).count() > 0;
            (whole, db, shm)
        };
        let mut seen = look();
        for _ in 0..20 {
            if seen.0 {
                return;
            }
            seen = look();
        }
        panic!("{when}: of the writer's locks there are only {seen:?}");
    }
}

/// Watches all the time that the locks of an application's write transaction stay.
fn watch(
    files: Files,
    stop: &Arc<AtomicBool>,
    looks: &Arc<AtomicU64>,
) -> std::thread::JoinHandle<()> {
    let (stop, looks) = (Arc::clone(stop), Arc::clone(looks));
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            files.assert_writer_locks("in between");
            looks.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Whether another process can begin to write.
fn others_can_write(bench: &Bench) -> bool {
    let script =
        "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')";
    let output = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(bench.db())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || text.contains("locked"), "{text}");
    output.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn w30_an_applications_write_transaction_keeps_its_locks() {
    let bench = Bench::new();
    let app = bench.app(4096);
    fill(&app, 300, 300);
    let files = Files::of(&bench);
    assert!(others_can_write(&bench), "before the transaction");
    app.execute_batch("BEGIN IMMEDIATE; INSERT INTO t(b, n) VALUES(zeroblob(10), 1)")
        .unwrap();
    let (stop, looks) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let watcher = watch(Files::of(&bench), &stop, &looks);
    let before = files.counts();
    for round in 0..3 {
        let check = |what: &str| {
            files.assert_writer_locks(&format!("round {round}, after {what}"));
            let (db, shm) = files.counts();
            // One each for sentinel, checkpointer and reader. SQLite closes none while locks are held, and uses them again.
            assert!(
                db <= before.0 + 3 && shm == before.1,
                "round {round}, after {what}: {db} {shm}, {before:?} before"
            );
            assert!(!others_can_write(&bench), "round {round}, after {what}");
        };
        let replicator = bench.start_with(litestream::Settings {
            checkpoint_interval: Duration::from_millis(50),
            ..bench.settings()
        });
        check("start");
        replicator.sync().await.unwrap();
        check("sync");
        let deadline = Instant::now() + Duration::from_secs(5);
        // Later there is nothing left to checkpoint.
        while round == 0 && replicator.status().counters.checkpoints == 0 {
            assert!(Instant::now() < deadline, "no checkpoint");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        check("checkpoint");
        replicator.snapshot().await.unwrap();
        check("snapshot");
        replicator.enforce_retention(Duration::ZERO).await.unwrap();
        check("retention");
        replicator.close().await;
        check("close");
        drop(replicator);
        check("drop");
    }
    stop.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    assert!(looks.load(Ordering::Relaxed) > 100);
    app.execute_batch("COMMIT").unwrap();
    assert!(others_can_write(&bench), "after the transaction");
    let replicator = bench.start();
    replicator.sync().await.unwrap();
    replicator.close().await;
    drop(app);
    assert_eq!(files.counts(), (0, 0), "descriptors");
    bench.assert_restores().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w30_an_applications_read_transaction_keeps_its_snapshot() {
    let bench = Bench::new();
    let app = bench.app(1024);
    app.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    fill(&app, 300, 300);
    let reader = bench.app(1024);
    let sum = |c: &Connection| -> i64 {
        c.query_row(
            "SELECT count(*) + sum(n) + sum(length(b)) FROM t",
            [],
            |r| r.get(0),
        )
        .unwrap()
    };
    reader.execute_batch("BEGIN").unwrap();
    let first = sum(&reader);
    let files = Files::of(&bench);
    // Nobody else reads: these are the reader's own.
    let (db, shm) = (Locks::of(&files.db), Locks::of(&files.shm));
    let held: Vec<u64> = READS.filter(|&b| shm.any(b)).collect();
    assert_eq!(held.len(), 1, "{shm:?}");
    assert!(db.any(SHARED));
    let check = |what: &str| {
        let (db, shm) = (Locks::of(&files.db), Locks::of(&files.shm));
        assert!(db.any(SHARED), "after {what}: {db:?}");
        assert!(shm.any(held[0]), "after {what}: {shm:?}");
        assert_eq!(sum(&reader), first, "after {what}");
    };
    for _ in 0..3 {
        let replicator = bench.start_with(litestream::Settings {
            checkpoint_interval: Duration::from_millis(20),
            ..bench.settings()
        });
        for _ in 0..5 {
            fill(&app, 400, 300);
            check("commit");
            replicator.sync().await.unwrap();
            check("sync");
            tokio::time::sleep(Duration::from_millis(30)).await;
            check("checkpoint");
        }
        replicator.snapshot().await.unwrap();
        check("snapshot");
        assert_same(&live_image(&bench.db()), &bench.restore_latest().await);
        check("restore");
        replicator.close().await;
        check("close");
    }
    reader.execute_batch("COMMIT").unwrap();
    drop((app, reader));
    bench.assert_restores().await;
}

/// What an application holds while it does nothing: its connection's shared lock on the database, and the mark that it has
/// the WAL-index open.
fn held(bench: &Bench) -> (Locks, Locks) {
    let files = Files::of(bench);
    (Locks::of(&files.db), Locks::of(&files.shm))
}

fn assert_nothing_left(bench: &Bench, before: &(Locks, Locks), what: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while held(bench) != *before {
        let now = held(bench);
        assert!(
            Instant::now() < deadline,
            "{what}: {now:?}, before {before:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    // SQLite keeps descriptors for the next connection while the application has the database open; not more than we had.
    let (db, shm) = Files::of(bench).counts();
    assert!(db <= 4 && shm == 1, "{what}: {db} {shm}");
}

fn assert_can_truncate(app: &Connection, bench: &Bench) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let busy: i64 = app
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))
            .unwrap();
        if busy == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the WAL can't be truncated");
    }
    let wal = std::fs::metadata(bench.settings().wal_path()).unwrap();
    assert_eq!(wal.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_after_close_nothing_is_held() {
    let bench = Bench::new();
    let app = bench.app(4096);
    fill(&app, 100, 300);
    let before = held(&bench);
    let replicator = bench.start();
    replicator.sync().await.unwrap();
    assert!(
        Locks::of(&Files::of(&bench).shm).exclusive(CHECKPOINT),
        "guarded while running"
    );
    replicator.close().await;
    assert_nothing_left(&bench, &before, "close");
    assert_can_truncate(&app, &bench);
    assert!(replicator.sync().await.is_err(), "closed for good");
    replicator.close().await; // again is harmless
    // Without the application's connection there is nothing at all, and no side file is left open.
    drop(app);
    let replicator = bench.start();
    replicator.sync().await.unwrap();
    replicator.close().await;
    drop(replicator);
    let files = Files {
        shm: side(&bench.db(), "-shm"),
        db: bench.db(),
    };
    assert_eq!(files.counts(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_dropping_or_cancelling_gives_everything_back() {
    let bench = Bench::new();
    let app = bench.app(4096);
    fill(&app, 100, 300);
    let before = held(&bench);
    for micros in [0, 1, 10, 100, 1000] {
        let pause = Duration::from_micros(micros);
        for what in ["drop", "cancelled close", "cancelled sync"] {
            let replicator = bench.start();
            if micros != 1 {
                replicator.sync().await.unwrap();
            }
            fill(&app, 10, 300);
            match what {
                "cancelled close" => {
                    let _ = tokio::time::timeout(pause, replicator.close()).await;
                }
                "cancelled sync" => {
                    let _ = tokio::time::timeout(pause, replicator.sync()).await;
                }
                _ => tokio::time::sleep(pause).await,
            }
            drop(replicator);
            assert_nothing_left(&bench, &before, &format!("{what} after {pause:?}"));
            assert_can_truncate(&app, &bench);
        }
    }
    let replicator = bench.start();
    replicator.sync().await.unwrap();
    replicator.close().await;
    drop(app);
    bench.assert_contiguous().await;
    bench.assert_restores().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c09_opening_and_closing_many_times_leaks_nothing() {
    let bench = Bench::new();
    let app = bench.app(4096);
    fill(&app, 10, 100);
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let mut after_some = (0, 0);
    for round in 0..200 {
        let replicator = bench.start();
        replicator.sync().await.unwrap();
        replicator.close().await;
        if round == 50 {
            after_some = (all_descriptors(), threads());
        }
    }
    let after_all = (all_descriptors(), threads());
    assert!(
        after_all.0 <= after_some.0,
        "descriptors {after_some:?} then {after_all:?}"
    );
    // The runtime's own threads for blocking work come and go; one leaked in each round would be 149.
    assert!(
        after_all.1 <= after_some.1 + 40,
        "threads {after_some:?} then {after_all:?}"
    );
    assert_eq!(bench.assert_contiguous().await, 1, "nothing was written");
    drop(app);
    bench.assert_restores().await;
}
