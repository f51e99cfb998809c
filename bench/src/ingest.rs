//! What a gigabyte of log costs the replicator, and how soon it is current: large blobs, one large transaction,
//! small rows.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rusqlite::{Connection, params};

use crate::args::Args;
use crate::program::Program;
use crate::replica;
use crate::report::{Report, Target};
use crate::rows::Rows;
use crate::scratch::Scratch;
use crate::wal::{WalMeter, WalWatch};
use crate::workload::{self, Until};

const WAL_MB: u64 = 1024;
const TRANSACTION_MB: u64 = 528;
const BLOB_BYTES: usize = 1 << 20;
const ROW_BYTES: usize = 200;
const CURRENT_MAX: Duration = Duration::from_mins(3);
const GB: f64 = 1e9;

type Work = fn(&Path, &Connection, u64) -> Result<u64>;

/// Runs it; the size is that of the log to write, the large transaction is half of it.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let size = args.size_mb(WAL_MB);
    let transaction_mb = (size * TRANSACTION_MB / WAL_MB).max(1);
    let parts: [(&str, u64, Target, Target, Work); 3] = [
        ("blobs", size, Target::AtMost(2.5), Target::None, blobs),
        (
            "transaction",
            transaction_mb,
            Target::None,
            Target::AtMost(1.5),
            transaction,
        ),
        ("rows", size, Target::AtMost(0.6), Target::None, rows),
    ];
    for _ in 0..args.rounds(3) {
        for (part, mb, cpu, current, work) in parts {
            if !args.wants_part(part) {
                continue;
            }
            for program in &args.programs {
                let name = format!("{part}, {mb} MB");
                one(args, report, program, &name, mb << 20, (cpu, current), work)?;
            }
        }
    }
    Ok(())
}

fn one(
    args: &Args,
    report: &mut Report,
    program: &Program,
    name: &str,
    bytes: u64,
    (cpu_target, current_target): (Target, Target),
    work: Work,
) -> Result<()> {
    let scratch = Scratch::new(&args.dir, "ingest")?;
    let conn = workload::open(&scratch.db, Duration::from_secs(30))?;
    workload::marker(&conn)?;
    rustix::fs::sync();
    let running = program.replicate(&scratch.db, &scratch.replica, &scratch.log)?;
    replica::wait_first(&scratch.replica, &running, Duration::from_secs(20))?;
    replica::wait_quiet(&running, Duration::from_secs(4))?;
    let (cpu_before, watch) = (running.cpu()?, WalWatch::start(&scratch.db));
    let start = Instant::now();
    let wal_bytes = work(&scratch.db, &conn, bytes)?;
    let pages = workload::marker(&conn)?;
    let written = Instant::now();
    let seen = replica::wait_pages(&scratch.replica, pages, &running, CURRENT_MAX)?;
    let current = seen.saturating_duration_since(written).as_secs_f64();
    replica::wait_quiet(&running, Duration::from_secs(10))?;
    let cpu = running.cpu()? - cpu_before;
    conn.close().map_err(|(_, error)| error)?;
    let (wal_max, usage) = (watch.max_mib(), running.stop()?);
    let mut add = |what: &str, target, value| {
        report.add(&format!("{name}: {what}"), target, program.who, value);
    };
    add(
        "CPU per GB of WAL, s",
        cpu_target,
        cpu / (wal_bytes as f64 / GB),
    );
    add("current after the last commit, s", current_target, current);
    add(
        "writing took, s",
        Target::None,
        (written - start).as_secs_f64(),
    );
    add("WAL max, MiB", Target::None, wal_max);
    add("peak RSS, MiB", Target::AtMost(64.0), usage.rss_mib);
    report.check(program.who, name, scratch.restore_and_compare(program));
    Ok(())
}

/// Random blobs of 1 MiB, each in a transaction of its own.
fn blobs(db: &Path, conn: &Connection, bytes: u64) -> Result<u64> {
    let until = Until::WalBytes(bytes);
    Ok(workload::write_rows(db, conn, BLOB_BYTES, None, until)?.wal_bytes)
}

/// Random blobs of 1 MiB, all in one transaction.
fn transaction(db: &Path, conn: &Connection, bytes: u64) -> Result<u64> {
    let mut meter = WalMeter::new(db, workload::page_size(conn)?)?;
    let mut content = Rows::new(9);
    conn.execute_batch("BEGIN")?;
    for _ in 0..bytes / BLOB_BYTES as u64 {
        let blob = content.blob(BLOB_BYTES);
        conn.execute("INSERT INTO rows (body) VALUES (?1)", params![blob])?;
    }
    conn.execute_batch("COMMIT")?;
    meter.after_commit()?;
    Ok(meter.bytes())
}

/// Rows of 200 bytes, each in a transaction of its own.
fn rows(db: &Path, conn: &Connection, bytes: u64) -> Result<u64> {
    let until = Until::WalBytes(bytes);
    Ok(workload::write_rows(db, conn, ROW_BYTES, None, until)?.wal_bytes)
}
