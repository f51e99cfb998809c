//! The heartbeat: a GET while all is well, so that somebody notices when it stays away.
//!
//! Whether one is due is decided purely ([`is_due`]); [`run`] asks and sends.

use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::{Clock, Monotonic, UnixMillis};
use tracing::{debug, error, info};

use crate::args::duration;
use crate::client::Client;
use crate::config::Heartbeat;
use crate::view::{Condition, Database, View};

/// How often it is looked whether a ping is due.
pub const CHECK: Duration = Duration::from_secs(15);

/// Whom to ping, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whom.
    url: String,
    /// The minimum distance between attempts.
    interval: Duration,
}

impl Options {
    /// As a configuration says; `None` if there is nobody to ping.
    pub fn of(heartbeat: &Heartbeat) -> Option<Options> {
        let Heartbeat { url, interval } = heartbeat.clone();
        (!url.is_empty()).then_some(Options { url, interval })
    }
}

/// What is known when it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For the distance between attempts.
    pub monotonic: Monotonic,
    /// For the age of syncs.
    pub wall: UnixMillis,
    /// The last attempt.
    pub last: Option<Monotonic>,
}

/// Whether a ping is due: none was tried for an interval, there is an open database, and each of them was brought to its
/// replicas within it.
pub fn is_due(databases: &[Database], at: Moment, interval: Duration) -> bool {
    let is_early = at
        .last
        .is_some_and(|last| at.monotonic.since(last) < interval);
    let mut open = databases.iter().filter(|d| is_open(d)).peekable();
    !is_early && open.peek().is_some() && open.all(|d| is_synced(d, at.wall, interval))
}

/// One that was not opened yet, or is stopped or gone, says nothing, unless it left something that is in no replica. One that fails is open.
fn is_open(database: &Database) -> bool {
    let is_running = matches!(
        database.condition(),
        Condition::Replicating | Condition::Error | Condition::Stopping
    );
    let fails = database.error().is_some();
    let left_something = database.condition() == Condition::Missing
        && database
            .replicas
            .iter()
            .any(|r| r.lag > Some(Duration::ZERO));
    is_running && (database.was_opened || fails) || left_something
}

fn is_synced(database: &Database, now: UnixMillis, interval: Duration) -> bool {
    let is_captured = database.capture_error.is_none();
    let mut replicas = database.replicas.iter();
    is_captured
        && replicas.all(|r| {
            let has_all = r.lag == Some(Duration::ZERO) && r.upload_error.is_none();
            let age = r.synced_at.map(|at| now.0.saturating_sub(at.0));
            has_all || age.is_some_and(|age| i128::from(age) <= interval.as_millis() as i128)
        })
}

/// Pings for as long as it is not dropped.
pub async fn run(
    options: Options,
    client: Arc<Client>,
    view: Arc<dyn View>,
    clock: Arc<dyn Clock>,
) {
    let Options { url, interval } = options;
    info!(
        system = "store",
        interval = duration::format(CHECK),
        "starting heartbeat monitor"
    );
    let mut last = None;
    loop {
        clock.sleep_async(CHECK).await;
        let at = Moment {
            monotonic: clock.monotonic(),
            wall: clock.now(),
            last,
        };
        if !is_due(&view.databases(), at, interval) {
            continue;
        }
        last = Some(at.monotonic);
        match client.get(&url, &*clock).await {
            Ok(()) => debug!(system = "store", url, "heartbeat ping sent"),
            Err(error) => error!(system = "store", url, error, "heartbeat ping failed"),
        }
    }
}

#[cfg(test)]
mod tests;
