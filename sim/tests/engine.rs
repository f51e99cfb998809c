//! The real engine and the real SQLite in one episode: what is restored is what was committed, and one seed is one episode.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use litestream::restore::{self, IntegrityCheck, Request, Target};
use litestream::{Replicator, Settings};
use litestream_replica::SharedReplica;
use litestream_replica::file::FileReplica;
use litestream_replica::memory::Memory;
use litestream_sim::disk::SimDisk;
use litestream_sim::sched::{self, Config, Process, Report};
use litestream_sim::{env, vfs};
use rusqlite::{Connection, OpenFlags};

const APP: Process = Process(1);
const ENGINE: Process = Process(2);
const RESTORE: Process = Process(3);
const DATABASE: &str = "/db/app.db";
const RESTORED: &str = "/restored/app.db";
const SECOND: sched::Nanos = 1_000_000_000;

/// Where the replica is.
#[derive(Clone, Copy)]
enum Place {
    Memory,
    Folder,
}

fn open() -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags_and_vfs(DATABASE, flags, vfs::NAME).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    conn
}

fn write(commits: u32) {
    let conn = open();
    // SQLite does not wait for others here, and the engine may be doing the same.
    while conn.pragma_update(None, "journal_mode", "wal").is_err() {
        sched::sleep(SECOND / 100);
    }
    conn.execute_batch("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v BLOB)")
        .unwrap();
    for n in 0..commits {
        let insert = "INSERT INTO t (v) VALUES (zeroblob(?1))";
        conn.execute(insert, [100 + n * 37 % 9000]).unwrap();
        if n % 7 == 3 {
            conn.execute("UPDATE t SET v = zeroblob(50) WHERE id % 5 = ?1", [n % 5])
                .unwrap();
        }
        sched::sleep(sched::below(SECOND / 5));
    }
}

/// Runs in a process; returns when it has ended.
fn in_process(process: Process, name: &str, work: impl FnOnce() + 'static) {
    let fiber = sched::spawn(process, name, work);
    sched::join(fiber);
    assert!(!sched::has_panicked(fiber), "{name}");
}

fn replica(place: Place, memory: &Memory, env: &litestream::env::Env) -> SharedReplica {
    match place {
        Place::Memory => Arc::new(memory.clone()),
        Place::Folder => Arc::new(FileReplica::new("/replica".into(), env.clone(), None)),
    }
}

fn settings() -> Settings {
    Settings {
        vfs: Some(vfs::NAME.to_owned()),
        min_checkpoint_page_count: 20,
        ..Settings::for_database(DATABASE)
    }
}

/// One episode: an application writes, the engine replicates, is asked to sync and closed, and the replica is restored.
fn episode(seed: u64, place: Place, kill: bool) -> (Report, u64) {
    let hash = Rc::new(Cell::new(0));
    let told = Rc::clone(&hash);
    let report = sched::run(Config::new(seed), move || {
        let disk = SimDisk::new();
        for dir in ["/db", "/restored"] {
            disk.stage_dir(Path::new(dir)).unwrap();
        }
        vfs::install(disk.clone(), None);
        let memory = Memory::new(env::env(ENGINE, disk.clone()).disk);
        let app = sched::spawn(APP, "application", || write(40));
        if kill {
            let (env, memory) = (env::env(Process(4), disk.clone()), memory.clone());
            sched::spawn(Process(4), "engine to be killed", move || {
                let replica = replica(place, &memory, &env);
                let _engine = Replicator::start(settings(), vec![replica], env).unwrap();
                sched::block_on(std::future::pending::<()>());
            });
            sched::sleep(2 * SECOND);
            vfs::kill(Process(4));
        }
        let (stage, shared) = (disk.clone(), memory.clone());
        in_process(ENGINE, "engine", move || {
            let env = env::env(ENGINE, stage);
            let replica = replica(place, &shared, &env);
            let engine = Replicator::start(settings(), vec![replica], env).unwrap();
            sched::join(app);
            sched::block_on(engine.sync()).unwrap();
            sched::block_on(engine.close());
        });
        let (stage, memory) = (disk.clone(), memory.clone());
        in_process(RESTORE, "restore", move || {
            let env = env::env(RESTORE, stage);
            let request = Request {
                output: RESTORED.into(),
                target: Target::Latest,
                parallelism: 4,
                force: false,
                integrity_check: IntegrityCheck::Full,
                vfs: Some(vfs::NAME.to_owned()),
            };
            let replica = replica(place, &memory, &env);
            sched::block_on(restore::run(&request, replica, &env, &|_| {})).unwrap();
        });
        let source = vfs::committed_image(&disk, Path::new(DATABASE)).unwrap();
        let restored = disk.read(Path::new(RESTORED)).unwrap();
        assert!(source.bytes.len() > 20_000, "{}", source.bytes.len());
        assert!(source.bytes == restored, "the restored file differs");
        told.set(disk.tree_hash());
        vfs::uninstall();
    });
    assert_eq!((&report.panic, &report.deadlock), (&None, &None));
    assert_eq!((report.steps_exceeded, report.leaked), (false, 0));
    (report, hash.get())
}

#[test]
fn what_is_restored_is_what_was_committed_and_a_seed_is_an_episode() {
    let seen = RefCell::new(Vec::new());
    for seed in 0..60 {
        let place = [Place::Memory, Place::Folder][seed as usize % 2];
        for kill in [false, true] {
            let first = episode(seed, place, kill);
            assert_eq!(episode(seed, place, kill), first, "seed {seed}");
            seen.borrow_mut().push(first.0.trace_hash);
        }
    }
    let mut seen = seen.into_inner();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 120);
}
