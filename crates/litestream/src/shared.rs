//! What worker, uploader and callers know of each other: positions, counters, last errors.

use std::sync::Arc;
use std::time::Duration;

use ltx::Txid;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::capture::Staged;
use crate::database::CheckpointReport;

/// A look at one database, for status displays and metrics.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Newest staged TXID.
    pub position: Option<Txid>,
    /// End of the replica's contiguous part, once known.
    pub replica_position: Option<Txid>,
    /// Why capture does not work, if it does not.
    pub capture_error: Option<String>,
    /// Why upload does not work, if it does not.
    pub upload_error: Option<String>,
    /// Counters since start.
    pub counters: Counters,
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Level-0 files staged.
    pub files_staged: u64,
    /// Their bytes.
    pub bytes_staged: u64,
    /// WAL bytes that they stand for.
    pub wal_bytes: u64,
    /// Checkpoints tried.
    pub checkpoints: u64,
    /// Of these, complete ones.
    pub checkpoints_complete: u64,
    /// Time spent in them.
    pub checkpoint_time: Duration,
    /// Longest time that transactions were held up.
    pub held_max: Duration,
    /// Files uploaded.
    pub files_uploaded: u64,
    /// Their bytes.
    pub bytes_uploaded: u64,
}

/// The uploader's progress, for those who wait for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// End of what is in the replica.
    pub position: Option<Txid>,
    /// How often what is staged got other numbers.
    pub numbering: u64,
    /// Passes begun.
    pub begun: u64,
    /// Passes ended, successful or not.
    pub ended: u64,
    /// The last pass failed.
    pub failed: bool,
    /// Nothing will come any more.
    pub closed: bool,
}

/// See the module.
pub(crate) struct Shared {
    status: Mutex<Status>,
    staged: watch::Sender<Option<Txid>>,
    claimed: watch::Sender<bool>,
    pub progress: watch::Sender<Progress>,
    /// The last upload failure, for whoever waits.
    failure: Mutex<Option<Arc<crate::Error>>>,
}

impl Shared {
    pub fn new() -> Shared {
        Shared {
            status: Mutex::default(),
            staged: watch::Sender::new(None),
            claimed: watch::Sender::new(false),
            progress: watch::Sender::new(Progress::default()),
            failure: Mutex::new(None),
        }
    }

    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// The state folder is ours.
    pub fn claimed(&self) {
        self.claimed.send_replace(true);
    }

    /// Waits until the state folder is ours.
    pub async fn wait_claimed(&self) {
        let mut claimed = self.claimed.subscribe();
        // The sender lives as long as `self`.
        let _ = claimed.wait_for(|claimed| *claimed).await;
    }

    /// A file was staged, or a position found.
    pub fn staged(&self, txid: Txid, file: Option<&Staged>) {
        {
            let mut status = self.status.lock();
            status.position = Some(txid);
            if let Some(file) = file {
                status.counters.files_staged += 1;
                status.counters.bytes_staged += file.size;
                status.counters.wal_bytes += file.wal_bytes;
            }
        }
        self.staged.send_if_modified(|seen| {
            // The same number may be staged again, after its file was lost.
            let changed = file.is_some() || *seen != Some(txid);
            *seen = Some(txid);
            changed
        });
    }

    pub fn subscribe_staged(&self) -> watch::Receiver<Option<Txid>> {
        self.staged.subscribe()
    }

    pub fn checkpointed(&self, report: &CheckpointReport, took: Duration) {
        let mut status = self.status.lock();
        let counters = &mut status.counters;
        counters.checkpoints += 1;
        counters.checkpoints_complete += u64::from(report.complete);
        counters.checkpoint_time += took;
        counters.held_max = counters.held_max.max(report.held.unwrap_or_default());
    }

    pub fn worker_error(&self, error: Option<String>) {
        self.status.lock().capture_error = error;
    }

    pub fn uploaded(&self, position: Txid, bytes: u64) {
        {
            let mut status = self.status.lock();
            status.replica_position = Some(position);
            status.counters.files_uploaded += 1;
            status.counters.bytes_uploaded += bytes;
        }
        self.progress.send_modify(|p| p.position = Some(position));
    }

    pub fn replica_found(&self, position: Txid) {
        self.status.lock().replica_position = Some(position);
        self.progress.send_modify(|p| p.position = Some(position));
    }

    /// What is staged from now on goes by other numbers: a number given before says nothing any more.
    pub fn rebased(&self) {
        self.progress.send_modify(|p| p.numbering += 1);
    }

    pub fn pass_begins(&self) {
        self.progress.send_modify(|p| p.begun += 1);
    }

    pub fn pass_ended(&self, error: Option<crate::Error>) {
        self.status.lock().upload_error = error.as_ref().map(ToString::to_string);
        let failed = error.is_some();
        *self.failure.lock() = error.map(Arc::new);
        self.progress.send_modify(|p| {
            p.ended += 1;
            p.failed = failed;
        });
    }

    /// The failure of the last pass.
    pub fn failure(&self) -> crate::Error {
        self.failure
            .lock()
            .clone()
            .map_or(crate::Error::NoPosition, crate::Error::Upload)
    }

    /// A snapshot was staged: something to upload although the position stands.
    pub fn snapshot_staged(&self) {
        self.staged.send_modify(|_| {});
    }

    /// Worker or uploader ended, by request or not: nobody need wait.
    pub fn closed(&self, unexpected: Option<&str>) {
        if let Some(what) = unexpected {
            self.status.lock().capture_error = Some(what.to_owned());
        }
        self.progress.send_modify(|p| p.closed = true);
    }
}

/// Tells those who wait when the thread or task that holds it ends, also by a panic.
pub(crate) struct EndsWith(pub Arc<Shared>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        let what = "replication of this database ended unexpectedly; restart litestream";
        self.0.closed(std::thread::panicking().then_some(what));
    }
}
