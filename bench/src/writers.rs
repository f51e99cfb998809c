//! What an application notices: refused commits, latency, throughput, the size of its log.

use std::time::Duration;

use anyhow::Result;

use crate::args::Args;
use crate::program::{Program, Who};
use crate::replica;
use crate::report::{Report, Target};
use crate::scratch::Scratch;
use crate::wal::WalWatch;
use crate::workload::{self, Tally, Until};

const ROW_BYTES: usize = 200;
const RATE: u32 = 1000;
const PACED: Duration = Duration::from_secs(20);
const FULL_SPEED: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
struct Work {
    rate: Option<u32>,
    length: Duration,
    busy_timeout: Duration,
}

/// Runs it, without replication as well.
pub fn run(args: &Args, report: &mut Report) -> Result<()> {
    let paced = Work {
        rate: Some(RATE),
        length: PACED,
        busy_timeout: Duration::ZERO,
    };
    let full = Work {
        rate: None,
        length: FULL_SPEED,
        busy_timeout: Duration::from_secs(5),
    };
    for round in 0..args.rounds(3) {
        // Another one begins each time: whoever comes first finds an emptier disk queue.
        let mut order: Vec<Option<&Program>> = args.programs.iter().map(Some).collect();
        order.push(None);
        order.rotate_left(round % args.programs.len().max(1));
        for program in &order {
            if args.wants_part("paced") {
                let (tally, _) = one(args, report, *program, paced)?;
                report_paced(report, who(*program), &tally);
            }
        }
        if args.wants_part("full") {
            full_speed(args, report, &order, full)?;
        }
    }
    Ok(())
}

fn who(program: Option<&Program>) -> Who {
    program.map_or(Who::Base, |p| p.who)
}

fn report_paced(report: &mut Report, who: Who, tally: &Tally) {
    let mut add = |name: &str, target, value| {
        report.add(&format!("1,000/s: {name}"), target, who, value);
    };
    add("SQLITE_BUSY", Target::AtMost(0.0), tally.busy as f64);
    add("commit p50, ms", Target::None, tally.latency_ms(0.5));
    add("commit p99, ms", Target::None, tally.latency_ms(0.99));
    add(
        "commit p99.9, ms",
        Target::AtMost(50.0),
        tally.latency_ms(0.999),
    );
    add("commit max, ms", Target::None, tally.latency_ms(1.0));
}

fn full_speed(
    args: &Args,
    report: &mut Report,
    order: &[Option<&Program>],
    work: Work,
) -> Result<()> {
    let mut rates = Vec::new();
    for program in order {
        let (tally, wal_mib) = one(args, report, *program, work)?;
        let who = who(*program);
        rates.push((who, tally.rate()));
        let mut add = |name: &str, target, value| {
            report.add(&format!("full speed: {name}"), target, who, value);
        };
        add("commits/s", Target::None, tally.rate());
        add("WAL max, MiB", Target::AtMost(64.0), wal_mib);
        add(
            "commit p99.9, ms",
            Target::AtMost(50.0),
            tally.latency_ms(0.999),
        );
        add("commit max, ms", Target::None, tally.latency_ms(1.0));
    }
    let base = rates
        .iter()
        .find(|(who, _)| *who == Who::Base)
        .map_or(f64::NAN, |r| r.1);
    for (who, rate) in rates.into_iter().filter(|(who, _)| *who != Who::Base) {
        let name = "full speed: throughput, % of unreplicated";
        report.add(name, Target::AtLeast(95.0), who, rate / base * 100.0);
    }
    Ok(())
}

fn one(
    args: &Args,
    report: &mut Report,
    program: Option<&Program>,
    work: Work,
) -> Result<(Tally, f64)> {
    let scratch = Scratch::new(&args.dir, "writers")?;
    let conn = workload::open(&scratch.db, work.busy_timeout)?;
    workload::marker(&conn)?;
    rustix::fs::sync();
    let running = match program {
        Some(program) => {
            let running = program.replicate(&scratch.db, &scratch.replica, &scratch.log)?;
            replica::wait_first(&scratch.replica, &running, Duration::from_secs(20))?;
            replica::wait_quiet(&running, Duration::from_secs(4))?;
            Some((program, running))
        }
        None => None,
    };
    let watch = WalWatch::start(&scratch.db);
    let until = Until::Time(work.length);
    let tally = workload::write_rows(&scratch.db, &conn, ROW_BYTES, work.rate, until)?;
    let wal_mib = watch.max_mib();
    conn.close().map_err(|(_, error)| error)?;
    if let Some((program, running)) = running {
        running.stop()?;
        report.check(program.who, "writers", scratch.restore_and_compare(program));
    }
    Ok((tally, wal_mib))
}
