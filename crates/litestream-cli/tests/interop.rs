//! With Litestream 0.5.17: each restores what the other wrote, and each carries on the other's replica.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod oracle;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oracle::{app, assert_contiguous, assert_same, fill, image, is_full, restore};
use rusqlite::Connection;

const OURS: &str = env!("CARGO_BIN_EXE_litestream");
const PAGE_SIZES: [u32; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

struct Pair {
    dir: tempfile::TempDir,
    what: String,
}

impl Pair {
    fn new(what: String) -> Pair {
        Pair {
            dir: tempfile::tempdir().unwrap(),
            what,
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

    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let mut command = Command::new(program);
        command
            .arg("replicate")
            .args(args)
            .arg(self.db())
            .arg(self.url())
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log);
        command
    }

    fn once(&self, program: &Path) {
        let done = self.command(program, &["-once"]).status().unwrap();
        assert!(done.success(), "{}: {}", self.what, self.log());
    }

    fn start(&self, program: &Path) -> Child {
        self.command(program, &[]).spawn().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Both programs give the source back.
    fn check(&self, what: &str) {
        let expected = image(&self.db());
        for program in [Path::new(OURS), &oracle::program()] {
            let restored = restore(program, &self.url(), self.dir.path());
            let what = format!("{}, {what}, restored by {}", self.what, program.display());
            assert_same(&what, &expected, &restored);
        }
        assert_contiguous(&self.what, &self.replica());
    }
}

/// Ends it with SIGTERM; it must say that all is well.
fn stop(mut child: Child, what: &str) {
    let pid = child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{what}: {status}");
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What an application does to every part of a database.
fn work(conn: &Connection, page_size: u32, round: usize) {
    let bytes = page_size as usize / 3;
    fill(conn, 20, bytes);
    let sql = match round % 5 {
        0 => "UPDATE t SET n = n + 1 WHERE id % 7 = 0",
        1 => "DELETE FROM t WHERE id % 3 = 0",
        2 => {
            "CREATE TABLE IF NOT EXISTS u(k TEXT PRIMARY KEY, v) WITHOUT ROWID; REPLACE INTO u SELECT hex(id), n FROM t"
        }
        3 => "PRAGMA incremental_vacuum(5); UPDATE t SET b = zeroblob(9) WHERE id % 5 = 0",
        _ => "VACUUM",
    };
    conn.execute_batch(sql).unwrap();
    fill(conn, 3, bytes * 4);
}

/// One program replicates, in one go and live; both restore.
fn one_writes(program: &Path, auto_vacuum: &str) {
    for page_size in PAGE_SIZES {
        let pair = Pair::new(format!("page size {page_size}, auto_vacuum {auto_vacuum}"));
        let conn = app(&pair.db(), page_size, auto_vacuum);
        for round in 0..3 {
            work(&conn, page_size, round);
            pair.once(program);
        }
        pair.check("in one go");
        let original = program != Path::new(OURS);
        if original && ![512, 4096, 65536].contains(&page_size) {
            continue; // it takes seconds
        }
        let child = pair.start(program);
        for round in 3..8 {
            work(&conn, page_size, round);
            std::thread::sleep(Duration::from_millis(80));
        }
        if original {
            // It looks once a second, and at its end only if it ever looked.
            std::thread::sleep(Duration::from_millis(1500));
        }
        stop(child, &pair.what);
        pair.check("live");
    }
}

#[test]
fn ours_writes_without_auto_vacuum() {
    one_writes(Path::new(OURS), "NONE");
}

#[test]
fn ours_writes_with_full_auto_vacuum() {
    one_writes(Path::new(OURS), "FULL");
}

#[test]
fn ours_writes_with_incremental_auto_vacuum() {
    one_writes(Path::new(OURS), "INCREMENTAL");
}

#[test]
fn the_original_writes_without_auto_vacuum() {
    one_writes(&oracle::program(), "NONE");
}

#[test]
fn the_original_writes_with_full_auto_vacuum() {
    one_writes(&oracle::program(), "FULL");
}

#[test]
fn the_original_writes_with_incremental_auto_vacuum() {
    one_writes(&oracle::program(), "INCREMENTAL");
}

/// Original, ours, original, ours on one replica and one state folder, with writes before each.
fn hand_over(page_size: u32, live: bool, writes_between: bool) {
    let original = oracle::program();
    let pair = Pair::new(format!(
        "page size {page_size}, live {live}, writes between {writes_between}"
    ));
    let conn = app(&pair.db(), page_size, "NONE");
    fill(&conn, 100, page_size as usize);
    let small = |n: usize| fill(&conn, n, 20);
    for (turn, program) in [&original, Path::new(OURS), &original, Path::new(OURS)]
        .into_iter()
        .enumerate()
    {
        if writes_between {
            small(2);
        }
        let before = assert_contiguous(&pair.what, &pair.replica());
        if live {
            let child = pair.start(program);
            for _ in 0..4 {
                std::thread::sleep(Duration::from_millis(150));
                small(2);
            }
            // The original looks once a second.
            std::thread::sleep(Duration::from_millis(600));
            stop(child, &pair.what);
        } else {
            pair.once(program);
            small(2);
            pair.once(program);
        }
        pair.check(&format!("turn {turn}"));
        let after = assert_contiguous(&pair.what, &pair.replica());
        assert!(after > before, "{}, turn {turn}", pair.what);
        if turn % 2 == 1 {
            let full: Vec<u64> = (before + 1..=after)
                .filter(|&txid| is_full(&pair.replica(), txid))
                .collect();
            assert!(
                full.is_empty(),
                "{}, turn {turn}: needless full copies {full:?}\n{}",
                pair.what,
                pair.log()
            );
        }
    }
}

#[test]
fn hand_over_in_one_go() {
    for page_size in PAGE_SIZES {
        for writes_between in [true, false] {
            hand_over(page_size, false, writes_between);
        }
    }
}

#[test]
fn hand_over_live() {
    for page_size in [4096, 65536] {
        hand_over(page_size, true, true);
    }
}

/// The original takes over, and ours with a state folder that the original left behind long ago.
#[test]
fn hand_over_with_an_old_or_missing_state_folder() {
    let original = oracle::program();
    for missing in [true, false] {
        let pair = Pair::new(format!("state folder missing: {missing}"));
        let state = pair.dir.path().join(".app.db-litestream");
        let saved = pair.dir.path().join("saved");
        let conn = app(&pair.db(), 4096, "NONE");
        for (turn, program) in [&original, Path::new(OURS), &original, Path::new(OURS)]
            .into_iter()
            .enumerate()
        {
            fill(&conn, 10, 500);
            if turn == 1 {
                std::fs::rename(&state, &saved).unwrap();
            }
            if turn > 1 {
                std::fs::remove_dir_all(&state).unwrap();
                if !missing {
                    let mut cp = Command::new("cp");
                    cp.arg("-a").arg(&saved).arg(&state);
                    assert!(cp.status().unwrap().success());
                }
            }
            pair.once(program);
            pair.check(&format!("turn {turn}"));
            fill(&conn, 10, 500);
            pair.once(program);
            pair.check(&format!("turn {turn}, again"));
        }
    }
}

/// Checksums of the database lie in header bytes that the original ignores: it restores, compacts and carries on.
#[test]
fn files_that_chain_are_read_by_both() {
    let pair = Pair::new("chained files".to_owned());
    let conn = app(&pair.db(), 4096, "INCREMENTAL");
    for round in 0..3 {
        work(&conn, 4096, round);
        pair.once(Path::new(OURS));
    }
    let newest = level_files(&pair.replica(), 0).pop().unwrap();
    let header = ltx::Header::decode(&std::fs::read(newest).unwrap()).unwrap();
    assert!(header.chain().after.is_some(), "{}", pair.log());
    pair.check("chained");
    assert_eq!(verified(&pair), Some(0));
    let oracle = oracle::program();
    for round in 3..6 {
        work(&conn, 4096, round);
        pair.once(&oracle);
    }
    pair.check("carried on by the original");
    assert_eq!(verified(&pair), Some(0));
    work(&conn, 4096, 6);
    pair.once(Path::new(OURS));
    pair.check("and back");
    assert_eq!(verified(&pair), Some(0));
}

fn level_files(root: &Path, level: u8) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join(format!("ltx/{level}"))).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "ltx"));
    files.sort();
    files
}

/// The exit code of a deep verification.
fn verified(pair: &Pair) -> Option<i32> {
    let done = Command::new(OURS)
        .args(["verify", "-deep", &pair.url()])
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&done.stdout));
    done.status.code()
}
