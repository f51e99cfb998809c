//! `cargo xtask sim …`: builds the simulator and runs it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::run::{check, command, root};

/// Hands everything on to the program.
pub fn run(args: &[&str]) -> Result<()> {
    check(&mut command(
        "cargo build --quiet --package litestream-sim --bin sim",
    ))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    check(Command::new(target.join("debug/sim")).args(args))
}
