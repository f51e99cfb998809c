//! Many databases in one process, by a configuration that names their folder: idle ones, and some with a commit a second each.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rusqlite::Connection;

use crate::args::Args;
use crate::check;
use crate::program::{Program, Who};
use crate::replica;
use crate::report::{Report, Target};
use crate::scratch::Scratch;
use crate::stats::percentile;
use crate::workload;

/// What is measured: a name, so many databases, limits for the processor's share of a core and for memory in MiB.
const IDLE: [(&str, usize, f64, f64); 2] = [
    ("idle-1000", 1000, 0.005, 100.0),
    ("idle-500", 500, 0.005, 60.0),
];
const BUSY: usize = 100;
/// Of so many busy ones, the commits of one are watched.
const WATCHED_OF: usize = 10;
/// Everything is in the replicas at first.
const READY_MAX: Duration = Duration::from_mins(5);
/// After that, the work of the start is over.
const SETTLE: Duration = Duration::from_secs(20);

/// Runs it; minutes is how long to look.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    for (part, count, cpu, memory) in IDLE {
        if args.wants_part(part) {
            for _ in 0..args.rounds(1) {
                for program in &args.programs {
                    idle(args, report, program, part, count, cpu, memory)?;
                }
            }
        }
    }
    if args.wants_part("busy") {
        for _ in 0..args.rounds(1) {
            for program in &args.programs {
                busy(args, report, program)?;
            }
        }
    }
    Ok(())
}

fn idle(
    args: &Args,
    report: &mut Report,
    program: &Program,
    part: &str,
    count: usize,
    cpu_max: f64,
    memory_max: f64,
) -> Result<()> {
    let scratch = Scratch::new(&args.dir, part)?;
    let place = Place::new(&scratch, count)?;
    let running = program.replicate_config(&place.config()?, &scratch.log)?;
    place.wait_replicated(program.who)?;
    let ready = running.started().elapsed().as_secs_f64();
    std::thread::sleep(SETTLE);
    let (before, switches) = (running.cpu()?, running.context_switches()?);
    let length = args.minutes(1.0) * 60.0;
    std::thread::sleep(Duration::from_secs_f64(length));
    running.check_alive()?;
    let cpu = (running.cpu()? - before) / length;
    let switches = (running.context_switches()? - switches) as f64 / length;
    let now = running.rss_mib()?;
    let usage = running.stop()?;
    let mut add = |name: &str, target, value| {
        report.add(&format!("{part}: {name}"), target, program.who, value);
    };
    add(
        "first files of all in the replicas, s",
        Target::AtMost(5.0),
        ready,
    );
    add("share of a core", Target::AtMost(cpu_max), cpu);
    add("memory, MiB", Target::AtMost(memory_max), now);
    add("peak memory, MiB", Target::None, usage.rss_mib);
    add("descriptors", Target::None, usage.descriptors);
    add("context switches a second", Target::None, switches);
    report.check(program.who, part, place.compare_some(program, &scratch));
    Ok(())
}

