//! Verifying: every byte and every state of a replica, beside reading the same files.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::fabricate;
use crate::program::Who;
use crate::report::{Report, Target};
use crate::rows::{Content, template};
use crate::scratch::Scratch;

/// Of the database; its snapshot compresses to about half.
const DATABASE_MB: u64 = 2048;

/// The files are read from the disk once (cold) and from the page cache (warm).
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let source = template(&args.dir, Content::Mixed, args.size_mb(DATABASE_MB))?;
    let scratch = Scratch::with_copy(&args.dir, "verify", &source)?;
    fabricate::snapshot(&scratch.db, &scratch.replica)?;
    let Some(ours) = args.programs.iter().find(|p| p.who == Who::Ours) else {
        return Ok(());
    };
    for _ in 0..args.rounds(5) {
        for (state, cold) in [("cold", true), ("warm", false)] {
            let read = seconds(&scratch.replica, cold, || {
                let mut read = Command::new("sh");
                read.args(["-c", "find \"$0\" -name '*.ltx' -exec cat {} + > /dev/null"]);
                read.arg(&scratch.replica);
                read
            })?;
            let verified = seconds(&scratch.replica, cold, || {
                let mut verify = Command::new(&ours.path);
                verify.args(["verify", "-deep"]);
                verify.arg(format!("file://{}", scratch.replica.display()));
                verify
            })?;
            let name = |what: &str| format!("verify -deep, {state}: {what}");
            report.add(&name("wall, s (base: cat)"), Target::None, Who::Base, read);
            report.add(
                &name("wall, s (base: cat)"),
                Target::None,
                Who::Ours,
                verified,
            );
            let speed = read / verified;
            report.add(&name("speed ÷ reading"), Target::None, Who::Ours, speed);
        }
    }
    Ok(())
}

fn seconds(replica: &Path, cold: bool, command: impl Fn() -> Command) -> Result<f64> {
    if cold {
        drop_cache(replica)?;
    }
    let mut command = command();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    if !command.status()?.success() {
        bail!("{command:?} failed");
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Takes the files out of the page cache.
fn drop_cache(replica: &Path) -> Result<()> {
    rustix::fs::sync();
    let level = replica.join("ltx/9");
    for entry in std::fs::read_dir(level)? {
        let file = std::fs::File::open(entry?.path())?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}
