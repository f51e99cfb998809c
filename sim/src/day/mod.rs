//! A day in the life of one database: what the default policy asks of a storage, counted.
//!
//! One application commits at an even pace, nothing fails, time is virtual. Promise: the source is compared byte for byte with what is
//! restored in the end; the figures are those of the requests themselves, not of the engine's own counters.

mod meter;
mod report;

use std::cell::RefCell;
use std::iter;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use litestream::{Counters, Replicator, Settings};
use litestream_replica::SharedReplica;
use rusqlite::{Connection, OpenFlags, params};

use crate::disk::SimDisk;
use crate::replica::{Profile, SimReplica};
use crate::restore;
use crate::rng::Rng;
use crate::sched::{self, Config, Nanos, Process};
use crate::vfs;
use crate::world::{DATABASE, RESTORES, STATE};
use meter::Meter;
pub use meter::Requests;

const SECOND: Nanos = 1_000_000_000;
const HOUR: Nanos = 3600 * SECOND;
const STAGE: Process = Process(0);
const APP: Process = Process(1);
const ENGINE: Process = Process(2);
/// Rows in the database before replication begins.
const ROWS: u64 = 20_000;
/// Bytes of each.
const ROW_BYTES: usize = 200;
/// Bytes of what each commit adds.
const EVENT_BYTES: usize = 100;
/// Until the last snapshot that changes call for is taken, and what is old then is gone.
const SETTLED: Nanos = 52 * HOUR;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// Commits per second.
    pub rate: u64,
    /// Hours of them.
    pub hours: u64,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Commits made.
    pub commits: u64,
    /// While commits came.
    pub work: Requests,
    /// In the hour after the last commit.
    pub after: Requests,
    /// In the rest of the time until all was quiet.
    pub settling: Requests,
    /// In the hour after that.
    pub idle: Requests,
    /// What the engine says it captured.
    pub counters: Counters,
    /// Size of the database at the end.
    pub database: u64,
    /// Objects by level, after the last commit and when all was quiet.
    pub objects: [[usize; 10]; 2],
    /// Whether what was restored was the source; or why there is nothing.
    pub restored: Option<bool>,
    /// Steps of the scheduler.
    pub steps: u64,
}

impl Day {
    /// Lives it.
    pub fn run(self) -> Result<Figures> {
        vfs::register();
        let outcome: Rc<RefCell<Option<Result<Figures>>>> = Rc::default();
        let result = Rc::clone(&outcome);
        let config = Config {
            switch_per_mille: 20,
            steps_max: u64::MAX,
            ..Config::new(1)
        };
        let report = sched::run(config, move || {
            *result.borrow_mut() = Some(self.stage());
        });
        vfs::uninstall();
        if let Some(trouble) = report.panic.or(report.deadlock) {
            bail!(trouble);
        }
        let mut figures = outcome.take().context("nothing came of it")??;
        figures.steps = report.steps;
        Ok(figures)
    }

    fn stage(self) -> Result<Figures> {
        let disk = SimDisk::new();
        for dir in ["/db", RESTORES] {
            disk.stage_dir(Path::new(dir))?;
        }
        vfs::install(disk.clone(), None);
        let storage = SimReplica::new(crate::env::env(STAGE, disk.clone()), Profile::strict());
        within(APP, "app", || fill(&connect()?))?;
        let (of_engine, of_disk) = (storage.clone(), disk.clone());
        let mut figures = within(ENGINE, "engine", move || {
            self.replicated(&of_engine, &of_disk)
        })?;
        within(APP, "app", || {
            let conn = connect()?;
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            Ok(())
        })?;
        let source = disk.read(Path::new(DATABASE))?;
        figures.database = source.len() as u64;
        let env = crate::env::env(STAGE, disk);
        let copy = restore::latest(&env, Arc::new(storage), 1).map_err(anyhow::Error::msg)?;
        figures.restored = Some(copy == source);
        Ok(figures)
    }

