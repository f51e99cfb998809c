//! Every state in which local files, database and replica may be found at start: replication goes on by itself, the newest
//! restore equals the source page for page, and no history is lost.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

mod common;
mod probe;

use std::path::PathBuf;
use std::time::Duration;

use common::{Bench, assert_same, fill};
use litestream::restore::Target;
use litestream_replica::chain::listing;
use litestream_replica::chain::position;
use litestream_replica::{FileInfo, Level};
use ltx::{FileName, Txid};
use probe::{leftovers, live_image, side};
use rusqlite::Connection;

/// A database with some replicated history, its replicator gone.
struct Past {
    bench: Bench,
    app: Option<Connection>,
    /// What each TXID restored to then.
    history: Vec<(Txid, Vec<u8>)>,
}

impl Past {
    async fn new(page_size: u32) -> Past {
        let bench = Bench::new();
        let app = bench.app(page_size);
        app.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        let mut past = Past {
            bench,
            app: Some(app),
            history: Vec::new(),
        };
        past.write(40);
        let replicator = past.bench.start();
        for _ in 0..4 {
            past.write(15);
            let txid = replicator.sync().await.unwrap();
            let image = past.bench.restore(Target::Txid(txid)).await;
            past.history.push((txid, image));
        }
        replicator.close().await;
        past
    }

    fn write(&self, rows: usize) {
        fill(self.app.as_ref().unwrap(), rows, 300);
    }

    fn close_app(&mut self) {
        self.app = None;
    }

    fn meta(&self) -> PathBuf {
        self.bench.settings().meta_path
    }

