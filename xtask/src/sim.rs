//! `cargo xtask sim …`: builds the simulator and runs it.

use std::process::Command;

use anyhow::Result;

use crate::run::{check, command, target};

/// Hands everything on to the program.
pub fn run(args: &[&str]) -> Result<()> {
    check(&mut command(
        "cargo build --quiet --package litestream-sim --bin sim",
    ))?;
    check(Command::new(target().join("debug/sim")).args(args))
}
