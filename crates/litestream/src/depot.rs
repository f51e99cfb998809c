//! The local files of a database as its replicas use them: what is still to be uploaded, what serves as a copy of something in a
//! replica, and when it goes.
//!
//! Promises: the newest uploaded file of level 0 stays, since it shows later that a replica holds our history; what a replica
//! still needs stays unless the disk budget is exceeded; copies take at most half of the budget.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use litestream_replica::Level;
use litestream_replica::env::Env;
use ltx::{FileName, Txid};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::policy::Policy;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::staging::{Doubts, list_level, remove_if_there, verify};

/// See the module.
pub(crate) struct Depot {
    pub env: Env,
    /// `META/ltx`.
    pub root: PathBuf,
    pub shared: Arc<Shared>,
    pub policy: Policy,
    /// All local files together take about so much at most.
    pub bytes_max: u64,
    /// Local files whose bytes may be lost.
    pub doubts: Doubts,
    /// Staged snapshots, and which replicas have them.
    snapshots: Mutex<BTreeMap<FileName, Vec<usize>>>,
    /// Staged snapshots that are damaged, until others stand in their place; `None` until that was looked for.
    pub damaged: tokio::sync::Mutex<Option<Vec<FileName>>>,
}

impl Depot {
    pub fn new(env: &Env, shared: Arc<Shared>, settings: &Settings) -> Depot {
        Depot {
            env: env.clone(),
            root: settings.meta_path.join("ltx"),
            shared,
            policy: settings.policy.clone(),
            bytes_max: settings.local_bytes_max,
            doubts: Doubts::new(env),
            snapshots: Mutex::default(),
            damaged: tokio::sync::Mutex::new(None),
        }
    }

    /// The folder of a level.
    pub fn dir(&self, level: Level) -> PathBuf {
        self.root.join(level.to_string())
    }

    /// Where a file lies or would lie.
    pub fn path(&self, level: Level, name: FileName) -> PathBuf {
        self.dir(level).join(name.to_string())
    }

    /// The files of a level.
    pub fn list(&self, level: Level) -> Result<Vec<FileName>> {
        list_level(&self.env, &self.dir(level))
    }

    /// What is to be uploaded to a replica that ends at `at`: level 0, and what was merged of it before it was uploaded, by first TXID.
    pub fn backlog(&self, at: Txid) -> Result<Vec<(Level, FileName)>> {
        let mut files = Vec::new();
        for level in [Level::L0, MERGED] {
            let names = self.list(level)?.into_iter().filter(|n| n.max > at);
            let names = names.filter(|n| level == MERGED || !self.shared.is_removed(n.max));
            files.extend(names.map(|name| (level, name)));
        }
        // What is not merged goes first: its states stay apart.
        files.sort_unstable_by_key(|(level, name)| (name.min, *level));
        Ok(files)
    }

    /// The same, as it will be after a power failure: what a replica holds must not be missing here then, or numbers would be given
    /// twice.
    pub fn durable_backlog(&self, at: Txid) -> Result<Vec<(Level, FileName)>> {
        let backlog = self.backlog(at)?;
        let levels: BTreeSet<Level> = backlog.iter().map(|(level, _)| *level).collect();
        for level in levels {
            let dir = self.dir(level);
            let synced = self.env.disk.sync_dir(&dir);
            synced.map_err(Error::io("sync directory", &dir))?;
        }
        Ok(backlog)
    }

