//! From the local files to one replica.
//!
//! Owns the replica's position: the end of its contiguous part. Promise: the position advances only when a file is durable in the
//! replica; a staged file is removed only when every replica has it, and the newest one is kept, since it says where to go on.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use litestream_replica::chain::position;
use litestream_replica::env::{Env, Monotonic, Wake};
use litestream_replica::retry::Backoff;
use litestream_replica::{FileInfo, Level, Source};
use ltx::{FileName, Header, PageSize, Txid};
use tokio::sync::{oneshot, watch};

use crate::depot::{Depot, MERGED};
use crate::error::{Error, Result};
use crate::link::Link;
use crate::shared::Shared;
use crate::staging::{is_full, remove_if_there};
use crate::upkeep::Upkeep;
use crate::worker::{Command, ReplicaEnd, created};

/// The same error is logged at most this often.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Asks the worker that owns the database.
#[derive(Clone)]
pub(crate) struct Worker {
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
        self.command(command(reply))?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Sends a command.
    pub fn command(&self, command: Command) -> Result<()> {
        self.commands.send(command).map_err(|_| Error::Closed)?;
        self.waker.wake();
        Ok(())
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
    pub name: String,
    pub worker: Worker,
    pub sync_interval: Duration,
    /// `None` until the replica was listed, and after errors that leave doubt.
    pub position: Option<Txid>,
    /// Of the file at the position, if known.
    pub page_size: Option<PageSize>,
    /// The highest TXID that was sent there, whatever came of it.
    pub sent: Txid,
}

impl Uploader {
    /// Runs until the task is aborted.
    pub async fn run(mut self) {
        self.shared.wait_claimed().await;
        let mut staged = self.shared.subscribe_staged();
        let mut backoff = Backoff::new(self.sync_interval);
        let mut logged: Option<(String, Monotonic)> = None;
        loop {
            self.link.pass_begins();
            match self.pass().await {
                Ok(()) => {
                    backoff.reset();
                    logged = None;
                    self.link.pass_ended(None);
                    self.wait_for_work(&mut staged).await;
                }
                Err(error) => {
                    let (text, now) = (error.to_string(), self.env.clock.monotonic());
                    if logged
                        .as_ref()
                        .is_none_or(|(old, at)| *old != text || now.since(*at) >= LOG_EVERY)
                    {
                        tracing::error!(db = %self.name, replica = self.link.replica.kind(), error = %text, "replica sync error");
                        logged = Some((text, now));
                    }
                    // What is known may be wrong: list again.
                    self.position = None;
                    self.link.pass_ended(Some(error));
                    let pause = backoff.next(self.env.entropy.next_u64());
                    tokio::select! {
                        biased;
                        () = self.link.kick.notified() => {}
                        () = self.env.clock.sleep_async(pause) => {}
                    }
                }
            }
        }
    }

    async fn wait_for_work(&self, staged: &mut watch::Receiver<Option<Txid>>) {
        tokio::select! {
            biased;
            () = self.link.kick.notified() => {}
            _ = staged.changed() => {}
        }
    }

    /// Brings the replica up to what is staged.
    async fn pass(&mut self) -> Result<()> {
        let mut at = match self.position {
            Some(at) => at,
            None => self.find_position().await?,
        };
        // What can be uploaded without it need not wait for it.
        let replaced = self.replace_damaged().await;
        let mut backlog = VecDeque::from(self.depot.backlog(at)?);
        // The replica must not hold what a power failure could take from the local files: numbers would be given twice.
        let waiting: BTreeSet<Level> = backlog.iter().map(|(level, _)| *level).collect();
        for level in waiting {
            let dir = self.depot.dir(level);
            self.env
                .disk
                .sync_dir(&dir)
                .map_err(Error::io("sync directory", &dir))?;
        }
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
                    let now = self.depot.backlog(at)?;
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
        // After the files below them: a snapshot must not make a hole look filled.
        self.upload_snapshots(at).await?;
        self.depot.trim()?;
        replaced
    }

    /// Uploads the file that comes next after `at`, or what must go before it; returns how far the replica reaches then.
    async fn next(&mut self, at: Txid, level: Level, name: FileName) -> Result<Txid> {
        if name.min > at.next() {
            return self.bridge(at, name.min).await;
        }
        // Before the file with its own end: where a page size changes, that one can't be restored without it.
        let beside = FileName::new(Txid::new(1), name.max);
        if self.snapshots().await?.contains(&beside) {
            self.upload_snapshot(beside).await?;
            self.page_size = None;
        }
        let path = self.depot.path(level, name);
        if !self.shared.mark(self.index, level, name.max) {
            return Err(Error::io("open", path)(std::io::ErrorKind::NotFound.into()));
        }
        let header = self.durable_header(&path).await?;
        if self.page_size.is_some_and(|size| size != header.page_size) {
            tracing::info!(db = %self.name, txid = %name.max, "page size changed, and the snapshot that went with it is gone");
            return self.bridge(at, name.min).await;
        }
        if level == MERGED {
            // What lies below it in level 0 would never be compacted, and yet count as if it were.
            // If that fails, it is still better up there than here.
            if let Err(error) = self.upkeep.compact_up_to(level, at).await {
                tracing::warn!(db = %self.name, %error, "level 0 could not be compacted before a merged file");
            }
        }
        let size = self.upload(level, name, &header).await?;
        self.page_size = Some(header.page_size);
        self.shared.uploaded(size);
        Ok(name.max)
    }

