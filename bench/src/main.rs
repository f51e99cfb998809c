//! Measures `litestream` beside the original program: the same work, interleaved, several rounds, and every
//! result checked. See `docs/performance.md` for how to run it and what came out.

#![allow(
    clippy::disallowed_methods,
    reason = "drives real processes on a real disk and looks at the clock; nothing here is part of the product"
)]

mod args;
mod check;
mod critical;
mod engine;
mod fabricate;
mod first_copy;
mod gap;
mod idle;
mod ingest;
mod large;
mod latency;
mod levels;
mod many;
mod process;
mod program;
mod replica;
mod replicas;
mod report;
mod restore;
mod rows;
mod scratch;
mod snapshot;
mod stats;
mod storage;
mod verify;
mod wal;
mod workload;
mod writers;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use args::Args;
use report::Report;

type Scenario = fn(&Args, &mut Report) -> Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("latency", latency::run),
    ("restore", restore::run),
    ("first-copy", first_copy::run),
    ("ingest", ingest::run),
    ("writers", writers::run),
    ("idle", idle::run),
    ("critical", critical::run),
    ("large", large::run),
    ("levels", levels::run),
    ("snapshot", snapshot::run),
    ("replicas", replicas::run),
    ("gap", gap::run),
    ("verify", verify::run),
    ("many", many::run),
    ("storage", storage::run),
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every result was correct; a figure beyond its target is no failure, only marked.
fn run() -> Result<bool> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((engine::WORD, rest)) = words.split_first().map(|(w, rest)| (w.as_str(), rest)) {
        engine::run(rest)?;
        return Ok(true);
    }
    let names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
    let Some(args) = Args::parse(words.into_iter(), &names)? else {
        print!("{}", args::help(&names));
        return Ok(true);
    };
    let mut all_correct = true;
    for (name, scenario) in SCENARIOS {
        if !args.wants(name) {
            continue;
        }
        eprintln!("== {name}");
        let mut report = Report::new(name);
        let outcome = scenario(&args, &mut report).with_context(|| (*name).to_owned());
        // What was measured before something failed is still worth seeing.
        if args.json {
            println!("{}", report.json());
        } else {
            println!("{}", report.table());
        }
        outcome?;
        all_correct &= report.is_correct();
    }
    Ok(all_correct)
}
