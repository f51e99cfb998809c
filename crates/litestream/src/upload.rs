//! From the local files to one replica.
//!
//! Owns the replica's position: the end of its contiguous part. Promise: the position advances only when a file is durable in the
//! replica; a staged file is removed only when every replica has it, and the newest one is kept, since it says where to go on.

mod alongside;
mod ship;
mod standing;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use litestream_replica::Level;
use litestream_replica::env::{Env, Monotonic, Wake};
use litestream_replica::retry::Backoff;
use ltx::{FileName, PageSize, Txid};
use tokio::sync::{oneshot, watch};

pub(crate) use self::alongside::Alongside;
pub(crate) use self::ship::Shipper;
use crate::depot::{Depot, MERGED};
use crate::error::{Error, Result};
use crate::link::Link;
use crate::shared::Shared;
use crate::staging::remove_if_there;
use crate::upkeep::Upkeep;
use crate::upkeep::merge::heavy_place;
use crate::worker::{Command, Numbered};

/// How often it is looked whether another writer's lease has ended.
const HELD_WAIT: Duration = Duration::from_secs(2);
/// The same error is logged at most this often.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Asks the worker that owns the database.
#[derive(Clone)]
pub(crate) struct Worker {
    pub env: Env,
    pub shared: Arc<Shared>,
    pub commands: Sender<Command>,
    pub waker: Arc<dyn Wake>,
}

impl Worker {
    /// Sends a command and waits for its answer.
    pub async fn request<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let _asks = self.shared.asks(self.env.clock.monotonic());
        self.command(command(reply))?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Has a snapshot staged, when that is not more than the process can do at once.
    pub async fn snapshot(&self) -> Result<Numbered<FileName>> {
        let _place = heavy_place(&self.env).await?;
        self.request(Command::Snapshot).await
    }

    /// Sends a command.
    pub fn command(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| Error::Closed)?;
        self.waker.wake();
        Ok(())
    }
}

/// What fails again and again.
struct Trouble {
    backoff: Backoff,
    logged: Option<(String, Monotonic)>,
}

impl Trouble {
    fn new(pause: Duration) -> Trouble {
        Trouble {
            backoff: Backoff::new(pause),
            logged: None,
        }
    }

    fn is_over(&mut self) {
        self.backoff.reset();
        self.logged = None;
    }

    /// How long to wait before the next attempt. Logs what the matter is, unless it is known.
    fn again(&mut self, error: &Error, env: &Env, name: &str, link: &Link) -> Duration {
        let (text, now) = (error.to_string(), env.clock.monotonic());
        // A lease that another renews ends a little later each time.
        let same = |old: &str| match (old.split_once(" until "), text.split_once(" until ")) {
            (Some((old, _)), Some((new, _))) => old == new,
            _ => old == text,
        };
        let is_known = |(old, at): &(String, Monotonic)| same(old) && now.since(*at) < LOG_EVERY;
        if !self.logged.as_ref().is_some_and(is_known) {
            tracing::error!(db = %name, replica = link.replica.kind(), error = %text, "replica sync error");
            self.logged = Some((text, now));
        }
        if matches!(error, Error::Replica(error) if error.is_held()) {
            return HELD_WAIT;
        }
        self.backoff.next(env.entropy.next_u64())
    }
}

/// See the module.
pub(crate) struct Uploader {
    pub env: Env,
    /// Which of the database's replicas it is.
    pub index: usize,
    pub link: Arc<Link>,
    pub shared: Arc<Shared>,
    pub depot: Arc<Depot>,
    pub upkeep: Arc<Upkeep>,
    pub shipper: Shipper,
    pub name: String,
    pub worker: Worker,
    pub sync_interval: Duration,
    /// `None` until the replica was listed, and after errors that leave doubt.
    pub position: Option<Txid>,
    /// Whether the leftovers of an earlier process were cleared away.
    pub is_tidy: bool,
    /// Of the file at the position, if known.
    pub page_size: Option<PageSize>,
    pub alongside: Arc<Alongside>,
    /// When the snapshot that failed to go alongside may be tried again.
    pub retry: Option<Monotonic>,
}