fn busy(args: &Args, report: &mut Report, program: &Program) -> Result<()> {
    let scratch = Scratch::new(&args.dir, "busy")?;
    let place = Place::new(&scratch, BUSY)?;
    let conns: Vec<Connection> = (0..BUSY)
        .map(|n| workload::open(&place.database(n), Duration::from_secs(5)))
        .collect::<Result<_>>()?;
    let running = program.replicate_config(&place.config()?, &scratch.log)?;
    place.wait_replicated(program.who)?;
    std::thread::sleep(SETTLE);
    let before = running.cpu()?;
    let length = args.minutes(1.0) * 60.0;
    let start = Instant::now();
    let mut watched: Vec<Watched> = Vec::new();
    let mut commits = 0u32;
    while start.elapsed().as_secs_f64() < length {
        // One after the other through the second; one of ten is watched until it is in the replica.
        let due = start + Duration::from_secs(1) / BUSY as u32 * commits;
        while Instant::now() < due {
            collect(&mut watched);
            std::thread::sleep(Duration::from_millis(1));
        }
        let n = commits as usize % BUSY;
        commits += 1;
        let before = n
            .is_multiple_of(WATCHED_OF)
            .then(|| newest(&place.level(n)));
        conns[n].execute("INSERT INTO rows (body) VALUES (zeroblob(300))", [])?;
        watched.extend(before.map(|before| Watched {
            level: place.level(n),
            before,
            committed: Instant::now(),
            lag: None,
        }));
    }
    let cpu = (running.cpu()? - before) / start.elapsed().as_secs_f64();
    let end = Instant::now() + Duration::from_secs(10);
    while watched.iter().any(|w| w.lag.is_none()) {
        if Instant::now() > end {
            bail!(
                "{}: commits did not get into the replica",
                program.who.name()
            );
        }
        collect(&mut watched);
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut lags: Vec<f64> = watched.iter().filter_map(|w| w.lag).collect();
    lags.sort_by(f64::total_cmp);
    for conn in conns {
        conn.close().map_err(|(_, error)| error)?;
    }
    let usage = running.stop()?;
    let mut add = |name: &str, target, value| {
        report.add(&format!("busy: {name}"), target, program.who, value);
    };
    add("share of a core", Target::AtMost(0.04), cpu);
    add(
        "commit to replica p50, ms",
        Target::AtMost(20.0),
        percentile(&lags, 0.5) * 1e3,
    );
    add(
        "commit to replica p99, ms",
        Target::None,
        percentile(&lags, 0.99) * 1e3,
    );
    add("peak memory, MiB", Target::None, usage.rss_mib);
    report.check(program.who, "busy", place.compare_some(program, &scratch));
    Ok(())
}

/// A commit that is watched until it is in the replica.
struct Watched {
    level: PathBuf,
    /// The newest file before it.
    before: String,
    committed: Instant,
    lag: Option<f64>,
}

/// Notes what has arrived. The looks cost the machine the same beside either program.
fn collect(watched: &mut [Watched]) {
    for commit in watched.iter_mut().filter(|w| w.lag.is_none()) {
        if newest(&commit.level) > commit.before {
            commit.lag = Some(commit.committed.elapsed().as_secs_f64());
        }
    }
}

/// The name of the newest finished file in a folder.
fn newest(level: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(level) else {
        return String::new();
    };
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    names
        .filter(|name| replica::is_finished(name))
        .max()
        .unwrap_or_default()
}

/// A folder with databases, and the replicas beside it.
struct Place {
    folder: PathBuf,
    replicas: PathBuf,
    count: usize,
}

impl Place {
    fn new(scratch: &Scratch, count: usize) -> Result<Place> {
        let place = Place {
            folder: scratch.dir.join("tenants"),
            replicas: scratch.dir.join("replicas"),
            count,
        };
        std::fs::create_dir_all(&place.folder)?;
        for n in 0..count {
            let conn = workload::open(&place.database(n), Duration::from_secs(5))?;
            workload::marker(&conn)?;
            conn.close().map_err(|(_, error)| error)?;
        }
        Ok(place)
    }

    fn database(&self, n: usize) -> PathBuf {
        self.folder.join(format!("tenant-{n:05}.db"))
    }

    fn replica(&self, n: usize) -> PathBuf {
        self.replicas.join(format!("tenant-{n:05}.db"))
    }

    fn level(&self, n: usize) -> PathBuf {
        replica::level(&self.replica(n), 0)
    }

    fn config(&self) -> Result<PathBuf> {
        let path = self.folder.with_extension("yml");
        let mut text = String::new();
        writeln!(text, "dbs:")?;
        writeln!(text, "  - dir: {}", self.folder.display())?;
        writeln!(text, "    pattern: '*.db'")?;
        writeln!(text, "    replica:")?;
        writeln!(text, "      path: {}", self.replicas.display())?;
        std::fs::write(&path, text)?;
        Ok(path)
    }

    fn wait_replicated(&self, who: Who) -> Result<()> {
        let start = Instant::now();
        for n in 0..self.count {
            while newest(&self.level(n)).is_empty() {
                if start.elapsed() > READY_MAX {
                    bail!(
                        "{}: {} has no replica",
                        who.name(),
                        self.database(n).display()
                    );
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// Restores some of them and compares.
    fn compare_some(&self, program: &Program, scratch: &Scratch) -> Result<()> {
        for n in (0..self.count).step_by(self.count / 10) {
            let restored = scratch.dir.join(format!("restored-{n}.db"));
            program.restore(&self.replica(n), &restored, &scratch.log)?;
            scratch
                .compare(|| check::same_bytes(&self.database(n), &restored))
                .with_context(|| format!("tenant {n}"))?;
        }
        Ok(())
    }
}
