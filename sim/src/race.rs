//! The race that made SQLite up to 3.51.2 lose acknowledged commits (its "WAL-reset bug"): one writer and two
//! checkpointers, switched inside SQLite's calls.
//!
//! Promise: no engine here, only SQLite, so that the same file can judge several versions of it. The oracle is exact: after
//! all have closed, a new connection must read what was committed, no more and no less.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use xxhash_rust::xxh3::Xxh3;

use crate::disk::SimDisk;
use crate::sched::{self, Config, Process};
use crate::vfs;

const DATABASE: &str = "/d/db";
const COMMITS: i64 = 60;
const CHECKPOINTS: u32 = 40;
const CHECKPOINTERS: u32 = 2;
/// Steps between two commits at most: all three fibers come to their end at about the same time.
const COMMIT_PAUSE_MAX: u64 = 40;
/// Seldom, since the race needs that one fiber stays in its gap for a whole commit of another. Of the settings that were
/// tried this one found the most; with 50 to 400 and other pauses 3.50.2 passed 20,000 episodes.
const SWITCH_PER_MILLE: u32 = 30;
/// Virtual nanoseconds that a step takes.
const STEP: u64 = 1_000;

/// What an episode came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Acknowledged commits.
    pub commits: i64,
    /// Checkpoints that were not refused.
    pub checkpoints: u32,
    /// What was wrong, if anything.
    pub failure: Option<String>,
    /// The same for the same seed.
    pub trace_hash: u64,
}

/// The rows as the writer knows them: a hash for each identity.
type Model = Rc<RefCell<Vec<(i64, u64)>>>;

fn open() -> rusqlite::Result<Connection> {
    Connection::open_with_flags_and_vfs(DATABASE, OpenFlags::default(), vfs::NAME)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

fn prepare() -> rusqlite::Result<()> {
    open()?.execute_batch(
        "PRAGMA journal_mode=WAL;
         CREATE TABLE t(id INTEGER PRIMARY KEY, h INTEGER, data BLOB);
         CREATE INDEX th ON t(h);",
    )
}

fn write(model: &Model) -> rusqlite::Result<()> {
    let connection = open()?;
    connection.execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=NORMAL")?;
    for id in 1..=COMMITS {
        let mut data = vec![0; 100 + sched::below(3000) as usize];
        data.fill_with(|| sched::random() as u8);
        let mut insert = connection.prepare_cached("INSERT INTO t VALUES(?1, ?2, ?3)")?;
        loop {
            match insert.execute((id, hash(&data).cast_signed(), &data)) {
                Ok(_) => break,
                Err(error) if is_busy(&error) => sched::sleep(1_000_000),
                Err(error) => return Err(error),
            }
        }
        model.borrow_mut().push((id, hash(&data)));
        sched::sleep(sched::below(COMMIT_PAUSE_MAX) * STEP);
    }
    Ok(())
}

fn checkpoint(done: &RefCell<u32>) -> rusqlite::Result<()> {
    let connection = open()?;
    for _ in 0..CHECKPOINTS {
        let mode = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][sched::below(4) as usize];
        let busy = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            row.get::<_, i64>(0)
        });
        match busy {
            Ok(busy) => *done.borrow_mut() += u32::from(busy == 0),
            Err(error) if is_busy(&error) => {}
            Err(error) => return Err(error),
        }
        sched::sleep(1);
    }
    Ok(())
}

/// What the database holds, read anew by table and by index.
fn judge(model: &Model) -> Result<(), String> {
    let fail = |error: rusqlite::Error| format!("reading back: {error}");
    let connection = open().map_err(fail)?;
    let mut select = connection
        .prepare("SELECT id, data FROM t ORDER BY id")
        .map_err(fail)?;
    let rows = select.query_map([], |row| {
        Ok((row.get(0)?, hash(row.get_ref(1)?.as_blob()?)))
    });
    let found: Vec<(i64, u64)> = rows.and_then(Iterator::collect).map_err(fail)?;
    let expected = model.borrow();
    if summary(&found) != summary(&expected) {
        let lost = expected.iter().filter(|row| !found.contains(row)).count();
        let count = expected.len();
        return Err(format!(
            "{lost} of {count} acknowledged commits are lost or changed"
        ));
    }
    let by_index: i64 = connection
        .query_row(
            "SELECT count(*) FROM t INDEXED BY th WHERE h NOTNULL",
            [],
            |row| row.get(0),
        )
        .map_err(fail)?;
    if by_index != expected.len() as i64 {
        return Err(format!(
            "the index knows {by_index} rows of {}",
            expected.len()
        ));
    }
    Ok(())
}

fn summary(rows: &[(i64, u64)]) -> u64 {
    let mut hasher = Xxh3::new();
    for (id, hash) in rows {
        hasher.update(&id.to_le_bytes());
        hasher.update(&hash.to_le_bytes());
    }
    hasher.digest()
}

type Failure = Rc<RefCell<Option<String>>>;

fn note(failure: &Failure, who: &str, result: rusqlite::Result<()>) {
    if let Err(error) = result {
        failure
            .borrow_mut()
            .get_or_insert(format!("{who}: {error}"));
    }
}

/// Spawns the writer and the checkpointers, each in a process of its own, and waits for them.
fn race(model: &Model, checkpoints: &Rc<RefCell<u32>>, failure: &Failure) {
    let mut fibers = Vec::new();
    let (shared, fail) = (model.clone(), failure.clone());
    fibers.push(sched::spawn(Process(1), "writer", move || {
        note(&fail, "writer", write(&shared));
    }));
    for number in 0..CHECKPOINTERS {
        let (done, fail) = (checkpoints.clone(), failure.clone());
        let process = Process(2 + number);
        fibers.push(sched::spawn(process, "checkpointer", move || {
            note(&fail, "checkpointer", checkpoint(&done));
        }));
    }
    fibers.into_iter().for_each(sched::join);
}

/// Runs one episode; everything follows from the seed.
pub fn episode(seed: u64) -> Outcome {
    let model = Model::default();
    let checkpoints = Rc::new(RefCell::new(0));
    let failure = Failure::default();
    let (m, c, f) = (model.clone(), checkpoints.clone(), failure.clone());
    let config = Config {
        switch_per_mille: SWITCH_PER_MILLE,
        ..Config::new(seed)
    };
    let report = sched::run(config, move || {
        let disk = SimDisk::new();
        if let Err(error) = disk.stage_dir(Path::new("/d")) {
            f.borrow_mut().get_or_insert(error.to_string());
        }
        vfs::install(disk, None);
        let (model, failure) = (m.clone(), f.clone());
        sched::join(sched::spawn(Process(10), "preparer", move || {
            note(&failure, "preparer", prepare());
        }));
        race(&m, &c, &f);
        sched::join(sched::spawn(Process(11), "judge", move || {
            if let Err(text) = judge(&model) {
                f.borrow_mut().get_or_insert(text);
            }
        }));
    });
    vfs::uninstall();
    let mut failure = failure.borrow().clone();
    for text in [report.panic, report.deadlock].into_iter().flatten() {
        failure.get_or_insert(text);
    }
    Outcome {
        commits: model.borrow().len() as i64,
        checkpoints: *checkpoints.borrow(),
        failure,
        trace_hash: report.trace_hash,
    }
}
