use std::cell::RefCell;
use std::rc::Rc;

use rusqlite::{Connection, OpenFlags};

use super::*;
use crate::sched::{Config, spawn};

const DB: &str = "/d/db";

fn open() -> Connection {
    open_as(NAME, Path::new(DB))
}

fn open_as(vfs: &str, path: &Path) -> Connection {
    let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs);
    let connection = connection.unwrap();
    connection
        .busy_timeout(std::time::Duration::from_secs(5))
        .unwrap();
    connection
}

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.stage_dir(Path::new("/d")).unwrap();
    disk
}

fn wal(connection: &Connection) {
    let mode: String = connection
        .query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

/// The database as SQLite reads it.
fn serialized(connection: &Connection) -> Vec<u8> {
    let mut len = 0;
    // SAFETY: the handle is open; SQLite allocates the copy and tells its length.
    unsafe {
        let bytes = ffi::sqlite3_serialize(connection.handle(), c"main".as_ptr(), &raw mut len, 0);
        assert!(!bytes.is_null());
        let copy = std::slice::from_raw_parts(bytes, len as usize).to_vec();
        ffi::sqlite3_free(bytes.cast());
        copy
    }
}

fn count(connection: &Connection) -> i64 {
    connection
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap()
}

fn episode(seed: u64, switch_per_mille: u32, work: impl FnOnce() + 'static) -> sched::Report {
    // SQLite's generator of random numbers belongs to the whole OS process.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = ALONE.lock();
    let report = sched::run(
        Config {
            switch_per_mille,
            ..Config::new(seed)
        },
        work,
    );
    uninstall();
    assert_eq!(report.panic, None);
    assert_eq!(report.deadlock, None);
    assert_eq!(report.leaked, 0);
    report
}

/// Runs `work` in a process of its own until its end.
fn in_process(number: u32, work: impl FnOnce() + 'static) {
    sched::join(spawn(Process(number), "worker", work));
}

#[derive(Default)]
struct States {
    disk: Option<SimDisk>,
    hashes: RefCell<Vec<Option<u64>>>,
}

impl Observer for States {
    fn published(&self, database: &Path) {
        let disk = self.disk.as_ref().unwrap();
        let image = committed_image(disk, database);
        let hash = image.map(|image| image.hash());
        let mut hashes = self.hashes.borrow_mut();
        if hashes.last() != Some(&hash) {
            hashes.push(hash);
        }
    }
}

#[test]
fn two_connections_of_two_processes_see_each_other() {
    episode(1, 100, || {
        install(disk(), None);
        in_process(1, || {
            let first = open();
            wal(&first);
            first.execute_batch("CREATE TABLE t(a)").unwrap();
            in_process(2, || {
                let second = open();
                assert_eq!(count(&second), 0);
                second.execute_batch("INSERT INTO t VALUES(1)").unwrap();
            });
            assert_eq!(count(&first), 1);
        });
    });
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed| {
        let result = Rc::new(RefCell::new(0));
        let into = result.clone();
        let report = episode(seed, 300, move || {
            let disk = disk();
            install(disk.clone(), None);
            in_process(1, || {
                let connection = open();
                wal(&connection);
                connection.execute_batch("CREATE TABLE t(a)").unwrap();
            });
            let fibers: Vec<_> = (0..3)
                .map(|n| {
                    spawn(Process(1 + n % 2), "writer", move || {
                        let connection = open();
                        for _ in 0..10 {
                            connection
                                .execute("INSERT INTO t VALUES(randomblob(500))", [])
                                .unwrap();
                        }
                        std::mem::forget(connection);
                    })
                })
                .collect();
            fibers.into_iter().for_each(sched::join);
            *into.borrow_mut() = disk.tree_hash();
        });
        let hash = *result.borrow();
        (report.trace_hash, report.steps, hash)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn the_observer_sees_each_commit_as_sqlite_does() {
    for mode in ["WAL", "DELETE", "TRUNCATE", "PERSIST"] {
        episode(3, 0, move || {
            let disk = disk();
            let states = Rc::new(States {
                disk: Some(disk.clone()),
                ..States::default()
            });
            install(disk.clone(), Some(states.clone()));
            in_process(1, move || {
                let connection = open();
                let set = format!("PRAGMA journal_mode={mode}; CREATE TABLE t(a);");
                connection.execute_batch(&set).unwrap();
                let before = states.hashes.borrow().len();
                for n in 0..20 {
                    let insert = "INSERT INTO t VALUES(randomblob(3000))";
                    connection.execute(insert, []).unwrap();
                    let image = committed_image(&disk, Path::new(DB)).unwrap();
                    assert_eq!(states.hashes.borrow().last(), Some(&Some(image.hash())));
                    let serialized = serialized(&connection);
                    assert!(serialized == image.bytes, "{mode} {n}");
                    if n == 10 {
                        connection
                            .execute_batch(
                                "BEGIN; DELETE FROM t; ROLLBACK; PRAGMA wal_checkpoint(PASSIVE)",
                            )
                            .unwrap();
                    }
                }
                assert_eq!(states.hashes.borrow().len(), before + 20, "{mode}");
                drop(connection);
                let image = committed_image(&disk, Path::new(DB)).unwrap();
                let last = states.hashes.borrow().last().copied();
                assert_eq!(last, Some(Some(image.hash())));
                assert_eq!(states.hashes.borrow().len(), before + 20, "{mode}");
            });
        });
    }
}

/// Commits until it is killed; tells how many commits it has finished.
fn writer(done: Rc<RefCell<i64>>, synchronous: &'static str) {
    let opened = Connection::open_with_flags_and_vfs(DB, OpenFlags::default(), NAME);
    let Ok(connection) = opened else { return };
    let set = format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; CREATE TABLE IF NOT EXISTS t(a);"
    );
    if let Err(error) = connection.execute_batch(&set) {
        assert!(sched::is_dead(), "{error}");
        return;
    }
    loop {
        let insert = "INSERT INTO t VALUES(randomblob(1000))";
        if connection.execute(insert, []).is_ok() {
            *done.borrow_mut() += 1;
        }
        if sched::die_if_dead().is_err() {
            return;
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_and_its_locks() {
    for seed in 0..60 {
        episode(seed, 200, move || {
            let disk = disk();
            install(disk.clone(), None);
            let done = Rc::new(RefCell::new(0));
            let shared = done.clone();
            spawn(Process(1), "writer", move || writer(shared, "NORMAL"));
            let witness = Rc::new(RefCell::new(None));
            if seed % 2 == 0 {
                let slot = witness.clone();
                in_process(2, move || {
                    sched::sleep(1_000_000);
                    *slot.borrow_mut() = Some(open());
                });
            }
            sched::sleep(sched::below(3_000_000));
            kill(Process(1));
            let done = *done.borrow();
            let image = committed_image(&disk, Path::new(DB));
            in_process(3, move || {
                let connection = open();
                if done > 0 {
                    assert!((done..=done + 1).contains(&count(&connection)));
                    let image = image.unwrap();
                    assert!(serialized(&connection) == image.bytes);
                }
                let set = "CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(1)";
                connection.execute_batch(set).unwrap();
            });
            in_process(2, move || drop(witness.borrow_mut().take()));
        });
    }
}

#[test]
fn a_power_cut_takes_only_what_was_not_synced() {
    let images = [
        CutImage::NothingUnsynced,
        CutImage::AllButLast,
        CutImage::Random,
    ];
    for seed in 0..90 {
        let (image, full) = (images[seed % 3], seed % 2 == 0);
        episode(seed as u64, 200, move || {
            let disk = disk();
            install(disk.clone(), None);
            let done = Rc::new(RefCell::new(0));
            let shared = done.clone();
            let synchronous = if full { "FULL" } else { "NORMAL" };
            spawn(Process(1), "writer", move || writer(shared, synchronous));
            sched::sleep(sched::below(3_000_000));
            kill(Process(1));
            power_cut(&disk, image);
            let done = *done.borrow();
            let image = committed_image(&disk, Path::new(DB));
            in_process(3, move || {
                let connection = open();
                connection
                    .execute_batch("CREATE TABLE IF NOT EXISTS t(a)")
                    .unwrap();
                let count = count(&connection);
                assert!(
                    count <= done + 1 && (!full || count >= done),
                    "{count} {done}"
                );
                let check: String = connection
                    .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                    .unwrap();
                assert_eq!(check, "ok");
                if let Some(image) = image.filter(|_| count > 0) {
                    let serialized = serialized(&connection);
                    assert!(serialized == image.bytes);
                }
            });
        });
    }
}

#[test]
fn closing_any_handle_of_the_file_loses_the_locks_of_the_process() {
    episode(4, 0, || {
        let disk = disk();
        install(disk.clone(), None);
        in_process(1, move || {
            let first = open();
            let begin = "CREATE TABLE t(a); BEGIN IMMEDIATE";
            first.execute_batch(begin).unwrap();
            assert!(disk.is_locked(Path::new(DB), 0..3));
            drop(disk.open(Path::new(DB)).unwrap());
            assert!(!disk.is_locked(Path::new(DB), 0..3));
        });
    });
}

#[test]
fn time_and_sleep_are_virtual() {
    episode(5, 0, || {
        install(disk(), None);
        in_process(1, || {
            let first = open();
            first
                .execute_batch("CREATE TABLE t(a); BEGIN EXCLUSIVE")
                .unwrap();
            let second = open();
            let before = sched::now();
            let busy = second.execute("INSERT INTO t VALUES(1)", []).unwrap_err();
            assert_eq!(
                busy.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseBusy)
            );
            assert!((5_000_000_000..5_200_000_000).contains(&(sched::now() - before)));
            let now: String = first
                .query_row("SELECT datetime('now')", [], |row| row.get(0))
                .unwrap();
            assert!(now.starts_with("2026-01-01 00:00:0"), "{now}");
        });
    });
}

#[test]
fn faults_reach_sqlite_and_heal() {
    use crate::disk::{Fault, errno};
    for call in 1..400 {
        episode(call, 0, move || {
            let disk = disk();
            install(disk.clone(), None);
            in_process(1, move || {
                let start = disk.calls();
                disk.fail_nth(start + call, Fault::Errno(errno::EIO));
                let mut acknowledged = 0;
                for _ in 0..5 {
                    let opened =
                        Connection::open_with_flags_and_vfs(DB, OpenFlags::default(), NAME);
                    let Ok(connection) = opened else { continue };
                    let _ = connection
                        .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(a)");
                    for _ in 0..3 {
                        let insert = "INSERT INTO t VALUES(randomblob(5000))";
                        acknowledged += i64::from(connection.execute(insert, []).is_ok());
                    }
                    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
                }
                let connection = open();
                assert!(acknowledged > 10);
                let count = count(&connection);
                assert!(
                    (acknowledged..=acknowledged + 1).contains(&count),
                    "{count}"
                );
            });
        });
    }
}
