//! `litestream restore`: a database from a replica.

mod follow;
mod plan;
mod plan_v3;
mod progress;

use std::io;
use std::time::Duration;

use litestream::restore::{
    Backup, Event, IntegrityCheck, Outcome, Request, RestoreError, Target, choose, run as restore,
    run_any,
};
use litestream_replica::SharedReplica;
use litestream_replica::chain::listing;
use litestream_replica::env::{Env, Kind, UnixMillis};
use litestream_replica::retry::Patience;
use ltx::Txid;
use serde::Serialize;
use tracing::{debug, info};

use super::runtime;
use super::source::Source;
use crate::args::Parsed;
use crate::failure::{Failure, Result};
use crate::progress::{Display, Mode};
use crate::signals::{Signal, Signals};
use crate::{log, out, time};

/// What was asked for, checked.
struct Job {
    source: Source,
    request: Request,
    check_word: String,
    dry_run: bool,
    json: bool,
    if_replica_exists: bool,
    progress: Mode,
    /// Pause between looks at the replica, in follow mode.
    follow: Option<Duration>,
    env: Env,
}

/// What `-json` prints.
#[derive(Serialize)]
struct Document<'a> {
    db_path: &'a str,
    replica: &'a str,
    txid: String,
    duration_ms: u64,
    integrity_check: &'a str,
    /// When the restored state was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// Whether the checksum of the whole database is the one that the replica's newest file names.
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<&'a str>,
}

/// Restores, or says what would be restored.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let job = job(parsed, env)?;
    let options = log::Options::plain(log::Target::Stderr, &log::level_word("", ""));
    log::init(options, env);
    if parsed.bool("if-db-not-exists") && exists(&job)? {
        return job.skip("database already exists, skipping");
    }
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new(env.disk.as_ref(), false)
            .map_err(|e| Failure::new(format!("cannot handle signals: {e}")))?;
        if let Some(interval) = job.follow {
            return follow::run(&job, interval, job.source.first(), &mut signals).await;
        }
        tokio::select! {
            result = job.perform() => result,
            signal = signals.next() => Err(job.interrupted(signal)),
        }
    });
    // A read that hangs in the storage must not keep the process alive.
    runtime.shutdown_background();
    result
}

fn job(parsed: &Parsed, env: &Env) -> Result<Job> {
    let arg = match parsed.positionals.as_slice() {
        [arg] if !arg.is_empty() => arg,
        [_, _, ..] => return Err(Failure::new("too many arguments")),
        _ => {
            return Err(Failure::with_try(
                "database path or replica URL required",
                "litestream restore -o /path/to/db s3://bucket/prefix",
            ));
        }
    };
    let check_word = parsed.utf8("integrity-check");
    let integrity_check = match check_word.as_str() {
        "none" => IntegrityCheck::None,
        "quick" => IntegrityCheck::Quick,
        "full" => IntegrityCheck::Full,
        other => {
            return Err(Failure::new(format!(
                "invalid -integrity-check value: {other}"
            )));
        }
    };
    let parallelism = usize::try_from(parsed.int("parallelism"))
        .ok()
        .filter(|&n| n > 0);
    let parallelism = parallelism.ok_or_else(|| {
        Failure::new(format!(
            "invalid -parallelism value: {}, must be at least 1",
            parsed.int("parallelism")
        ))
    })?;
    let progress = Mode::parse(&parsed.utf8("progress"))?;
    let target = target(parsed)?;
    let follow = follow::interval(parsed, target)?;
    let source = Source::of(parsed, arg, Patience::RESTORE, env)?;
    let output = match (parsed.text("o"), &source.database) {
        (given, _) if !given.is_empty() => given.into(),
        (_, Some((path, _))) => path.clone(),
        (_, None) => {
            return Err(Failure::with_try(
                "-o is required when restoring from a replica URL",
                format!("litestream restore -o /path/to/db {}", source.name),
            ));
        }
    };
    Ok(Job {
        source,
        request: Request {
            output,
            target,
            parallelism,
            force: parsed.bool("force"),
            integrity_check,
            vfs: None,
        },
        check_word,
        dry_run: parsed.bool("dry-run"),
        json: parsed.bool("json"),
        if_replica_exists: parsed.bool("if-replica-exists"),
        progress,
        follow,
        env: env.clone(),
    })
}

/// The state that `-txid` or `-timestamp` names.
pub(super) fn target(parsed: &Parsed) -> Result<Target> {
    let timestamp = parsed.utf8("timestamp");
    let time: Option<UnixMillis> = time::parse(&timestamp);
    match (parsed.txid("txid"), time) {
        (_, None) if !timestamp.is_empty() => Err(Failure::new(
            "invalid -timestamp, must specify in ISO 8601 format (e.g. 2000-01-01T00:00:00Z)",
        )),
        (Some(_), Some(_)) => Err(Failure::new("cannot specify index & timestamp to restore")),
        (Some(txid), None) => Ok(Target::Txid(txid)),
        (None, Some(time)) => Ok(Target::Timestamp(time)),
        (None, None) => Ok(Target::Latest),
    }
}

/// Whether there is a file at the output. Anything else that may be there is no database, and restoring says so.
fn exists(job: &Job) -> Result<bool> {
    match job.env.disk.metadata(&job.request.output) {
        Ok(metadata) => Ok(metadata.kind == Kind::File),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Failure::new(format!(
            "cannot access output path: {}: {e}",
            job.request.output.display()
        ))),
    }
}

