//! One database of a fleet: stopped, running, or on its way from one to the other.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use litestream_replica::Level;
use litestream_replica::env::Env;
use ltx::Txid;
use parking_lot::Mutex;

use super::ending::{self, Ending, Unfinished};
use super::{DatabaseStatus, Spec};
use crate::error::Error;
use crate::replicator::Replicator;
use crate::shared::Status;
use crate::staging::list_level;

/// Releasing a database is waited for no longer than this; it goes on beside.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Whether a database is replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No.
    Stopped,
    /// Yes; whether that works is in its status.
    Running,
    /// Yes, for the last time.
    Stopping,
}

/// Whether something had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was done.
    Now,
    /// It was so before.
    Already,
}

/// Why a database could not be synced, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// It is stopped.
    #[error("database not open: {}", .0.display())]
    NotOpen(std::path::PathBuf),
    /// It was unregistered.
    #[error("database not found: {}", .0.display())]
    Gone(std::path::PathBuf),
    /// Not everything is in its replicas.
    #[error("{0}")]
    Unfinished(Unfinished),
    /// The engine said no.
    #[error("{0}")]
    Engine(#[from] Error),
}

/// What a sync did.
#[derive(Clone, Copy, Debug)]
pub struct Synced {
    /// The position before.
    pub before: Option<Txid>,
    /// The position now.
    pub txid: Option<Txid>,
    /// Up to here every replica has everything, if that is known.
    pub replica_txid: Option<Txid>,
    /// Where that was before.
    pub replica_before: Option<Txid>,
}

/// See the module.
pub struct Member {
    spec: Spec,
    env: Env,
    state: Mutex<State>,
    /// Starting and stopping happen one after the other.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    phase: Phase,
    running: Option<Arc<Replicator>>,
    /// How it stood when it was stopped.
    last: Status,
    /// It was stopped for good.
    is_gone: bool,
}

