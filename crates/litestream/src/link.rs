//! One replica of a database as all who work on it see it: its files, its progress, its last errors.

use std::sync::Arc;

use litestream_replica::chain::listing;
use litestream_replica::chain::retain::Ages;
use litestream_replica::env::{Clock, UnixMillis};
use litestream_replica::{FileInfo, Level, SharedReplica};
use ltx::{FileName, Txid};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::catalogue::Catalogue;
use crate::shared::Lag;

/// How one replica stands.
#[derive(Clone, Debug, Default)]
pub struct ReplicaStatus {
    /// `file`, `s3`, …
    pub kind: &'static str,
    /// Where it is, without secrets.
    pub location: String,
    /// End of its contiguous part, once known.
    pub position: Option<Txid>,
    /// Why upload does not work, if it does not.
    pub upload_error: Option<String>,
    /// When everything staged by then was known to be there last.
    pub last_sync_at: Option<UnixMillis>,
    /// What it does not have yet.
    pub lag: Lag,
    /// Passes of uploads and snapshots that failed, since start.
    pub failures: u64,
    /// Levels that had a gap after a compaction, since start.
    pub compaction_gaps: u64,
    /// What the last retention found in level 0, once there was one.
    pub level_0: Option<Level0>,
    /// Why compaction, snapshots or retention do not work, if they do not.
    pub upkeep_error: Option<String>,
    /// What background verification found, once it was there.
    pub verified: Option<Verified>,
}

/// Files of level 0, as retention judges them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level0 {
    /// To be deleted.
    pub eligible: u64,
    /// Not yet in level 1.
    pub not_compacted: u64,
    /// In level 1, but not for long enough.
    pub too_recent: u64,
}

/// What background verification found last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// When.
    pub at: Option<UnixMillis>,
    /// The newest state that was proved.
    pub txid: Option<Txid>,
    /// What was damaged or missing.
    pub damage: Vec<String>,
    /// Why there was no later verification, if it failed.
    pub error: Option<String>,
}

/// The uploader's progress, for those who wait for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// End of what is in the replica.
    pub position: Option<Txid>,
    /// How often what is staged got other numbers.
    pub numbering: u64,
    /// Passes of the uploader.
    pub passes: Tries,
    /// Snapshots that nothing waits for.
    pub snapshots: Tries,
    /// Nothing will come any more.
    pub closed: bool,
}

/// Attempts at something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tries {
    /// Begun.
    pub begun: u64,
    /// Ended, successful or not.
    pub ended: u64,
    /// The last one failed.
    pub failed: bool,
}

impl Tries {
    /// The failure of what had begun before says nothing of what was asked for since.
    pub fn failed_since(self, before: Tries) -> bool {
        self.failed && self.ended > before.begun
    }

    fn ended(&mut self, failed: bool) {
        self.ended += 1;
        self.failed = failed;
    }
}

impl Progress {
    /// The last attempt to bring something there failed.
    pub fn is_down(&self) -> bool {
        self.passes.failed || self.snapshots.failed
    }
}

/// Who has used the last listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    Never,
    /// The worker, to number what it stages.
    Ahead,
    /// The uploader, whose next question is about something that has changed.
    Used,
}

/// See the module.
pub(crate) struct Link {
    pub replica: SharedReplica,
    pub catalogue: Mutex<Catalogue>,
    /// What its files are as old as.
    pub ages: Mutex<Ages>,
    /// Held while a listing is under way.
    listed: tokio::sync::Mutex<Listed>,
    pub progress: watch::Sender<Progress>,
    /// Asks for an upload pass now, also while backing off.
    pub kick: Notify,
    /// Files or position changed: there may be something to compact or delete.
    pub changed: Notify,
    status: Mutex<ReplicaStatus>,
    /// The highest TXID that was sent there, whatever came of it.
    sent: Mutex<Txid>,
    doubted: Mutex<bool>,
    /// Snapshots that are being sent, or will be, while the files after them go on.
    alongside: Mutex<Vec<FileName>>,
    /// Why the last pass and the last snapshot failed, if they did, for whoever waits.
    failures: Mutex<[Option<Arc<crate::Error>>; 2]>,
}

