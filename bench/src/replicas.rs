//! Two replicas, one of which goes away for a while: what the other one notices, and what the return costs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use litestream::{Policy, Replicator, Settings};
use litestream_replica::env::real;
use litestream_replica::faulty::{Faulty, Op, When};
use litestream_replica::file::FileReplica;
use litestream_replica::{ErrorKind, SharedReplica};

use crate::args::Args;
use crate::latency;
use crate::program::{Program, Who};
use crate::replica::{self, level};
use crate::report::{Report, Target};
use crate::rows::{Content, template};
use crate::scratch::Scratch;
use crate::stats::percentile;
use crate::workload;

const DATABASE_MB: u64 = 50;
/// Commits while both are there.
const COMMITS: u64 = 15;
/// How long one is away, minutes.
const AWAY: f64 = 1.0;
const PAUSE: Duration = Duration::from_millis(1100);
/// What is older is merged before it is ever uploaded.
const L0_RETENTION: Duration = Duration::from_secs(15);
const BACK_MAX: Duration = Duration::from_mins(5);

/// Runs it, ours only: the original has one replica.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let ours = args.programs.iter().find(|p| p.who == Who::Ours);
    let Some(program) = ours else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let source = template(&args.dir, Content::Mixed, args.size_mb(DATABASE_MB))?;
    for _ in 0..args.rounds(1) {
        let scratch = Scratch::with_copy(&args.dir, "replicas", &source)?;
        let _inside = runtime.enter();
        // The pause is a quarter longer on average.
        let away = args.minutes(AWAY) * 60.0 / (PAUSE.as_secs_f64() * 1.25);
        one(report, program, &scratch, &runtime, away as u64)?;
    }
    Ok(())
}

fn one(
    report: &mut Report,
    program: &Program,
    scratch: &Scratch,
    runtime: &tokio::runtime::Runtime,
    away: u64,
) -> Result<()> {
    let env = real::env();
    let second = scratch.dir.join("second");
    let open = |root: &Path| -> SharedReplica {
        Arc::new(FileReplica::new(root.to_owned(), env.clone(), None))
    };
    let faulty = Faulty::new(open(&second));
    let mut settings = Settings::for_database(&scratch.db);
    settings.policy = Policy {
        l0_retention: L0_RETENTION,
        ..Policy::default()
    };
    let conn = workload::open(&scratch.db, Duration::from_secs(5))?;
    workload::marker(&conn)?;
    let replicas: Vec<SharedReplica> = vec![open(&scratch.replica), Arc::new(faulty.clone())];
    let replicator = Replicator::start(settings, replicas, env.clone())?;
    runtime.block_on(replicator.sync())?;
    let first = level(&scratch.replica, 0);
    let mut left = Instant::now();
    for (what, commits) in [("both there", COMMITS), ("one away", away)] {
        if what == "one away" {
            left = Instant::now();
            for op in [Op::List, Op::Read, Op::Write, Op::Delete] {
                faulty.fail_always(op, ErrorKind::Unreachable, When::Before);
            }
        }
        let mut times = latency::commit_and_watch(&conn, &first, commits, PAUSE)?;
        times.sort_by(f64::total_cmp);
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let name = format!("{what}: commit to first replica {name}, ms");
            report.add(
                &name,
                Target::None,
                Who::Ours,
                percentile(&times, share) * 1e3,
            );
        }
    }
    let before = replica::sizes(&second);
    let away = left.elapsed().as_secs_f64();
    report.add("one away, s", Target::None, Who::Ours, away);
    faulty.heal();
    let back = Instant::now();
    let end = replicator.status().position.context("no position")?;
    while replicator.status().replicas[1].position < Some(end) {
        if back.elapsed() > BACK_MAX {
            bail!("the second replica does not come back");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    report.add(
        "second replica current again, s",
        Target::None,
        Who::Ours,
        back.elapsed().as_secs_f64(),
    );
    conn.close().map_err(|(_, error)| error)?;
    runtime.block_on(replicator.sync())?;
    runtime.block_on(replicator.close());
    let mut new = replica::sizes(&second);
    new.retain(|path, _| !before.contains_key(path));
    let largest = new.values().max().copied().unwrap_or(0) as f64;
    let database = std::fs::metadata(&scratch.db)?.len() as f64;
    let mut add = |name, target, value| report.add(name, target, Who::Ours, value);
    add("files that it got then", Target::None, new.len() as f64);
    add(
        "largest of them, % of the database",
        Target::AtMost(25.0),
        largest / database * 100.0,
    );
    report.check(
        Who::Ours,
        "first replica",
        scratch.restore_and_compare(program),
    );
    let outcome = scratch.compare(|| {
        std::fs::remove_file(&scratch.restored)?;
        program.restore(&second, &scratch.restored, &scratch.log)?;
        crate::check::same_bytes(&scratch.db, &scratch.restored)
    });
    report.check(Who::Ours, "second replica", outcome);
    Ok(())
}
