//! What changes something: each request carried out to its answer.
//!
//! Promise: a database that could not be given up is as it was before, and the answer says so.

use std::path::{Path, PathBuf};

use hyper::StatusCode;
use litestream::fleet::{Changed, Ending, FleetError, Member, Synced};

use super::answer::Answer;
use super::documents::{self, Moved, Registered, Reloaded};
use super::handle::{Asked, Context, DEFAULT_WAIT, EXPIRED, LOOK_WAIT, number, within};
use super::{RegisterError, look};

fn not_found(path: &Path) -> Answer {
    let text = format!("database not found: {}", path.display());
    Answer::error(StatusCode::NOT_FOUND, &text)
}

/// The position of a database after something was done to it: what is known if the disk can't be asked.
async fn position(context: &Context, member: &Member) -> u64 {
    let listed = within(context, Some(LOOK_WAIT), member.txid()).await;
    number(
        listed
            .and_then(Result::ok)
            .flatten()
            .max(member.status().position),
    )
}

/// Captures what is new and, if that is wanted, waits until it is in the replicas.
pub async fn sync(context: &Context, asked: &Asked) -> Answer {
    let Some(member) = context.member(&asked.path) else {
        return not_found(&asked.path);
    };
    let limit = asked.timeout.or(asked.wait.then_some(DEFAULT_WAIT));
    let work = async {
        // A database that is just being opened does not know where it is; what is on the disk is not new.
        let before = match member.status().position {
            Some(position) => Some(position),
            None => member.txid().await.unwrap_or_default(),
        };
        member.sync(asked.wait).await.map(|synced| Synced {
            before: synced.before.max(before),
            ..synced
        })
    };
    match within(context, limit, work).await {
        Some(Ok(synced)) => Answer::ok(&synced_as(&asked.path, asked.wait, &synced)),
        Some(Err(FleetError::NotOpen(path))) => {
            let text = format!("database not open: {}", path.display());
            Answer::error(StatusCode::CONFLICT, &text)
        }
        Some(Err(e)) => Answer::failed(&format!("sync database: {}", sync_failed(&e, asked.wait))),
        None => Answer::failed(&format!("sync database: {EXPIRED}")),
    }
}

fn synced_as(path: &Path, waited: bool, synced: &Synced) -> documents::Synced {
    documents::Synced {
        status: match (synced.txid > synced.before, waited) {
            (false, _) => "no_change",
            (true, false) => "synced_local",
            (true, true) => "synced",
        }
        .to_owned(),
        path: look::text(path),
        txid: number(synced.txid),
        replicated_txid: number(synced.replica_txid),
        uploaded: synced.replica_txid > synced.replica_before,
    }
}

fn sync_failed(error: &FleetError, waited: bool) -> String {
    use litestream::Error;
    match error {
        FleetError::Engine(Error::NoDatabase(_) | Error::NoPosition) => {
            "replica sync: no position, waiting for data".to_owned()
        }
        FleetError::Engine(Error::Replica(_) | Error::Upload(_)) => {
            format!("replica sync: {error}")
        }
        _ if waited => format!("db sync: {error}"),
        _ => error.to_string(),
    }
}

/// Resumes the replication of a database.
pub async fn start(context: &Context, asked: &Asked) -> Answer {
    let Some(member) = context.member(&asked.path) else {
        return not_found(&asked.path);
    };
    let limit = asked.timeout.unwrap_or(DEFAULT_WAIT);
    let status = match within(context, Some(limit), member.start()).await {
        Some(Ok(Changed::Now)) => "started",
        Some(Ok(Changed::Already)) => "already_running",
        Some(Err(FleetError::Gone(path))) => return not_found(&path),
        Some(Err(e)) => return Answer::failed(&format!("open database: {e}")),
        None => return Answer::failed(&format!("enable database: {EXPIRED}")),
    };
    moved(context, status, &asked.path, &member, None).await
}

