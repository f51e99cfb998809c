//! Running programs, with what they do said first and their time after.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

/// The workspace.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// A command line split at blanks.
pub fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Runs it to its end; anything but success is an error.
pub fn check(command: &mut Command) -> Result<()> {
    let name = format!("{command:?}").replace('"', "");
    let status = command
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    if status.success() {
        return Ok(());
    }
    bail!("failed with {status}: {name}")
}

/// What a program prints.
pub fn output(command: &mut Command) -> Result<String> {
    let name = format!("{command:?}").replace('"', "");
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!(
            "failed with {}: {name}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Does one step of a list, and says so.
pub fn step(what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("==> {what}");
    let start = Instant::now();
    work().with_context(|| format!("step failed: {what}"))?;
    println!("    {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Builds the programs and puts them into ./bin.
pub fn build() -> Result<()> {
    check(&mut command(
        "cargo build --quiet --profile fast --package litestream-cli --bins",
    ))?;
    let (target, bin) = (target(), bin_dir());
    std::fs::create_dir_all(&bin)?;
    for name in ["litestream", "litestream-test"] {
        // A copy beside and a rename: the old one may be running.
        let (to, fresh) = (bin.join(name), bin.join(format!("{name}.new")));
        std::fs::copy(target.join("fast").join(name), &fresh)
            .with_context(|| format!("copy {name} to bin"))?;
        std::fs::rename(&fresh, &to)?;
    }
    Ok(())
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    // Absolute, since tests run elsewhere.
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Where [`build`] puts them.
pub fn bin_dir() -> PathBuf {
    root().join("bin")
}
