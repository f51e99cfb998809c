//! A replica against the live database that it comes from.
//!
//! Promise: the database is not disturbed: one read transaction, as long as its pages take to read; nothing is written, no lock is held
//! that a writer waits for.

use std::time::Duration;

use litestream_replica::SharedReplica;
use litestream_replica::chain::position::position;
use litestream_replica::env::Env;
use ltx::{Checksum, FileName, Txid};

use super::report::{Finding, Kind, Live};
use super::{Memory, Options, Progress, Report, Target, VerifyError, live, run, words};
use crate::restore::plan::list;
use crate::settings::Settings;

/// How long the replica, and the state folder, may take to catch up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Verifies a replica as [`run`] does; it must reach what is staged locally, and hold what the live database holds.
pub async fn database(
    options: &Options,
    settings: &Settings,
    replica: &SharedReplica,
    env: &Env,
    memory: &mut Memory,
    progress: Progress<'_>,
) -> Result<Report, VerifyError> {
    let mut options = options.clone();
    let newest = staged(env, settings)
        .await?
        .last()
        .map(|(name, _)| name.max);
    options.expected = options.expected.max(newest);
    if let Some(expected) = options.expected {
        catch_up(expected, replica, env).await?;
    }
    let mut report = run(&options, replica, env, memory, progress).await?;
    if options.target == Target::Latest {
        let live = compare(&report, settings, env).await?;
        if live == Live::Differs {
            let what = format!(
                "the live database {} is at the same TXID, but its pages are others",
                settings.path.display()
            );
            let mut finding = Finding::new(Kind::Differs, None, what);
            words::mend(Kind::Differs, true).clone_into(&mut finding.mend);
            report.findings.insert(0, finding);
        }
        report.live = live;
    }
    Ok(report)
}

/// What is staged when a verification begins is uploaded soon, if somebody replicates.
async fn catch_up(expected: Txid, replica: &SharedReplica, env: &Env) -> Result<(), VerifyError> {
    let mut left = PATIENCE;
    while position(&list(replica, true).await?).contiguous < expected && !left.is_zero() {
        env.clock.sleep_async(LOOK).await;
        left = left.saturating_sub(LOOK);
    }
    Ok(())
}

async fn compare(report: &Report, settings: &Settings, env: &Env) -> Result<Live, VerifyError> {
    let (Some(proved), Some(replica)) = (report.proved, report.checksum) else {
        return Ok(Live::Unknown);
    };
    let (owned, on) = (settings.clone(), env.clone());
    let sum = env
        .spawn
        .offloaded(move || live::checksum(&on, &owned))
        .await;
    let sum = sum.map_err(|e| VerifyError::Read(crate::restore::RestoreError::Thread(e)))?;
    let sum = sum.map_err(|source| VerifyError::Database {
        path: settings.path.clone(),
        source: Box::new(source),
    })?;
    if sum == replica {
        return Ok(Live::Same);
    }
    // Somebody who replicates soon says which TXID that is.
    let mut left = PATIENCE;
    loop {
        let staged = staged(env, settings).await?;
        let found = staged.iter().find(|(_, after)| *after == Some(sum));
        match found {
            Some((name, _)) if name.max == proved.txid => return Ok(Live::Differs),
            Some((name, _)) => return Ok(Live::At(name.max)),
            None if left.is_zero() => return Ok(Live::Changed),
            None => {}
        }
        env.clock.sleep_async(LOOK).await;
        left = left.saturating_sub(LOOK);
    }
}

async fn staged(
    env: &Env,
    settings: &Settings,
) -> Result<Vec<(FileName, Option<Checksum>)>, VerifyError> {
    let (owned, on) = (settings.clone(), env.clone());
    let staged = env.spawn.offloaded(move || live::staged(&on, &owned)).await;
    staged.map_err(|e| VerifyError::Read(crate::restore::RestoreError::Thread(e)))
}
