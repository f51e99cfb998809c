//! A snapshot of a large database while an application commits: what the application notices, and what it costs.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::args::Args;
use crate::engine::{self, Plan};
use crate::program::Program;
use crate::replica;
use crate::report::{Report, Target};
use crate::rows::{Content, template};
use crate::scratch::Scratch;
use crate::wal::WalWatch;
use crate::workload::{self, Until};

const DATABASE_MB: u64 = 1024;
const ROW_BYTES: usize = 200;
const RATE: u32 = 500;
/// By the clock, so that one begins within this time and is over soon after.
const INTERVAL: u64 = 30;
const LENGTH: Duration = Duration::from_mins(1);
const REST_MAX: Duration = Duration::from_secs(25);

/// Runs it; the size is that of the database.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let size = args.size_mb(DATABASE_MB);
    for _ in 0..args.rounds(1) {
        for program in &args.programs {
            one(args, report, program, size)?;
        }
    }
    Ok(())
}

fn one(args: &Args, report: &mut Report, program: &Program, size: u64) -> Result<()> {
    let source = template(&args.dir, Content::Mixed, size)?;
    let scratch = Scratch::with_copy(&args.dir, "snapshot", &source)?;
    let conn = workload::open(&scratch.db, Duration::from_secs(5))?;
    let plan = Plan {
        levels: 1,
        snapshots: INTERVAL,
    };
    let running = program.replicate_as(plan, &scratch)?;
    replica::wait_first(&scratch.replica, &running, Duration::from_mins(2))?;
    replica::wait_quiet(&running, REST_MAX)?;
    let (watch, cpu) = (WalWatch::start(&scratch.db), running.cpu()?);
    let (tally, took) = std::thread::scope(|scope| {
        let (dir, running) = (&scratch.dir, &running);
        let snapshot = scope.spawn(move || replica::wait_made(dir, 9, running, 2 * LENGTH));
        let until = Until::Time(LENGTH);
        let tally = workload::write_rows(&scratch.db, &conn, ROW_BYTES, Some(RATE), until);
        let took = snapshot.join().ok().context("the watcher panicked")??;
        Ok::<_, anyhow::Error>((tally?, (took.1 - took.0).as_secs_f64()))
    })?;
    let (wal, cpu) = (watch.max_mib(), running.cpu()? - cpu);
    conn.close().map_err(|(_, error)| error)?;
    let usage = running.stop()?;
    let mut add = |name: &str, target, value| {
        let name = format!("{size} MB, {RATE} commits/s: {name}");
        report.add(&name, target, program.who, value);
    };
    add("snapshot, s", Target::None, took);
    add("commit p50, ms", Target::None, tally.latency_ms(0.5));
    add("commit p99.9, ms", Target::None, tally.latency_ms(0.999));
    add(
        "commit max, ms",
        Target::AtMost(50.0),
        tally.latency_ms(1.0),
    );
    add("SQLITE_BUSY", Target::AtMost(0.0), tally.busy as f64);
    add("WAL max, MiB", Target::AtMost(64.0), wal);
    add("CPU in 60 s, s", Target::None, cpu);
    add("peak RSS, MiB", Target::AtMost(64.0), usage.rss_mib);
    if let Some(held) = engine::held_max_ms(&scratch) {
        let name = "transactions held up by the engine, max, ms";
        add(name, Target::AtMost(50.0), held);
    }
    report.check(
        program.who,
        "snapshot",
        scratch.restore_and_compare(program),
    );
    Ok(())
}
