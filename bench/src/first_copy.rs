//! From start to the first complete file in an empty replica, and what it costs until the program is at rest.

use std::time::Duration;

use anyhow::Result;

use crate::args::Args;
use crate::program::Program;
use crate::replica;
use crate::report::{Report, Target};
use crate::rows::{Content, template};
use crate::scratch::Scratch;

const DATABASE_MB: u64 = 1024;
/// The original never comes to rest after the first copy of a large database: it is looked at this long.
const REST_MAX: Duration = Duration::from_secs(25);

/// Runs it; the size is that of the database.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let size = args.size_mb(DATABASE_MB);
    for _ in 0..args.rounds(3) {
        for (part, content) in [("mixed", Content::Mixed), ("random", Content::Random)] {
            if !args.wants_part(part) {
                continue;
            }
            for program in &args.programs {
                one(args, report, program, part, content, size)?;
            }
        }
    }
    Ok(())
}

fn one(
    args: &Args,
    report: &mut Report,
    program: &Program,
    part: &str,
    content: Content,
    size: u64,
) -> Result<()> {
    let source = template(&args.dir, content, size)?;
    let scratch = Scratch::with_copy(&args.dir, "first-copy", &source)?;
    let running = program.replicate(&scratch.db, &scratch.replica, &scratch.log)?;
    let seen = replica::wait_first(&scratch.replica, &running, Duration::from_mins(2))?;
    let cpu_first = running.cpu()?;
    let first = (seen - running.started()).as_secs_f64();
    replica::wait_quiet(&running, REST_MAX)?;
    let cpu_rest = running.cpu()?;
    let usage = running.stop()?;
    let mut add = |name: &str, target, value| {
        report.add(
            &format!("{part} {size} MB: {name}"),
            target,
            program.who,
            value,
        );
    };
    add("first file, s", Target::AtMost(2.0), first);
    add("CPU until then, s", Target::None, cpu_first);
    add(
        "CPU until at rest (at most 25 s more), s",
        Target::AtMost(2.0),
        cpu_rest,
    );
    add("peak RSS, MiB", Target::AtMost(64.0), usage.rss_mib);
    report.check(program.who, part, scratch.restore_and_compare(program));
    Ok(())
}
