//! From the directory of staged files to the replica.
//!
//! Owns the replica's position: the end of its contiguous part. Promise: the position advances only when a file is durable in the
//! replica; a staged file is removed only when the replica has it, and the newest one is kept, since it says where to go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use litestream_replica::chain::{listing, position};
use litestream_replica::env::{Env, Wake};
use litestream_replica::retry::Backoff;
use litestream_replica::{Level, SharedReplica, Source};
use ltx::{FileName, Header, Txid};
use tokio::sync::{Notify, oneshot, watch};

use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::staging::{list_level, remove_if_there};
use crate::worker::{Command, created};

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
    /// `None` until the replica was listed.
    pub position: Option<Txid>,
}

impl Uploader {
    /// Runs until the task is aborted.
    pub async fn run(mut self) {
        let mut staged = self.shared.subscribe_staged();
        let mut backoff = Backoff::new(self.sync_interval);
        let mut logged: Option<(String, litestream_replica::env::Monotonic)> = None;
        loop {
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
                        () = self.env.clock.sleep_async(pause) => {}
                        () = self.kick.notified() => {}
                    }
                }
            }
        }
    }

    async fn wait_for_work(&self, staged: &mut watch::Receiver<Option<Txid>>) {
        tokio::select! {
            _ = staged.changed() => {}
            () = self.kick.notified() => {}
        }
    }

    /// Brings the replica up to what is staged.
    async fn pass(&mut self) -> Result<()> {
        let mut at = match self.position {
            Some(at) => at,
            None => self.find_position().await?,
        };
        self.upload_snapshots().await?;
        let dir = self.root.join(Level::L0.to_string());
        let staged: Vec<FileName> = list_level(&self.env, &dir)?
            .into_iter()
            .filter(|n| n.max > at)
            .collect();
        if let Some(first) = staged.first()
            && first.min > at.next()
        {
            at = self.bridge(at, first.min).await?;
        }
        for name in staged.into_iter().filter(|n| n.max > at) {
            let size = self.upload(Level::L0, name).await?;
            self.position = Some(name.max);
            self.shared.uploaded(name.max, size);
        }
        self.remove_uploaded()
    }

    async fn find_position(&mut self) -> Result<Txid> {
        let levels: Vec<Level> = Level::all().collect();
        let files = listing::list_all(&self.replica, &levels, false).await?;
        let found = position::position(&files);
        let local = list_level(&self.env, &self.root.join(Level::L0.to_string()))?
            .last()
            .map(|n| n.max);
        if local.is_some_and(|local| found.highest > local) {
            tracing::warn!(db = %self.name, replica_txid = %found.highest, "replica is ahead of local files, continuing after it");
            self.command(Command::ReplicaAhead(found.highest))?;
            self.capture().await?;
        }
        // With a hole below what is local, fill from the hole on; what can't be filled is bridged by a snapshot.
        self.position = Some(found.contiguous);
        self.shared.replica_found(found.contiguous);
        Ok(found.contiguous)
    }

    /// The staged files don't reach back to the replica's position: a snapshot makes it contiguous again, unless the first staged
    /// file is itself a full one that starts after what the replica holds.
    async fn bridge(&mut self, at: Txid, first: Txid) -> Result<Txid> {
        tracing::info!(db = %self.name, replica_txid = %at, local_txid = %first, "local files do not reach back to the replica, taking a snapshot");
        let name = self.request(Command::Snapshot).await?;
        self.upload_snapshots().await?;
        self.position = Some(name.max);
        self.shared.replica_found(name.max);
        Ok(name.max)
    }

    async fn upload_snapshots(&self) -> Result<()> {
        let dir = self.root.join(Level::SNAPSHOT.to_string());
        for name in list_level(&self.env, &dir)? {
            self.upload(Level::SNAPSHOT, name).await?;
            remove_if_there(&self.env, &dir.join(name.to_string()))?;
            tracing::info!(db = %self.name, txid = %name.max, "snapshot complete");
        }
        Ok(())
    }

    async fn upload(&self, level: Level, name: FileName) -> Result<u64> {
        let path = self.root.join(level.to_string()).join(name.to_string());
        let header = self.header(&path)?;
        let info = self
            .replica
            .write(level, name, Source::File(path), created(&header))
            .await?;
        tracing::debug!(db = %self.name, %level, %name, size = info.size, "ltx file uploaded");
        Ok(info.size)
    }

    fn header(&self, path: &PathBuf) -> Result<Header> {
        let mut bytes = [0; ltx::HEADER_SIZE];
        let file = self.env.disk.open(path).map_err(Error::io("open", path))?;
        file.read_exact_at(&mut bytes, 0)
            .map_err(Error::io("read", path))?;
        Header::decode(&bytes).map_err(|source| Error::Staged {
            path: path.clone(),
            source,
        })
    }

    /// Removes what the replica has, but for the newest file.
    fn remove_uploaded(&self) -> Result<()> {
        let dir = self.root.join(Level::L0.to_string());
        let mut names = list_level(&self.env, &dir)?;
        names.pop();
        for name in names.into_iter().filter(|n| Some(n.max) <= self.position) {
            remove_if_there(&self.env, &dir.join(name.to_string()))?;
        }
        Ok(())
    }

    async fn capture(&self) -> Result<Txid> {
        self.request(Command::Capture).await
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