async fn moved(
    context: &Context,
    status: &str,
    path: &Path,
    member: &Member,
    warning: Option<String>,
) -> Answer {
    Answer::ok(&Moved {
        status: status.to_owned(),
        path: look::text(path),
        txid: position(context, member).await,
        warning,
    })
}

/// How long a final sync is tried: as the client says, and not longer than the daemon itself would.
fn ending<'a>(context: &'a Context, asked: &Asked) -> Ending<'a> {
    let limit = asked.timeout.unwrap_or(DEFAULT_WAIT);
    let ending = context.operations.ending(Some(limit));
    if ending.timeout.is_zero() {
        // A daemon that tries once gives that one attempt its own time; a client that waits has said how long.
        return Ending {
            timeout: limit,
            ..ending
        };
    }
    ending
}

/// Ends it with a final sync.
pub async fn stop(context: &Context, asked: &Asked) -> Answer {
    let Some(member) = context.member(&asked.path) else {
        return not_found(&asked.path);
    };
    let ending = ending(context, asked);
    let (status, warning) = match member.stop(&ending, asked.force).await {
        Ok(Changed::Now) => ("stopped", None),
        Ok(Changed::Already) => ("already_stopped", None),
        Err(e) if member.replicator().is_none() => ("stopped", Some(unsent(&e))),
        Err(e) => return Answer::failed_as(&format!("close database: {e}{STAYS}"), "running"),
    };
    moved(context, status, &asked.path, &member, warning).await
}

/// Appended to why a database could not be given up.
const STAYS: &str = "; nothing has changed, the database is still replicated (\"force\": true gives it up all the same)";

fn unsent(error: &FleetError) -> String {
    format!("not everything committed is in the replica: {error}; the rest is in the local files")
}

/// Adds a database.
pub async fn register(context: &Context, asked: Asked) -> Answer {
    let path = look::text(&asked.path);
    let registered = if context.member(&asked.path).is_some() {
        Ok(false)
    } else {
        context
            .operations
            .register(asked.path, asked.replica_url)
            .await
    };
    let status = match registered {
        Ok(true) => "registered",
        Ok(false) => "already_registered",
        Err(RegisterError::BadUrl(cause)) => {
            return Answer::bad(&format!("invalid replica url: {cause}"));
        }
        Err(RegisterError::Failed(cause)) => {
            return Answer::failed(&format!("failed to register database: {cause}"));
        }
    };
    Answer::ok(&Registered {
        status: status.to_owned(),
        path,
    })
}

/// Ends the replication of a database with a final sync and forgets it.
pub async fn unregister(context: &Context, asked: &Asked) -> Answer {
    let fleet = context.operations.fleet();
    let before = context.member(&asked.path);
    let ending = ending(context, asked);
    let (member, warning) = match (
        fleet.unregister(&asked.path, &ending, asked.force).await,
        before,
    ) {
        (Ok(Some(member)), _) => (member, None),
        (Err(e), Some(member)) if member.is_gone() => (member, Some(unsent(&e))),
        (Err(e), _) => {
            let text = format!("failed to unregister database: close db: {e}{STAYS}");
            return Answer::failed_as(&text, "registered");
        }
        (Ok(None), _) => {
            return Answer::ok(&Moved {
                status: "already_unregistered".to_owned(),
                path: look::text(&asked.path),
                txid: 0,
                warning: None,
            });
        }
    };
    moved(context, "unregistered", &asked.path, &member, warning).await
}

/// Has the configuration read again.
pub async fn reload(context: &Context) -> Answer {
    let texts = |paths: &[PathBuf]| paths.iter().map(|path| look::text(path)).collect();
    match context.operations.reload().await {
        Ok(report) => Answer::ok(&Reloaded {
            status: "reloaded".to_owned(),
            added: texts(&report.added),
            removed: texts(&report.removed),
            changed: texts(&report.changed),
            unchanged: report.unchanged,
            problems: report.problems,
        }),
        Err(cause) => Answer::failed(&format!("reload configuration: {cause}")),
    }
}
