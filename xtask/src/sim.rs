//! `cargo xtask sim …`: builds the simulator and runs it.

use std::process::Command;

use anyhow::Result;

use crate::run::{check, command, target};

/// Hands everything on to the program.
pub fn run(args: &[&str]) -> Result<()> {
    // Of the whole workspace: with the features that its tests were built with, or half of it would be built again.
    check(&mut command("cargo build --quiet --workspace --bin sim"))?;
    check(Command::new(target().join("debug/sim")).args(args))
}
