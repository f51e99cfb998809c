//! The databases that `replicate` runs: those of the configuration, those found in its folders, and those registered meanwhile.
//!
//! Owns the fleet and what each member was made of. Promises: one database that cannot be replicated keeps no other from it once the
//! daemon runs; a reload touches only what has changed; a database is given up with a final sync.

mod folders;
mod memory;
mod operations;
mod place;
mod reload;
mod restore;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use litestream::fleet::{Attempt, Ending, Fleet, FleetError, not_uploaded};
use litestream_replica::env::{Env, Monotonic, UnixMillis};
use litestream_replica::metered::Metered;
use litestream_replica::retry::Patience;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{error, info, warn};

pub use self::restore::restore_missing;
use crate::args::duration;
use crate::config::{Clients, Config, Entry, Origin, ReplicaEntry, Source};
use crate::failure::{Failure, Result};
use crate::metrics::Metrics;

/// See the module.
pub struct Daemon {
    pub env: Env,
    pub fleet: Arc<Fleet>,
    /// Counts what is done with replicas.
    pub metrics: Arc<Metrics>,
    /// What its clients share.
    clients: Clients,
    config: Mutex<Arc<Config>>,
    /// Where the configuration came from, if it came from a file.
    origin: Option<Origin>,
    /// The level of the log, if the command line has one.
    log_level: String,
    /// Replication by request only: `-once`.
    on_demand: bool,
    /// What the members from the configuration were made of.
    placed: Mutex<HashMap<PathBuf, Entry>>,
    /// Those of members that were registered meanwhile.
    registered: Mutex<HashMap<PathBuf, Entry>>,
    folders: Mutex<Vec<folders::Watched>>,
    left_behind: Mutex<Vec<String>>,
    /// How many are being let go.
    leaving: watch::Sender<usize>,
    /// One change of what is replicated at a time.
    turn: tokio::sync::Mutex<()>,
    started_at: UnixMillis,
    started: Monotonic,
    interrupt: watch::Sender<bool>,
    /// The daemon ends: a reload waits for nothing any more.
    hurry: watch::Sender<bool>,
}

