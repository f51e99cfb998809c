//! From the directory of staged files to the replica.
//!
//! Owns the replica's position: the end of its contiguous part. Promise: the position advances only when a file is durable in the
//! replica; a staged file is removed only when the replica has it, and the newest one is kept, since it says where to go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use litestream_replica::chain::{listing, position};
use litestream_replica::env::{Env, Wake};
use litestream_replica::retry::Backoff;
use litestream_replica::{FileInfo, Level, SharedReplica, Source};
use ltx::{FileName, Header, Txid};
use tokio::sync::{Notify, oneshot, watch};

use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::staging::{is_full, list_level, remove_if_there, verify};
use crate::worker::{Command, ReplicaEnd, created};

/// The same error is logged at most this often.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Uploader {
    pub env: Env,
    pub replica: SharedReplica,
    pub shared: Arc<Shared>,
    /// `META/ltx`.
    pub root: PathBuf,
    pub name: String,
    pub commands: Sender<Command>,
    pub waker: Arc<dyn Wake>,
    /// Asks for a pass now, also while backing off.
    pub kick: Arc<Notify>,
    pub sync_interval: Duration,
    /// `None` until the replica was listed, and after errors that leave doubt.
    pub position: Option<Txid>,
    /// What lay there at start has been verified.
    pub verified: bool,
    /// Staged snapshots that are damaged, until others stand in their place.
    pub damaged: Vec<FileName>,
}

impl Uploader {
    /// Runs until the task is aborted.
    pub async fn run(mut self) {
        self.shared.wait_claimed().await;
        let mut staged = self.shared.subscribe_staged();
        let mut backoff = Backoff::new(self.sync_interval);
        let mut logged: Option<(String, litestream_replica::env::Monotonic)> = None;
        loop {
            self.shared.pass_begins();
            match self.pass().await {
                Ok(()) => {
                    backoff.reset();
                    logged = None;
                    self.shared.pass_ended(None);
                    self.wait_for_work(&mut staged).await;
                }
                Err(error) => {
                    let (text, now) = (error.to_string(), self.env.clock.monotonic());
                    if logged
                        .as_ref()
                        .is_none_or(|(old, at)| *old != text || now.since(*at) >= LOG_EVERY)
                    {
                        tracing::error!(db = %self.name, replica = self.replica.kind(), error = %text, "replica sync error");
                        logged = Some((text, now));
                    }
                    // What is known may be wrong: list again.
                    self.position = None;
                    self.shared.pass_ended(Some(error));
                    let pause = backoff.next(self.env.entropy.next_u64());
                    tokio::select! {
                        biased;
                        () = self.kick.notified() => {}
                        () = self.env.clock.sleep_async(pause) => {}
                    }
                }
            }
        }
    }