impl Member {
    pub(super) fn new(spec: Spec, env: Env) -> Member {
        Member {
            spec,
            env,
            state: Mutex::new(State {
                phase: Phase::Stopped,
                running: None,
                last: Status::default(),
                is_gone: false,
            }),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Its database.
    pub fn path(&self) -> &Path {
        &self.spec.settings.path
    }

    /// What it was registered with.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What runs, if it does.
    pub fn replicator(&self) -> Option<Arc<Replicator>> {
        self.state.lock().running.clone()
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.database().status
    }

    /// How it stands, with its name.
    pub fn database(&self) -> DatabaseStatus {
        let state = self.state.lock();
        DatabaseStatus {
            path: self.path().to_owned(),
            phase: state.phase,
            monitored: !self.spec.on_demand,
            status: match &state.running {
                Some(running) => running.status(),
                None => state.last.clone(),
            },
        }
    }

    /// The newest TXID here, also of a stopped database.
    pub async fn txid(&self) -> io::Result<Option<Txid>> {
        let seen = self.status().position;
        let (env, meta) = (self.env.clone(), self.spec.settings.meta_path.clone());
        let dir = Level::L0.get().to_string();
        let listed = self.env.spawn.offloaded(move || {
            let names = list_level(&env, &meta.join("ltx").join(dir))?;
            Ok::<_, Error>(names.iter().map(|name| name.max).max())
        });
        let local = listed.await?.map_err(io::Error::other)?;
        Ok(seen.max(local))
    }

    /// Starts its replication.
    pub async fn start(&self) -> Result<Changed, FleetError> {
        let _turn = self.turn.lock().await;
        self.start_now()
    }

    /// The turn of a member that nobody else has seen yet.
    pub(super) fn first_turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.turn.try_lock().ok()
    }

    /// For whoever has the turn. The state is not locked while the file system is asked.
    pub(super) fn start_now(&self) -> Result<Changed, FleetError> {
        {
            let state = self.state.lock();
            if state.is_gone {
                return Err(FleetError::Gone(self.path().to_owned()));
            }
            if state.running.is_some() {
                return Ok(Changed::Already);
            }
        }
        let replicas = self.spec.replicas.clone();
        let running = Replicator::start(self.spec.settings.clone(), replicas, self.env.clone())?;
        let mut state = self.state.lock();
        state.running = Some(Arc::new(running));
        state.phase = Phase::Running;
        Ok(Changed::Now)
    }

    /// Stages everything committed by now; with `wait` brings it to the replicas, too.
    pub async fn sync(&self, wait: bool) -> Result<Synced, FleetError> {
        let running = self.replicator();
        let running = running.ok_or_else(|| FleetError::NotOpen(self.path().to_owned()))?;
        let before = running.status();
        let txid = if wait {
            Some(running.sync().await?)
        } else {
            match running.capture().await {
                // Nothing there, nothing to capture.
                Err(Error::NoDatabase(_) | Error::NoPosition) => None,
                captured => Some(captured?),
            }
        };
        let after = running.status();
        Ok(Synced {
            before: before.position,
            txid: txid.max(after.position),
            replica_txid: after.replica_position,
            replica_before: before.replica_position,
        })
    }

    /// Ends its replication with a final sync. If that fails it goes on as before, unless it is `forced`: then it is stopped all the same,
    /// and what was not sent stays in its WAL and local files.
    pub async fn stop(&self, ending: &Ending<'_>, forced: bool) -> Result<Changed, FleetError> {
        self.give_up(ending, forced, false).await
    }

    /// Whether it was stopped for good.
    pub fn is_gone(&self) -> bool {
        self.state.lock().is_gone
    }

    /// The same; `for_good`: it can't be started again once it is stopped.
    pub(super) async fn give_up(
        &self,
        ending: &Ending<'_>,
        forced: bool,
        for_good: bool,
    ) -> Result<Changed, FleetError> {
        let clock = &self.env.clock;
        let start = clock.monotonic();
        let _turn = tokio::select! {
            turn = self.turn.lock() => turn,
            () = clock.sleep_async(ending.limit()) => return Err(FleetError::Unfinished(Unfinished::TimedOut {
                attempts: 0,
                cause: "another start or stop of this database is under way".to_owned(),
            })),
            () = ending.interrupted() => {
                return Err(FleetError::Unfinished(Unfinished::Interrupted { attempts: 0 }));
            }
        };
        // One limit for both, waiting and sync.
        let ending = &ending.later(clock.monotonic().since(start));
        let running = {
            let mut state = self.state.lock();
            let Some(running) = state.running.clone() else {
                state.is_gone |= for_good;
                return Ok(Changed::Already);
            };
            state.phase = Phase::Stopping;
            running
        };
        let mut back = Back(Some(&self.state));
        let synced = ending::final_sync(&self.env, &self.spec.settings, &running, ending).await;
        if synced.is_err() && !forced {
            return synced
                .map(|()| Changed::Now)
                .map_err(FleetError::Unfinished);
        }
        back.0 = None;
        // Nobody waits for long for one who is in a hurry.
        if !matches!(synced, Err(Unfinished::Interrupted { .. })) {
            tokio::select! {
                () = running.close() => {}
                () = self.env.clock.sleep_async(CLOSE_WAIT) => {
                    tracing::warn!(path = %self.path().display(), "database is still in use by a running operation, ending anyway");
                }
                () = ending.interrupted() => {}
            }
        }
        let mut state = self.state.lock();
        state.last = running.status();
        state.running = None;
        state.phase = Phase::Stopped;
        state.is_gone |= for_good;
        drop(state);
        synced
            .map(|()| Changed::Now)
            .map_err(FleetError::Unfinished)
    }
}

/// A database that was not stopped after all runs; also if nobody waits for that any more.
struct Back<'a>(Option<&'a Mutex<State>>);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.0 {
            state.lock().phase = Phase::Running;
        }
    }
}
