//! With Litestream 0.5.17: one replica and one state folder in turns, with levels, snapshots and retention of a few seconds. What one
//! program wrote is compacted and deleted by the other, every point that is there restores to a state that was committed, and
//! neither complains.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod oracle;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use litestream::env::{Env, real};
use litestream::{Policy, Replicator, Settings, restore};
use litestream_replica::chain::{listing, points, position};
use litestream_replica::file::FileReplica;
use litestream_replica::{FileInfo, Level, SharedReplica};
use ltx::{FileName, Txid};
use oracle::{assert_same, image};
use parking_lot::Mutex;
use rusqlite::Connection;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

const LEVELS: [u64; 3] = [1, 2, 4];
const SNAPSHOTS: u64 = 3;
const WINDOW: u64 = 6;
const LEVEL_0: u64 = 2;
const TURN: Duration = Duration::from_secs(11);
const PAUSE: Duration = Duration::from_millis(70);

/// What our program says at the levels of warnings and errors.
#[derive(Clone, Default)]
struct Complaints(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Complaints {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= tracing::Level::WARN {
            let mut text = event.metadata().level().to_string();
            event.record(
                &mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                    write!(text, " {field}={value:?}").unwrap();
                },
            );
            self.0.lock().push(text);
        }
    }
}

struct Place {
    dir: tempfile::TempDir,
    env: Env,
    replica: SharedReplica,
    runtime: tokio::runtime::Runtime,
    complaints: Complaints,
    /// Commits so far.
    commits: i64,
    /// Compacted files above level 1 that were there at any time.
    seen: BTreeSet<FileName>,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let env = real::env();
        let replica = FileReplica::new(dir.path().join("backup"), env.clone(), None);
        let complaints = Complaints::default();
        let subscriber = tracing_subscriber::registry().with(complaints.clone());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        Place {
            dir,
            env,
            replica: Arc::new(replica),
            runtime: tokio::runtime::Runtime::new().unwrap(),
            complaints,
            commits: 0,
            seen: BTreeSet::new(),
        }
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    fn files(&self) -> Vec<FileInfo> {
        let levels: Vec<Level> = Level::all().collect();
        let list = listing::list_all(&self.replica, &levels, true);
        self.runtime.block_on(list).unwrap()
    }

    /// Commits for the length of a turn: commit k adds row k and marks an older one with k.
    fn work(&mut self, conn: &Connection) {
        let start = Instant::now();
        while start.elapsed() < TURN {
            self.commits += 1;
            let k = self.commits;
            let tx = conn.unchecked_transaction().unwrap();
            let body = format!("{k},").repeat(100);
            tx.execute("INSERT INTO t(id, b, n) VALUES(?1, ?2, ?1)", (k, body))
                .unwrap();
            tx.execute("UPDATE t SET n = ?1 WHERE id = ?2", (k, k / 2 + 1))
                .unwrap();
            tx.commit().unwrap();
            let backup = self.dir.path().join("backup");
            self.seen
                .extend((2..9).flat_map(|n| oracle::level(&backup, n)));
            std::thread::sleep(PAUSE);
        }
    }