impl Link {
    pub fn new(replica: SharedReplica) -> Link {
        let status = ReplicaStatus {
            kind: replica.kind(),
            location: replica.location(),
            ..ReplicaStatus::default()
        };
        Link {
            replica,
            catalogue: Mutex::default(),
            ages: Mutex::default(),
            listed: tokio::sync::Mutex::new(Listed::Never),
            progress: watch::Sender::new(Progress::default()),
            kick: Notify::new(),
            changed: Notify::new(),
            status: Mutex::new(status),
            sent: Mutex::default(),
            doubted: Mutex::default(),
            alongside: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    pub fn status(&self) -> ReplicaStatus {
        self.status.lock().clone()
    }

    /// All files, for whoever asks once, at the start: as listed, if anybody has done that.
    pub async fn list_ahead(&self, clock: &dyn Clock) -> crate::Result<Vec<FileInfo>> {
        let mut listed = self.listed.lock().await;
        if *listed == Listed::Never {
            self.list_now(clock).await?;
            *listed = Listed::Ahead;
        }
        Ok(self.catalogue.lock().all())
    }

    /// All files, listed now, or ahead and not used since.
    pub async fn list(&self, clock: &dyn Clock) -> crate::Result<Vec<FileInfo>> {
        let mut listed = self.listed.lock().await;
        if *listed != Listed::Ahead {
            self.list_now(clock).await?;
        }
        *listed = Listed::Used;
        Ok(self.catalogue.lock().all())
    }

    /// What was listed ahead is not good enough.
    pub async fn list_anew(&self, clock: &dyn Clock) -> crate::Result<Vec<FileInfo>> {
        *self.listed.lock().await = Listed::Used;
        self.list(clock).await
    }

    async fn list_now(&self, clock: &dyn Clock) -> crate::Result<()> {
        let levels: Vec<Level> = Level::all().collect();
        let now = clock.monotonic();
        self.catalogue.lock().listing_begins(now);
        let files = listing::list_all(&self.replica, &levels, false).await?;
        self.catalogue.lock().listed(&files);
        if let Some(newest) = files.iter().map(|file| file.created).max() {
            // It is that late at least.
            self.ages.lock().note(newest, now);
        }
        Ok(())
    }

    /// A file that ends there is being sent.
    pub fn sending(&self, txid: Txid) {
        let mut sent = self.sent.lock();
        *sent = sent.max(txid);
    }

    /// The highest TXID that was sent there, whatever came of it.
    pub fn sent(&self) -> Txid {
        *self.sent.lock()
    }

    /// What is known of its files may be wrong: the next pass of the uploader looks at them anew.
    pub fn doubt(&self) {
        *self.doubted.lock() = true;
    }

    /// Whether there was doubt since this was asked last.
    pub fn take_doubt(&self) -> bool {
        std::mem::take(&mut *self.doubted.lock())
    }

    /// A compaction left a gap.
    pub fn compaction_gap(&self) {
        self.status.lock().compaction_gaps += 1;
    }

    /// Retention has judged level 0.
    pub fn level_0(&self, judged: Level0) {
        self.status.lock().level_0 = Some(judged);
    }

    /// A verification has ended.
    pub fn verified(&self, verified: Verified) {
        self.status.lock().verified = Some(verified);
    }

    /// End of its contiguous part; `None` if that is not known.
    pub fn position(&self) -> Option<Txid> {
        self.progress.borrow().position
    }

    /// It reaches so far.
    pub fn reached(&self, position: Txid) {
        self.status.lock().position = Some(position);
        self.progress.send_modify(|p| p.position = Some(position));
        self.changed.notify_one();
    }

    /// What is staged from now on goes by other numbers: a number given before says nothing any more.
    pub fn rebased(&self) {
        self.progress.send_modify(|p| p.numbering += 1);
    }

    /// Everything staged is there.
    pub fn synced_at(&self, now: UnixMillis) {
        self.status.lock().last_sync_at = Some(now);
    }

    pub fn pass_begins(&self) {
        self.progress.send_modify(|p| p.passes.begun += 1);
    }

    pub fn pass_ended(&self, error: Option<crate::Error>) {
        let failed = self.note_failure(0, error);
        self.progress.send_modify(|p| p.passes.ended(failed));
    }

    pub fn snapshot_begins(&self) {
        self.progress.send_modify(|p| p.snapshots.begun += 1);
    }

    pub fn snapshot_ended(&self, error: Option<crate::Error>) {
        let failed = self.note_failure(1, error);
        self.progress.send_modify(|p| p.snapshots.ended(failed));
    }

    /// Nothing is left that could not be sent.
    pub fn no_snapshot_waits(&self) {
        let failed = self.progress.borrow().snapshots.failed;
        if failed {
            self.note_failure(1, None);
            self.progress.send_modify(|p| p.snapshots.failed = false);
        }
    }

    fn note_failure(&self, which: usize, error: Option<crate::Error>) -> bool {
        let failed = error.is_some();
        let mut failures = self.failures.lock();
        if failed != failures[which].is_some() {
            self.changed.notify_one();
        }
        failures[which] = error.map(Arc::new);
        let first = failures.iter().flatten().next();
        let mut status = self.status.lock();
        status.upload_error = first.map(ToString::to_string);
        status.failures += u64::from(failed);
        drop(status);
        failed
    }

    /// The failure of the last pass or snapshot.
    pub fn failure(&self) -> crate::Error {
        let failures = self.failures.lock();
        let first = failures.iter().flatten().next().cloned();
        first.map_or(crate::Error::NoPosition, crate::Error::Upload)
    }

    /// These snapshots are sent while the files after them go on; all others come before files that depend on them.
    pub fn set_alongside(&self, names: Vec<FileName>) {
        *self.alongside.lock() = names;
    }

    pub fn goes_alongside(&self, name: &FileName) -> bool {
        self.alongside.lock().contains(name)
    }

    pub fn upkeep(&self, error: Option<String>) {
        self.status.lock().upkeep_error = error;
    }

    /// Nobody need wait any more.
    pub fn closed(&self) {
        self.progress.send_modify(|p| p.closed = true);
    }
}
