//! A large database that nobody writes to: what does watching it cost?

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::args::Args;
use crate::program::Program;
use crate::replica;
use crate::report::{Report, Target};
use crate::rows::{Content, template};
use crate::scratch::Scratch;

const DATABASE_MB: u64 = 1024;
const SETTLE_MAX: Duration = Duration::from_mins(1);

/// Runs it; the size is that of the database.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let source = template(&args.dir, Content::Mixed, args.size_mb(DATABASE_MB))?;
    for _ in 0..args.rounds(1) {
        for program in &args.programs {
            let scratch = Scratch::with_copy(&args.dir, "idle", &source)?;
            one(args, report, program, &scratch)?;
        }
    }
    Ok(())
}

fn one(args: &Args, report: &mut Report, program: &Program, scratch: &Scratch) -> Result<()> {
    let running = program.replicate(&scratch.db, &scratch.replica, &scratch.log)?;
    replica::wait_first(&scratch.replica, &running, Duration::from_mins(2))?;
    replica::wait_quiet(&running, SETTLE_MAX)?;
    let before = (
        running.cpu()?,
        running.written()?,
        replica::count_files(&scratch.dir),
    );
    let (start, length) = (Instant::now(), args.minutes(5.0) * 60.0);
    while start.elapsed().as_secs_f64() < length {
        running.check_alive()?;
        std::thread::sleep(Duration::from_millis(500));
    }
    let (cpu, written) = (running.cpu()? - before.0, running.written()? - before.1);
    let files = replica::count_files(&scratch.dir) as f64 - before.2 as f64;
    running.stop()?;
    let mut add = |name, limit, value| report.add(name, Target::AtMost(limit), program.who, value);
    add("CPU per minute, s", 0.05, cpu / (length / 60.0));
    add("bytes written", 0.0, written as f64);
    add("files added", 0.0, files);
    report.check(program.who, "idle", scratch.restore_and_compare(program));
    Ok(())
}