    fn ours(&mut self, conn: &Connection) {
        let levels = LEVELS.iter().zip(1..);
        let seconds = Duration::from_secs;
        let policy = Policy {
            levels: levels
                .map(|(&s, n)| (Level::new(n).unwrap(), seconds(s)))
                .collect(),
            snapshot_interval: seconds(SNAPSHOTS),
            snapshot_retention: seconds(WINDOW),
            l0_retention: seconds(LEVEL_0),
            ..Policy::default()
        };
        let settings = Settings {
            policy,
            sync_interval: Duration::from_millis(100),
            ..Settings::for_database(self.db())
        };
        let handle = self.runtime.handle().clone();
        let _inside = handle.enter();
        let replicas = vec![Arc::clone(&self.replica)];
        let replicator = Replicator::start(settings, replicas, self.env.clone()).unwrap();
        self.work(conn);
        handle.block_on(replicator.sync()).unwrap();
        handle.block_on(replicator.close());
        let complaints = self.complaints.0.lock();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    fn original(&mut self, conn: &Connection) {
        let levels = LEVELS.map(|s| format!("  - interval: {s}s\n")).concat();
        let config = self.dir.path().join("litestream.yml");
        let text = format!(
            "dbs:\n  - path: {}\n    monitor-interval: 100ms\n    replica:\n      url: file://{}\n      sync-interval: 100ms\n\
             levels:\n{levels}snapshot:\n  interval: {SNAPSHOTS}s\n  retention: {WINDOW}s\n\
             l0-retention: {LEVEL_0}s\nl0-retention-check-interval: 1s\n",
            self.db().display(),
            self.dir.path().join("backup").display(),
        );
        std::fs::write(&config, text).unwrap();
        let path = self.dir.path().join("log");
        let log = std::fs::File::create(&path).unwrap();
        let mut child = Command::new(oracle::program())
            .args(["replicate", "-config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        self.work(conn);
        // It looks ten times a second.
        std::thread::sleep(Duration::from_secs(1));
        let pid = child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let status = child.wait().unwrap();
        let log = std::fs::read_to_string(path).unwrap();
        assert!(status.success(), "{log}");
        let complaints: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("level=ERROR") || line.contains("level=WARN"))
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    /// What we restore of a point.
    fn restored(&self, txid: Txid) -> Vec<u8> {
        let output = self.dir.path().join("ours.db");
        let request = restore::Request {
            output: output.clone(),
            target: restore::Target::Txid(txid),
            parallelism: 4,
            force: true,
            integrity_check: restore::IntegrityCheck::None,
            vfs: None,
        };
        let replica = Arc::clone(&self.replica);
        let run = restore::run(&request, replica, &self.env, &|_| {});
        self.runtime.block_on(run).unwrap();
        std::fs::read(output).unwrap()
    }

    /// What the original restores of a point.
    fn restored_by_original(&self, txid: Txid) -> Vec<u8> {
        let output = self.dir.path().join("theirs.db");
        let _ = std::fs::remove_file(&output);
        let done = Command::new(oracle::program())
            .args(["restore", "-txid", &txid.to_string(), "-o"])
            .arg(&output)
            .arg(format!(
                "file://{}",
                self.dir.path().join("backup").display()
            ))
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{txid}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        std::fs::read(output).unwrap()
    }

    /// Every point that the files promise is a state that was committed, in order; the newest is the source.
    fn check(&self, what: &str, original: bool) {
        let files = self.files();
        let points = points::restorable(&files);
        let first = files.iter().filter(|f| f.level == Level::SNAPSHOT);
        let first = first.map(|f| f.name.max).min().unwrap();
        // The original deletes level 0 up to a time that may lie within a compacted file: what stays of it leads nowhere.
        let promised = |f: &&FileInfo| f.name.max >= first && (!original || f.level != Level::L0);
        for file in files.iter().filter(promised) {
            assert!(points.contains(&file.name.max), "{what}: {}", file.name);
        }
        let end = position::position(&files);
        assert!(!end.has_gap(), "{what}: {end:?}");
        let mut last = 0;
        for (index, &txid) in points.iter().enumerate() {
            let bytes = self.restored(txid);
            let commits = commits_in(&bytes, self.dir.path());
            assert!(commits >= last, "{what}: {txid} goes back");
            last = commits;
            if index % (points.len() / 6 + 1) == 0 || txid == end.highest {
                let theirs = self.restored_by_original(txid);
                assert_same(&format!("{what}: {txid}"), &theirs, &bytes);
            }
        }
        assert_eq!(last, self.commits, "{what}");
        assert_same(what, &image(&self.db()), &self.restored(end.highest));
    }
}

/// How many commits a database holds; it must be exactly these.
fn commits_in(bytes: &[u8], dir: &Path) -> i64 {
    let path = dir.join("look.db");
    std::fs::write(&path, bytes).unwrap();
    let conn = Connection::open(&path).unwrap();
    let ok: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ok, "ok");
    let mut query = conn.prepare("SELECT id, b, n FROM t ORDER BY id").unwrap();
    let rows: Vec<(i64, String, i64)> = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let count = rows.len() as i64;
    for (row, k) in rows.iter().zip(1..) {
        // Commits 2 (k - 1) and the one after it mark row k.
        let mark = [2 * (k - 1), 2 * (k - 1) + 1, k]
            .into_iter()
            .filter(|mark| *mark >= k && *mark <= count);
        let mark = mark.max().unwrap();
        assert_eq!(*row, (k, format!("{k},").repeat(100), mark), "of {count}");
    }
    count
}

#[test]
fn either_program_compacts_and_retains_the_levels_of_the_other() {
    let mut place = Place::new();
    let conn = oracle::app(&place.db(), 4096, "NONE");
    for turn in 0..4 {
        let what = format!("turn {turn}");
        let before = place.files();
        let boundary = position::position(&before).highest;
        let known = place.seen.clone();
        let original = turn % 2 == 1;
        if original {
            place.original(&conn);
        } else {
            place.ours(&conn);
        }
        place.check(&what, original);
        let after = place.files();
        if turn == 0 {
            continue;
        }
        let new: Vec<_> = place.seen.difference(&known).collect();
        assert!(
            new.iter().any(|name| name.min <= boundary),
            "{what}: nothing from before {boundary} was compacted: {new:?}"
        );
        let names = |files: &[FileInfo]| -> BTreeSet<_> {
            files.iter().map(|f| (f.level, f.name)).collect()
        };
        let (old, left) = (names(&before), names(&after));
        let gone: BTreeSet<Level> = old.difference(&left).map(|(level, _)| *level).collect();
        for level in [0, 1, 9] {
            let level = Level::new(level).unwrap();
            assert!(gone.contains(&level), "{what}: all of level {level} stays");
        }
    }
}
