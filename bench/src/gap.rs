//! What a gap costs: the program is killed, the application goes on and checkpoints by itself, the program starts again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ltx::{Encoder, Header, PageNo, PageSize, Txid};
use rusqlite::{Connection, params};

use crate::args::Args;
use crate::process::Running;
use crate::program::Program;
use crate::replica;
use crate::report::{Report, Target};
use crate::rows::{Content, Rows, template};
use crate::scratch::Scratch;
use crate::workload::{self, Until};

const LIMIT: Duration = Duration::from_mins(5);

/// What the application does while nobody watches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// 100 rows a second for five seconds, then a checkpoint.
    Rows,
    /// One page of a hundred is changed, in twenty rounds that each end with a checkpoint.
    Pages,
    /// Half of the rows go, and `VACUUM`.
    Vacuum,
}

/// Runs it; the size is that of the database.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let parts = [
        ("rows", Gap::Rows, 50),
        ("pages", Gap::Pages, 1024),
        ("vacuum", Gap::Vacuum, 200),
    ];
    for _ in 0..args.rounds(1) {
        for (part, gap, size) in parts {
            if !args.wants_part(part) {
                continue;
            }
            for program in &args.programs {
                one(args, report, program, gap, part, args.size_mb(size))?;
            }
        }
    }
    Ok(())
}

fn one(
    args: &Args,
    report: &mut Report,
    program: &Program,
    gap: Gap,
    part: &str,
    size: u64,
) -> Result<()> {
    let source = template(&args.dir, Content::Mixed, size)?;
    let scratch = Scratch::with_copy(&args.dir, "gap", &source)?;
    let conn = workload::open(&scratch.db, Duration::from_secs(5))?;
    let running = program.replicate(&scratch.db, &scratch.replica, &scratch.log)?;
    replica::wait_first(&scratch.replica, &running, LIMIT)?;
    workload::write_rows(
        &scratch.db,
        &conn,
        400,
        Some(100),
        Until::Time(Duration::from_secs(2)),
    )?;
    let pages = workload::marker(&conn)?;
    replica::wait_pages(&scratch.replica, pages, &running, LIMIT)?;
    running.kill()?;
    program.restore(&scratch.replica, &scratch.restored, &scratch.log)?;
    let old = std::fs::read(&scratch.restored)?;

    away(&scratch.db, &conn, gap)?;
    let new = std::fs::read(&scratch.db)?;
    let changed = changed_bytes(&old, &new)?;
    drop((old, new));
    rustix::fs::sync();
    let before = replica::sizes(&scratch.replica);
    let running = program.replicate(&scratch.db, &scratch.replica, &scratch.log)?;
    let pages = workload::marker(&conn)?;
    let seen = wait_new(&scratch.replica, &before, pages, &running)?;
    let seconds = (seen - running.started()).as_secs_f64();
    replica::wait_quiet(&running, Duration::from_secs(10))?;
    let after = replica::sizes(&scratch.replica);
    let usage = running.stop()?;
    let new = after.iter().filter(|(path, _)| !before.contains_key(*path));
    let uploaded: u64 = new.map(|(_, bytes)| bytes).sum();

    let mut add = |name: &str, target, value| {
        report.add(
            &format!("{part} {size} MB: {name}"),
            target,
            program.who,
            value,
        );
    };
    let limit = (changed as f64 * 1.1 + 65536.0) / 1e6;
    add(
        "pages that differ, compressed, MB",
        Target::None,
        changed as f64 / 1e6,
    );
    add(
        "uploaded after the gap, MB",
        Target::AtMost(limit),
        uploaded as f64 / 1e6,
    );
    add("start to current, s", Target::AtMost(3.0), seconds);
    add("peak RSS, MiB", Target::AtMost(64.0), usage.rss_mib);
    drop(conn);
    report.check(program.who, part, scratch.restore_and_compare(program));
    Ok(())
}

/// Waits for a level-0 file that was not there before, after which the database is as large as it is now.
fn wait_new(
    root: &Path,
    before: &BTreeMap<PathBuf, u64>,
    pages: u32,
    program: &Running,
) -> Result<Instant> {
    let begin = Instant::now();
    loop {
        let names = replica::files(root, 0).into_iter();
        let paths = names.map(|name| replica::level(root, 0).join(name));
        let mut new = paths.filter(|path| !before.contains_key(path));
        if new.any(|path| replica::pages_after(&path) == Some(pages)) {
            return Ok(Instant::now());
        }
        if begin.elapsed() > LIMIT {
            bail!("the replica is not current after {LIMIT:?}");
        }
        program.check_alive()?;
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The application while nobody watches; everything is in the database file afterwards.
fn away(db: &Path, conn: &Connection, gap: Gap) -> Result<()> {
    let checkpoint = || -> Result<()> {
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    };
    match gap {
        Gap::Rows => {
            let limit = Until::Time(Duration::from_secs(5));
            workload::write_rows(db, conn, 400, Some(100), limit)?;
        }
        Gap::Pages => {
            let rows: i64 = conn.query_row("SELECT max(id) FROM docs", [], |r| r.get(0))?;
            let each = workload::pages(conn)? / 100 / 20;
            let mut places = Rows::new(3);
            for _ in 0..20 {
                let tx = conn.unchecked_transaction()?;
                for _ in 0..each {
                    let id = 1 + places.below(rows as u64) as i64;
                    tx.execute(
                        "UPDATE docs SET body = substr(body, 2) || 'x' WHERE id = ?1",
                        params![id],
                    )?;
                }
                tx.commit()?;
                checkpoint()?;
            }
        }
        Gap::Vacuum => conn.execute_batch("DELETE FROM docs WHERE id % 2 = 0; VACUUM")?,
    }
    checkpoint()
}

/// Size of an LTX file with the pages of `new` that are not as in `old`.
fn changed_bytes(old: &[u8], new: &[u8]) -> Result<u64> {
    let size = u32::from(u16::from_be_bytes([new[16], new[17]]));
    let size = PageSize::new(if size == 1 { 65536 } else { size }).context("page size")?;
    let pages = (new.len() / size.bytes()) as u32;
    let header = Header::new(size, pages, Txid::new(2), Txid::new(2), 0);
    let mut encoder = Encoder::new(std::io::sink(), header)?;
    let mut old = old.chunks_exact(size.bytes());
    for (page, number) in new.chunks_exact(size.bytes()).zip(1..) {
        let number = PageNo::new(number).context("page 0")?;
        if old.next() != Some(page) && number != size.lock_page() {
            encoder.write_page(number, page)?;
        }
    }
    let (_, written) = encoder.finish(0)?;
    Ok(written.size)
}
