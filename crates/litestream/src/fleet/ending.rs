//! The end of a database's replication: a final sync that is tried until it succeeds, time is over, or nobody wants to wait.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use litestream_replica::Level;
use litestream_replica::env::Env;
use ltx::Txid;
use tokio::sync::watch;

use crate::error::Error;
use crate::replicator::Replicator;
use crate::settings::Settings;
use crate::staging::list_level;

/// The one attempt that no time is set for ends after this.
const ONE_ATTEMPT: Duration = Duration::from_secs(30);

/// What is left of a time that has passed.
const SHORTEST: Duration = Duration::from_millis(1);

/// Says that nobody wants to wait any more: a second signal.
pub type Interrupt = watch::Receiver<bool>;

/// How to end.
pub struct Ending<'a> {
    /// How long a final sync is tried; zero: once.
    pub timeout: Duration,
    /// Pause between tries.
    pub interval: Duration,
    /// Ends the waiting early.
    pub interrupt: Interrupt,
    /// No final sync: it is known already that it failed, or nobody wants to wait for it.
    pub abandon: bool,
    /// Is told how it goes.
    pub tell: &'a (dyn Fn(&Path, Attempt<'_>) + Send + Sync),
}

/// What happens to a final sync, for logs.
#[derive(Clone, Copy, Debug)]
pub enum Attempt<'a> {
    /// It failed and is tried again.
    Failed {
        /// So many times by now.
        attempts: u32,
        /// Why.
        error: &'a str,
        /// Since the first attempt.
        elapsed: Duration,
        /// Until it is given up.
        remaining: Duration,
    },
    /// It succeeded, not at the first attempt.
    Succeeded {
        /// So many were needed.
        attempts: u32,
        /// Since the first attempt.
        elapsed: Duration,
    },
    /// Time is over.
    TimedOut {
        /// So many times.
        attempts: u32,
        /// Why the last one failed.
        error: &'a str,
        /// Since the first attempt.
        elapsed: Duration,
    },
    /// Nobody wants to wait.
    Interrupted {
        /// So many times.
        attempts: u32,
        /// Since the first attempt.
        elapsed: Duration,
    },
}

/// Why a final sync did not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// Nothing more is waited for.
    Interrupted {
        /// So many attempts.
        attempts: u32,
    },
    /// It failed until the time was over.
    TimedOut {
        /// So many attempts.
        attempts: u32,
        /// Why the last one failed.
        cause: String,
    },
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfinished::Interrupted { attempts } => {
                write!(f, "after {attempts} attempts: shutdown sync interrupted")
            }
            Unfinished::TimedOut { attempts, cause } => {
                write!(
                    f,
                    "shutdown sync timeout after {attempts} attempts: {cause}"
                )
            }
        }
    }
}

impl<'a> Ending<'a> {
    /// The longest that a final sync takes.
    pub(super) fn limit(&self) -> Duration {
        if self.timeout.is_zero() {
            ONE_ATTEMPT
        } else {
            self.timeout
        }
    }

    /// The same with what is left after some time.
    pub(super) fn later(&self, passed: Duration) -> Ending<'a> {
        // Zero has a meaning of its own.
        let left = self.timeout.saturating_sub(passed).max(SHORTEST);
        Ending {
            timeout: left.min(self.timeout),
            interval: self.interval,
            interrupt: self.interrupt.clone(),
            abandon: self.abandon,
            tell: self.tell,
        }
    }

    /// Returns when nobody wants to wait any more.
    pub(super) async fn interrupted(&self) {
        let mut interrupt = self.interrupt.clone();
        if interrupt.wait_for(|is| *is).await.is_err() {
            // Nobody is left who could.
            std::future::pending::<()>().await;
        }
    }
}

/// Names what is not in the replicas, and says that it is not lost.
pub async fn not_uploaded(member: &super::Member, cause: &Unfinished) -> String {
    let status = member.status();
    let txid = |t: Option<Txid>| t.map_or_else(|| "unknown".to_owned(), |t| t.to_string());
    format!(
        "{}: not everything committed is in the replica (captured up to TXID {}, uploaded up to TXID {}): {cause}; \
         the rest is still in the local files and is uploaded when replication starts again",
        member.path().display(),
        txid(member.txid().await.unwrap_or(status.position)),
        txid(status.replica_position),
    )
}

pub(super) async fn final_sync(
    env: &Env,
    settings: &Settings,
    running: &Replicator,
    ending: &Ending<'_>,
) -> Result<(), Unfinished> {
    if ending.abandon {
        return Ok(());
    }
    let clock = &env.clock;
    let start = clock.monotonic();
    let tell = |attempt: Attempt<'_>| (ending.tell)(&settings.path, attempt);
    let limit = ending.limit();
    let interrupted = |attempts| {
        let elapsed = clock.monotonic().since(start);
        tell(Attempt::Interrupted { attempts, elapsed });
        Unfinished::Interrupted { attempts }
    };
    let timed_out = |attempts, elapsed, error: &str| {
        tell(Attempt::TimedOut {
            attempts,
            error,
            elapsed,
        });
        let cause = error.to_owned();
        Unfinished::TimedOut { attempts, cause }
    };
    let mut attempts = 0u32;
    loop {
        attempts += 1;
        let elapsed = clock.monotonic().since(start);
        let result = tokio::select! {
            result = running.sync() => result.map(drop),
            () = clock.sleep_async(limit.saturating_sub(elapsed)) => {
                let cause = running.status().upload_error;
                return Err(timed_out(attempts, limit, cause.as_deref().unwrap_or("no answer")));
            }
            () = ending.interrupted() => return Err(interrupted(attempts)),
        };
        let elapsed = clock.monotonic().since(start);
        let error = match result {
            Ok(()) => {
                if attempts > 1 {
                    tell(Attempt::Succeeded { attempts, elapsed });
                }
                return Ok(());
            }
            Err(Error::NoDatabase(_)) => match left_behind(env, settings, running).await {
                None => return Ok(()),
                Some(text) => text,
            },
            Err(error) => error.to_string(),
        };
        let remaining = limit.saturating_sub(elapsed);
        if remaining.is_zero() || ending.timeout.is_zero() {
            return Err(timed_out(attempts, elapsed, &error));
        }
        tell(Attempt::Failed {
            attempts,
            error: &error,
            elapsed,
            remaining,
        });
        tokio::select! {
            () = clock.sleep_async(ending.interval.min(remaining)) => {}
            () = ending.interrupted() => return Err(interrupted(attempts)),
        }
    }
}

/// A database that never was has nothing to lose; one that was deleted may have left something: captured by this run, or by one before
/// if its files are still here.
async fn left_behind(env: &Env, settings: &Settings, running: &Replicator) -> Option<String> {
    let (seen, dir) = (env.clone(), settings.meta_path.join("ltx"));
    let level = Level::L0.get().to_string();
    let listed = env
        .spawn
        .offloaded(move || list_level(&seen, &dir.join(level)));
    let error = match listed.await {
        Ok(Ok(names)) => {
            let status = running.status();
            let captured = names.iter().map(|name| name.max).max().max(status.position);
            return (captured > status.replica_position).then(|| {
                "the database is gone before all that was captured of it was uploaded".into()
            });
        }
        Ok(Err(e)) => e.to_string(),
        Err(e) => e.to_string(),
    };
    Some(format!(
        "the database is gone, and its local files cannot be listed: {error}"
    ))
}
