//! What the engine is told of a database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use litestream::{Policy, Settings};
use litestream_replica::env::Env;
use litestream_replica::retry::Patience;
use litestream_replica::settings::{self, Opening, Shared, Storage, Value};
use litestream_replica::{Level, SharedReplica};

use super::types::{Config, Entry, ReplicaEntry};
use crate::failure::{Failure, Result};
use crate::log;

/// How often a database is looked at that is not to be looked at: events announce changes.
const LOOK_RARELY: Duration = Duration::from_hours(1);
/// Less would make files of single pages.
const CAPTURE_BYTES_MIN: i64 = 1 << 20;

/// What clients of replicas are made with.
#[derive(Clone)]
pub struct Clients {
    /// What they share.
    pub shared: Arc<Shared>,
    /// How long they try again.
    pub patience: Patience,
    /// They write, so they take the lease where there is to be one.
    pub writes: bool,
}

impl Clients {
    /// Under the limits of a configuration.
    pub fn new(config: &Config, patience: Patience, env: &Env) -> Clients {
        Clients {
            shared: Shared::new(config.limits, env),
            patience,
            writes: false,
        }
    }
}

/// Opens a replica whose secrets no log and no error shows from now on, whoever quotes them.
pub fn open(storage: &Storage, opening: &Opening<'_>) -> Result<SharedReplica> {
    for (_, value) in storage.keys().iter() {
        if let Value::Secret(secret) = value {
            log::redact(secret.expose());
        }
    }
    settings::open(storage, opening).map_err(Failure::new)
}

impl Entry {
    /// Clients of its replicas, for the database at `path`; contacts nobody.
    pub fn open_replicas(
        &self,
        path: &Path,
        clients: &Clients,
        env: &Env,
    ) -> Result<Vec<SharedReplica>> {
        let open = |replica: &ReplicaEntry| {
            let mut access = replica.access.clone();
            access.lease = access.lease.filter(|_| clients.writes);
            let opening = Opening {
                env,
                like: Some(path),
                access,
                shared: Arc::clone(&clients.shared),
                patience: clients.patience,
            };
            open(&replica.storage, &opening)
        };
        self.replicas.iter().map(open).collect()
    }
}

impl Config {
    /// The engine's settings for a database at `path`, which `entry` is the entry of.
    pub fn settings(&self, entry: &Entry, path: &Path) -> Settings {
        let standard = Settings::for_database(path);
        let by_config = usize::try_from(entry.max_sync_wal_bytes.max(CAPTURE_BYTES_MIN));
        let capture = by_config.ok().filter(|_| entry.max_sync_wal_bytes > 0);
        let sync = entry
            .replicas
            .iter()
            .map(|replica| replica.sync_interval)
            .min();
        Settings {
            meta_path: entry.meta_folder(path),
            monitor_interval: if entry.monitor_interval.is_zero() {
                LOOK_RARELY
            } else {
                entry.monitor_interval
            },
            // Files are made once for all replicas, as often as the most eager one wants them.
            sync_interval: sync.unwrap_or(standard.sync_interval),
            checkpoint_interval: entry.checkpoint_interval,
            min_checkpoint_page_count: entry.min_checkpoint_page_count,
            busy_timeout: entry.busy_timeout,
            capture_bytes_max: capture
                .unwrap_or(usize::MAX)
                .min(standard.capture_bytes_max),
            policy: self.policy(),
            ..standard
        }
    }

    fn policy(&self) -> Policy {
        let numbers = (1..).filter_map(Level::new);
        Policy {
            levels: numbers.zip(self.levels.iter().copied()).collect(),
            snapshot_interval: self.snapshot_interval,
            snapshot_retention: self.snapshot_retention,
            l0_retention: self.l0_retention,
            keep: self.keep,
            verify_compaction: self.verify_compaction,
            deletes: self.retention_enabled,
            verify_interval: self
                .verify
                .interval
                .or(self.validation_interval)
                .unwrap_or(Duration::ZERO),
            verify_age: self.verify.max_age,
            verify_bandwidth: self.verify.bandwidth,
        }
    }
}