    /// Staged level-0 files, oldest first.
    fn local(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.meta().join("ltx/0"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        files
    }

    fn newest_local(&self) -> PathBuf {
        self.local().pop().expect("a staged file")
    }

    fn replica_dir(&self) -> PathBuf {
        self.bench.dir.path().join("replica")
    }

    async fn files(&self) -> Vec<FileInfo> {
        let levels: Vec<Level> = Level::all().collect();
        listing::list_all(&self.bench.replica, &levels, false)
            .await
            .unwrap()
    }

    fn restart_wal(&self, mode: &str) {
        let app = self.app.as_ref().unwrap();
        app.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
            .unwrap();
    }

    /// Starts replication, and all must be well: at once, after more writes, after another restart.
    async fn goes_on(&mut self, what: &str) {
        for round in 0..2 {
            let replicator = self.bench.start();
            let first = replicator.sync().await;
            let first = first.unwrap_or_else(|e| panic!("{what}, round {round}: {e}"));
            self.check(&format!("{what}, round {round}, first sync"))
                .await;
            self.write(7);
            let second = replicator.sync().await.unwrap();
            assert!(second > first, "{what}: {first} then {second}");
            self.check(&format!("{what}, round {round}, second sync"))
                .await;
            let status = replicator.status();
            assert_eq!(
                (status.capture_error, status.upload_error),
                (None, None),
                "{what}"
            );
            assert_eq!(
                (status.position, status.replica_position),
                (Some(second), Some(second)),
                "{what}"
            );
            replicator.close().await;
            self.write(3);
        }
        let left = leftovers(self.bench.dir.path());
        assert!(left.is_empty(), "{what}: {left:?}");
        self.check_history(what).await;
    }

    async fn check(&self, what: &str) {
        let files = self.files().await;
        let position = position::position(&files);
        assert!(
            !position.has_gap(),
            "{what}: {position:?} {:?}",
            names(&files)
        );
        eprintln!("{what}: {:?}", names(&files));
        assert_same(
            &live_image(&self.bench.db()),
            &self.bench.restore_latest().await,
        );
    }

    async fn check_history(&self, what: &str) {
        for (txid, image) in &self.history {
            eprintln!("{what}: history at {txid}");
            assert_same(image, &self.bench.restore(Target::Txid(*txid)).await);
        }
    }

    async fn contiguous(&self) -> u64 {
        self.bench.assert_contiguous().await
    }

    async fn full_files(&self) -> usize {
        self.bench.full_files().await.len()
    }
}

fn names(files: &[FileInfo]) -> Vec<String> {
    files
        .iter()
        .map(|f| format!("{}/{}-{}", f.level, f.name.min.get(), f.name.max.get()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_happened() {
    let mut past = Past::new(4096).await;
    past.goes_on("untouched").await;
    past.contiguous().await;
    assert_eq!(past.full_files().await, 1, "no needless full copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_local_state_is_gone() {
    for (what, write) in [("idle", 0), ("with writes meanwhile", 9)] {
        let mut past = Past::new(4096).await;
        std::fs::remove_dir_all(past.meta()).unwrap();
        past.write(write);
        past.goes_on(&format!("state folder deleted, {what}")).await;
        past.contiguous().await;

        let mut past = Past::new(4096).await;
        for file in past.local() {
            std::fs::remove_file(file).unwrap();
        }
        past.write(write);
        past.goes_on(&format!("staged files deleted, {what}")).await;
        past.contiguous().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c02_the_newest_local_file_is_damaged() {
    for damage in [
        "empty",
        "cut",
        "flipped header",
        "flipped page",
        "flipped end",
        "another's",
        "grown",
    ] {
        let mut past = Past::new(1024).await;
        let newest = past.newest_local();
        let mut bytes = std::fs::read(&newest).unwrap();
        let len = bytes.len();
        match damage {
            "empty" => bytes.clear(),
            "cut" => bytes.truncate(len / 2),
            "flipped header" => bytes[20] ^= 1,
            "flipped page" => bytes[len / 2] ^= 0x10,
            "flipped end" => bytes[len - 3] ^= 0x80,
            "grown" => bytes.extend_from_slice(b"more"),
            _ => {
                let name = FileName::single(Txid::new(2));
                bytes = past
                    .bench
                    .replica
                    .read(Level::L0, name, 0, None)
                    .await
                    .unwrap()
                    .to_vec();
            }
        }
        // A new file, as the staged one may be one with the replica's.
        std::fs::remove_file(&newest).unwrap();
        std::fs::write(&newest, bytes).unwrap();
        past.goes_on(&format!("newest local file {damage}")).await;
        past.contiguous().await;
    }
}

/// The same while it runs.
#[tokio::test(flavor = "multi_thread")]
async fn c02_local_files_vanish_or_break_while_running() {
    for damage in ["vanish", "cut", "folder"] {
        let mut past = Past::new(4096).await;
        let replicator = past.bench.start();
        for _ in 0..3 {
            past.write(5);
            replicator.sync().await.unwrap();
            match damage {
                "vanish" => std::fs::remove_file(past.newest_local()).unwrap(),
                "cut" => {
                    let newest = past.newest_local();
                    std::fs::remove_file(&newest).unwrap();
                    std::fs::write(&newest, b"LTX1").unwrap();
                }
                _ => std::fs::remove_dir_all(past.meta()).unwrap(),
            }
            past.write(5);
            let mut result = replicator.sync().await;
            for _ in 0..5 {
                // Recovers by itself; a sync that ran into it may say so.
                if result.is_err() {
                    result = replicator.sync().await;
                }
            }
            result.unwrap_or_else(|e| panic!("{damage}: {e}"));
            past.check(&format!("{damage} while running")).await;
        }
        replicator.close().await;
        past.goes_on(&format!("{damage} while running")).await;
        past.contiguous().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_noted_cursor_is_gone_or_garbage() {
    for (content, write) in [
        (None, 0),
        (None, 9),
        (Some("garbage\n"), 9),
        (Some(""), 9),
        (
            Some("0000000000000009 little 4096 00000001 00000002 3 00000000 00000000 1 2 3 4\n"),
            9,
        ),
        (
            Some("0000000000000004 little 4096 00000001 00000002 3 00000000 00000000 1 2 3 4\n"),
            9,
        ),
    ] {
        let mut past = Past::new(4096).await;
        let cursor = past.meta().join("cursor");
        std::fs::remove_file(&cursor).unwrap();
        if let Some(text) = content {
            std::fs::write(&cursor, text).unwrap();
        }
        past.write(write);
        past.goes_on(&format!("cursor {content:?}, {write} rows meanwhile"))
            .await;
        past.contiguous().await;
        assert!(past.full_files().await <= 2);
    }
}

/// The last file ended at offset 32: nothing was in the WAL.
#[tokio::test(flavor = "multi_thread")]
async fn w23_the_last_file_ended_at_the_wal_header() {
    for forget_cursor in [false, true] {
        for checkpoint in [None, Some("PASSIVE"), Some("RESTART"), Some("TRUNCATE")] {
            let bench = Bench::new();
            let app = bench.app(4096);
            fill(&app, 50, 300);
            app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .unwrap();
            let mut past = Past {
                bench,
                app: Some(app),
                history: Vec::new(),
            };
            let replicator = past.bench.start();
            let txid = replicator.sync().await.unwrap();
            replicator.close().await;
            let image = past.bench.restore_latest().await;
            past.history.push((txid, image));
            if forget_cursor {
                std::fs::remove_file(past.meta().join("cursor")).unwrap();
            }
            past.write(5);
            if let Some(mode) = checkpoint {
                past.restart_wal(mode);
                past.write(2);
            }
            past.goes_on(&format!("offset 32, {checkpoint:?}, {forget_cursor}"))
                .await;
            past.contiguous().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_was_emptied() {
    for write in [0, 9] {
        let mut past = Past::new(4096).await;
        std::fs::remove_dir_all(past.replica_dir()).unwrap();
        past.history.clear();
        past.write(write);
        past.goes_on(&format!("replica emptied, {write} rows"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_has_a_hole() {
    // The oldest, one in the middle, the newest but one, the newest; with the local files there or not.
    for hole in [1, 2, 3, 4] {
        for local in [true, false] {
            let mut past = Past::new(4096).await;
            let name = FileName::single(Txid::new(hole));
            past.bench
                .replica
                .delete(&[(Level::L0, name)])
                .await
                .unwrap();
            if !local {
                std::fs::remove_dir_all(past.meta()).unwrap();
            }
            past.history.retain(|(txid, _)| txid.get() < hole);
            past.write(4);
            past.goes_on(&format!("hole at {hole}, local files: {local}"))
                .await;
        }
    }
}

/// The replica went on without us: another machine wrote to it, or the local files are of a backup.
#[tokio::test(flavor = "multi_thread")]
async fn the_replica_is_ahead() {
    let mut past = Past::new(4096).await;
    let saved = past.bench.dir.path().join("saved");
    copy_dir(&past.meta(), &saved);
    let replicator = past.bench.start();
    for _ in 0..3 {
        past.write(6);
        let txid = replicator.sync().await.unwrap();
        let image = past.bench.restore(Target::Txid(txid)).await;
        past.history.push((txid, image));
    }
    replicator.close().await;
    std::fs::remove_dir_all(past.meta()).unwrap();
    copy_dir(&saved, &past.meta());
    past.goes_on("replica ahead").await;
    past.contiguous().await;
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success());
}

/// The database is an older copy of itself: new writes must not be taken for known ones.
#[tokio::test(flavor = "multi_thread")]
async fn c01_the_database_is_an_older_copy() {
    for meta in ["kept", "deleted", "as old"] {
        for back in [1, 3] {
            let mut past = Past::new(4096).await;
            past.close_app();
            let older = past.history[past.history.len() - 1 - back].1.clone();
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(side(&past.bench.db(), suffix));
            }
            std::fs::write(past.bench.db(), older).unwrap();
            match meta {
                "deleted" => std::fs::remove_dir_all(past.meta()).unwrap(),
                "as old" => {
                    for file in past.local() {
                        std::fs::remove_file(file).unwrap();
                    }
                    let name = FileName::single(Txid::new(4 - back as u64));
                    let bytes = past.bench.replica.read(Level::L0, name, 0, None).await;
                    let path = past.meta().join("ltx/0").join(name.to_string());
                    std::fs::write(path, bytes.unwrap()).unwrap();
                }
                _ => {}
            }
            past.app = Some(past.bench.app(4096));
            past.write(1);
            past.goes_on(&format!("{back} back, local files {meta}"))
                .await;
            past.contiguous().await;
        }
    }
}

/// The older copy has exactly as many frames in its WAL as the newer one had.
#[tokio::test(flavor = "multi_thread")]
async fn c01_the_database_and_its_wal_are_an_older_copy() {
    let mut past = Past::new(4096).await;
    let saved = past.bench.dir.path().join("saved.db");
    let cp = |from: PathBuf, to: PathBuf| {
        let done = std::process::Command::new("cp").arg(from).arg(to).status();
        assert!(done.unwrap().success());
    };
    for suffix in ["", "-wal"] {
        cp(side(&past.bench.db(), suffix), side(&saved, suffix));
    }
    let update = |past: &Past| {
        let app = past.app.as_ref().unwrap();
        app.execute_batch("UPDATE t SET n = abs(random()) % 1000 WHERE id < 9")
            .unwrap();
    };
    update(&past);
    let replicator = past.bench.start();
    let txid = replicator.sync().await.unwrap();
    let image = past.bench.restore_latest().await;
    past.history.push((txid, image));
    replicator.close().await;
    past.close_app();
    for suffix in ["", "-wal"] {
        cp(side(&saved, suffix), side(&past.bench.db(), suffix));
    }
    let _ = std::fs::remove_file(side(&past.bench.db(), "-shm"));
    past.app = Some(past.bench.app(4096));
    update(&past);
    past.goes_on("wal of an older copy, written differently since")
        .await;
    past.contiguous().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w37_a_wal_without_a_valid_header_at_start() {
    let garbage: Vec<u8> = (0..5000u32).map(|i| (i * 37 % 251) as u8).collect();
    for wal in [
        None,
        Some(vec![]),
        Some(vec![0; 1]),
        Some(vec![0; 31]),
        Some(vec![0; 32]),
        Some(vec![0; 9000]),
        Some(garbage),
    ] {
        for known in [false, true] {
            let mut past = Past::new(4096).await;
            let what = format!(
                "{:?} bytes of wal, known {known}",
                wal.as_ref().map(Vec::len)
            );
            past.restart_wal("TRUNCATE");
            past.close_app();
            if known {
                let replicator = past.bench.start();
                replicator.sync().await.unwrap();
                replicator.close().await;
            } else {
                std::fs::remove_dir_all(past.meta()).unwrap();
                std::fs::remove_dir_all(past.replica_dir()).unwrap();
                past.history.clear();
            }
            let _ = std::fs::remove_file(side(&past.bench.db(), "-shm"));
            let path = past.bench.settings().wal_path();
            match &wal {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => {
                    let _ = std::fs::remove_file(&path);
                }
            }
            // First without any connection of the application.
            let replicator = past.bench.start();
            replicator
                .sync()
                .await
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            replicator.close().await;
            past.app = Some(past.bench.app(4096));
            past.goes_on(&what).await;
            past.contiguous().await;
        }
    }
}

/// A hot WAL: its last frame is cut, or the transaction has no commit.
#[tokio::test(flavor = "multi_thread")]
async fn w37_a_wal_that_a_crash_cut() {
    for cut in [1, 24, 4000, 4120, 4121, 9000] {
        for meta in [true, false] {
            let mut past = Past::new(4096).await;
            past.write(9);
            let copy = past.bench.dir.path().join("crashed.db");
            for suffix in ["", "-wal"] {
                let done = std::process::Command::new("cp")
                    .arg(side(&past.bench.db(), suffix))
                    .arg(side(&copy, suffix))
                    .status()
                    .unwrap();
                assert!(done.success());
            }
            past.close_app();
            for suffix in ["", "-wal"] {
                std::fs::rename(side(&copy, suffix), side(&past.bench.db(), suffix)).unwrap();
            }
            let _ = std::fs::remove_file(side(&past.bench.db(), "-shm"));
            let wal = past.bench.settings().wal_path();
            let file = std::fs::OpenOptions::new().write(true).open(&wal).unwrap();
            file.set_len(file.metadata().unwrap().len() - cut).unwrap();
            if !meta {
                std::fs::remove_dir_all(past.meta()).unwrap();
            }
            past.app = Some(past.bench.app(4096));
            past.goes_on(&format!("{cut} bytes cut, local files {meta}"))
                .await;
            past.contiguous().await;
        }
    }
}

/// Power was cut: the WAL lost transactions that were captured already.
#[tokio::test(flavor = "multi_thread")]
async fn the_wal_lost_what_was_captured() {
    let mut past = Past::new(4096).await;
    let copy = past.bench.dir.path().join("crashed.db");
    for suffix in ["", "-wal"] {
        let done = std::process::Command::new("cp")
            .arg(side(&past.bench.db(), suffix))
            .arg(side(&copy, suffix))
            .status()
            .unwrap();
        assert!(done.success());
    }
    let replicator = past.bench.start();
    past.write(9);
    replicator.sync().await.unwrap();
    replicator.close().await;
    past.close_app();
    for suffix in ["", "-wal"] {
        std::fs::rename(side(&copy, suffix), side(&past.bench.db(), suffix)).unwrap();
    }
    let _ = std::fs::remove_file(side(&past.bench.db(), "-shm"));
    past.app = Some(past.bench.app(4096));
    past.goes_on("wal lost captured transactions").await;
    past.contiguous().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_created_later() {
    let bench = Bench::new();
    let replicator = bench.start_with(litestream::Settings {
        monitor_interval: Duration::from_millis(20),
        ..bench.settings()
    });
    assert!(matches!(
        replicator.sync().await,
        Err(litestream::Error::NoDatabase(_))
    ));
    // Created empty first, as SQLite does.
    std::fs::write(bench.db(), b"").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let app = bench.app(2048);
    fill(&app, 30, 300);
    replicator.sync().await.unwrap();
    replicator.close().await;
    let mut past = Past {
        bench,
        app: Some(app),
        history: Vec::new(),
    };
    past.goes_on("created later").await;
    past.contiguous().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_size_changed_while_away() {
    for (from, to) in [(4096, 512), (512, 65536), (65536, 1024)] {
        for meta in [true, false] {
            let mut past = Past::new(from).await;
            let app = past.app.take().unwrap();
            app.execute_batch(&format!(
                "PRAGMA journal_mode = DELETE; PRAGMA page_size = {to}; VACUUM; PRAGMA journal_mode = WAL"
            ))
            .unwrap();
            let now: u32 = app
                .pragma_query_value(None, "page_size", |r| r.get(0))
                .unwrap();
            assert_eq!(now, to);
            past.app = Some(app);
            if !meta {
                std::fs::remove_dir_all(past.meta()).unwrap();
            }
            past.goes_on(&format!("page size {from} to {to}, local files {meta}"))
                .await;
        }
    }
}

/// What a sync promised is restorable, also if nothing of ours runs after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_after_a_change_of_page_size_is_a_promise() {
    for to in [512, 65536, 1024, 8192] {
        let mut past = Past::new(4096).await;
        let app = past.app.take().unwrap();
        app.execute_batch(&format!(
            "PRAGMA journal_mode = DELETE; PRAGMA page_size = {to}; VACUUM; PRAGMA journal_mode = WAL"
        ))
        .unwrap();
        past.app = Some(app);
        let replicator = past.bench.start();
        replicator.sync().await.unwrap();
        replicator.close().await;
        past.check(&format!("page size 4096 to {to}")).await;
    }
}

/// Another file takes the place of the database, with pages of another size, while it runs or while it does not.
#[tokio::test(flavor = "multi_thread")]
async fn c20_the_database_was_replaced_by_one_with_another_page_size() {
    for running in [true, false] {
        let mut past = Past::new(4096).await;
        past.close_app();
        let settings = litestream::Settings {
            monitor_interval: Duration::from_millis(20),
            ..past.bench.settings()
        };
        let mut replicator = Some(past.bench.start_with(settings));
        let first = replicator.as_ref().unwrap().sync().await.unwrap();
        if !running {
            replicator.take().unwrap().close().await;
        }
        let other = past.bench.dir.path().join("other.db");
        let conn = common::app(&other, 1024);
        fill(&conn, 50, 700);
        drop(conn);
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(side(&past.bench.db(), suffix));
        }
        std::fs::rename(&other, past.bench.db()).unwrap();
        if let Some(replicator) = replicator {
            let mut now = first;
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                now = replicator.status().position.unwrap_or(first);
                if now > first {
                    break;
                }
            }
            assert!(now > first, "not noticed");
            replicator.sync().await.unwrap();
            replicator.close().await;
        }
        past.app = Some(past.bench.app(1024));
        past.goes_on(&format!(
            "another file with another page size, running {running}"
        ))
        .await;
    }
}

/// Checkpoints of every mode, VACUUM and a switch of the journal mode while nobody watched.
#[tokio::test(flavor = "multi_thread")]
async fn w38_the_database_was_worked_on_while_away() {
    let works = [
        "PRAGMA wal_checkpoint(PASSIVE)",
        "PRAGMA wal_checkpoint(RESTART)",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "VACUUM",
        "DELETE FROM t WHERE id % 3 > 0; VACUUM",
        "PRAGMA journal_mode = DELETE; UPDATE t SET n = 1; PRAGMA journal_mode = WAL",
        "PRAGMA journal_mode = DELETE; UPDATE t SET n = 1",
        "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = WAL",
    ];
    for work in works {
        for then_write in [false, true] {
            let mut past = Past::new(1024).await;
            past.write(5);
            let app = past.app.take().unwrap();
            app.execute_batch(work).unwrap();
            past.app = Some(app);
            if then_write {
                past.write(5);
            }
            past.goes_on(&format!("{work}, then writes: {then_write}"))
                .await;
            past.contiguous().await;
        }
    }
}

/// A restart of the WAL may cut the file: that nothing is left of a missed transaction's end does not mean that there was none.
#[tokio::test(flavor = "multi_thread")]
async fn w38_a_journal_size_limit_cuts_what_was_missed() {
    let frame = 24 + 4096;
    // Where the file ends, seen from the end of the last captured frame.
    for cut in [0, 1, frame, 2 * frame + 100, 20 * frame, 1000 * frame] {
        let mut past = Past::new(4096).await;
        let wal = past.bench.settings().wal_path();
        let captured = std::fs::metadata(&wal).unwrap().len();
        past.write(600); // one transaction of many frames
        past.restart_wal("RESTART");
        let app = past.app.as_ref().unwrap();
        app.pragma_update_and_check(None, "journal_size_limit", (captured + cut) as i64, |_| {
            Ok(())
        })
        .unwrap();
        app.execute_batch("UPDATE t SET n = 5 WHERE id = 3")
            .unwrap();
        let now = std::fs::metadata(&wal).unwrap().len();
        assert!(
            cut > 100 * frame || now == captured + cut,
            "{captured} {now}"
        );
        past.goes_on(&format!("wal cut {cut} after the last captured frame"))
            .await;
        past.contiguous().await;
    }
}

/// The same while it runs: every restart cuts the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_size_limit_while_running() {
    for limit in [0, 10_000, 100_000] {
        let mut past = Past::new(4096).await;
        let app = past.app.as_ref().unwrap();
        app.pragma_update_and_check(None, "journal_size_limit", limit, |_| Ok(()))
            .unwrap();
        let replicator = past.bench.start_with(litestream::Settings {
            min_checkpoint_page_count: 10,
            ..past.bench.settings()
        });
        for _ in 0..40 {
            past.write(10);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        replicator.sync().await.unwrap();
        assert!(replicator.status().counters.checkpoints_complete > 0);
        replicator.close().await;
        past.goes_on(&format!("limit {limit}")).await;
        past.contiguous().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c15_leftovers_are_removed() {
    let mut past = Past::new(4096).await;
    for path in [
        "ltx/0/0000000000000009-0000000000000009.ltx.00ff.tmp",
        "ltx/9/0000000000000001-0000000000000009.ltx.tmp",
        "cursor.0123.tmp",
    ] {
        std::fs::write(past.meta().join(path), b"half").unwrap();
    }
    past.goes_on("leftovers").await;
    past.contiguous().await;
    assert_eq!(past.full_files().await, 1);
}
