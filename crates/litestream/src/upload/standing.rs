//! Where a replica ends, and whether what is staged here continues it: found out at the start and whenever there is doubt.

use std::path::Path;

use litestream_replica::chain::position;
use litestream_replica::env::File;
use litestream_replica::{FileInfo, Level};
use ltx::{FileName, PageSize, Txid};

use super::Uploader;
use crate::depot::{Depot, MERGED};
use crate::error::{Error, Result};
use crate::staging::is_full;
use crate::worker::{Command, ReplicaEnd};

impl Uploader {
    /// The end of the replica's contiguous part. What is staged has other numbers afterwards, if it did not continue the replica.
    pub(super) async fn find_position(&mut self) -> Result<Txid> {
        self.link.set_alongside(Vec::new());
        {
            let mut damaged = self.depot.damaged.lock().await;
            if damaged.is_none() {
                *damaged = Some(self.depot.offloaded(Depot::verify).await?);
            }
        }
        if self.depot.list(Level::L0)?.is_empty() {
            // The worker is about to find its position, by asking the replica too. If it can't, there is nothing to upload.
            let _ = self.worker.request(Command::Capture).await;
        }
        let files = self.list().await?;
        if !self.is_tidy {
            // What can't be removed does no harm.
            if let Err(error) = self.link.replica.tidy().await {
                tracing::debug!(db = %self.name, %error, "leftovers of a killed writer could not be removed");
            }
            self.is_tidy = true;
        }
        let found = position::position(&files);
        if self.has_forked(found.highest, &files).await? {
            tracing::warn!(db = %self.name, replica_txid = %found.highest, "replica holds another history than local files, continuing after it");
            self.alongside.cancel_all();
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

    /// All files. Where nothing here tells what the replica holds, an old listing would have numbers given twice.
    async fn list(&mut self) -> Result<Vec<FileInfo>> {
        let delay = self.link.replica.list_delay();
        if delay.is_zero() || self.is_tidy || !self.shared.knew_nothing() {
            return self.link.list(&*self.env.clock).await;
        }
        self.env.clock.sleep_async(delay).await;
        self.link.list_anew(&*self.env.clock).await
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
                self.alongside.cancel(name);
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
                if self.shared.gave(highest) && self.link.sent() < highest {
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
        let path = self.depot.path(level, name);
        let file = self
            .env
            .disk
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let Some(remote) = files.iter().find(|f| f.level == level && f.name == name) else {
            return Ok(!self
                .leads_to_the_same(&*file, &path, highest, files)
                .await?);
        };
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

    /// Whether all other files that end there, a snapshot most often, because the file itself did not arrive, lead to the same state at
    /// the same time as this one: their chains say so, or nothing does.
    async fn leads_to_the_same(
        &self,
        file: &dyn File,
        path: &Path,
        end: Txid,
        files: &[FileInfo],
    ) -> Result<bool> {
        let mut here = [0; ltx::HEADER_SIZE];
        file.read_exact_at(&mut here, 0)
            .map_err(Error::io("read", path))?;
        let end_of = |header: &[u8]| {
            let header = ltx::Header::decode(header).ok()?;
            let after = header.chain().after?;
            Some((header.page_size, header.commit, header.timestamp_ms, after))
        };
        let here = end_of(&here);
        let mut same = here.is_some();
        for other in files.iter().filter(|f| f.name.max == end) {
            let len = Some(ltx::HEADER_SIZE as u64);
            let there = self.link.replica.read(other.level, other.name, 0, len);
            let there = there.await.inspect_err(|error| {
                if error.is_not_found() {
                    self.link.catalogue.lock().gone(other.level, other.name);
                }
            })?;
            same &= end_of(&there) == here;
        }
        Ok(same)
    }
}