impl Uploader {
    /// Runs until the task is aborted.
    pub async fn run(mut self) {
        self.shared.wait_claimed().await;
        let mut staged = self.shared.subscribe_staged();
        let (mut passes, mut snapshots) = (
            Trouble::new(self.sync_interval),
            Trouble::new(self.sync_interval),
        );
        let alongside = Arc::clone(&self.alongside);
        loop {
            self.link.pass_begins();
            let mut sent = None;
            let passed = {
                let mut pass = pin!(self.pass());
                loop {
                    tokio::select! {
                        biased;
                        passed = &mut pass => break passed,
                        ended = alongside.ended() => sent = Some(ended),
                    }
                }
            };
            if let Some(sent) = sent {
                self.sent(sent, &mut snapshots);
            }
            let pause = match passed {
                Ok(()) => {
                    passes.is_over();
                    self.link.synced_at(self.env.clock.now());
                    let sending = self.send_alongside();
                    self.link.pass_ended(sending.err());
                    None
                }
                Err(error) => {
                    // What is known may be wrong: list again.
                    self.position = None;
                    let pause = passes.again(&error, &self.env, &self.name, &self.link);
                    self.link.pass_ended(Some(error));
                    Some(pause)
                }
            };
            self.wait_for_work(&mut staged, pause, &mut snapshots).await;
        }
    }

