//! One database and its replicas, running: the handle that the command line and embedding programs hold.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use litestream_replica::chain::listing;
use litestream_replica::env::{Env, Running, Watcher};
use litestream_replica::{FileInfo, Level, SharedReplica};
use ltx::{FileName, Txid};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::base::{self, Base};
use crate::depot::Depot;
use crate::error::{Error, Result};
use crate::guardian::Guardian;
use crate::link::Link;
use crate::settings::Settings;
use crate::shared::{EndsWith, Shared, Status};
use crate::staging::Maker;
use crate::stop::Stop;
use crate::upkeep::merge::Merger;
use crate::upkeep::{self, Upkeep};
use crate::upload::{Shipper, Uploader, Worker};
use crate::worker::{Command, Numbered, ReplicaEnd, State, Worker as Owner};

/// How long opening a database without local state reads the replica to compare with before it goes on without.
const BASE_WAIT: Duration = Duration::from_mins(10);
/// How long opening a database waits for the replica's answer before it goes on without.
const REPLICA_WAIT: Duration = Duration::from_secs(5);

/// See the module.
pub struct Replicator {
    env: Env,
    shared: Arc<Shared>,
    depot: Arc<Depot>,
    worker: Worker,
    stop: Stop,
    /// What merges made, and could not remove.
    maker: Maker,
    /// Uploaders and housekeepers.
    tasks: Vec<Box<dyn Running>>,
    /// Its senders are dropped when all of them have ended.
    tasks_ended: watch::Receiver<()>,
    /// Its sender is dropped when the worker has ended and everything of it is closed.
    worker_ended: watch::Receiver<()>,
}

impl Replicator {
    /// Starts replication: an owner of the database, which has a thread while there is something to do, and for each replica an upload
    /// task and one for its upkeep, on the current async runtime. What may pass (no database yet, replica unreachable) is no error; it is tried again and shows in
    /// [`Replicator::status`].
    pub fn start(settings: Settings, replicas: Vec<SharedReplica>, env: Env) -> Result<Replicator> {
        for replica in &replicas {
            refuse_state_as_replica(&settings, replica, &env)?;
        }
        let links: Vec<Arc<Link>> = replicas
            .into_iter()
            .map(|r| Arc::new(Link::new(r)))
            .collect();
        let shared = Arc::new(Shared::new(links));
        let (commands, receiver) = mpsc::channel();
        let watcher = env
            .watch
            .watcher()
            .map_err(Error::io("start watching", &settings.path))?;
        let waker = watcher.waker();
        let worker = Worker {
            env: env.clone(),
            shared: Arc::clone(&shared),
            commands,
            waker,
        };
        let stop = Stop::new();
        let (running, tasks_ended) = watch::channel(());
        let depot = Arc::new(Depot::new(&env, Arc::clone(&shared), &settings));
        let maker = depot.doubts.maker().clone();
        let merger = Merger {
            env: env.clone(),
            replica: None,
            root: settings.meta_path.join("ltx"),
            copies: None,
            database: settings.path.clone(),
            maker: maker.clone(),
            stop: stop.clone(),
            busy: running,
        };
        let mut parts = Parts {
            env: env.clone(),
            shared: Arc::clone(&shared),
            depot: Arc::clone(&depot),
            worker: worker.clone(),
            merger,
            settings,
        };
        let worker_ended = parts.database(receiver, watcher);
        let mut tasks = Vec::new();
        for index in 0..shared.links.len() {
            tasks.extend(parts.replica(index));
        }
        Ok(Replicator {
            env,
            shared,
            depot,
            worker,
            stop,
            maker,
            tasks,
            tasks_ended,
            worker_ended,
        })
    }

    /// Captures everything committed by now and waits until it is in every replica: one attempt, which may be repeated after an
    /// error. Dropping the future stops the waiting, not the upload.
    pub async fn sync(&self) -> Result<Txid> {
        // A snapshot that was needed beside it belongs to it.
        self.sync_until(|link, waiting| waiting.iter().all(|name| link.goes_alongside(name)))
            .await
    }

    /// The same, and waits for the snapshots that are on their way without anything depending on them.
    pub async fn sync_with_snapshots(&self) -> Result<Txid> {
        self.sync_until(|_, waiting| waiting.is_empty()).await
    }

    /// Stages everything committed by now.
    pub async fn capture(&self) -> Result<Txid> {
        Ok(self.worker.request(Command::Capture).await?.what)
    }

    async fn sync_until(&self, done: impl Fn(&Link, &[FileName]) -> bool) -> Result<Txid> {
        loop {
            let Numbered { what, numbering } = self.worker.request(Command::Capture).await?;
            if self.everywhere(what, numbering, &done).await? {
                return Ok(what);
            }
        }
    }

