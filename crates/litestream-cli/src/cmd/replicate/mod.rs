//! `litestream replicate`: what was asked for, checked before anything starts.
//!
//! The run itself is in [`session`], its end in [`shutdown`].

mod session;
mod shutdown;

use std::ffi::OsString;
use std::sync::Arc;

use litestream_replica::env::Env;
use litestream_replica::settings::Storage;
use tracing::info;

use super::{runtime, version};
use crate::args::Parsed;
use crate::config::{self, Config, Loaded};
use crate::daemon::Daemon;
use crate::exec;
use crate::failure::{Failure, Result};
use crate::{log, monitor, place};

/// What to do once replication is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    /// Until a signal comes.
    Daemon,
    /// One sync.
    Once { snapshot: bool, retention: bool },
    /// As long as a child runs.
    Exec {
        words: Vec<String>,
        environment: Vec<(&'static str, OsString)>,
    },
}

/// Everything a run needs.
struct Job {
    daemon: Arc<Daemon>,
    /// There is a configuration that can be read again.
    reloads: bool,
    /// Restores every database that is missing.
    restore_missing: bool,
    mode: Mode,
    env: Env,
}

/// Runs until told to stop.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    check_positionals(parsed)?;
    check_flags(parsed)?;
    let source = parsed
        .positionals
        .is_empty()
        .then(|| config::Origin::of(parsed))
        .transpose()?;
    let loaded = match &source {
        Some(origin) => origin.load(env)?,
        None => Loaded::empty()?,
    };
    let mode = mode(parsed, &loaded.config)?;
    let monitor = monitor::Options::of(&loaded.config)?;
    let logging = &loaded.config.logging;
    let level = parsed.utf8("log-level");
    log::init(log::Options::of(logging, &level), env);
    info!(
        version = version::VERSION,
        level = log::level_word(&level, &logging.level),
        sqlite = litestream::sqlite_version(),
        "litestream"
    );
    loaded.log_warnings();
    let mut config = loaded.config;
    let reloads = source.is_some();
    if !reloads {
        config.databases = vec![from_arguments(parsed, env)?];
    }
    let once = matches!(mode, Mode::Once { .. });
    let job = Job {
        daemon: Daemon::new(config, source, level, once, env)?,
        reloads,
        restore_missing: parsed.bool("restore-if-db-not-exists"),
        mode,
        env: env.clone(),
    };
    let runtime = runtime()?;
    let result = runtime.block_on(session::run(&job, monitor));
    // A hanging upload must not keep the process alive.
    runtime.shutdown_background();
    result
}

/// `replicate DB URL`: one database with defaults for everything.
fn from_arguments(parsed: &Parsed, env: &Env) -> Result<config::Entry> {
    let [database, url] = parsed.positionals.as_slice() else {
        return Err(Failure::new(
            "multiple replicas on a single database are no longer supported",
        ));
    };
    let database = place::database(database, env)?;
    let storage = Storage::from_url(place::utf8(url)?).map_err(Failure::new)?;
    let replica = config::ReplicaEntry::new(storage);
    Ok(config::Entry::new(database, vec![replica]))
}

fn check_positionals(parsed: &Parsed) -> Result {
    match parsed.positionals.as_slice() {
        [] => Ok(()),
        [database] => Err(Failure::new(format!(
            "must specify at least one replica URL for {}",
            database.display()
        ))),
        [_, ..] if parsed.names_file("config") => Err(Failure::new(
            "cannot specify a replica URL and the -config flag",
        )),
        [_, rest @ ..] => match rest
            .iter()
            .find(|arg| arg.as_encoded_bytes().starts_with(b"-"))
        {
            Some(flag) => Err(Failure::new(format!(
                "flag \"{}\" must be positioned before DB_PATH and REPLICA_URL arguments",
                flag.display()
            ))),
            None => Ok(()),
        },
    }
}

fn check_flags(parsed: &Parsed) -> Result {
    let once = parsed.bool("once");
    if once && !parsed.utf8("exec").is_empty() {
        return Err(Failure::new("cannot specify -once flag with -exec"));
    }
    for name in ["force-snapshot", "enforce-retention"] {
        if parsed.bool(name) && !once {
            return Err(Failure::new(format!(
                "cannot specify -{name} flag without -once"
            )));
        }
    }
    Ok(())
}

fn mode(parsed: &Parsed, config: &Config) -> Result<Mode> {
    let flag = parsed.utf8("exec");
    let exec = if flag.is_empty() { &config.exec } else { &flag };
    if parsed.bool("once") {
        if !exec.is_empty() {
            return Err(Failure::new("cannot specify -once flag with -exec"));
        }
        return Ok(Mode::Once {
            snapshot: parsed.bool("force-snapshot"),
            retention: parsed.bool("enforce-retention"),
        });
    }
    if exec.is_empty() {
        return Ok(Mode::Daemon);
    }
    Ok(Mode::Exec {
        words: exec::split(exec)?,
        environment: exec::child_environment(&parsed.utf8("log-level")),
    })
}
