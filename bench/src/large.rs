//! Databases larger than SQLite's lock page, a large log at the start, a transaction larger than memory should be.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rusqlite::{Connection, params};

use crate::args::Args;
use crate::process::Running;
use crate::program::{Program, Who};
use crate::replica;
use crate::report::{Report, Target};
use crate::rows::Rows;
use crate::scratch::Scratch;
use crate::workload;

const DATABASE_MB: u64 = 1040;
const BACKLOG_MB: u64 = 5 * 1024;
const TRANSACTION_MB: u64 = 2 * 1024;
const BLOB_BYTES: usize = 1 << 20;
const CURRENT_MAX: Duration = Duration::from_secs(400);
const RSS_MAX: Target = Target::AtMost(64.0);

/// Runs it; the size, in percent of the full sizes, is for a try.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let percent = args.size_mb(100);
    let all = args.all_programs;
    for program in args.programs.iter().filter(|p| all || p.who == Who::Ours) {
        if args.wants_part("sizes") {
            for &page_size in &args.page_sizes {
                let mb = DATABASE_MB * percent / 100;
                let scratch = Scratch::new(&args.dir, "large")?;
                sparse(&scratch.db, page_size, mb)?;
                crossing(
                    report,
                    program,
                    &scratch,
                    &format!("{mb} MB, page size {page_size}"),
                )?;
            }
        }
        if args.wants_part("backlog") {
            backlog(args, report, program, BACKLOG_MB * percent / 100)?;
        }
        if args.wants_part("transaction") {
            transaction(args, report, program, TRANSACTION_MB * percent / 100)?;
        }
    }
    Ok(())
}

/// Zeros, so that it is made quickly; every page still has its own chain pointer.
fn sparse(db: &Path, page_size: u32, mb: u64) -> Result<()> {
    let conn = Connection::open(db)?;
    conn.execute_batch(&format!(
        "PRAGMA page_size = {page_size}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB); BEGIN"
    ))?;
    for _ in 0..mb / 10 {
        conn.execute("INSERT INTO rows (body) VALUES (zeroblob(10485760))", [])?;
    }
    conn.execute_batch("COMMIT; PRAGMA journal_mode = WAL")?;
    conn.close().map_err(|(_, error)| error)?;
    rustix::fs::sync();
    Ok(())
}

fn crossing(report: &mut Report, program: &Program, scratch: &Scratch, name: &str) -> Result<()> {
    let running = program.replicate(&scratch.db, &scratch.replica, &scratch.log)?;
    let seen = replica::wait_first(&scratch.replica, &running, CURRENT_MAX)?;
    let first = (seen - running.started()).as_secs_f64();
    report.add(
        &format!("{name}: first file, s"),
        Target::None,
        program.who,
        first,
    );
    let conn = workload::open(&scratch.db, Duration::from_secs(30))?;
    let mut rows = Rows::new(6);
    for _ in 0..20 {
        let blob = rows.blob(BLOB_BYTES);
        conn.execute("INSERT INTO rows (body) VALUES (?1)", params![blob])?;
    }
    finish(report, program, scratch, name, running, conn)
}

fn backlog(args: &Args, report: &mut Report, program: &Program, mb: u64) -> Result<()> {
    let scratch = Scratch::new(&args.dir, "backlog")?;
    let conn = workload::open(&scratch.db, Duration::from_secs(30))?;
    conn.execute_batch("PRAGMA wal_autocheckpoint = 0")?;
    let mut rows = Rows::new(6);
    // The same rows again and again: the log grows, the database does not.
    for i in 0..mb {
        let blob = rows.blob(BLOB_BYTES);
        let sql = "INSERT OR REPLACE INTO rows (id, body) VALUES (?1, ?2)";
        conn.execute(sql, params![(i % 200) as i64, blob])?;
    }
    rustix::fs::sync();
    let running = program.replicate(&scratch.db, &scratch.replica, &scratch.log)?;
    let name = format!("{mb} MB of log at start");
    finish(report, program, &scratch, &name, running, conn)
}

fn transaction(args: &Args, report: &mut Report, program: &Program, mb: u64) -> Result<()> {
    let scratch = Scratch::new(&args.dir, "transaction")?;
    let conn = workload::open(&scratch.db, Duration::from_secs(30))?;
    workload::marker(&conn)?;
    let running = program.replicate(&scratch.db, &scratch.replica, &scratch.log)?;
    replica::wait_first(&scratch.replica, &running, CURRENT_MAX)?;
    let mut rows = Rows::new(6);
    conn.execute_batch("BEGIN")?;
    for _ in 0..mb {
        let blob = rows.blob(BLOB_BYTES);
        conn.execute("INSERT INTO rows (body) VALUES (?1)", params![blob])?;
    }
    conn.execute_batch("COMMIT")?;
    let name = format!("one transaction of {mb} MB");
    finish(report, program, &scratch, &name, running, conn)
}

/// Waits until the replica is current, stops, restores, compares.
fn finish(
    report: &mut Report,
    program: &Program,
    scratch: &Scratch,
    name: &str,
    running: Running,
    conn: Connection,
) -> Result<()> {
    let start = Instant::now();
    let pages = workload::marker(&conn)?;
    let seen = replica::wait_pages(&scratch.replica, pages, &running, CURRENT_MAX)
        .context(name.to_owned())?;
    let current = seen.saturating_duration_since(start).as_secs_f64();
    conn.close().map_err(|(_, error)| error)?;
    let usage = running.stop()?;
    let outcome = scratch.compare(|| {
        let restore = program.restore(&scratch.replica, &scratch.restored, &scratch.log)?;
        let mut add = |what: &str, target, value| {
            report.add(&format!("{name}: {what}"), target, program.who, value);
        };
        add("current, s", Target::None, current);
        add("peak RSS, MiB", RSS_MAX, usage.rss_mib);
        add("restore, s", Target::None, restore.wall);
        add("restore, peak RSS, MiB", RSS_MAX, restore.rss_mib);
        crate::check::same_bytes(&scratch.db, &scratch.restored)
    });
    report.check(program.who, name, outcome);
    Ok(())
}