    /// While the engine runs.
    fn replicated(self, storage: &SimReplica, disk: &SimDisk) -> Result<Figures> {
        let env = crate::env::env(ENGINE, disk.clone());
        let meter = Arc::new(Meter::new(Arc::new(storage.used_by(env.clone()))));
        let mut settings = Settings::for_database(DATABASE);
        settings.vfs = Some("sim".to_owned());
        let replica: SharedReplica = meter.clone();
        let replicator = Replicator::start(settings, vec![replica], env)?;
        sched::block_on(replicator.sync())?;
        let names = disk.clone();
        let mut figures = Figures {
            commits: within(APP, "app", move || self.work(&names))?,
            ..Figures::default()
        };
        sched::block_on(replicator.sync())?;
        figures.work = meter.take();
        figures.objects[0] = objects(storage);
        figures.counters = replicator.status().counters;
        sched::sleep(HOUR);
        figures.after = meter.take();
        sched::sleep(SETTLED);
        figures.settling = meter.take();
        sched::sleep(HOUR);
        figures.idle = meter.take();
        figures.objects[1] = objects(storage);
        sched::block_on(replicator.close());
        Ok(figures)
    }

    /// The application's commits: a row that was there is changed, another one is added.
    fn work(self, disk: &SimDisk) -> Result<u64> {
        let (conn, files) = (connect()?, crate::env::env(APP, disk.clone()).disk);
        let mut rng = Rng::of(1, &[u64::MAX - 1]);
        let (pause, commits) = (SECOND / self.rate, self.rate * self.hours * 3600);
        let begin = sched::now();
        for number in 0..commits {
            if number.is_multiple_of(60 * self.rate) {
                // As an operating system does by itself: else the simulated disk keeps count of every change of a name.
                for dir in
                    iter::once(STATE.to_owned()).chain((0..10).map(|n| format!("{STATE}/ltx/{n}")))
                {
                    // Not all of them exist.
                    let _ = files.sync_dir(Path::new(&dir));
                }
            }
            let due = begin + number * pause;
            sched::sleep(due.saturating_sub(sched::now()));
            let tx = conn.unchecked_transaction()?;
            let row = 1 + rng.below(ROWS);
            tx.prepare_cached("UPDATE rows SET body = ?1 WHERE id = ?2")?
                .execute(params![bytes(&mut rng, ROW_BYTES), row as i64])?;
            tx.prepare_cached("INSERT INTO events (body) VALUES (?1)")?
                .execute(params![bytes(&mut rng, EVENT_BYTES)])?;
            tx.commit()?;
        }
        Ok(commits)
    }
}

/// Does something as a process, on a fiber of its own, and waits for it.
fn within<T: 'static>(
    process: Process,
    name: &str,
    work: impl FnOnce() -> Result<T> + 'static,
) -> Result<T> {
    let answer: Rc<RefCell<Option<Result<T>>>> = Rc::default();
    let result = Rc::clone(&answer);
    let fiber = sched::spawn(process, name, move || {
        let done = work();
        *result.borrow_mut() = Some(done);
    });
    sched::join(fiber);
    answer.take().with_context(|| format!("{name} died"))?
}

fn connect() -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags_and_vfs(DATABASE, flags, "sim")?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(conn)
}

fn fill(conn: &Connection) -> Result<()> {
    conn.execute_batch(
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB);
         CREATE TABLE events (id INTEGER PRIMARY KEY, body BLOB)",
    )?;
    let mut rng = Rng::of(2, &[u64::MAX - 1]);
    let tx = conn.unchecked_transaction()?;
    for _ in 0..ROWS {
        tx.prepare_cached("INSERT INTO rows (body) VALUES (?1)")?
            .execute(params![bytes(&mut rng, ROW_BYTES)])?;
    }
    tx.commit()?;
    Ok(())
}

fn bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&rng.draw().to_le_bytes()[..chunk.len()]);
    }
    bytes
}

fn objects(storage: &SimReplica) -> [usize; 10] {
    let mut count = [0; 10];
    for file in storage.files() {
        count[usize::from(file.level.get())] += 1;
    }
    count
}
