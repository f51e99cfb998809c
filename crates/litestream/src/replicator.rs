//! One database and its replica, running: the handle that the command line and embedding programs hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use litestream_replica::chain::{listing, retain};
use litestream_replica::env::{Env, Running, Task, UnixMillis, Wake};
use litestream_replica::{FileInfo, Level, SharedReplica};
use ltx::{FileName, Txid};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::shared::{EndsWith, Shared, Status};
use crate::staging::list_level;
use crate::upload::Uploader;
use crate::worker::{Command, Numbered, ReplicaEnd, State, Worker};

/// How long opening a database waits for the replica's answer before it goes on without.
const REPLICA_WAIT: Duration = Duration::from_secs(5);

/// See the module.
pub struct Replicator {
    env: Env,
    replica: SharedReplica,
    /// `META/ltx`.
    root: PathBuf,
    shared: Arc<Shared>,
    commands: Sender<Command>,
    waker: Arc<dyn Wake>,
    kick: Arc<Notify>,
    stop: Arc<AtomicBool>,
    uploader: Box<dyn Running>,
    /// Its sender is dropped when the uploader has ended.
    uploader_ended: watch::Receiver<()>,
    worker: Mutex<Option<Box<dyn Task>>>,
}

impl Replicator {
    /// Starts replication: a thread that owns the database, and an upload task on the current async runtime. What may
    /// pass (no database yet, replica unreachable) is no error; it is tried again and shows in [`Replicator::status`].
    pub fn start(settings: Settings, replica: SharedReplica, env: Env) -> Result<Replicator> {
        refuse_state_as_replica(&settings, &replica, &env)?;
        let shared = Arc::new(Shared::new());
        let (commands, receiver) = mpsc::channel();
        let watcher = env
            .watch
            .watcher()
            .map_err(Error::io("start watching", &settings.path))?;
        let (waker, kick, stop) = (
            watcher.waker(),
            Arc::new(Notify::new()),
            Arc::new(AtomicBool::new(false)),
        );
        let root = settings.meta_path.join("ltx");
        let uploader = Uploader {
            env: env.clone(),
            replica: Arc::clone(&replica),
            shared: Arc::clone(&shared),
            root: root.clone(),
            name: settings
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            commands: commands.clone(),
            waker: Arc::clone(&waker),
            kick: Arc::clone(&kick),
            sync_interval: settings.sync_interval,
            position: None,
            verified: false,
            damaged: Vec::new(),
        };
        let worker = Worker {
            env: env.clone(),
            settings,
            shared: Arc::clone(&shared),
            commands: receiver,
            watcher,
            stop: Arc::clone(&stop),
            replica_end: replica_end(Arc::clone(&replica), env.clone()),
            state: State::default(),
        };
        let ends = EndsWith(Arc::clone(&shared));
        let thread = env
            .spawn
            .spawn(
                "database",
                Box::new(move || {
                    let _ends = ends;
                    worker.run();
                }),
            )
            .map_err(Error::io("start thread", "database"))?;
        let ends = EndsWith(Arc::clone(&shared));
        let (running, uploader_ended) = watch::channel(());
        let uploader = env.spawn.task(
            "uploader",
            Box::pin(async move {
                let _ends = (ends, running);
                uploader.run().await;
            }),
        );
        Ok(Replicator {
            env,
            replica,
            root,
            shared,
            commands,
            waker,
            kick,
            stop,
            uploader,
            uploader_ended,
            worker: Mutex::new(Some(thread)),
        })
    }

    /// Captures everything committed by now and waits until it is in the replica: one attempt, which may be repeated after an
    /// error. Dropping the future stops the waiting, not the upload.
    pub async fn sync(&self) -> Result<Txid> {
        // A snapshot that was needed beside it belongs to it.
        let snapshots = self.root.join(Level::SNAPSHOT.to_string());
        let done = || list_level(&self.env, &snapshots).is_ok_and(|names| names.is_empty());
        loop {
            let Numbered { what, numbering } = self.request(Command::Capture).await?;
            if self.uploaded(what, numbering, &done).await? {
                return Ok(what);
            }
        }
    }

