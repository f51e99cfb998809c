//! The real programs on a hostile machine: kills, failing calls, power cuts, full disks, little memory.
//!
//! Its own history and its own checker: it shares no code with the engine, so that one misunderstanding cannot sit on
//! both sides.

#![allow(
    clippy::disallowed_methods,
    reason = "drives processes and looks at files directly; nothing here is part of the product"
)]

mod app;
mod content;
mod daemon;
mod history;
mod mount;
mod place;
mod process;
mod scenario;
mod trace;
mod writer;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use scenario::{Request, SCENARIOS, Scenario, Tally};

const HELP: &str = "litestream-hostile SCENARIO|all [rounds=N] [seconds=N] [seed=N] [violations=N]

Breaks ./bin/litestream (or that of LITESTREAM_BIN_DIR) until there were N faults, N violations, or the time is over.
";

fn main() -> ExitCode {
    match command() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<u8> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("write") => writer::run(&args[1..]).map(|()| 0),
        None | Some("help" | "-h" | "--help") => {
            print!("{HELP}");
            for s in SCENARIOS {
                println!("\n  {:8} {}", s.name, s.about);
            }
            Ok(0)
        }
        Some(name) => run(name, &args[1..]),
    }
}

fn request(args: &[String]) -> Result<Request> {
    let mut request = Request {
        rounds: 20,
        limit: Duration::from_hours(24),
        seed: 1,
        violations: 5,
    };
    for arg in args {
        let (key, value) = arg.split_once('=').context("key=value is expected")?;
        let value: u64 = value.parse().with_context(|| arg.clone())?;
        match key {
            "rounds" => request.rounds = value,
            "seconds" => request.limit = Duration::from_secs(value),
            "seed" => request.seed = value,
            "violations" => request.violations = value as usize,
            _ => bail!("unknown key {key}\n\n{HELP}"),
        }
    }
    Ok(request)
}

fn run(name: &str, args: &[String]) -> Result<u8> {
    let request = request(args)?;
    let chosen: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|s| name == "all" || s.name == name)
        .collect();
    if chosen.is_empty() {
        bail!("no scenario {name}\n\n{HELP}");
    }
    let forbidden = std::env::var_os("LITESTREAM_NO_MOUNT").is_some_and(|v| v == "1");
    if chosen.iter().any(|s| s.mounts)
        && !forbidden
        && let Some(code) = mount::isolate()?
    {
        return Ok(code);
    }
    let mut failed = false;
    println!("seed {}", request.seed);
    let columns = "scenario  rounds  faults  commits  restores  app-wait-ms  healing-s  peak-MiB  violations  seconds";
    println!("{columns}");
    for scenario in chosen {
        if scenario.mounts && forbidden {
            println!("{:8}  left out: LITESTREAM_NO_MOUNT=1", scenario.name);
            continue;
        }
        let start = Instant::now();
        let tally = scenario::run(scenario, &request)?;
        println!("{}", row(scenario.name, &tally, start.elapsed()));
        failed |= !tally.violations.is_empty();
        if tally.hits * 3 < tally.rounds {
            println!(
                "only {} of {} faults happened: nothing was tested",
                tally.hits, tally.rounds
            );
            failed = true;
        }
    }
    Ok(u8::from(failed))
}

fn row(name: &str, tally: &Tally, took: Duration) -> String {
    format!(
        "{name:8}  {:6}  {:6}  {:7}  {:8}  {:11}  {:9.1}  {:8.1}  {:10}  {:7.0}",
        tally.rounds,
        tally.hits,
        tally.commits,
        tally.restores,
        tally.longest_ms,
        tally.healing.as_secs_f64(),
        tally.peak_kib as f64 / 1024.0,
        tally.violations.len(),
        took.as_secs_f64()
    )
}