    /// The same, with a level-9 snapshot of the position, even if one exists; as the first replica has it.
    pub async fn snapshot(&self) -> Result<FileInfo> {
        let name = loop {
            let Numbered { what, numbering } = self.worker.snapshot().await?;
            self.depot.snapshot_staged(what);
            let done = |_: &Link, waiting: &[FileName]| !waiting.contains(&what);
            if self.everywhere(what.max, numbering, done).await? {
                break what;
            }
        };
        let first = self.shared.links.first().ok_or(Error::NoPosition)?;
        let known = first.catalogue.lock().find(Level::SNAPSHOT, name).copied();
        known.ok_or(Error::NoPosition)
    }

    /// Deletes snapshots that are not needed for any state of the last `keep`, and what they made redundant, in every replica. Returns
    /// what was deleted.
    pub async fn enforce_retention(&self, keep: Duration) -> Result<Vec<FileName>> {
        let levels: Vec<Level> = Level::all().collect();
        let mut names = Vec::new();
        for link in &self.shared.links {
            let files = listing::list_all(&link.replica, &levels, true).await?;
            let now = self.env.clock.now();
            let doomed = upkeep::old_snapshots(files, now, keep, &self.depot.policy.keep);
            link.replica.delete(&doomed).await?;
            let mut catalogue = link.catalogue.lock();
            for (level, name) in doomed {
                catalogue.gone(level, name);
                names.push(name);
            }
        }
        Ok(names)
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.shared.status(self.env.clock.monotonic())
    }