    /// The same, with a level-9 snapshot of the position, even if one exists.
    pub async fn snapshot(&self) -> Result<FileInfo> {
        let dir = self.root.join(Level::SNAPSHOT.to_string());
        let name = loop {
            let Numbered { what, numbering } = self.request(Command::Snapshot).await?;
            let staged = dir.join(what.to_string());
            // The uploader removes a staged snapshot once the replica has it.
            let gone = || {
                self.env
                    .disk
                    .metadata(&staged)
                    .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
            };
            if self.uploaded(what.max, numbering, gone).await? {
                break what;
            }
        };
        let files = self
            .replica
            .list(Level::SNAPSHOT, Some(name.max), true)
            .await?;
        files
            .into_iter()
            .find(|f| f.name == name)
            .ok_or(Error::NoPosition)
    }

    /// Deletes snapshots older than `keep` (the newest stays) and what they made redundant. Returns what was deleted.
    pub async fn enforce_retention(&self, keep: Duration) -> Result<Vec<FileName>> {
        let levels: Vec<Level> = Level::all().collect();
        let files = listing::list_all(&self.replica, &levels, true).await?;
        let doomed = retain::snapshot_retention(&files, UnixMillis(self.env.clock.now().0), keep);
        self.replica.delete(&doomed).await?;
        Ok(doomed.into_iter().map(|(_, name)| name).collect())
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Ends everything and gives all locks back. What was not synced before stays in the WAL and in the staged files.
    pub async fn close(&self) {
        self.uploader.abort();
        self.shared.closed(None);
        self.stop.store(true, Ordering::Relaxed);
        // As long as it works on local files, the state folder is not given up.
        let mut ended = self.uploader_ended.clone();
        while ended.changed().await.is_ok() {}
        let (reply, done) = oneshot::channel();
        if self.command(Command::Close(reply)).is_ok() {
            let _ = done.await; // an ended worker has closed everything, too
        }
        let thread = self.worker.lock().take();
        if let Some(thread) = thread {
            let _ = self.env.spawn.offloaded(move || thread.join()).await;
        }
    }

    /// Waits until the replica's position reaches `txid` and `done` holds, or a pass that began after now has failed. `false` if
    /// meanwhile the replica turned out to hold another history, so that the number means nothing.
    async fn uploaded(&self, txid: Txid, numbering: u64, done: impl Fn() -> bool) -> Result<bool> {
        let mut progress = self.shared.progress.subscribe();
        // The failure of a pass that is running says nothing of what came after it began.
        let seen = progress.borrow().begun;
        self.kick.notify_one();
        loop {
            let now = *progress.borrow_and_update();
            if now.numbering != numbering {
                return Ok(false);
            }
            if now.position >= Some(txid) && now.ended > 0 && done() {
                return Ok(true);
            }
            if now.closed {
                return Err(Error::Closed);
            }
            if now.failed && now.ended > seen {
                return Err(self.shared.failure());
            }
            progress.changed().await.map_err(|_| Error::Closed)?;
        }
    }

    async fn request<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.command(command(reply))?;
        answer.await.map_err(|_| Error::Closed)?
    }

    fn command(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| Error::Closed)?;
        self.waker.wake();
        Ok(())
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        self.uploader.abort();
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// A replica in the folder of local state would be cleaned up as such.
fn refuse_state_as_replica(settings: &Settings, replica: &SharedReplica, env: &Env) -> Result<()> {
    let name = FileName::single(Txid::new(1));
    let Some(path) = replica.local_path(Level::L0, name) else {
        return Ok(());
    };
    // What does not exist yet can't be resolved; then the paths themselves are compared.
    let resolve = |path: &Path| {
        env.disk
            .canonicalize(path)
            .unwrap_or_else(|_| path.to_owned())
    };
    let state = resolve(&settings.meta_path);
    if path.ancestors().any(|folder| resolve(folder) == state) {
        return Err(Error::StateAsReplica(settings.meta_path.clone()));
    }
    Ok(())
}

fn replica_end(replica: SharedReplica, env: Env) -> Box<dyn Fn() -> Option<ReplicaEnd> + Send> {
    Box::new(move || {
        env.spawn.wait_for(async {
            tokio::select! {
                biased;
                end = find_end(&replica) => end.ok(),
                () = env.clock.sleep_async(REPLICA_WAIT) => None,
            }
        })
    })
}

async fn find_end(replica: &SharedReplica) -> Result<ReplicaEnd> {
    let levels: Vec<Level> = Level::all().collect();
    let files = listing::list_all(replica, &levels, false).await?;
    ReplicaEnd::of(replica, &files).await
}
