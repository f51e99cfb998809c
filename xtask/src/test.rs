//! `cargo xtask test`: all that CI runs, in the order in which it fails fastest.

use std::time::Instant;

use anyhow::Result;

use crate::run::{check, command, step, target};
use crate::{bugs, floors, setup, sim};

/// The same seeds each time, so that a change is judged by what it changes; others are run by `cargo xtask sim --seeds`.
const FIRST_SEED: u64 = 35_904_003_221_000;
/// Episodes of each run.
const EPISODES: u64 = 20_000;
/// Planted bugs that are looked for, others each time.
const PLANTED: usize = 3;

/// Stops at the first step that fails.
pub fn run() -> Result<()> {
    let start = Instant::now();
    let mut oracle = std::path::PathBuf::new();
    step("formatting", || {
        check(&mut command("cargo fmt --all --check"))
    })?;
    step("which crate may use what", floors::run)?;
    step("tools that tests start: strace, mkfs, …", setup::tools)?;
    step("the original program to compare with", || {
        oracle = setup::oracle()?;
        Ok(())
    })?;
    step("storage servers: moto, Azurite, sshd, …", setup::servers)?;
    step("the test runner", setup::nextest)?;
    step("lints", || {
        check(&mut command(
            "cargo clippy --quiet --workspace --all-targets -- -D warnings",
        ))
    })?;
    step("tests", || {
        let mut tests = command("cargo nextest run --workspace");
        check(
            tests
                .env("LITESTREAM_ORACLE", &oracle)
                // As built for the tests: nearly all that runs long in them is optimised there, too.
                .env("LITESTREAM_BIN_DIR", target().join("debug")),
        )
    })?;
    step("SQLite's own bug is seen in its version 3.50.2", || {
        check(
            command("cargo test --quiet --manifest-path sim/old-sqlite/Cargo.toml").env(
                "CARGO_TARGET_DIR",
                crate::run::root().join("target/old-sqlite"),
            ),
        )
    })?;
    step("simulated episodes", || {
        let (from, seeds) = (FIRST_SEED.to_string(), EPISODES.to_string());
        sim::run(&["--seeds", &seeds, "--from", &from, "--jobs", "2"])
    })?;
    step("planted bugs are found", || {
        bugs::run(&["--random", &PLANTED.to_string(), "--minutes", "10"])
    })?;
    step("examples in the documentation", || {
        check(&mut command("cargo test --quiet --workspace --doc"))
    })?;
    println!("OK, {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
