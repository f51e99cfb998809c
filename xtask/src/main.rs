//! `cargo xtask demo|test|build|floors|sim|bugs`: what people and CI run.

#![allow(
    clippy::disallowed_methods,
    reason = "drives cargo and processes; nothing here is part of the product"
)]

mod bugs;
mod demo;
mod floors;
mod run;
mod setup;
mod sim;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "cargo xtask <command>

  demo     shows replication, a crash and a restore, and compares the result
  test     installs what the tests need and runs everything that CI runs
  build    builds the programs into ./bin
  floors   checks which crate may use what
  sim      runs episodes in the simulator: --seed N, --seeds N, --plan FILE, …
  bugs     plants known bugs and sees whether the simulator finds them
";

fn main() -> ExitCode {
    match run_command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_command() -> Result<()> {
    std::env::set_current_dir(run::root())?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["demo"] => demo::run(),
        ["test"] => test::run(),
        ["build"] => run::build(),
        ["floors"] => floors::run(),
        ["sim", ref rest @ ..] => sim::run(rest),
        ["bugs", ref rest @ ..] => bugs::run(rest),
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("unknown command: {}\n\n{HELP}", args.join(" ")),
    }
}
