//! The commands of `litestream-test`: a workload generator and the judge of what was restored of it.
//!
//! No part of the engine: it opens databases with SQLite as any application does.

mod compare;
mod load;
mod populate;
mod shrink;
mod table;
mod validate;

pub(crate) use table::COMMANDS;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use litestream_replica::env::{Env, Kind, real};
use rusqlite::Connection;

use crate::args::{self, Parsed};
use crate::cmd::version::VERSION;
use crate::failure::{Failure, Result};
use crate::{log, out};

/// How long statements wait for the locks of others.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs `litestream-test` with the arguments after its name. Errors are printed bare; flag errors end with 2.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let env = real::env();
    log::init(log::Options::plain(log::Target::Stderr, "info"), &env);
    match run(&args, &env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                out::complain(&failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(args: &[OsString], env: &Env) -> Result {
    let Some((name, rest)) = args.split_first() else {
        return out::print(&help());
    };
    let name = name.to_string_lossy();
    if matches!(&*name, "help" | "-h" | "-help" | "--help") {
        return out::print(&help());
    }
    let Some(command) = table::COMMANDS.iter().find(|c| c.name == name) else {
        return Err(Failure::new(format!("unknown command: {name}")));
    };
    let parsed = match args::parse(command, rest) {
        Ok(parsed) => parsed,
        Err(args::Error::Help) => {
            return out::print(&args::command_help("litestream-test", command));
        }
        Err(args::Error::Bad(text, near)) => {
            let hint = near
                .map(|near| format!("\ndid you mean -{near}?"))
                .unwrap_or_default();
            let help = args::command_help("litestream-test", command);
            return Err(Failure::new(format!("{text}{hint}\n{help}")).code(2));
        }
    };
    if let Some(extra) = parsed.positionals.first() {
        return Err(Failure::new(format!("unexpected argument: {}", extra.display())).code(2));
    }
    match command.name {
        "populate" => populate::run(&parsed, env),
        "load" => load::run(&parsed, env),
        "shrink" => shrink::run(&parsed, env),
        "validate" => validate::run(&parsed, env),
        _ => out::print(&format!("litestream-test {VERSION}\n")),
    }
}

fn help() -> String {
    let mut out = String::from(
        "litestream-test makes databases, puts load on them and checks what is restored of them.\n\nUsage:\n\n\
         \tlitestream-test <command> [arguments]\n\nThe commands are:\n\n",
    );
    for command in table::COMMANDS {
        let _ = writeln!(out, "\t{:<12} {}", command.name, command.summary);
    }
    out.push('\n');
    out
}

/// The database that `-db` names.
fn database(parsed: &Parsed) -> Result<PathBuf> {
    let path = parsed.text("db");
    if path.is_empty() {
        Err(Failure::new("database path required"))
    } else {
        Ok(path.into())
    }
}

/// The same; it must exist.
fn existing_database(parsed: &Parsed, env: &Env) -> Result<PathBuf> {
    let path = database(parsed)?;
    if env.disk.metadata(&path).is_err() {
        return Err(Failure::new(format!(
            "database does not exist: {}",
            path.display()
        )));
    }
    Ok(path)
}

fn open(path: &Path) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let db = Connection::open(path)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        Ok(db)
    };
    open().map_err(|e| Failure::new(format!("open database {}: {e}", path.display())))
}

/// Errors of SQLite with what was being done.
fn doing(what: &str) -> impl FnOnce(rusqlite::Error) -> Failure {
    move |e| Failure::new(format!("{what}: {e}"))
}

/// `path` with something after its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a database and what SQLite put beside it. What is not a regular file is left alone and an error.
fn remove_database(path: &Path, env: &Env) -> Result {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = beside(path, suffix);
        match env.disk.metadata(&path).map(|m| m.kind) {
            Err(_) => {}
            Ok(Kind::File) => env.disk.remove(&path).map_err(|e| {
                Failure::new(format!("remove existing database {}: {e}", path.display()))
            })?,
            Ok(_) => {
                return Err(Failure::new(format!(
                    "not a regular file: {}",
                    path.display()
                )));
            }
        }
    }
    Ok(())
}

/// Bytes of a database with its WAL and shared memory.
fn size(path: &Path, env: &Env) -> u64 {
    ["", "-wal", "-shm"]
        .iter()
        .filter_map(|s| env.disk.metadata(&beside(path, s)).ok())
        .map(|m| m.len)
        .sum()
}

/// A size in bytes: a number with `B KB MB GB TB` (powers of 1024) or nothing behind it.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let units = [("TB", 40), ("GB", 30), ("MB", 20), ("KB", 10), ("B", 0)];
    let (number, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
        .unwrap_or((text, 0));
    let number: f64 = number.trim().parse().ok()?;
    let bytes = number * (1u64 << shift) as f64;
    (bytes.is_finite() && bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// An identifier in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("100MB"), Some(100 << 20));
        assert_eq!(parse_size("1.5KB"), Some(1536));
        assert_eq!(parse_size("2GB"), Some(2 << 30));
        assert_eq!(parse_size("1TB"), Some(1 << 40));
        assert_eq!(parse_size("7B"), Some(7));
        assert_eq!(parse_size("12"), Some(12));
        for text in ["", "MB", "-1MB", "1mb", "x", "1PB", "nan", "inf"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
