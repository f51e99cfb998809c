//! `litestream replicate`: what was asked for, checked before anything starts.
//!
//! The run itself is in [`session`], its end in [`shutdown`].

mod session;
mod shutdown;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use litestream_replica::env::Env;
use litestream_replica::{SharedReplica, url};
use tracing::info;

use super::{runtime, version};
use crate::args::{Parsed, table};
use crate::exec;
use crate::failure::{Failure, Result};
use crate::log::{self, Options, Target};
use crate::{dispatch, place};

/// Snapshots older than this go with `-enforce-retention`.
const SNAPSHOT_RETENTION: Duration = Duration::from_hours(24);

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
    database: PathBuf,
    replica: SharedReplica,
    restore_if_missing: bool,
    mode: Mode,
    env: Env,
}

/// Runs until told to stop.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    check_positionals(parsed)?;
    dispatch::check_available(parsed)?;
    let mode = mode(parsed)?;

    let level = log::level_word(&parsed.utf8("log-level"));
    log::init(Options::plain(Target::Stdout, &level), env);
    info!(
        version = version::VERSION,
        level,
        sqlite = litestream::sqlite_version(),
        "litestream"
    );

    if parsed.positionals.len() > 2 {
        return Err(Failure::new(
            "multiple replicas on a single database are no longer supported",
        ));
    }
    let database = place::database(&parsed.positionals[0], env)?;
    let replica_url = place::utf8(&parsed.positionals[1])?;
    let job = Job {
        replica: url::open(replica_url, env, Some(&database)).map_err(Failure::new)?,
        database,
        restore_if_missing: parsed.bool("restore-if-db-not-exists"),
        mode,
        env: env.clone(),
    };
    let runtime = runtime()?;
    let result = runtime.block_on(session::run(&job));
    // A hanging upload must not keep the process alive.
    runtime.shutdown_background();
    result
}

fn check_positionals(parsed: &Parsed) -> Result {
    match parsed.positionals.as_slice() {
        [] if parsed.is_given("config") => dispatch::check_available(parsed),
        [] => Err(Failure::with_try(
            format!("no database given: {}", table::NO_CONFIG),
            "litestream replicate /path/to/db file:///path/to/backup",
        )),
        [_, ..] if parsed.is_given("config") => Err(Failure::new(
            "cannot specify a replica URL and the -config flag",
        )),
        [database] => Err(Failure::new(format!(
            "must specify at least one replica URL for {}",
            database.display()
        ))),
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

fn mode(parsed: &Parsed) -> Result<Mode> {
    let exec = parsed.utf8("exec");
    let (once, snapshot, retention) = (
        parsed.bool("once"),
        parsed.bool("force-snapshot"),
        parsed.bool("enforce-retention"),
    );
    if once && !exec.is_empty() {
        return Err(Failure::new("cannot specify -once flag with -exec"));
    }
    for (name, given) in [
        ("force-snapshot", snapshot),
        ("enforce-retention", retention),
    ] {
        if given && !once {
            return Err(Failure::new(format!(
                "cannot specify -{name} flag without -once"
            )));
        }
    }
    Ok(match (once, exec.is_empty()) {
        (true, _) => Mode::Once {
            snapshot,
            retention,
        },
        (false, true) => Mode::Daemon,
        (false, false) => Mode::Exec {
            words: exec::split(&exec)?,
            environment: exec::child_environment(&parsed.utf8("log-level")),
        },
    })
}
