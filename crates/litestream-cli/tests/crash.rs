//! SIGKILL at any moment under load: the next start converges by itself, page for page, without a hole and without leftovers.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod oracle;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oracle::{app, assert_contiguous, assert_same, fill, image, leftovers, restore};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const OURS: &str = env!("CARGO_BIN_EXE_litestream");

/// `LITESTREAM_KILLS` asks for more, `LITESTREAM_SEED` for others.
fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |s| s.parse().expect(name))
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    fn replica(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    fn url(&self) -> String {
        format!("file://{}", self.replica().display())
    }

    fn start(&self, args: &[&str]) -> Child {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        Command::new(OURS)
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap()
    }

    fn replicate(&self, once: bool) -> Child {
        let (db, url) = (self.db(), self.url());
        let mut args = vec!["replicate"];
        if once {
            args.push("-once");
        }
        args.extend([db.to_str().unwrap(), &url]);
        self.start(&args)
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn check(&self, what: &str) {
        let expected = image(&self.db());
        let restored = restore(Path::new(OURS), &self.url(), self.dir.path());
        assert_same(what, &expected, &restored);
        assert_contiguous(what, &self.replica());
        let left = leftovers(self.dir.path());
        assert!(left.is_empty(), "{what}: {left:?}\n{}", self.log());
    }
}

fn finish(mut child: Child, signal: Option<&str>, what: &str) -> bool {
    if let Some(signal) = signal {
        let pid = child.id().to_string();
        Command::new("kill").args([signal, &pid]).status().unwrap();
    }
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Applications that write without end, except while the gate is held.
fn load(
    db: PathBuf,
    seed: u64,
    gate: Arc<Mutex<()>>,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut conn = app(&db, 4096, "NONE");
        while !stop.load(Ordering::Relaxed) {
            let held = gate.lock().unwrap();
            match rng.random_range(0..100) {
                0 => fill(&conn, 2000, 1500), // more than a checkpoint's worth
                1..5 => conn
                    .execute_batch("DELETE FROM t WHERE id % 3 > 0")
                    .unwrap(),
                5 => {
                    let modes = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
                    let mode = modes[rng.random_range(0..4)];
                    let sql = format!("PRAGMA wal_checkpoint({mode})");
                    conn.query_row(&sql, [], |_| Ok(())).unwrap();
                }
                6 => {
                    drop(conn);
                    conn = app(&db, 4096, "NONE");
                }
                7 => conn
                    .execute_batch("BEGIN; UPDATE t SET n = n + 1; ROLLBACK")
                    .unwrap(),
                _ => fill(&conn, 3, 200),
            }
            drop(held);
            std::thread::sleep(Duration::from_micros(rng.random_range(0..3000)));
        }
    })
}

#[test]
fn w01_killed_at_any_moment_under_load() {
    let place = Place::new();
    let seed = from_environment("LITESTREAM_SEED", 1);
    let mut rng = StdRng::seed_from_u64(seed);
    drop(app(&place.db(), 4096, "NONE"));
    let (gate, stop) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
    let writer = load(place.db(), seed, Arc::clone(&gate), Arc::clone(&stop));
    for kill in 0..from_environment("LITESTREAM_KILLS", 30) {
        let what = format!("seed {seed}, kill {kill}");
        // Often within the first moments, sometimes one kill after another.
        for _ in 0..rng.random_range(1..3) {
            let child = place.replicate(rng.random_bool(0.2));
            let limit = if rng.random_bool(0.5) {
                40_000
            } else {
                400_000
            };
            std::thread::sleep(Duration::from_micros(rng.random_range(0..limit)));
            finish(child, Some("-KILL"), &what);
            // Not watched for a while.
            std::thread::sleep(Duration::from_millis(rng.random_range(0..20)));
        }
        if rng.random_bool(0.5) {
            let pause = gate.lock().unwrap();
            assert!(
                finish(place.replicate(true), None, &what),
                "{what}: {}",
                place.log()
            );
            place.check(&what);
            drop(pause);
        } else {
            let child = place.replicate(false);
            std::thread::sleep(Duration::from_millis(rng.random_range(50..200)));
            let pause = gate.lock().unwrap();
            assert!(
                finish(child, Some("-TERM"), &what),
                "{what}: {}",
                place.log()
            );
            place.check(&what);
            drop(pause);
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(
        finish(place.replicate(true), None, "end"),
        "{}",
        place.log()
    );
    place.check("end");
}

/// R09: at most one partial file, and the next restore removes it.
#[test]
fn r09_killed_while_restoring() {
    let place = Place::new();
    let conn = app(&place.db(), 4096, "NONE");
    fill(&conn, 4000, 3000);
    assert!(finish(place.replicate(true), None, "first"));
    fill(&conn, 1000, 3000);
    assert!(finish(place.replicate(true), None, "second"));
    let expected = image(&place.db());
    let out = place.dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let url = place.url();
    let start = || place.start(&["restore", "-o", "out/app.db", &url]);
    let begun = Instant::now();
    assert!(finish(start(), None, "whole"), "{}", place.log());
    let whole = begun.elapsed().as_micros() as u64;
    let mut rng = StdRng::seed_from_u64(from_environment("LITESTREAM_SEED", 9));
    let mut partial = 0;
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&out).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    for kill in 0..from_environment("LITESTREAM_KILLS", 30) {
        let what = format!("kill {kill}");
        let _ = std::fs::remove_file(out.join("app.db"));
        for _ in 0..rng.random_range(1..4) {
            let child = start();
            std::thread::sleep(Duration::from_micros(rng.random_range(0..whole)));
            finish(child, Some("-KILL"), &what);
            let left = names();
            if left == ["app.db"] {
                assert_same(
                    &what,
                    &expected,
                    &std::fs::read(out.join("app.db")).unwrap(),
                );
                std::fs::remove_file(out.join("app.db")).unwrap();
            } else {
                assert!(left.len() <= 1, "{what}: {left:?}");
                partial += left.len();
            }
        }
        assert!(finish(start(), None, &what), "{what}: {}", place.log());
        assert_eq!(names(), ["app.db"], "{what}");
        assert_same(
            &what,
            &expected,
            &std::fs::read(out.join("app.db")).unwrap(),
        );
    }
    assert!(partial > 0, "no kill came in the middle");
}