    /// A damaged snapshot may have been the base of a new page size, without which nothing after it can be restored.
    async fn replace_damaged(&self) -> Result<()> {
        let damaged = self.depot.damaged.lock().await.clone().unwrap_or_default();
        if damaged.is_empty() {
            return Ok(());
        }
        let name = self.worker.request(Command::Snapshot).await?.what;
        for old in damaged {
            if old != name {
                remove_if_there(&self.env, &self.depot.path(Level::SNAPSHOT, old))?;
            }
        }
        *self.depot.damaged.lock().await = Some(Vec::new());
        Ok(())
    }

    /// The staged snapshots that can be uploaded.
    async fn snapshots(&self) -> Result<Vec<FileName>> {
        let damaged = self.depot.damaged.lock().await;
        let damaged = damaged.as_deref().unwrap_or_default();
        self.depot.snapshots_for(self.index, damaged)
    }

    async fn find_position(&mut self) -> Result<Txid> {
        {
            let mut damaged = self.depot.damaged.lock().await;
            if damaged.is_none() {
                *damaged = Some(self.depot.verify()?);
            }
        }
        if self.depot.list(Level::L0)?.is_empty() {
            // The worker is about to find its position, by asking the replica too. If it can't, there is nothing to upload.
            let _ = self.worker.request(Command::Capture).await;
        }
        let files = self.link.list(&*self.env.clock).await?;
        let found = position::position(&files);
        if self.has_forked(found.highest, &files).await? {
            tracing::warn!(db = %self.name, replica_txid = %found.highest, "replica holds another history than local files, continuing after it");
            let mut end = ReplicaEnd::of(&self.link.replica, &files)
                .await
                .inspect_err(|_| self.forget(found.highest))?;
            // A listing may be old: no number that was given here is given again.
            let local = self.depot.list(Level::L0)?;
            end.highest = end.highest.max(local.last().map_or(Txid::ZERO, |n| n.max));
            self.worker.command(Command::Rebase(end))?;
            self.worker.request(Command::Capture).await?;
        }
        self.drop_doubtful_snapshots(found.highest)?;
        // With a hole below what is local, fill from the hole on; what can't be filled is bridged by a snapshot.
        let at = found.contiguous;
        self.shared.mark(self.index, MERGED, at);
        self.page_size = self.page_size_at(at, &files).await?;
        self.position = Some(at);
        self.link.reached(at);
        Ok(at)
    }

    /// Without the local file of the replica's end, of which history a snapshot of what it holds is can't be told.
    fn drop_doubtful_snapshots(&self, highest: Txid) -> Result<()> {
        if self
            .depot
            .list(Level::L0)?
            .contains(&FileName::single(highest))
        {
            return Ok(());
        }
        for name in self.depot.list(Level::SNAPSHOT)? {
            if name.max <= highest {
                self.depot.snapshot_uploaded(self.index, name)?;
            }
        }
        Ok(())
    }

    /// What ends here may not be there any more: the next listing tells.
    fn forget(&self, end: Txid) {
        let mut catalogue = self.link.catalogue.lock();
        for file in catalogue.all() {
            if file.name.max == end {
                catalogue.gone(file.level, file.name);
            }
        }
    }

    /// Page size of the file at which the replica's contiguous part ends.
    async fn page_size_at(&self, at: Txid, files: &[FileInfo]) -> Result<Option<PageSize>> {
        let Some(file) = files.iter().find(|f| f.name.max == at) else {
            return Ok(None);
        };
        match ReplicaEnd::of(&self.link.replica, &[*file]).await {
            // A listing may be old.
            Err(Error::Replica(e)) if e.is_not_found() => Ok(None),
            end => Ok(end?.page_size),
        }
    }

