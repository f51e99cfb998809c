//! Mending a replica with what the live database and its state folder hold.
//!
//! Promise: nothing in the replica is deleted, and nothing replaced but by a file of the same name that is whole; nobody else works in the
//! state folder meanwhile.

use std::path::PathBuf;

use litestream_replica::env::{Env, UnixMillis};
use litestream_replica::{FileInfo, Level, SharedReplica, Source};
use ltx::{FileName, Header};

use super::report::{Finding, Kind};
use super::{Memory, Options, Progress, Report, VerifyError, database};
use crate::replicator::Replicator;
use crate::restore::plan::list;
use crate::settings::Settings;
use crate::staging::{claim, list_level, verify};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Files that were uploaded from the state folder.
    pub uploaded: Vec<(Level, FileName)>,
    /// A snapshot that was written of the live database.
    pub snapshot: Option<FileName>,
}

/// Mends what `report` found, and verifies again.
pub async fn repair(
    report: &Report,
    options: &Options,
    settings: &Settings,
    replica: &SharedReplica,
    env: &Env,
    memory: &mut Memory,
    progress: Progress<'_>,
) -> Result<(Repaired, Report), VerifyError> {
    let fail = |source| VerifyError::Repair {
        path: settings.path.clone(),
        source: Box::new(source),
    };
    let mut done = Repaired::default();
    if report.is_sound() {
        return Ok((done, report.clone()));
    }
    {
        let held = claim(env, &settings.path, &settings.meta_path).map_err(fail)?;
        let copies = copies(report, settings, replica, env).await?;
        for (level, name, path, header) in copies {
            let created = UnixMillis(header.timestamp_ms);
            replica
                .write(level, name, Source::File(path), created)
                .await?;
            tracing::info!(level = level.get(), file = %name, "uploaded the local copy");
            done.uploaded.push((level, name));
        }
        drop(held);
    }
    let mut after = if done.uploaded.is_empty() {
        report.clone()
    } else {
        database(options, settings, replica, env, memory, progress).await?
    };
    if after.findings.iter().any(needs_snapshot) {
        let replicator = Replicator::start(settings.clone(), vec![replica.clone()], env.clone())
            .map_err(fail)?;
        let snapshot = replicator.snapshot().await;
        replicator.close().await;
        done.snapshot = Some(snapshot.map_err(fail)?.name);
        after = database(options, settings, replica, env, memory, progress).await?;
    }
    Ok((done, after))
}

/// Only a new base makes later states sure again.
fn needs_snapshot(finding: &Finding) -> bool {
    finding.kind.is_damage()
}

/// A local file that may take the place of one in the replica.
type Copy = (Level, FileName, PathBuf, Header);

/// Local files of names that are damaged or missing there, which are whole.
async fn copies(
    report: &Report,
    settings: &Settings,
    replica: &SharedReplica,
    env: &Env,
) -> Result<Vec<Copy>, VerifyError> {
    let listed = list(replica, true).await?;
    let holes = report.findings.iter().any(is_about_missing);
    let damaged = |level, name| {
        let is = |f: &Finding| f.level == Some(level) && f.file == Some(name);
        report
            .findings
            .iter()
            .any(|f| is(f) && !is_about_missing(f))
    };
    let is_listed = |level, name| {
        let is = |f: &FileInfo| f.level == level && f.name == name;
        listed.iter().any(is)
    };
    let mut copies = Vec::new();
    for level in Level::all() {
        let dir = settings.meta_path.join("ltx").join(level.to_string());
        for name in list_level(env, &dir).unwrap_or_default() {
            let missing = holes && level == Level::L0 && !is_listed(level, name);
            if !missing && !damaged(level, name) {
                continue;
            }
            let path = dir.join(name.to_string());
            let (on, at) = (env.clone(), path.clone());
            let whole = env.spawn.offloaded(move || verify(&on, &at)).await;
            // What is damaged here, too, is of no use.
            if let Ok(Ok(header)) = whole {
                copies.push((level, name, path, header));
            }
        }
    }
    Ok(copies)
}

fn is_about_missing(finding: &Finding) -> bool {
    matches!(finding.kind, Kind::Hole | Kind::NoBase | Kind::WentBack)
}

impl Repaired {
    /// Whether anything was done.
    pub fn is_empty(&self) -> bool {
        self.uploaded.is_empty() && self.snapshot.is_none()
    }
}