    /// Until something is staged or asked for, or this pause is over. Meanwhile the snapshot on its way goes on.
    async fn wait_for_work(
        &mut self,
        staged: &mut watch::Receiver<Option<Txid>>,
        pause: Option<Duration>,
        snapshots: &mut Trouble,
    ) {
        let until = pause.map(|pause| self.env.clock.monotonic() + pause);
        loop {
            let now = self.env.clock.monotonic();
            let next = until.or(self.retry).map(|at| at.since(now));
            let timer = async {
                match next {
                    Some(left) => self.env.clock.sleep_async(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.link.kick.notified() => {
                    self.retry = None;
                    return;
                }
                _ = staged.changed(), if until.is_none() => return,
                sent = self.alongside.ended() => self.sent(sent, snapshots),
                () = timer => return,
            }
            if until.is_none() && self.retry.is_none() {
                return; // the next one may go
            }
        }
    }

    /// Sends the next snapshot that nothing waits for, if there is one.
    fn send_alongside(&mut self) -> Result<()> {
        let at = self.position.unwrap_or_default();
        // After the files below them: a snapshot must not make a hole look filled.
        let mut names = self.depot.snapshots_for(self.index, &[])?;
        names.retain(|name| name.max <= at);
        let next = names.first().copied();
        self.link.set_alongside(names);
        if next.is_none() && self.alongside.is_idle() {
            // What could not be sent is not here any more: nothing is to be tried again.
            self.link.no_snapshot_waits();
            self.retry = None;
        }
        let now = self.env.clock.monotonic();
        self.retry = self.retry.filter(|at| *at > now);
        if let Some(name) = next.filter(|_| self.retry.is_none())
            && self.alongside.is_idle()
        {
            self.link.snapshot_begins();
            let shipper = self.shipper.clone();
            let work = async move { shipper.snapshot(name).await.map(drop) };
            self.alongside.begin(name, Box::pin(work));
        }
        Ok(())
    }

    /// A snapshot was sent, or not.
    fn sent(&mut self, sent: Result<()>, snapshots: &mut Trouble) {
        match &sent {
            Ok(()) => {
                snapshots.is_over();
                self.retry = None;
            }
            Err(error) => {
                let pause = snapshots.again(error, &self.env, &self.name, &self.link);
                self.retry = Some(self.env.clock.monotonic() + pause);
            }
        }
        self.link.snapshot_ended(sent.err());
    }

    /// Brings the replica up to what is staged.
    async fn pass(&mut self) -> Result<()> {
        if self.link.take_doubt() {
            self.position = None;
        }
        let mut at = match self.position {
            Some(at) => at,
            None => self.find_position().await?,
        };
        // What can be uploaded without it need not wait for it.
        let replaced = self.replace_damaged().await;
        let mut backlog = VecDeque::from(self.backlog(at).await?);
        while let Some((level, name)) = backlog.pop_front() {
            if name.max <= at {
                continue; // something bridged over it
            }
            match self.next(at, level, name).await {
                Ok(reached) => at = reached,
                // Merged with others meanwhile.
                Err(Error::Io { source, path, .. })
                    if source.kind() == std::io::ErrorKind::NotFound
                        && path == self.depot.path(level, name) =>
                {
                    let now = self.backlog(at).await?;
                    if now.contains(&(level, name)) {
                        return Err(Error::io("open", path)(source));
                    }
                    backlog = now.into();
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.position = Some(at);
            self.link.reached(at);
        }
        if let Some(name) = replaced?.filter(|name| name.max <= at)
            // A bridge may have used it.
            && self.snapshots().await?.contains(&name)
        {
            self.upload_snapshot(name).await?;
        }
        self.depot.offloaded(Depot::trim).await
    }

    async fn backlog(&self, at: Txid) -> Result<Vec<(Level, FileName)>> {
        let backlog = move |depot: &Depot| depot.durable_backlog(at);
        self.depot.offloaded(backlog).await
    }

    /// Uploads the file that comes next after `at`, or what must go before it; returns how far the replica reaches then.
    async fn next(&mut self, at: Txid, level: Level, name: FileName) -> Result<Txid> {
        if name.min > at.next() {
            return self.bridge(at, name).await;
        }
        let path = self.depot.path(level, name);
        if !self.shared.mark(self.index, level, name.max) {
            return Err(Error::io("open", path)(std::io::ErrorKind::NotFound.into()));
        }
        let header = self.shipper.header(level, name).await?;
        // Where the page size changes, the file can't be restored without the snapshot that goes with it.
        let beside = FileName::new(Txid::new(1), name.max);
        if self.page_size != Some(header.page_size) && self.snapshots().await?.contains(&beside) {
            self.page_size = Some(self.upload_snapshot(beside).await?);
        }
        if self.page_size.is_some_and(|size| size != header.page_size) {
            tracing::info!(db = %self.name, txid = %name.max, "page size changed, and the snapshot that went with it is gone");
            return self.bridge(at, name).await;
        }
        if level == MERGED {
            // What lies below it in level 0 would never be compacted, and yet count as if it were.
            // If that fails, it is still better up there than here.
            if let Err(error) = self.upkeep.compact_up_to(at).await {
                tracing::warn!(db = %self.name, %error, "level 0 could not be compacted before a merged file");
            }
        }
        let size = self.shipper.file(level, name, &header).await?;
        self.page_size = Some(header.page_size);
        self.shared.uploaded(size);
        Ok(name.max)
    }

    /// A damaged snapshot may have been the base of a new page size, without which nothing after it can be restored.
    async fn replace_damaged(&self) -> Result<Option<FileName>> {
        let damaged = self.depot.damaged.lock().await.clone().unwrap_or_default();
        if damaged.is_empty() {
            return Ok(None);
        }
        let name = self.worker.snapshot().await?.what;
        for old in damaged {
            if old != name {
                remove_if_there(&self.env, &self.depot.path(Level::SNAPSHOT, old))?;
            }
        }
        *self.depot.damaged.lock().await = Some(Vec::new());
        Ok(Some(name))
    }

    /// The staged snapshots that can be uploaded.
    async fn snapshots(&self) -> Result<Vec<FileName>> {
        let damaged = self.depot.damaged.lock().await;
        let damaged = damaged.as_deref().unwrap_or_default();
        self.depot.snapshots_for(self.index, damaged)
    }

    /// The staged files don't reach back to the replica's position: a snapshot makes it contiguous again. One that was staged for
    /// another replica, or because it was due, will do.
    async fn bridge(&mut self, at: Txid, next: FileName) -> Result<Txid> {
        let staged = self.snapshots().await?;
        let staged = staged.into_iter().rfind(|name| name.max >= next.max);
        let name = if let Some(name) = staged {
            name
        } else {
            tracing::info!(db = %self.name, replica_txid = %at, local_txid = %next.min, "local files do not reach back to the replica, taking a snapshot");
            let name = self.worker.snapshot().await?.what;
            self.depot.snapshot_staged(name);
            name
        };
        self.page_size = Some(self.upload_snapshot(name).await?);
        let newest = FileName::single(name.max);
        if self.depot.list(Level::L0)?.contains(&newest) {
            // It shows later that the replica holds our history.
            let header = self.shipper.header(Level::L0, newest).await?;
            self.shipper.file(Level::L0, newest, &header).await?;
        }
        Ok(name.max)
    }

    /// Sends a snapshot that what comes next depends on.
    async fn upload_snapshot(&self, name: FileName) -> Result<PageSize> {
        self.alongside.cancel(name);
        self.shipper.snapshot(name).await
    }
}
