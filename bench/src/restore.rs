//! Restoring: one large snapshot, and a snapshot with thousands of small files; beside the programs, a bare copy.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::check;
use crate::fabricate;
use crate::program::{Program, Who};
use crate::report::{Report, Target};
use crate::rows::{Content, template};
use crate::scratch::Scratch;

const SNAPSHOT_MB: u64 = 1024;
const MANY_MB: u64 = 200;
const MANY_FILES: u64 = 5000;

/// Runs it; the size is that of the large database, the other one is a fifth of it.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let size = args.size_mb(SNAPSHOT_MB);
    let source = template(&args.dir, Content::Mixed, size)?;
    if args.wants_part("snapshot") {
        let scratch = Scratch::with_copy(&args.dir, "snapshot", &source)?;
        fabricate::snapshot(&scratch.db, &scratch.replica)?;
        measure(args, report, &scratch, &format!("{size} MB snapshot"))?;
    }
    if args.wants_part("many") {
        let size = (size * MANY_MB / SNAPSHOT_MB).max(1);
        let source = template(&args.dir, Content::Mixed, size)?;
        let scratch = Scratch::with_copy(&args.dir, "many", &source)?;
        fabricate::snapshot(&scratch.db, &scratch.replica)?;
        fabricate::updates(&scratch.db, &scratch.replica, MANY_FILES)?;
        measure(
            args,
            report,
            &scratch,
            &format!("{size} MB + {MANY_FILES} files"),
        )?;
    }
    Ok(())
}

fn measure(args: &Args, report: &mut Report, scratch: &Scratch, what: &str) -> Result<()> {
    for _ in 0..args.rounds(5) {
        clean(&scratch.restored)?;
        let copy = copy_seconds(&scratch.db, &scratch.restored)?;
        report.add(
            &format!("{what}: wall, s (base: cp + fsync)"),
            Target::None,
            Who::Base,
            copy,
        );
        for program in &args.programs {
            one(report, scratch, what, program, copy)?;
        }
    }
    Ok(())
}

fn one(
    report: &mut Report,
    scratch: &Scratch,
    what: &str,
    program: &Program,
    copy: f64,
) -> Result<()> {
    clean(&scratch.restored)?;
    let usage = program.restore(&scratch.replica, &scratch.restored, &scratch.log)?;
    let mut add = |name: &str, target, value| {
        report.add(&format!("{what}: {name}"), target, program.who, value);
    };
    add("wall, s (base: cp + fsync)", Target::None, usage.wall);
    add("wall ÷ copy", Target::AtMost(1.5), usage.wall / copy);
    add("CPU, s", Target::None, usage.cpu);
    add("peak RSS, MiB", Target::AtMost(64.0), usage.rss_mib);
    add(
        "open descriptors, max",
        Target::AtMost(64.0),
        usage.descriptors,
    );
    let outcome = scratch.compare(|| check::same_bytes(&scratch.db, &scratch.restored));
    report.check(program.who, what, outcome);
    Ok(())
}

/// `cp`, then fsync.
fn copy_seconds(from: &Path, to: &Path) -> Result<f64> {
    let start = Instant::now();
    if !Command::new("cp").arg(from).arg(to).status()?.success() {
        bail!("cp {} failed", from.display());
    }
    File::open(to)?.sync_all()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Removes the file and waits for the disk, so that nobody pays for the run before.
fn clean(path: &Path) -> Result<()> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    rustix::fs::sync();
    Ok(())
}