impl Job {
    fn output(&self) -> std::borrow::Cow<'_, str> {
        self.request.output.to_string_lossy()
    }

    /// What a failed or interrupted restore leaves.
    fn unchanged(&self) -> String {
        let state = if self.env.disk.metadata(&self.request.output).is_ok() {
            "is unchanged"
        } else {
            "was not created"
        };
        format!("{} {state}", self.output())
    }

    fn interrupted(&self, signal: Signal) -> Failure {
        let text = format!(
            "restore interrupted by signal: {}; {}",
            signal.name(),
            self.unchanged()
        );
        Failure::new(text).code(signal.exit_code())
    }

    fn skip(&self, reason: &str) -> Result {
        info!("{reason}");
        self.document(
            self.source.first().kind(),
            None,
            Duration::ZERO,
            Some(reason),
        )
    }

    fn document(
        &self,
        replica: &str,
        restored: Option<Outcome>,
        duration: Duration,
        skipped: Option<&str>,
    ) -> Result {
        if !self.json {
            return Ok(());
        }
        out::print(&out::json(&Document {
            db_path: &self.output(),
            replica,
            txid: txid_text(restored.and_then(|o| o.txid)),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            integrity_check: &self.check_word,
            time: restored.map(|o| time::utc_exact(o.time)),
            proved: restored.map(|o| o.proved),
            skipped,
        })?)
    }

    async fn perform(&self) -> Result {
        let first = self.source.first();
        if self.dry_run {
            return match choose(self.request.target, first).await {
                Ok(backup) => self.print_plan(&backup, first),
                Err(error) => self.failed(error, first).await,
            };
        }
        let start = self.env.clock.monotonic();
        let display = Display::new(self.progress, self.env.clock.clone());
        let show = |event: Event| display.show(&event);
        let result = match self.source.replicas.as_slice() {
            [only] => restore(&self.request, only.clone(), &self.env, &show)
                .await
                .map(|outcome| (outcome, only)),
            several => run_any(&self.request, several, &self.env, &show)
                .await
                .map(|restored| (restored.outcome, &several[restored.replica])),
        };
        display.finish();
        let (outcome, replica) = match result {
            Ok(restored) => restored,
            Err(error) => return self.failed(error, first).await,
        };
        self.tell_integrity();
        if outcome.proved {
            // A restore is silent, as Litestream's is; who wants to know asks for the document or the progress.
            debug!("the restored database has the checksum that the replica's newest file names");
        }
        if let Target::Timestamp(_) = self.request.target {
            let time = time::utc_exact(outcome.time);
            let txid = outcome.txid.map(tracing::field::display);
            info!(txid, time, "restored the last state before the timestamp");
        }
        let elapsed = self.env.clock.monotonic().since(start);
        self.document(replica.kind(), Some(outcome), elapsed, None)
    }

    /// Once the restored database has its name: it has passed the check that was asked for.
    fn tell_integrity(&self) {
        if self.request.integrity_check != IntegrityCheck::None {
            info!("post-restore integrity check passed");
        }
    }

    fn print_plan(&self, backup: &Backup, replica: &SharedReplica) -> Result {
        let target = self.output();
        let (source, target_path, replica) = (self.source.name.as_str(), &*target, replica.kind());
        out::print(&match (backup, self.json) {
            (Backup::Ltx(plan), json) => {
                let shown = plan::Shown {
                    source,
                    target_path,
                    replica,
                    exact: matches!(self.request.target, Target::Timestamp(_)),
                    plan,
                };
                if json { shown.json()? } else { shown.text() }
            }
            (Backup::V3(plan), json) => {
                let shown = plan_v3::Shown {
                    source,
                    target_path,
                    replica,
                    plan,
                };
                if json { shown.json()? } else { shown.text() }
            }
        })
    }

    /// Tells "nothing to restore" from all other failures.
    async fn failed(&self, error: RestoreError, replica: &SharedReplica) -> Result {
        if !error.is_no_backup() {
            let text = error.to_string();
            let text = if self.dry_run {
                text.trim_start_matches("cannot calc restore plan: ")
            } else {
                &text
            };
            return Err(Failure::new(text));
        }
        let old = !replica.list_v3().await.map_err(Failure::new)?.is_empty();
        // Backups of 0.3 are restored, but never followed.
        let old_followed = old && self.follow.is_some();
        let has_ltx = listing::has_any(replica).await.map_err(Failure::new)?;
        let empty = (!old || old_followed) && !has_ltx;
        // A replica with files of which none make up its latest state is damaged, not absent.
        if self.if_replica_exists && (empty || self.request.target != Target::Latest) {
            return self.skip("no matching backups found");
        }
        Err(Failure::new(match (self.request.target, empty) {
            (_, true) if old_followed => format!(
                "{error} to follow: there is only a backup of Litestream 0.3; restore it without -f"
            ),
            (Target::Timestamp(_), true) => "no backups found".to_owned(),
            (Target::Timestamp(_), false) => "timestamp does not exist".to_owned(),
            _ => error.to_string(),
        }))
    }
}

/// 0.3 counted no transactions.
fn txid_text(txid: Option<Txid>) -> String {
    txid.map_or_else(String::new, |txid| txid.to_string())
}
