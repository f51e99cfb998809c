//! A few rounds of each scenario; by hand there can be as many as one likes: `cargo run -p litestream-hostile -- all seconds=300`.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The real programs.
fn programs() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bin");
    std::env::var_os("LITESTREAM_BIN_DIR").map_or(built, PathBuf::from)
}

fn hostile(bin: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litestream-hostile"))
        .args(args)
        .env("LITESTREAM_BIN_DIR", bin)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn survives(scenario: &str, rounds: &str) {
    let done = hostile(&programs(), &[scenario, rounds]);
    println!("{}", text(&done));
    assert!(done.status.success(), "{}", text(&done));
}

#[test]
fn killed_at_system_calls() {
    survives("kill", "rounds=10");
}

#[test]
fn system_calls_fail_for_a_while() {
    survives("errors", "rounds=5");
}

#[test]
fn power_cuts() {
    survives("cut", "rounds=9");
}

#[test]
fn full_disks() {
    survives("full", "rounds=3");
}

#[test]
fn little_memory() {
    survives("memory", "rounds=1");
}

/// The checker sees what it is there for: a litestream of which the scenario must complain.
fn noticed(script: &str, args: &[&str], complaints: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let real = std::path::absolute(programs()).unwrap().join("litestream");
    let fake = dir.path().join("litestream");
    let script = script.replace("LITESTREAM", &real.display().to_string());
    std::fs::write(&fake, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
    let done = hostile(dir.path(), args);
    let text = text(&done);
    assert_eq!(done.status.code(), Some(1), "{text}");
    assert!(complaints.iter().any(|c| text.contains(c)), "{text}");
    for line in text.lines().filter(|l| l.starts_with("VIOLATION")) {
        let kept = line.split("kept in ").nth(1).unwrap().trim_end_matches(':');
        std::fs::remove_dir_all(kept).unwrap();
    }
}

#[test]
fn a_sync_that_does_nothing_is_noticed() {
    noticed(
        "case \"$*\" in *-once*) exit 0;; esac; exec LITESTREAM \"$@\"",
        &["kill", "rounds=6", "violations=1"],
        &["source is at commit"],
    );
}

/// Every flush of litestream succeeds without being done.
#[test]
fn a_missing_fsync_is_noticed() {
    if std::env::var_os("LITESTREAM_NO_MOUNT").is_some_and(|v| v == "1") {
        return;
    }
    noticed(
        "case $1 in restore) exec LITESTREAM \"$@\";; esac
         exec strace -D -f -qq -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:retval=0 LITESTREAM \"$@\"",
        &["cut", "rounds=30", "violations=1"],
        &[
            "content is not that of commit",
            "was uploaded",
            "was replicated",
            "restore of",
            "integrity check",
            "malformed",
            "was durable",
        ],
    );
}
