//! From the return of an isolated commit to the finished file in the replica that holds it.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rusqlite::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};

use crate::args::Args;
use crate::program::Program;
use crate::replica;
use crate::report::{Report, Target};
use crate::rows::Rows;
use crate::scratch::Scratch;
use crate::stats::percentile;
use crate::workload;

/// How commits come: a name, how many in a round, and the pause between them; up to half as much again is added.
const PARTS: [(&str, u64, Duration); 2] = [
    ("every 0.3 s", 60, Duration::from_millis(250)),
    ("every 2 s", 12, Duration::from_millis(1600)),
];

/// Runs it; the size is the number of commits in a round.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    for _ in 0..args.rounds(3) {
        for (part, commits, pause) in PARTS {
            for program in &args.programs {
                let mut times = one(args, report, program, args.size_mb(commits), pause)?;
                times.sort_by(f64::total_cmp);
                let mut add = |name: &str, target, share| {
                    let value = percentile(&times, share) * 1e3;
                    report.add(
                        &format!("{part}: commit to replica {name}, ms"),
                        target,
                        program.who,
                        value,
                    );
                };
                add("p50", Target::AtMost(10.0), 0.5);
                add("p99", Target::AtMost(50.0), 0.99);
                add("max", Target::None, 1.0);
            }
        }
    }
    Ok(())
}

fn one(
    args: &Args,
    report: &mut Report,
    program: &Program,
    commits: u64,
    pause: Duration,
) -> Result<Vec<f64>> {
    let scratch = Scratch::new(&args.dir, "latency")?;
    let conn = workload::open(&scratch.db, Duration::from_secs(5))?;
    workload::marker(&conn)?;
    let running = program.replicate(&scratch.db, &scratch.replica, &scratch.log)?;
    replica::wait_first(&scratch.replica, &running, Duration::from_secs(20))?;
    replica::wait_quiet(&running, Duration::from_secs(4))?;
    let level = replica::level(&scratch.replica, 0);
    let times = commit_and_watch(&conn, &level, commits, pause)?;
    conn.close().map_err(|(_, error)| error)?;
    running.stop()?;
    report.check(program.who, "latency", scratch.restore_and_compare(program));
    Ok(times)
}

/// Commits now and then; the seconds until the file that holds each commit has its name in the folder.
pub fn commit_and_watch(
    conn: &Connection,
    folder: &Path,
    commits: u64,
    pause: Duration,
) -> Result<Vec<f64>> {
    let folder = Folder::watch(folder)?;
    let mut jitter = Rows::new(3);
    // When each commit returned that has not been seen yet, and how large the database is after it.
    let mut pending: VecDeque<(Instant, u32)> = VecDeque::new();
    let mut times = Vec::new();
    for _ in 0..commits {
        conn.execute("INSERT INTO rows (body) VALUES (zeroblob(20000))", [])?;
        let returned = Instant::now();
        pending.push_back((returned, workload::pages(conn)?));
        let more = Duration::from_millis(jitter.below(pause.as_millis() as u64 / 2));
        folder.collect(returned + pause + more, &mut pending, &mut times)?;
    }
    let end = Instant::now() + Duration::from_secs(10);
    while !pending.is_empty() {
        if Instant::now() > end {
            bail!("{} commits did not get into the replica", pending.len());
        }
        let soon = Instant::now() + Duration::from_millis(50);
        folder.collect(soon, &mut pending, &mut times)?;
    }
    Ok(times)
}

/// Tells when a file gets its final name.
struct Folder<'a> {
    path: &'a Path,
    events: OwnedFd,
}

impl Folder<'_> {
    fn watch(path: &Path) -> Result<Folder<'_>> {
        let events = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(&events, path, WatchFlags::MOVED_TO | WatchFlags::CREATE)?;
        Ok(Folder { path, events })
    }

    /// Until `deadline`, moves commits that were seen from `pending` to `times`.
    fn collect(
        &self,
        deadline: Instant,
        pending: &mut VecDeque<(Instant, u32)>,
        times: &mut Vec<f64>,
    ) -> Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let mut fds = [PollFd::new(&self.events, PollFlags::IN)];
            if poll(&mut fds, Some(&Timespec::try_from(left)?))? == 0 {
                continue;
            }
            let seen = Instant::now();
            let mut reader = Reader::new(&self.events, &mut buffer);
            // The queue is empty when reading would block.
            while let Ok(event) = reader.next() {
                let Some(name) = event.file_name().and_then(|n| n.to_str().ok()) else {
                    continue;
                };
                if !replica::is_finished(name) {
                    continue;
                }
                let pages = replica::pages_after(&self.path.join(name)).unwrap_or(0);
                while let Some((returned, _)) = pending.front().filter(|(_, n)| *n <= pages) {
                    times.push((seen - *returned).as_secs_f64());
                    pending.pop_front();
                }
            }
        }
    }
}