impl Daemon {
    /// A daemon that replicates nothing yet.
    pub fn new(
        config: Config,
        origin: Option<Origin>,
        log_level: String,
        on_demand: bool,
        env: &Env,
    ) -> Result<Arc<Daemon>> {
        let fleet = Arc::new(Fleet::new(env.clone()));
        let metrics = Metrics::new(Arc::clone(&fleet) as _)
            .map_err(|e| Failure::new(format!("cannot set up metrics: {e}")))?;
        Ok(Arc::new(Daemon {
            fleet,
            metrics: Arc::new(metrics),
            // The engine tries again by itself, and tells.
            clients: Clients {
                writes: true,
                ..Clients::new(&config, Patience::SHORT, env)
            },
            config: Mutex::new(Arc::new(config)),
            origin,
            log_level,
            on_demand,
            placed: Mutex::default(),
            registered: Mutex::default(),
            folders: Mutex::default(),
            left_behind: Mutex::default(),
            leaving: watch::Sender::new(0),
            turn: tokio::sync::Mutex::default(),
            started_at: env.clock.now(),
            started: env.clock.monotonic(),
            interrupt: watch::Sender::new(false),
            hurry: watch::Sender::new(false),
            env: env.clone(),
        }))
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock())
    }

    /// When it was started: by the wall clock, and by the other one.
    pub fn started(&self) -> (UnixMillis, Monotonic) {
        (self.started_at, self.started)
    }

    /// Starts replicating everything that the configuration names. The first thing that cannot be set up ends it.
    pub async fn start(self: &Arc<Self>) -> Result {
        let _turn = self.turn.lock().await;
        let config = self.config();
        if config.databases.is_empty() {
            error!("no databases specified in configuration");
        }
        for (path, entry) in self.expanded(&config).await? {
            self.place(&config, path, entry)?;
        }
        let memory = memory::tend(self.env.clone());
        self.env.spawn.task("memory", Box::pin(memory));
        self.watch_folders(&config)
    }

    /// Every database that a configuration names or whose folder it names. Folders are looked at where that holds up nobody.
    async fn expanded(&self, config: &Config) -> Result<Vec<(PathBuf, Entry)>> {
        let (config, env) = (config.clone(), self.env.clone());
        let looked = move || config.expanded(&env, place::scan_and_tell);
        let done = self.env.spawn.offloaded(looked).await;
        done.map_err(|e| Failure::new(format!("cannot look at folders: {e}")))?
    }

    /// Starts replicating one database.
    fn place(&self, config: &Config, path: PathBuf, entry: Entry) -> Result {
        let mut spec = place::spec(
            config,
            &entry,
            &path,
            self.on_demand,
            &self.clients,
            &self.env,
        )?;
        for replica in &mut spec.replicas {
            let counted = Metered::new(
                Arc::clone(replica),
                self.metrics.operations(),
                self.env.clock.clone(),
            );
            *replica = Arc::new(counted);
        }
        let kinds: Vec<_> = spec
            .replicas
            .iter()
            .map(|r| (r.kind(), r.location()))
            .collect();
        let registered = self.fleet.register(spec);
        registered
            .map_err(|e| Failure::new(format!("cannot open store: {}: {e}", path.display())))?;
        info!(path = %path.display(), "initialized db");
        for ((kind, location), replica) in kinds.iter().zip(&entry.replicas) {
            let interval = duration::format(replica.sync_interval);
            info!(r#type = kind, path = %location, "sync-interval" = %interval, "replicating to");
        }
        self.placed.lock().insert(path, entry);
        Ok(())
    }

    /// Adds a database beside those of the configuration. `false`: it is there.
    async fn add(&self, path: PathBuf, entry: impl FnOnce(PathBuf) -> Entry) -> Result<bool> {
        let _turn = self.turn.lock().await;
        if self.fleet.get(&path).is_some() {
            return Ok(false);
        }
        let entry = entry(path.clone());
        self.check_apart(&path, &entry)?;
        self.place(&self.config(), path.clone(), entry)?;
        // A reload knows only what the configuration names.
        let own = self.placed.lock().remove(&path);
        self.registered
            .lock()
            .extend(own.map(|entry| (path, entry)));
        Ok(true)
    }

    /// Whether another database is replicated to the same place, or has its local state there.
    fn check_apart(&self, path: &Path, entry: &Entry) -> Result {
        let (placed, registered) = (self.placed.lock(), self.registered.lock());
        let state = entry.meta_folder(path);
        for (other, its) in placed.iter().chain(registered.iter()) {
            // One that was unregistered leaves its place.
            if other == path || self.fleet.get(other).is_none() {
                continue;
            }
            if its.meta_folder(other) == state {
                return Err(Failure::new(format!(
                    "meta-path collision: databases {} and {} would share meta-path {}, causing replication state corruption",
                    other.display(),
                    path.display(),
                    state.display()
                )));
            }
            let shared = |a: &ReplicaEntry| {
                its.replicas
                    .iter()
                    .any(|b| a.storage.same_place(&b.storage))
            };
            if let Some(replica) = entry.replicas.iter().find(|replica| shared(replica)) {
                return Err(Failure::new(format!(
                    "databases {} and {} would share the replica at {}; give each a path of its own",
                    other.display(),
                    path.display(),
                    replica.storage.location()
                )));
            }
        }
        Ok(())
    }

    /// Ends the replication of a database that is not named any more.
    async fn unplace(&self, path: &Path, ending: &Ending<'_>) -> std::result::Result<(), String> {
        let ended = self.fleet.unregister(path, ending, false).await;
        ended.map_err(|e| e.to_string())?;
        self.placed.lock().remove(path);
        self.registered.lock().remove(path);
        Ok(())
    }

    /// Ends the replication of a database whose file is gone. What is not in its replica then is remembered for the end of the daemon.
    async fn let_go(&self, path: &Path) {
        self.leaving.send_modify(|count| *count += 1);
        let member = self.fleet.get(path);
        let ended = self.fleet.unregister(path, &self.ending(None), true).await;
        if let (Some(member), Err(FleetError::Unfinished(cause))) = (&member, &ended) {
            let text = not_uploaded(member, cause).await;
            error!(path = %path.display(), error = text, "failed to close database");
            self.left_behind.lock().push(text);
        }
        self.leaving.send_modify(|count| *count -= 1);
        let _turn = self.turn.lock().await;
        // Unless it came back meanwhile.
        if self.fleet.get(path).is_none() {
            self.placed.lock().remove(path);
            self.registered.lock().remove(path);
        }
    }

    /// Waits until nobody is being let go.
    async fn none_leaves(&self) {
        // The sender lives as long as `self`.
        let _ = self.leaving.subscribe().wait_for(|count| *count == 0).await;
    }

    /// What databases that went had not uploaded, once all of them have gone.
    pub async fn left_behind(&self) -> Vec<String> {
        self.none_leaves().await;
        self.left_behind.lock().clone()
    }

    /// Starts watching the folders whose entries ask for it.
    fn watch_folders(self: &Arc<Self>, config: &Config) -> Result {
        let mut watched = Vec::new();
        if !self.on_demand {
            for entry in &config.databases {
                if let Source::Dir { watch: true, .. } = entry.source {
                    watched.push(folders::watch(self, entry.clone())?);
                }
            }
        }
        *self.folders.lock() = watched;
        Ok(())
    }

    /// How databases are ended, within `limit` if it is less than the configured time.
    pub fn ending(&self, limit: Option<std::time::Duration>) -> Ending<'static> {
        let config = self.config();
        let timeout = config.shutdown_sync_timeout;
        Ending {
            timeout: match limit {
                Some(limit) if timeout.is_zero() || limit < timeout => limit,
                _ => timeout,
            },
            interval: config.shutdown_sync_interval,
            interrupt: self.interrupt.subscribe(),
            abandon: false,
            tell: &tell,
        }
    }

    /// Nobody waits for final syncs any more.
    pub fn interrupt(&self) {
        self.interrupt.send_replace(true);
    }

    /// A reload that is under way ends soon: what it waits for goes on as it was.
    pub fn hurry(&self) {
        self.hurry.send_replace(true);
    }

    /// Waits until nobody changes any more what is replicated. As long as the result lives, nobody does.
    pub async fn settle(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.hurry();
        self.turn.lock().await
    }

    /// Stops watching folders: what happens there from now on is not seen.
    pub fn stop_folders(&self) {
        self.folders.lock().clear();
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Logs how a final sync goes.
fn tell(path: &Path, attempt: Attempt<'_>) {
    let db = name(path);
    match attempt {
        Attempt::Failed {
            attempts,
            error,
            elapsed,
            remaining,
        } => warn!(
            system = "store",
            db,
            attempts,
            error,
            elapsed = duration::format(elapsed),
            remaining = duration::format(remaining),
            "shutdown sync failed, retrying (press Ctrl+C again to skip)"
        ),
        Attempt::Succeeded { attempts, elapsed } => info!(
            system = "store",
            db,
            attempts,
            duration = duration::format(elapsed),
            "shutdown sync succeeded after retry"
        ),
        Attempt::TimedOut {
            attempts,
            error,
            elapsed,
        } => error!(
            system = "store",
            db,
            attempts,
            duration = duration::format(elapsed),
            error,
            "shutdown sync failed after timeout"
        ),
        Attempt::Interrupted { attempts, elapsed } => warn!(
            system = "store",
            db,
            attempts,
            duration = duration::format(elapsed),
            "shutdown sync interrupted by signal"
        ),
    }
}