    /// Whether what is staged does not, or can't be shown to, continue the replica: the replica is ahead, or its newest file is not
    /// the local one of that name.
    async fn has_forked(&self, highest: Txid, files: &[FileInfo]) -> Result<bool> {
        let local = self.depot.list(Level::L0)?;
        if highest > local.last().map_or(Txid::ZERO, |n| n.max) {
            return Ok(true);
        }
        if highest == Txid::ZERO {
            return Ok(false);
        }
        let single = FileName::single(highest);
        let merged = self.depot.list(MERGED)?;
        let (level, name) = match merged.iter().find(|name| name.max == highest) {
            _ if local.contains(&single) => (Level::L0, single),
            Some(name) => (MERGED, *name),
            None => {
                if self.shared.gave(highest) && self.sent < highest {
                    return Ok(true);
                }
                // What comes right after it can't be shown to belong there, unless it depends on nothing. What comes later will be
                // bridged by a snapshot.
                let next = FileName::single(highest.next());
                let spans = |name: &FileName| {
                    name.min <= next.min && name.max > highest && name.min.get() > 1
                };
                let bound = merged.iter().any(spans)
                    || local.contains(&next)
                        && !is_full(&self.env, &self.depot.path(Level::L0, next))?;
                return Ok(bound);
            }
        };
        let Some(remote) = files.iter().find(|f| f.level == level && f.name == name) else {
            // A snapshot with that number: of which history can't be told.
            return Ok(true);
        };
        let path = self.depot.path(level, name);
        let file = self
            .env
            .disk
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let size = file.metadata().map_err(Error::io("stat", &path))?.len;
        if size != remote.size {
            return Ok(true);
        }
        for (offset, len) in [
            (0, ltx::HEADER_SIZE),
            (
                size.saturating_sub(ltx::TRAILER_SIZE as u64),
                ltx::TRAILER_SIZE,
            ),
        ] {
            let mut here = vec![0; len];
            file.read_exact_at(&mut here, offset)
                .map_err(Error::io("read", &path))?;
            let there = self
                .link
                .replica
                .read(level, name, offset, Some(len as u64));
            let there = there.await.inspect_err(|error| {
                if error.is_not_found() {
                    self.link.catalogue.lock().gone(level, name);
                }
            })?;
            if there != here {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The staged files don't reach back to the replica's position: a snapshot makes it contiguous again.
    async fn bridge(&mut self, at: Txid, first: Txid) -> Result<Txid> {
        tracing::info!(db = %self.name, replica_txid = %at, local_txid = %first, "local files do not reach back to the replica, taking a snapshot");
        let name = self.worker.request(Command::Snapshot).await?.what;
        self.depot.snapshot_staged(name);
        self.page_size = None;
        self.upload_snapshots(name.max).await?;
        let newest = FileName::single(name.max);
        let path = self.depot.path(Level::L0, newest);
        if self.depot.list(Level::L0)?.contains(&newest) {
            // It shows later that the replica holds our history.
            let header = self.durable_header(&path).await?;
            self.upload(Level::L0, newest, &header).await?;
            self.page_size = Some(header.page_size);
        }
        Ok(name.max)
    }

    /// Uploads the snapshots whose transactions the replica holds up to `at`.
    async fn upload_snapshots(&mut self, at: Txid) -> Result<()> {
        for name in self.snapshots().await? {
            if name.max <= at {
                self.upload_snapshot(name).await?;
            }
        }
        Ok(())
    }

    async fn upload_snapshot(&mut self, name: FileName) -> Result<()> {
        let header = self
            .durable_header(&self.depot.path(Level::SNAPSHOT, name))
            .await?;
        self.upload(Level::SNAPSHOT, name, &header).await?;
        self.depot.snapshot_uploaded(self.index, name)?;
        tracing::info!(db = %self.name, txid = %name.max, "snapshot complete");
        Ok(())
    }

    async fn upload(&mut self, level: Level, name: FileName, header: &Header) -> Result<u64> {
        self.sent = self.sent.max(name.max);
        let path = self.depot.path(level, name);
        let info = self
            .link
            .replica
            .write(level, name, Source::File(path), created(header))
            .await?;
        let now = self.env.clock.monotonic();
        self.link.catalogue.lock().written(info, now);
        self.link.changed.notify_one();
        tracing::debug!(db = %self.name, %level, %name, size = info.size, "ltx file uploaded");
        Ok(info.size)
    }

    async fn durable_header(&self, path: &Path) -> Result<Header> {
        let durable = self.depot.doubts.make_durable_async(path).await;
        if matches!(durable, Err(Error::NotDurable { .. })) {
            // It may be damaged: they are looked at again before the next attempt.
            *self.depot.damaged.lock().await = None;
        }
        durable?;
        let mut bytes = [0; ltx::HEADER_SIZE];
        let file = self.env.disk.open(path).map_err(Error::io("open", path))?;
        file.read_exact_at(&mut bytes, 0)
            .map_err(Error::io("read", path))?;
        Header::decode(&bytes).map_err(|source| Error::Staged {
            path: path.to_owned(),
            source,
        })
    }
}
