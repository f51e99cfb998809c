//! Folders whose databases are replicated as they come, until they go.
//!
//! Events only say when to look: whatever is there is found by a scan of the folder, so that no event need be understood and a lost one
//! costs a delay. Scans follow each other at a distance that grows with what they cost.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::{Folders, Running};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

use super::{Daemon, place};
use crate::config::{Entry, Source, dir};
use crate::failure::{Failure, Result};

/// From an event to the scan: more may follow.
const GATHER: Duration = Duration::from_millis(250);
/// A scan without any event: what comes from another host, or is no database yet.
const SCAN_EVERY: Duration = Duration::from_secs(30);
/// A file that matches and is no database yet may become one without telling: SQLite writes on.
const CANDIDATE_EVERY: Duration = Duration::from_secs(1);
/// Nobody waits longer for a worker that is at something else.
const LET_GO_MAX: Duration = Duration::from_secs(5);
/// Scans take at most one part of so many of the time.
const SHARE: u32 = 20;

/// A folder that is watched, until this is dropped.
pub struct Watched(Box<dyn Running>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches the folder of an entry.
pub fn watch(daemon: &Arc<Daemon>, entry: Entry) -> Result<Watched> {
    let Source::Dir { dir, .. } = &entry.source else {
        return Err(Failure::new("'watch' can only be enabled with a directory"));
    };
    let happened = Arc::new(Notify::new());
    let told = Arc::clone(&happened);
    let tell = Box::new(move |name: Option<&OsStr>| {
        if name.is_none_or(is_of_interest) {
            told.notify_one();
        }
    });
    let folders = match daemon.env.watch.folders(tell) {
        Ok(folders) => Some(folders),
        Err(e) => {
            if e.kind() != ErrorKind::Unsupported {
                warn!(dir = %dir.display(), error = %e, "folder cannot be watched, looking at it every 30 seconds instead");
            }
            None
        }
    };
    let watcher = Watcher {
        daemon: Arc::clone(daemon),
        entry,
        folders,
        happened,
        leaving: Arc::default(),
    };
    let spawn = &daemon.env.spawn;
    Ok(Watched(spawn.task("folder", Box::pin(watcher.run()))))
}

/// SQLite's own files come and go with every connection, and state folders are ours.
fn is_of_interest(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let suffixes: [&[u8]; 4] = [b"-wal", b"-shm", b"-journal", b"-litestream"];
    !suffixes.iter().any(|suffix| name.ends_with(suffix))
}

struct Watcher {
    daemon: Arc<Daemon>,
    entry: Entry,
    folders: Option<Box<dyn Folders>>,
    happened: Arc<Notify>,
    /// Databases that are being given up.
    leaving: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Watcher {
    async fn run(self) {
        loop {
            let start = self.daemon.env.clock.monotonic();
            let candidates = self.look().await;
            let took = self.daemon.env.clock.monotonic().since(start);
            let clock = &self.daemon.env.clock;
            clock.sleep_async(GATHER.max(took * SHARE)).await;
            let longest = if candidates {
                CANDIDATE_EVERY.max(took * SHARE)
            } else {
                SCAN_EVERY.max(took * SHARE)
            };
            tokio::select! {
                () = self.happened.notified() => clock.sleep_async(GATHER).await,
                () = clock.sleep_async(longest) => {}
            }
        }
    }

    /// Compares what is there with what is replicated. Whether there is something that may become a database.
    async fn look(&self) -> bool {
        let (env, entry) = (self.daemon.env.clone(), self.entry.clone());
        let (disk, dir) = (self.daemon.env.disk.clone(), self.dir());
        let known: HashSet<PathBuf> = self.ours().into_iter().collect();
        let scanned = self
            .daemon
            .env
            .spawn
            .offloaded(move || {
                let is_gone = disk
                    .metadata(&dir)
                    .is_err_and(|e| e.kind() == ErrorKind::NotFound);
                if is_gone {
                    return Ok(None);
                }
                dir::survey(&entry, &|path| known.contains(path), &env).map(Some)
            })
            .await;
        let survey = match scanned {
            Ok(Ok(Some(survey))) => survey,
            Ok(Ok(None)) => {
                let error = "it is gone; waiting for it to be made again";
                error!(dir = %self.dir().display(), error, "directory watcher error");
                // Nothing would tell of that.
                dir::Survey {
                    has_candidates: true,
                    ..dir::Survey::default()
                }
            }
            Ok(Err(failure)) => {
                error!(dir = %self.dir().display(), error = %failure.message, "directory watcher error");
                return false;
            }
            Err(e) => {
                error!(dir = %self.dir().display(), error = %e, "directory watcher error");
                return false;
            }
        };
        if let Some(folders) = &self.folders {
            let set = folders.set(&survey.folders);
            for (folder, error) in set.failed {
                debug!(dir = %folder.display(), %error, "add directory watch");
            }
            if set.has_new {
                // Something may have come into it after it was read and before it was watched.
                self.happened.notify_one();
            }
        }
        for (folder, failure) in &survey.unreadable {
            error!(dir = %folder.display(), error = %failure.message, "directory watcher error");
        }
        let there: HashSet<&PathBuf> = survey.databases.iter().collect();
        let unseen = |path: &Path| {
            survey
                .unreadable
                .iter()
                .any(|(folder, _)| path.starts_with(folder))
        };
        let gone: Vec<_> = self
            .ours()
            .into_iter()
            .filter(|path| !there.contains(path) && !unseen(path))
            .collect();
        self.let_go(&gone).await;
        for path in gone {
            self.gone(path);
        }
        for path in survey.databases {
            self.came(path).await;
        }
        survey.has_candidates
    }

    fn dir(&self) -> PathBuf {
        match &self.entry.source {
            Source::Dir { dir, .. } => dir.clone(),
            Source::Path(path) => path.clone(),
        }
    }

    /// The databases of this folder that are replicated because they are in it.
    fn ours(&self) -> Vec<PathBuf> {
        let config = self.daemon.config();
        let placed = self.daemon.placed.lock();
        let ours = placed.keys().filter(|path| {
            dir::relative(&self.entry, path).is_some() && !place::has_its_own(&config, path)
        });
        ours.cloned().collect()
    }

    /// Has the files of databases that are gone closed. One of them may be here under another name: SQLite gives all connections of a process
    /// to one file the same WAL-index, be it that of a name of before, and of what others commit by the new name nothing would be seen.
    async fn let_go(&self, gone: &[PathBuf]) {
        let members = gone.iter().filter_map(|path| self.daemon.fleet.get(path));
        let looks = members
            .filter_map(|member| member.replicator())
            .map(|running| async move { running.capture().await });
        let clock = &self.daemon.env.clock;
        tokio::select! {
            // Each finds that its database is gone.
            _ = futures_util::future::join_all(looks) => {}
            () = clock.sleep_async(LET_GO_MAX) => {}
        }
    }

    async fn came(&self, path: PathBuf) {
        let daemon = &self.daemon;
        let _turn = daemon.turn.lock().await;
        let config = daemon.config();
        // One that was unregistered stays so until its file goes, or the configuration is read again.
        let is_known = daemon.fleet.get(&path).is_some()
            || daemon.placed.lock().contains_key(&path)
            || daemon.registered.lock().contains_key(&path);
        if is_known || place::has_its_own(&config, &path) {
            return;
        }
        let dir = self.dir();
        let placed = self.entry.for_file(&path).and_then(|entry| {
            daemon.check_apart(&path, &entry)?;
            daemon.place(&config, path.clone(), entry)
        });
        match placed {
            Ok(()) => {
                info!(dir = %dir.display(), path = %path.display(), "added database to replication");
            }
            Err(failure) => {
                error!(dir = %dir.display(), path = %path.display(), error = %failure.message, "register database with store");
            }
        }
    }

    /// Beside everything else: a final sync may take long.
    fn gone(&self, path: PathBuf) {
        if !self.leaving.lock().insert(path.clone()) {
            return;
        }
        let (daemon, dir) = (Arc::clone(&self.daemon), self.dir());
        let (leaving, happened) = (Arc::clone(&self.leaving), Arc::clone(&self.happened));
        let leaves = async move {
            // Whatever it had that is not uploaded is said, and stays in its state folder if that is still there.
            daemon.let_go(&path).await;
            info!(dir = %dir.display(), path = %path.display(), "removed database from replication");
            leaving.lock().remove(&path);
            // It may have come back meanwhile.
            happened.notify_one();
        };
        self.daemon.env.spawn.task("leaving", Box::pin(leaves));
    }
}
