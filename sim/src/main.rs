//! Runs episodes: one by its seed, a range of seeds, or a plan from a file.

#![allow(clippy::disallowed_methods, reason = "the program around the world")]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use litestream_sim::day::Day;
use litestream_sim::episode::{self, Outcome};
use litestream_sim::plan::{Class, Plan};
use litestream_sim::{enumerate, log, shrink};

const HELP: &str = "\
sim --seed N [--log] [--shrink]      one episode
sim --plan FILE [--log] [--shrink]   the episode of a file, as written by --shrink
sim --seeds N [--from S] [--jobs J]  episodes S .. S+N, on J processes; stops at 20 failures
    --again M                        every M-th of them twice, comparing the traces (default 100)
sim --day [--rate R] [--hours H]     R commits per second (1) for H hours (24) of virtual time: requests and bytes, counted
sim --enumerate [--scenario NAME]    every call of every scene: kills, power cuts, failures; more by --enumerate --help
";

/// Failures after which a run stops.
const FAILURES_MAX: u64 = 20;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--enumerate") {
        return enumerate::command::run(&arguments);
    }
    let mut options: BTreeMap<String, String> = BTreeMap::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let name = arg.strip_prefix("--").context(HELP)?.to_owned();
        let value = match name.as_str() {
            "log" | "shrink" | "day" => String::new(),
            "seed" | "plan" | "seeds" | "from" | "jobs" | "again" | "rate" | "hours" => args
                .next()
                .with_context(|| format!("--{name} needs a value"))?,
            _ => bail!("unknown option --{name}\n{HELP}"),
        };
        options.insert(name, value);
    }
    let number = |name: &str, default: u64| -> Result<u64> {
        options.get(name).map_or(Ok(default), |v| {
            v.parse().with_context(|| format!("--{name} {v}"))
        })
    };
    if options.contains_key("day") {
        return day(number("rate", 1)?, number("hours", 24)?);
    }
    let plan = match (options.get("seed"), options.get("plan")) {
        (Some(seed), _) => Some(Plan::of_seed(seed.parse()?)),
        (None, Some(file)) => Some(std::fs::read_to_string(file)?.parse()?),
        _ => None,
    };
    if let Some(plan) = plan {
        return Ok(one(
            &plan,
            options.contains_key("log"),
            options.contains_key("shrink"),
        ));
    }
    if !options.contains_key("seeds") {
        bail!(HELP);
    }
    let (from, seeds) = (number("from", 1)?, number("seeds", 0)?);
    let (jobs, again) = (number("jobs", 1)?.max(1), number("again", 100)?);
    if jobs == 1 {
        Ok(range(from, seeds, again))
    } else {
        parallel(from, seeds, again, jobs)
    }
}

fn day(rate: u64, hours: u64) -> Result<bool> {
    if !(1..=1000).contains(&rate) {
        bail!("--rate {rate}: 1 to 1000 commits per second");
    }
    let start = Instant::now();
    let figures = Day { rate, hours }.run()?;
    println!("{figures}{:.0} seconds", start.elapsed().as_secs_f64());
    Ok(figures.restored == Some(true) && figures.idle.all() == 0)
}

fn one(plan: &Plan, loud: bool, smaller: bool) -> bool {
    if loud {
        log::show_engine();
    }
    log::set(loud);
    let outcome = episode::run(plan);
    log::set(false);
    println!("{plan}");
    println!("{outcome:#?}");
    if smaller && !outcome.is_good() {
        let small = shrink::shrink(plan);
        let outcome = episode::run(&small);
        println!("# smaller:\n{small}");
        for violation in outcome.violations {
            println!("# {violation}");
        }
    }
    outcome.is_good()
}

/// Sums over episodes.
#[derive(Default)]
struct Totals {
    episodes: u64,
    failed: u64,
    mixed: u64,
    again: u64,
    differ: u64,
    commits: u64,
    states: u64,
    acks: u64,
    calls: u64,
    requests: u64,
    steps: u64,
}

impl Totals {
    fn add(&mut self, plan: &Plan, outcome: &Outcome) {
        self.episodes += 1;
        self.failed += u64::from(!outcome.is_good());
        self.mixed += u64::from(plan.classes().iter().filter(|c| **c != Class::Work).count() >= 2);
        self.commits += outcome.commits;
        self.states += outcome.states as u64;
        self.acks += outcome.acks as u64;
        self.calls += outcome.calls.0;
        self.requests += outcome.calls.1;
        self.steps += outcome.report.steps;
    }

    fn fields(&mut self) -> [(&'static str, &mut u64); 11] {
        [
            ("episodes", &mut self.episodes),
            ("failed", &mut self.failed),
            ("two kinds of trouble or more", &mut self.mixed),
            ("run twice", &mut self.again),
            ("of these with another trace", &mut self.differ),
            ("commits", &mut self.commits),
            ("states", &mut self.states),
            ("acknowledged syncs", &mut self.acks),
            ("disk and VFS calls", &mut self.calls),
            ("storage calls", &mut self.requests),
            ("steps", &mut self.steps),
        ]
    }
}

fn range(from: u64, seeds: u64, again: u64) -> bool {
    let mut totals = Totals::default();
    for seed in from..from + seeds {
        let plan = Plan::of_seed(seed);
        let outcome = episode::run(&plan);
        totals.add(&plan, &outcome);
        for violation in &outcome.violations {
            println!(
                "FAILED {seed} {}",
                violation.lines().next().unwrap_or_default()
            );
        }
        if again > 0 && seed % again == 0 {
            totals.again += 1;
            let second = episode::run(&plan);
            if second.report.trace_hash != outcome.report.trace_hash {
                totals.differ += 1;
                println!("DIFFERS {seed}");
            }
        }
        if totals.failed >= FAILURES_MAX {
            break;
        }
    }
    for (name, value) in totals.fields() {
        println!("TOTAL {name} = {value}");
    }
    totals.failed + totals.differ == 0
}

fn parallel(from: u64, seeds: u64, again: u64, jobs: u64) -> Result<bool> {
    let start = Instant::now();
    let program = std::env::current_exe()?;
    let share = seeds.div_ceil(jobs);
    let mut children = Vec::new();
    for job in 0..jobs {
        let first = from + job * share;
        let count = share.min((from + seeds).saturating_sub(first));
        let child = Command::new(&program)
            .args([
                "--seeds",
                &count.to_string(),
                "--from",
                &first.to_string(),
                "--again",
                &again.to_string(),
            ])
            .stdout(Stdio::piped())
            .spawn()?;
        children.push(child);
    }
    let mut totals = Totals::default();
    let mut good = true;
    for child in children {
        let output = child.wait_with_output()?;
        good &= output.status.success();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line
                .strip_prefix("TOTAL ")
                .and_then(|t| t.split_once(" = "))
            {
                Some((name, value)) => {
                    for (known, sum) in totals.fields() {
                        if known == name {
                            *sum += value.parse::<u64>()?;
                        }
                    }
                }
                None => println!("{line}"),
            }
        }
    }
    for (name, value) in totals.fields() {
        println!("{value:>14} {name}");
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{seconds:>14.1} seconds, {:.0} episodes per second",
        totals.episodes as f64 / seconds
    );
    Ok(good && totals.episodes == seeds)
}
