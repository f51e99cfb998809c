//! The program is killed, the application goes on and checkpoints, the program comes back: is every row in the
//! replica? The well-known reproduction script of Litestream 0.5.0, shortened, with each checkpoint mode and page
//! size, compared table by table.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rusqlite::{Connection, params};

use crate::args::Args;
use crate::check;
use crate::program::Program;
use crate::replica;
use crate::report::{Report, Target};
use crate::rows::Rows;
use crate::scratch::Scratch;

const MODES: [&str; 4] = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
const INITIAL_MB: u64 = 5;
/// Between two rows of the writer.
const PAUSE: Duration = Duration::from_millis(2);
/// With the program, without it, with it again, and after the last row.
const PHASES: [Duration; 4] = [
    Duration::from_millis(2500),
    Duration::from_millis(1500),
    Duration::from_millis(2500),
    Duration::from_millis(2500),
];
/// Most of the time is spent waiting, so several runs go side by side.
const PARALLEL: usize = 4;

/// Runs it; the size is that of the database before it starts.
#[allow(clippy::unnecessary_wraps, reason = "scenarios look alike")]
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let size = args.size_mb(INITIAL_MB);
    for _ in 0..args.rounds(1) {
        let mut cases = Vec::new();
        for &page_size in &args.page_sizes {
            for mode in MODES {
                cases.extend(
                    args.programs
                        .iter()
                        .map(|program| (program, mode, page_size)),
                );
            }
        }
        cases.reverse();
        let (queue, outcomes) = (Mutex::new(cases), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(|| {
                    while let Some((program, mode, page_size)) = pop(&queue) {
                        let outcome = one(&args.dir, program, mode, page_size, size);
                        push(&outcomes, (program, mode, page_size, outcome));
                    }
                });
            }
        });
        for (program, mode, page_size, outcome) in outcomes.into_inner().unwrap_or_default() {
            let wrong = f64::from(u8::from(outcome.is_err()));
            let name = format!("{mode}: part of runs with loss or failure");
            report.add_mean(&name, Target::AtMost(0.0), program.who, wrong);
            report.check(
                program.who,
                &format!("{mode}, page size {page_size}"),
                outcome,
            );
        }
    }
    Ok(())
}

fn pop<T>(queue: &Mutex<Vec<T>>) -> Option<T> {
    queue.lock().ok()?.pop()
}

fn push<T>(queue: &Mutex<Vec<T>>, value: T) {
    if let Ok(mut queue) = queue.lock() {
        queue.push(value);
    }
}

fn one(dir: &Path, program: &Program, mode: &str, page_size: u32, size_mb: u64) -> Result<()> {
    let name = format!("critical-{}-{mode}-{page_size}", program.who.name());
    let scratch = Scratch::new(dir, &name)?;
    populate(&scratch.db, page_size, size_mb)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&scratch.db, &done));
        let story = tell(&scratch, program, mode, &done);
        done.store(true, Ordering::Relaxed);
        let written = writer.join().ok().context("the writer panicked")?;
        story.and(written)
    })?;
    scratch.compare(|| {
        program.restore(&scratch.replica, &scratch.restored, &scratch.log)?;
        check::same_tables(&scratch.db, &scratch.restored)
    })
}

fn tell(scratch: &Scratch, program: &Program, mode: &str, done: &AtomicBool) -> Result<()> {
    let start = || program.replicate(&scratch.db, &scratch.replica, &scratch.log);
    let first = start()?;
    replica::wait_first(&scratch.replica, &first, Duration::from_secs(20))?;
    std::thread::sleep(PHASES[0]);
    first.kill()?;
    std::thread::sleep(PHASES[1]);
    let conn = Connection::open(&scratch.db)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))?;
    drop(conn);
    let second = start()?;
    std::thread::sleep(PHASES[2]);
    done.store(true, Ordering::Relaxed);
    std::thread::sleep(PHASES[3]);
    second.check_alive()?;
    second.stop()?;
    Ok(())
}

fn populate(db: &Path, page_size: u32, size_mb: u64) -> Result<()> {
    let conn = Connection::open(db)?;
    conn.execute_batch(&format!(
        "PRAGMA page_size = {page_size}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         CREATE TABLE a (id INTEGER PRIMARY KEY, body TEXT, extra BLOB);
         CREATE TABLE b (id INTEGER PRIMARY KEY, body TEXT, extra BLOB);
         CREATE TABLE load_test (id INTEGER PRIMARY KEY, body BLOB, at REAL DEFAULT (julianday()));
         BEGIN"
    ))?;
    let mut rows = Rows::new(4);
    for table in ["a", "b"] {
        let mut insert = conn.prepare(&format!(
            "INSERT INTO {table} (body, extra) VALUES (?1, ?2)"
        ))?;
        for _ in 0..size_mb << 19 >> 10 {
            insert.execute(params![rows.document(), rows.blob(570)])?;
        }
    }
    conn.execute_batch("COMMIT")?;
    Ok(())
}

fn write(db: &Path, done: &AtomicBool) -> Result<()> {
    let conn = Connection::open(db)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.execute_batch("PRAGMA synchronous = NORMAL")?;
    let mut rows = Rows::new(5);
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        let body = rows.blob(1024);
        conn.execute("INSERT INTO load_test (body) VALUES (?1)", params![body])?;
        count += 1;
        std::thread::sleep(PAUSE);
    }
    if count == 0 {
        bail!("nothing was written");
    }
    Ok(())
}