    /// Ends everything and gives all locks back. What was not synced before stays in the WAL and in the staged files.
    pub async fn close(&self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.closed(None);
        self.stop.set();
        let (reply, done) = oneshot::channel();
        // As long as something works on local files, the state folder is not given up.
        let mut ended = self.tasks_ended.clone();
        while ended.changed().await.is_ok() {}
        let links = self.shared.links.iter();
        futures_util::future::join_all(links.map(|link| link.replica.close())).await;
        let maker = self.maker.clone();
        let _ = self.env.spawn.offloaded(move || maker.sweep()).await; // else the next start does
        if self.worker.command(Command::Close(reply)).is_ok() {
            let _ = done.await; // an ended worker has closed everything, too
        }
        let mut ended = self.worker_ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Waits for every replica, also until `done` holds for the staged snapshots that it does not have. An error of one does not keep the others from being waited for.
    async fn everywhere(
        &self,
        txid: Txid,
        numbering: u64,
        done: impl Fn(&Link, &[FileName]) -> bool,
    ) -> Result<bool> {
        let links = self.shared.links.iter().enumerate();
        let waits = links.map(|(index, link)| {
            let (depot, done) = (&self.depot, &done);
            let done = move || {
                let waiting = depot.snapshots_for(index, &[]);
                waiting.is_ok_and(|waiting| done(link, &waiting))
            };
            uploaded(link, txid, numbering, done)
        });
        let results = futures_util::future::join_all(waits).await;
        results
            .into_iter()
            .try_fold(true, |all, one| Ok(all & one?))
    }
}

/// Waits until a replica's position reaches `txid` and `done` holds, or a pass that began after now has failed. `false` if
/// meanwhile the replica turned out to hold another history, so that the number means nothing.
async fn uploaded(
    link: &Link,
    txid: Txid,
    numbering: u64,
    done: impl Fn() -> bool,
) -> Result<bool> {
    let mut progress = link.progress.subscribe();
    let seen = *progress.borrow();
    link.kick.notify_one();
    loop {
        let now = *progress.borrow_and_update();
        if now.numbering != numbering {
            return Ok(false);
        }
        let is_there = now.position >= Some(txid) && now.passes.ended > 0;
        if is_there && done() {
            return Ok(true);
        }
        if now.closed {
            return Err(Error::Closed);
        }
        let snapshot_failed = is_there && now.snapshots.failed_since(seen.snapshots);
        if snapshot_failed || now.passes.failed_since(seen.passes) {
            return Err(link.failure());
        }
        progress.changed().await.map_err(|_| Error::Closed)?;
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.stop.set();
        self.worker.waker.wake();
    }
}

/// What the threads and tasks of a database are made of.
struct Parts {
    env: Env,
    shared: Arc<Shared>,
    depot: Arc<Depot>,
    worker: Worker,
    merger: Merger,
    settings: Settings,
}

impl Parts {
    fn name(&self) -> String {
        let name = self.settings.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Starts the owner of the database.
    fn database(
        &mut self,
        commands: mpsc::Receiver<Command>,
        watcher: Box<dyn Watcher>,
    ) -> watch::Receiver<()> {
        // Boxed, since the future that drives it holds it in several states.
        let owner = Box::new(Owner {
            env: self.env.clone(),
            settings: self.settings.clone(),
            shared: Arc::clone(&self.shared),
            commands,
            watcher,
            stop: self.merger.stop.clone(),
            replica_end: replica_end(&self.shared, &self.env, &self.merger.stop),
            replica_base: self.replica_base(),
            state: State::default(),
            doubts: self.depot.doubts.clone(),
            // Not counted among the tasks: it ends after them.
            merger: Merger {
                busy: watch::Sender::new(()),
                ..self.merger.clone()
            },
        });
        let (running, ended) = watch::channel(());
        let work = async move {
            owner.drive().await;
            drop(running);
        };
        self.env.spawn.task("database", Box::pin(work));
        ended
    }

    /// What the first replica holds at its end; `None` if that can't be had.
    fn replica_base(&self) -> Box<dyn Fn(Txid) -> Option<Base> + Send> {
        let (shared, env) = (Arc::clone(&self.shared), self.env.clone());
        let (stop, name) = (self.merger.stop.clone(), self.name());
        let meta = self.settings.meta_path.clone();
        Box::new(move |end| {
            let link = shared.links.first()?;
            let fetched = env.spawn.wait_for(async {
                tokio::select! {
                    biased;
                    base = base::fetch_base(link, &env, &meta, end) => base,
                    () = stop.asked() => Ok(None),
                    () = env.clock.sleep_async(BASE_WAIT) => {
                        tracing::warn!(db = %name, "the replica is too slow to be compared with the database, copying everything");
                        Ok(None)
                    }
                }
            });
            let base = fetched.unwrap_or_else(|error| {
                tracing::warn!(db = %name, %error, "what the replica holds can't be compared with the database");
                None
            });
            if base.is_none() {
                let _ = base::remove_leftover(&*env.disk, &meta); // the next attempt does it, too
            }
            base
        })
    }

    /// Starts the tasks of one replica.
    fn replica(&self, index: usize) -> Vec<Box<dyn Running>> {
        let link = Arc::clone(&self.shared.links[index]);
        let merger = Merger {
            replica: Some(Arc::clone(&link.replica)),
            copies: Some(self.settings.meta_path.join(format!("copies-{index}"))),
            ..self.merger.clone()
        };
        let upkeep = Arc::new(Upkeep {
            env: self.env.clone(),
            link: Arc::clone(&link),
            depot: Arc::clone(&self.depot),
            policy: self.settings.policy.clone(),
            worker: self.worker.clone(),
            name: self.name(),
            merger,
            state: Mutex::default(),
            level_1: tokio::sync::Mutex::default(),
            made: Mutex::default(),
        });
        let shipper = Shipper {
            env: self.env.clone(),
            index,
            link: Arc::clone(&link),
            depot: Arc::clone(&self.depot),
            name: self.name(),
        };
        let guardian = Guardian {
            env: self.env.clone(),
            link: Arc::clone(&link),
            depot: Arc::clone(&self.depot),
            shipper: shipper.clone(),
            policy: self.settings.policy.clone(),
            worker: self.worker.clone(),
            name: self.name(),
            memory: self
                .settings
                .meta_path
                .join(format!("verified-{index}.json")),
        };
        let uploader = Uploader {
            env: self.env.clone(),
            index,
            link,
            shared: Arc::clone(&self.shared),
            depot: Arc::clone(&self.depot),
            upkeep: Arc::clone(&upkeep),
            name: self.name(),
            worker: self.worker.clone(),
            sync_interval: self.settings.sync_interval,
            shipper,
            position: None,
            is_tidy: false,
            page_size: None,
            alongside: Arc::default(),
            retry: None,
        };
        let ends = EndsWith(Arc::clone(&self.shared));
        let busy = self.merger.busy.clone();
        let uploads = Box::pin(async move {
            let _ends = (ends, busy);
            uploader.run().await;
        });
        let ends = EndsWith(Arc::clone(&self.shared));
        let keeps = Box::pin(async move {
            let _ends = ends;
            upkeep.run().await;
        });
        let mut tasks = vec![
            self.env.spawn.task("uploader", uploads),
            self.env.spawn.task("upkeep", keeps),
        ];
        if !self.settings.policy.verify_interval.is_zero() {
            let ends = EndsWith(Arc::clone(&self.shared));
            let guards = Box::pin(async move {
                let _ends = ends;
                guardian.run().await;
            });
            tasks.push(self.env.spawn.task("guardian", guards));
        }
        tasks
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

/// The furthest end of all replicas that answer in time; `None` if none does.
fn replica_end(
    shared: &Arc<Shared>,
    env: &Env,
    stop: &Stop,
) -> Box<dyn Fn() -> Option<ReplicaEnd> + Send> {
    let (shared, env, stop) = (Arc::clone(shared), env.clone(), stop.clone());
    Box::new(move || {
        env.spawn.wait_for(async {
            let ends = shared.links.iter().map(|link| async {
                tokio::select! {
                    biased;
                    end = find_end(link, &env) => end.ok(),
                    () = env.clock.sleep_async(REPLICA_WAIT) => None,
                    () = stop.asked() => None,
                }
            });
            let ends = futures_util::future::join_all(ends).await;
            ends.into_iter().flatten().max_by_key(|end| end.highest)
        })
    })
}

async fn find_end(link: &Link, env: &Env) -> Result<ReplicaEnd> {
    let files = link.list_ahead(&*env.clock).await?;
    ReplicaEnd::of(&link.replica, &files).await
}
