//! `restore-if-db-not-exists`: databases that are missing come from their replicas before anything starts.

use std::path::Path;

use litestream::restore::{self, IntegrityCheck, RestoreError, Target};
use litestream_replica::SharedReplica;
use litestream_replica::chain::listing;
use litestream_replica::env::Env;
use litestream_replica::retry::Patience;
use tracing::info;

use crate::config::{Clients, Config, Entry, Source};
use crate::failure::{Failure, Result};

/// Files that are read at the same time.
const PARALLELISM: usize = 8;

/// Restores what is missing, one after the other. The first failure ends it: to start afresh over a backup would hide it.
pub async fn restore_missing(config: &Config, all: bool, env: &Env) -> Result {
    let clients = Clients::new(config, Patience::RESTORE, env);
    for entry in &config.databases {
        let Source::Path(path) = &entry.source else {
            continue;
        };
        if all || entry.restore_if_db_not_exists {
            restore_if_missing(path, entry, &clients, env).await?;
        }
    }
    Ok(())
}

/// The same for one database.
pub async fn restore_if_missing(
    path: &Path,
    entry: &Entry,
    clients: &Clients,
    env: &Env,
) -> Result {
    match env.disk.metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        _ => {
            info!(path = %path.display(), "database exists, skipping restore");
            return Ok(());
        }
    }
    info!(path = %path.display(), "attempting restore before replication");
    let replicas = entry.open_replicas(path, clients, env)?;
    restore_one(path, &replicas, env).await
}

async fn restore_one(path: &Path, replicas: &[SharedReplica], env: &Env) -> Result {
    let request = restore::Request {
        output: path.to_owned(),
        target: Target::Latest,
        parallelism: PARALLELISM,
        force: false,
        integrity_check: IntegrityCheck::None,
        vfs: None,
    };
    match restore::run_any(&request, replicas, env, &|_| {}).await {
        Ok(_) => info!(path = %path.display(), "restore completed"),
        Err(RestoreError::NoBackup)
            if are_empty(replicas).await.map_err(|e| failed(path, e))? =>
        {
            info!(path = %path.display(), "no backup found, starting fresh");
        }
        Err(e) => return Err(failed(path, e)),
    }
    Ok(())
}

fn failed(path: &Path, cause: impl std::fmt::Display) -> Failure {
    Failure::new(format!("restore failed: {}: {cause}", path.display()))
}

/// Files without a chain that leads to a state are a damaged backup, and no reason to start afresh over it.
async fn are_empty(replicas: &[SharedReplica]) -> litestream_replica::Result<bool> {
    for replica in replicas {
        if listing::has_any(replica).await? || !replica.list_v3().await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}
