//! Configurations given to this program and to the original: exit code, list of databases, error.
//!
//! The table is `config_differential/cases.txt`. A difference must be listed there with its reason, and what is listed must differ.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod common;
mod oracle;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use common::{Done, LITESTREAM};
use litestream_replica::settings;
use serde_json::Value;

const TABLE: &str = include_str!("config_differential/cases.txt");

struct Case {
    line: &'static str,
    yaml: String,
    reason: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let lines = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(case).collect()
}

fn case(line: &'static str) -> Case {
    let (case, reason) = match line.split_once(" ;; ") {
        Some((case, reason)) => (case, Some(reason)),
        None => (line, None),
    };
    let (kind, text) = case.split_once(' ').unwrap_or((case, ""));
    let text = text
        .replace("\\n", "\n")
        .replace("\\r", "\r")
        .replace("\\t", "\t");
    let text = text.replace("\\u{feff}", "\u{feff}");
    let yaml = match kind {
        "file" => text,
        "top" => format!("{text}\ndbs:\n - path: a.db\n   replica: {{path: r}}\n"),
        "db" => format!("dbs:\n - path: a.db\n   {text}\n   replica: {{path: r}}\n"),
        "replica" => format!("dbs:\n - path: a.db\n   replica: {text}\n"),
        other => panic!("unknown kind {other}"),
    };
    Case { line, yaml, reason }
}

/// The original asks the system's list of users for the home directory, whatever HOME says; so it is left as it is.
fn run(program: &Path, folder: &Path) -> Done {
    let mut command = Command::new(program);
    command
        .args(["databases", "-json", "-config", "c.yml"])
        .current_dir(folder)
        .env_clear();
    command
        .env("HOME", std::env::var_os("HOME").unwrap())
        .env("SET", "value")
        .env("LITESTREAM_ACCESS_KEY_ID", "key")
        .env("DOLLAR", "$SET")
        .env("EMPTY", "");
    command.output().unwrap().into()
}

/// What counts: the databases, or the error without its place.
#[derive(Debug, PartialEq)]
enum Outcome {
    Databases(Value),
    /// The lines that an error of types names; the wording is the library's.
    Types(BTreeSet<String>),
    Syntax,
    Error(String),
    Crash,
}

fn outcome(done: &Done) -> Outcome {
    if done.code == 0 {
        return Outcome::Databases(serde_json::from_str(&done.stdout).unwrap());
    }
    let error = done.stderr.find("Error: ").map(|at| &done.stderr[at + 7..]);
    let Some(error) = error.filter(|_| done.code == 1) else {
        return Outcome::Crash;
    };
    if error.starts_with("yaml: ") {
        let typed = error.contains("unmarshal")
            || error.contains(" needed, not ")
            || error.contains("cannot read");
        let lines = error.split("line ").skip(1);
        let numbers = lines.map(|rest| rest.split(':').next().unwrap().to_owned());
        return if typed {
            Outcome::Types(numbers.collect())
        } else {
            Outcome::Syntax
        };
    }
    let error = error.trim_end();
    let place = error
        .rfind(" (/")
        .filter(|_| error.ends_with(')') && error.contains("c.yml"));
    Outcome::Error(error[..place.unwrap_or(error.len())].to_owned())
}

#[test]
fn every_difference_to_the_original_is_listed() {
    let original = oracle::program();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::write(folder.path().join("key.txt"), "AAAA\n").unwrap();
    for name in ["d/x.db", "d/y.sqlite"] {
        oracle::app(&folder.path().join(name), 4096, "NONE");
    }
    std::fs::write(folder.path().join("d/z.db"), "no database").unwrap();
    let mut wrong = Vec::new();
    for case in cases() {
        std::fs::write(folder.path().join("c.yml"), &case.yaml).unwrap();
        let ours = run(Path::new(LITESTREAM), folder.path());
        let theirs = run(&original, folder.path());
        let (mine, its) = (outcome(&ours), outcome(&theirs));
        if (mine == its) == case.reason.is_some() || mine == Outcome::Crash {
            wrong.push(format!(
                "{}\n   ours:   {ours:?}\n   theirs: {theirs:?}\n",
                case.line
            ));
        }
        assert!(
            !ours.stderr.contains("panicked"),
            "{}: {}",
            case.line,
            ours.stderr
        );
    }
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong.concat()
    );
}

#[test]
fn every_key_is_in_the_table() {
    assert!(cases().len() >= 150);
    let top = [
        "addr",
        "mcp-addr",
        "exec",
        "socket",
        "logging",
        "snapshot",
        "levels",
        "l0-retention",
        "l0-retention-check-interval",
        "retention",
        "verify-compaction",
        "validation",
        "heartbeat-url",
        "heartbeat-interval",
        "shutdown-sync-timeout",
        "shutdown-sync-interval",
        "dbs",
        "dir",
        "pattern",
        "recursive",
        "watch",
        "meta-path",
        "meta-dir",
        "monitor-interval",
        "checkpoint-interval",
        "min-checkpoint-page-count",
        "truncate-page-n",
        "max-sync-wal-bytes",
        "busy-timeout",
        "restore-if-db-not-exists",
        "replica",
        "replicas",
        "sync-interval",
        "max-sync-ltx-files",
        "auto-recover",
        "validation-interval",
        "age",
        "name",
    ];
    // The original knows nothing of these.
    let own = [
        "ca-file",
        "upload-rate",
        "download-rate",
        "requests-per-second",
        "concurrent-requests",
        "lease",
        "lease-ttl",
    ];
    let of_storage = settings::TABLE.iter().map(|key| key.name);
    for name in top
        .into_iter()
        .chain(of_storage.filter(|name| !own.contains(name)))
    {
        assert!(TABLE.contains(&format!("{name}:")), "{name}");
    }
}
