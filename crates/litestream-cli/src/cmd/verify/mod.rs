//! `litestream verify`: whether a replica can be restored, and what it lost.
//!
//! Exit codes: 0 if nothing is lost or wrong, 1 if that could not be found out, 2 if something is.

mod document;
mod progress;

use std::path::PathBuf;
use std::time::Duration;

use litestream::Settings;
use litestream::verify::{
    Depth, Memory, Options, Repaired, Report, Target, database, repair, run as verify,
};
use litestream_replica::SharedReplica;
use litestream_replica::env::{Env, Kind};
use litestream_replica::retry::Patience;
use tracing::{info, warn};

use super::source::Source;
use super::{restore, runtime};
use crate::args::Parsed;
use crate::failure::{Failure, Result};
use crate::progress::{Display, Mode};
use crate::signals::Signals;
use crate::testtool::parse_size;
use crate::{log, out, place};

/// Something is lost or wrong.
const DAMAGED: u8 = 2;

/// What was asked for, checked.
struct Job {
    replica: SharedReplica,
    /// The live database, if it is to be compared.
    settings: Option<Settings>,
    options: Options,
    /// Where what was proved is remembered.
    state: Option<PathBuf>,
    repair: bool,
    json: bool,
    progress: Mode,
    env: Env,
}

/// Verifies a replica.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let job = job(parsed, env)?;
    let options = log::Options::plain(log::Target::Stderr, &log::level_word("", ""));
    log::init(options, env);
    let mut memory = match &job.state {
        Some(path) => Memory::load(env, path).map_err(Failure::new)?,
        None => Memory::default(),
    };
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new(env.disk.as_ref(), false)
            .map_err(|e| Failure::new(format!("cannot handle signals: {e}")))?;
        tokio::select! {
            result = job.perform(&mut memory) => result,
            signal = signals.next() => {
                let text = format!("verification interrupted by signal: {}", signal.name());
                Err(Failure::new(text).code(signal.exit_code()))
            }
        }
    });
    runtime.shutdown_background();
    // What was proved before an interruption counts, too.
    if let Some(path) = &job.state
        && let Err(error) = memory.save(env, path)
    {
        warn!(%error, "what was verified will be verified again next time");
    }
    let (report, repaired) = result?;
    out::print(&if job.json {
        document::json(&report, &repaired)?
    } else {
        document::text(&report, &repaired)
    })?;
    if report.is_sound() {
        Ok(())
    } else {
        Err(Failure::silent().code(DAMAGED))
    }
}

fn job(parsed: &Parsed, env: &Env) -> Result<Job> {
    let (db, source) = match parsed.positionals.as_slice() {
        [one] if !one.is_empty() => {
            let source = Source::of(parsed, one, Patience::RESTORE, env)?;
            (source.database.clone(), source)
        }
        [db, replica] if place::is_replica(replica) => {
            let path = place::database(db, env)?;
            let settings = Settings::for_database(&path);
            (
                Some((path, settings)),
                Source::of(parsed, replica, Patience::RESTORE, env)?,
            )
        }
        [_, _, ..] => return Err(Failure::new("too many arguments")),
        _ => {
            return Err(Failure::with_try(
                "database path or replica URL required",
                "litestream verify file:///path/to/backup",
            ));
        }
    };
    let options = options(parsed)?;
    let repair = parsed.bool("repair");
    if repair && db.is_none() {
        return Err(Failure::with_try(
            "-repair needs the database that the replica comes from",
            "litestream verify -repair /path/to/db file:///path/to/backup",
        ));
    }
    let settings = db.map(|(_, settings)| settings);
    Ok(Job {
        replica: source.first().clone(),
        state: state(parsed, settings.as_ref(), env),
        settings,
        options,
        repair,
        json: parsed.bool("json"),
        progress: Mode::parse(&parsed.utf8("progress"))?,
        env: env.clone(),
    })
}

fn options(parsed: &Parsed) -> Result<Options> {
    let depth = if parsed.bool("deep") {
        Depth::Deep
    } else {
        Depth::Quick
    };
    let bandwidth = parsed.utf8("bandwidth");
    let bandwidth = match bandwidth.as_str() {
        "" => None,
        text => {
            let bytes = parse_size(text).filter(|bytes| *bytes > 0);
            let bytes = bytes.ok_or_else(|| {
                Failure::new(format!(
                    "invalid -bandwidth value: {text}, must be bytes per second such as 10MB"
                ))
            })?;
            Some(bytes)
        }
    };
    Ok(Options {
        target: restore::target(parsed)?,
        full: parsed.bool("full"),
        max_age: Some(parsed.duration("max-age")).filter(|age| *age > Duration::ZERO),
        bandwidth,
        ..Options::new(depth)
    })
}

/// Where what was proved is remembered: where told, or in the state folder of the database, if there is one.
fn state(parsed: &Parsed, settings: Option<&Settings>, env: &Env) -> Option<PathBuf> {
    let given = parsed.text("state");
    if !given.is_empty() {
        return Some(given.into());
    }
    let meta = &settings?.meta_path;
    let is_there = env.disk.metadata(meta).is_ok_and(|m| m.kind == Kind::Dir);
    is_there.then(|| meta.join("verified.json"))
}

impl Job {
    async fn perform(&self, memory: &mut Memory) -> Result<(Report, Repaired)> {
        let display = Display::new(self.progress, self.env.clock.clone());
        let show = |event| display.show(&event);
        let (replica, env) = (&self.replica, &self.env);
        let result = match &self.settings {
            None => verify(&self.options, replica, env, memory, &show).await,
            Some(settings) => database(&self.options, settings, replica, env, memory, &show).await,
        };
        display.finish();
        let report = result.map_err(Failure::new)?;
        let Some(settings) = self.settings.as_ref().filter(|_| self.repair) else {
            return Ok((report, Repaired::default()));
        };
        if self.options.target != Target::Latest {
            return Err(Failure::new(
                "cannot specify -repair with -txid or -timestamp",
            ));
        }
        if report.is_sound() {
            info!("nothing to repair");
            return Ok((report, Repaired::default()));
        }
        let repaired = repair(
            &report,
            &self.options,
            settings,
            replica,
            env,
            memory,
            &show,
        )
        .await;
        display.finish();
        let (done, report) = repaired.map_err(Failure::new)?;
        Ok((report, done))
    }
}