    /// Runs work on files where it holds up no futures.
    pub async fn offloaded<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Depot) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let depot = Arc::clone(self);
        let done = self.env.spawn.offloaded(move || work(&depot)).await;
        done.map_err(Error::io("work on", &self.root))?
    }

    /// A replica has a staged snapshot; it goes once all have it.
    pub fn snapshot_uploaded(&self, replica: usize, name: FileName) -> Result<()> {
        let mut snapshots = self.snapshots.lock();
        let by = snapshots.entry(name).or_default();
        if !by.contains(&replica) {
            by.push(replica);
        }
        if by.len() >= self.shared.links.len() {
            snapshots.remove(&name);
            drop(snapshots);
            remove_if_there(&self.env, &self.path(Level::SNAPSHOT, name))?;
        }
        Ok(())
    }

    /// The staged snapshots that this replica does not have.
    pub fn snapshots_for(&self, replica: usize, damaged: &[FileName]) -> Result<Vec<FileName>> {
        let mut names = self.list(Level::SNAPSHOT)?;
        let snapshots = self.snapshots.lock();
        names.retain(|name| {
            !damaged.contains(name) && !snapshots.get(name).is_some_and(|by| by.contains(&replica))
        });
        Ok(names)
    }

    /// A snapshot is written anew under a name that some replica may have under it already.
    pub fn snapshot_staged(&self, name: FileName) {
        self.snapshots.lock().remove(&name);
        // Whoever looked between its staging and now took it for what it has.
        self.shared.snapshot_staged();
    }

    /// Removes what an earlier run left damaged, so that it is bridged instead of uploaded, and what another program kept at levels that
    /// nobody here looks at; returns which snapshots are damaged.
    pub fn verify(&self) -> Result<Vec<FileName>> {
        for level in Level::all().filter(|l| ![Level::L0, MERGED, Level::SNAPSHOT].contains(l)) {
            for name in self.list(level)? {
                remove_if_there(&self.env, &self.path(level, name))?;
            }
        }
        let mut damaged = Vec::new();
        for level in [Level::L0, MERGED, Level::SNAPSHOT] {
            for name in self.list(level)? {
                let path = self.path(level, name);
                match verify(&self.env, &path) {
                    Err(Error::Staged { source, .. })
                        if source.is_corrupt() && level == Level::SNAPSHOT =>
                    {
                        tracing::warn!(path = %path.display(), error = %source, "local snapshot is damaged, taking another");
                        damaged.push(name);
                    }
                    Err(Error::Staged { source, .. }) if source.is_corrupt() => {
                        tracing::warn!(path = %path.display(), error = %source, "local ltx file is damaged, removing it");
                        remove_if_there(&self.env, &path)?;
                    }
                    Err(Error::Io { source, .. })
                        if source.kind() == std::io::ErrorKind::NotFound => {}
                    other => drop(other?),
                }
            }
        }
        Ok(damaged)
    }

    /// Removes what no replica needs any more.
    pub fn trim(&self) -> Result<()> {
        let Some(at) = self.shared.uploaded_everywhere() else {
            return Ok(());
        };
        let mut copies = Vec::new();
        let level_0 = self.list(Level::L0)?;
        // What shows that a replica holds our history.
        let witness = level_0.contains(&FileName::single(at));
        for (level, names) in [(Level::L0, level_0), (MERGED, self.list(MERGED)?)] {
            for name in names {
                let has_other = level != Level::L0 && witness;
                if name.max > at || (name.max == at && !has_other) {
                    continue;
                }
                let path = self.path(level, name);
                if self.is_input(level, name) {
                    copies.push((name, path));
                } else {
                    remove_if_there(&self.env, &path)?;
                }
            }
        }
        self.trim_copies(copies)
    }

    /// Whether some replica that can't be read as a folder will have it compacted.
    fn is_input(&self, level: Level, name: FileName) -> bool {
        let Some(above) = self.policy.above(level) else {
            return false;
        };
        self.shared.links.iter().any(|link| {
            link.replica.local_path(level, name).is_none()
                && link.catalogue.lock().end(above) < name.max
        })
    }

    fn trim_copies(&self, mut copies: Vec<(FileName, PathBuf)>) -> Result<()> {
        copies.sort_unstable_by_key(|(name, _)| std::cmp::Reverse(name.max));
        let mut left = self.bytes_max / 2;
        for (_, path) in copies {
            let len = self.env.disk.metadata(&path).map_or(0, |m| m.len);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => remove_if_there(&self.env, &path)?,
            }
        }
        Ok(())
    }
}

/// Where files of level 0 lie that were merged before any replica had them.
pub(crate) const MERGED: Level = Level::L1;
