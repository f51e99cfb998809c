//! From entries of the configuration to databases with their replicas.

use std::path::{Path, PathBuf};

use litestream::Policy;
use litestream::fleet::Spec;
use litestream_replica::env::Env;
use tracing::info;

use crate::config::{Clients, Config, Entry, Source, scan};
use crate::failure::Result;

/// The databases of an entry; what a folder holds is told.
pub fn scan_and_tell(entry: &Entry, env: &Env) -> Result<Vec<PathBuf>> {
    let paths = scan(entry, env)?;
    if let Source::Dir {
        as_written, watch, ..
    } = &entry.source
    {
        info!(
            dir = as_written,
            count = paths.len(),
            watch,
            "found databases in directory"
        );
    }
    Ok(paths)
}

/// Whether a database has an entry of its own, which beats that of its folder.
pub fn has_its_own(config: &Config, path: &Path) -> bool {
    config
        .databases
        .iter()
        .any(|entry| matches!(&entry.source, Source::Path(own) if own == path))
}

/// What the fleet needs to know of a database.
pub fn spec(
    config: &Config,
    entry: &Entry,
    path: &Path,
    on_demand: bool,
    clients: &Clients,
    env: &Env,
) -> Result<Spec> {
    let mut settings = config.settings(entry, path);
    if on_demand {
        // It ends too soon for anything by the clock.
        settings.policy = Policy::uploads_only();
    }
    Ok(Spec {
        settings,
        replicas: entry.open_replicas(path, clients, env)?,
        on_demand,
    })
}