    async fn wait_for_work(&self, staged: &mut watch::Receiver<Option<Txid>>) {
        tokio::select! {
            biased;
            () = self.kick.notified() => {}
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
        let dir = self.root.join(Level::L0.to_string());
        let staged: Vec<FileName> = list_level(&self.env, &dir)?
            .into_iter()
            .filter(|n| n.max > at)
            .collect();
        if !staged.is_empty() {
            // The replica must not hold what a power failure could take from the local files: numbers would be given twice.
            self.env
                .disk
                .sync_dir(&dir)
                .map_err(Error::io("sync directory", &dir))?;
        }
        for name in staged {
            if name.max <= at {
                continue; // a snapshot bridged over it
            }
            if name.min > at.next() {
                at = self.bridge(at, name.min).await?;
                continue;
            }
            // Before the file with its own end: where a page size changes, that one can't be restored without it.
            let beside = FileName::new(Txid::new(1), name.max);
            if self.snapshots()?.contains(&beside) {
                self.upload_snapshot(beside).await?;
            }
            let size = self.upload(Level::L0, name).await?;
            at = name.max;
            self.position = Some(at);
            self.shared.uploaded(at, size);
        }
        // After the files below them: a snapshot must not make a hole look filled.
        self.upload_snapshots(at).await?;
        self.remove_uploaded(at)?;
        replaced
    }

    /// A damaged snapshot may have been the base of a new page size, without which nothing after it can be restored.
    async fn replace_damaged(&mut self) -> Result<()> {
        if self.damaged.is_empty() {
            return Ok(());
        }
        let name = self.request(Command::Snapshot).await?.what;
        let dir = self.root.join(Level::SNAPSHOT.to_string());
        for damaged in self.damaged.iter().filter(|damaged| **damaged != name) {
            remove_if_there(&self.env, &dir.join(damaged.to_string()))?;
        }
        self.damaged.clear();
        Ok(())
    }

    /// The staged snapshots that can be uploaded.
    fn snapshots(&self) -> Result<Vec<FileName>> {
        let mut names = list_level(&self.env, &self.root.join(Level::SNAPSHOT.to_string()))?;
        names.retain(|name| !self.damaged.contains(name));
        Ok(names)
    }

    async fn find_position(&mut self) -> Result<Txid> {
        let dir = self.root.join(Level::L0.to_string());
        if !self.verified {
            self.verify_staged()?;
            self.verified = true;
        }
        if list_level(&self.env, &dir)?.is_empty() {
            // The worker is about to find its position, by asking the replica too. If it can't, there is nothing to upload.
            let _ = self.request(Command::Capture).await;
        }
        let levels: Vec<Level> = Level::all().collect();
        let files = listing::list_all(&self.replica, &levels, false).await?;
        let found = position::position(&files);
        if self.has_forked(found.highest, &files, &dir).await? {
            tracing::warn!(db = %self.name, replica_txid = %found.highest, "replica holds another history than local files, continuing after it");
            let mut end = ReplicaEnd::of(&self.replica, &files).await?;
            // A listing may be old: no number that was given here is given again.
            let local = list_level(&self.env, &dir)?;
            end.highest = end.highest.max(local.last().map_or(Txid::ZERO, |n| n.max));
            self.command(Command::Rebase(end))?;
            self.request(Command::Capture).await?;
        }
        // With a hole below what is local, fill from the hole on; what can't be filled is bridged by a snapshot.
        let at = found.contiguous;
        self.position = Some(at);
        self.shared.replica_found(at);
        Ok(at)
    }

    /// Whether what is staged does not, or can't be shown to, continue the replica: the replica is ahead, or its newest file is not
    /// the local one of that name.
    async fn has_forked(&self, highest: Txid, files: &[FileInfo], dir: &Path) -> Result<bool> {
        let local = list_level(&self.env, dir)?;
        if highest > local.last().map_or(Txid::ZERO, |n| n.max) {
            return Ok(true);
        }
        let name = FileName::single(highest);
        if highest == Txid::ZERO {
            return Ok(false);
        }
        if !local.contains(&name) {
            // What comes right after it can't be shown to belong there, unless it depends on nothing. What comes later will be
            // bridged by a snapshot.
            let next = FileName::single(highest.next());
            let bound = local.contains(&next) && !is_full(&self.env, &dir.join(next.to_string()))?;
            return Ok(bound);
        }
        let mut level0 = files.iter().filter(|f| f.level == Level::L0);
        let Some(remote) = level0.find(|f| f.name == name) else {
            // A snapshot with that number: of which history can't be told.
            return Ok(true);
        };
        let path = dir.join(name.to_string());
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
            if self
                .replica
                .read(Level::L0, name, offset, Some(len as u64))
                .await?
                != here
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what an earlier run left damaged, so that it is bridged instead of uploaded; notes which snapshots are.
    fn verify_staged(&mut self) -> Result<()> {
        self.damaged.clear();
        for level in [Level::L0, Level::SNAPSHOT] {
            let dir = self.root.join(level.to_string());
            for name in list_level(&self.env, &dir)? {
                let path = dir.join(name.to_string());
                match verify(&self.env, &path) {
                    Err(Error::Staged { source, .. })
                        if source.is_corrupt() && level == Level::SNAPSHOT =>
                    {
                        tracing::warn!(path = %path.display(), error = %source, "local snapshot is damaged, taking another");
                        self.damaged.push(name);
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
        Ok(())
    }

    /// The staged files don't reach back to the replica's position: a snapshot makes it contiguous again.
    async fn bridge(&mut self, at: Txid, first: Txid) -> Result<Txid> {
        tracing::info!(db = %self.name, replica_txid = %at, local_txid = %first, "local files do not reach back to the replica, taking a snapshot");
        let name = self.request(Command::Snapshot).await?.what;
        self.upload_snapshots(name.max).await?;
        let newest = FileName::single(name.max);
        if list_level(&self.env, &self.root.join(Level::L0.to_string()))?.contains(&newest) {
            // It shows later that the replica holds our history.
            self.upload(Level::L0, newest).await?;
        }
        self.position = Some(name.max);
        self.shared.replica_found(name.max);
        Ok(name.max)
    }

    /// Uploads the snapshots whose transactions the replica holds up to `at`.
    async fn upload_snapshots(&self, at: Txid) -> Result<()> {
        for name in self.snapshots()?.into_iter().filter(|n| n.max <= at) {
            self.upload_snapshot(name).await?;
        }
        Ok(())
    }

    async fn upload_snapshot(&self, name: FileName) -> Result<()> {
        self.upload(Level::SNAPSHOT, name).await?;
        let dir = self.root.join(Level::SNAPSHOT.to_string());
        remove_if_there(&self.env, &dir.join(name.to_string()))?;
        tracing::info!(db = %self.name, txid = %name.max, "snapshot complete");
        Ok(())
    }

    async fn upload(&self, level: Level, name: FileName) -> Result<u64> {
        let path = self.root.join(level.to_string()).join(name.to_string());
        let header = self.durable_header(&path)?;
        let info = self
            .replica
            .write(level, name, Source::File(path), created(&header))
            .await?;
        tracing::debug!(db = %self.name, %level, %name, size = info.size, "ltx file uploaded");
        Ok(info.size)
    }

    fn durable_header(&self, path: &Path) -> Result<Header> {
        let mut bytes = [0; ltx::HEADER_SIZE];
        let file = self
            .env
            .disk
            .open_rw(path)
            .map_err(Error::io("open", path))?;
        file.sync().map_err(Error::io("sync", path))?;
        file.read_exact_at(&mut bytes, 0)
            .map_err(Error::io("read", path))?;
        Header::decode(&bytes).map_err(|source| Error::Staged {
            path: path.to_owned(),
            source,
        })
    }

    /// Removes what the replica has, but for the newest such file: it shows later that the replica holds our history.
    fn remove_uploaded(&self, at: Txid) -> Result<()> {
        let dir = self.root.join(Level::L0.to_string());
        for name in list_level(&self.env, &dir)?
            .into_iter()
            .filter(|n| n.max < at)
        {
            remove_if_there(&self.env, &dir.join(name.to_string()))?;
        }
        Ok(())
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
