//! `litestream doctor`: whether a storage does what a replica needs, found out by trying.

use litestream_replica::env::Env;
use litestream_replica::probe::{self, Finding, Verdict};
use litestream_replica::settings::{Access, Opening, Storage};
use serde::Serialize;

use super::runtime;
use crate::args::Parsed;
use crate::config;
use crate::failure::{Failure, Result};
use crate::log::{self, Options, Target};
use crate::{out, place};

/// Where it is tried, below the replica.
const SCRATCH: &str = ".litestream-doctor";
/// The exit code where something is wrong.
const WRONG: u8 = 2;

#[derive(Serialize)]
struct Report {
    replica: String,
    r#type: &'static str,
    checks: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    check: &'static str,
    verdict: &'static str,
    detail: String,
    took_ms: u64,
}

impl From<&Finding> for Row {
    fn from(finding: &Finding) -> Row {
        Row {
            check: finding.check,
            verdict: match finding.verdict {
                Verdict::Good => "ok",
                Verdict::Warning => "warning",
                Verdict::Bad => "failed",
                Verdict::Skipped => "skipped",
            },
            detail: finding.detail.clone(),
            took_ms: finding.took.as_millis() as u64,
        }
    }
}

/// Tries every replica that is named.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let replicas = replicas(parsed, env)?;
    log::init(
        Options::plain(Target::Stderr, &log::level_word("", "")),
        env,
    );
    let json = parsed.bool("json");
    let runtime = runtime()?;
    let (mut reports, mut wrong) = (Vec::new(), false);
    for (storage, access) in replicas {
        let replica = storage.location();
        if !json {
            out::print(&format!("{} {replica}\n", storage.kind()))?;
        }
        let findings = runtime.block_on(examine(&storage, access, env, json))?;
        wrong |= findings.iter().any(|f| f.verdict == Verdict::Bad);
        reports.push(Report {
            replica,
            r#type: storage.kind(),
            checks: findings.iter().map(Row::from).collect(),
        });
    }
    if json {
        out::print(&out::json(&reports)?)?;
    }
    if wrong {
        Err(Failure::silent().code(WRONG))
    } else {
        Ok(())
    }
}

/// The replicas of a database, or the one that a URL names.
fn replicas(parsed: &Parsed, env: &Env) -> Result<Vec<(Storage, Access)>> {
    let arg = match parsed.positionals.as_slice() {
        [arg] if !arg.is_empty() => arg,
        [_, _, ..] => return Err(Failure::new("too many arguments")),
        _ => {
            return Err(Failure::with_try(
                "database path or replica URL required",
                "litestream doctor s3://bucket/path",
            ));
        }
    };
    if place::is_replica(arg) {
        let storage = Storage::from_url(place::utf8(arg)?).map_err(Failure::new)?;
        return Ok(vec![(storage, Access::default())]);
    }
    let path = place::expand(arg)?;
    let config = config::for_command(parsed, env)?;
    let entry = config.find(&path).ok_or_else(|| {
        Failure::with_try(
            format!("database not found in config: {}", path.display()),
            "litestream databases",
        )
    })?;
    let entry = entry.for_file(&path)?;
    Ok(entry
        .replicas
        .iter()
        .map(|replica| (replica.storage.clone(), replica.access.clone()))
        .collect())
}

async fn examine(
    storage: &Storage,
    access: Access,
    env: &Env,
    quiet: bool,
) -> Result<Vec<Finding>> {
    let opening = Opening {
        // Whether there can be a lease is what is to be found out.
        access: Access {
            lease: None,
            ..access
        },
        ..Opening::command(env)
    };
    let replica = config::open(storage, &opening)?;
    let scratch = config::open(&storage.below(SCRATCH), &opening)?;
    let tell = |finding: &Finding| {
        if !quiet {
            let row = Row::from(finding);
            let line = format!("  {:<8} {:<21} {}", row.verdict, row.check, row.detail);
            // Who does not read it does not want it.
            let _ = out::print(&format!("{}\n", line.trim_end()));
        }
    };
    let findings = probe::run(&*replica, &*scratch, env, &tell).await;
    Ok(findings)
}
