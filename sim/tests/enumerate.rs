//! Kills, power cuts and failures at every call of all scenes: `sim --enumerate --jobs 2`.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::process::Command;

/// `SIM_EVERY` says that only every so many points are looked at, `SIM_OFFSET` with which of them to begin.
#[test]
fn what_is_struck_anywhere_comes_right() {
    let number = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(["--enumerate", "--jobs", "2", "--page-size", "4096"]);
    command.args(["--every", &number("SIM_EVERY", "1")]);
    command.args(["--offset", &number("SIM_OFFSET", "0")]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{text}{errors}");
}
