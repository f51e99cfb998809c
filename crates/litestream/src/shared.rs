//! What worker, uploader and callers know of each other: positions, counters, last errors.

mod lag;
mod seen;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use litestream_replica::Level;
use litestream_replica::env::Monotonic;
use ltx::Txid;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::lag::Lag;
use self::lag::Pending;
pub use self::seen::{Operation, Seen};
use crate::capture::Staged;
use crate::database::CheckpointReport;
use crate::link::{Link, ReplicaStatus};

/// A look at one database, for status displays and metrics.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Newest staged TXID.
    pub position: Option<Txid>,
    /// Up to here every replica has everything, once that is known.
    pub replica_position: Option<Txid>,
    /// Why capture does not work, if it does not.
    pub capture_error: Option<String>,
    /// Why upload to the first replica to which it does not work does not.
    pub upload_error: Option<String>,
    /// Each replica.
    pub replicas: Vec<ReplicaStatus>,
    /// How long capture has not worked, if it does not.
    pub trouble: Option<Duration>,
    /// What the worker saw last, and what it is doing.
    pub seen: Seen,
    /// Requests that wait for the worker or are being served.
    pub requests: usize,
    /// How long each of them takes by now, the first one first.
    pub request_ages: Vec<Duration>,
    /// Counters since start.
    pub counters: Counters,
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Looks at the WAL that were to capture what is new, if there was something.
    pub syncs: u64,
    /// Of these, and of attempts to open the database, those that failed.
    pub sync_errors: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// Level-0 files staged.
    pub files_staged: u64,
    /// Their bytes.
    pub bytes_staged: u64,
    /// WAL bytes that they stand for.
    pub wal_bytes: u64,
    /// Checkpoints tried.
    pub checkpoints: u64,
    /// Failed ones.
    pub checkpoint_errors: u64,
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

/// See the module.
pub(crate) struct Shared {
    status: Mutex<Status>,
    staged: watch::Sender<Option<Txid>>,
    claimed: watch::Sender<bool>,
    /// The replicas, in the order in which they were given.
    pub links: Vec<Arc<Link>>,
    marks: Mutex<Marks>,
    /// First and last TXID staged since start or since numbers last changed.
    given: Mutex<Option<(Txid, Txid)>>,
    pending: Mutex<Pending>,
    /// Since when capture has not worked.
    trouble: Mutex<Option<Monotonic>>,
    requests: Mutex<Requests>,
    /// There was nothing here that could tell where the replica ends.
    knows_nothing: AtomicBool,
}

/// When those began that have not ended, by number.
#[derive(Default)]
struct Requests {
    begun: BTreeMap<u64, Monotonic>,
    next: u64,
}

/// Which staged files must not be merged away, and which are.
#[derive(Default)]
struct Marks {
    /// For each replica the last two files that it got or may be getting: they show that it holds our history.
    ends: Vec<[Txid; 2]>,
    /// Being removed, since a merged file holds them.
    removing: Option<RangeInclusive<Txid>>,
}

impl Shared {
    pub fn new(links: Vec<Arc<Link>>) -> Shared {
        Shared {
            status: Mutex::default(),
            staged: watch::Sender::new(None),
            claimed: watch::Sender::new(false),
            marks: Mutex::new(Marks {
                ends: vec![[Txid::ZERO; 2]; links.len()],
                removing: None,
            }),
            given: Mutex::new(None),
            pending: Mutex::default(),
            trouble: Mutex::default(),
            requests: Mutex::default(),
            knows_nothing: AtomicBool::new(false),
            links,
        }
    }

    /// A replica ends with the file that ends here, or may soon. `false` if it is one of level 0 that is being removed.
    pub fn mark(&self, replica: usize, level: Level, txid: Txid) -> bool {
        let mut marks = self.marks.lock();
        if level == Level::L0 && marks.removing.as_ref().is_some_and(|r| r.contains(&txid)) {
            return false;
        }
        let mark = &mut marks.ends[replica];
        if mark[1] != txid {
            *mark = [mark[1], txid];
        }
        true
    }

    /// Where replicas end, or may soon.
    pub fn marked(&self) -> Vec<Txid> {
        self.marks.lock().ends.concat()
    }

    /// Whether a file of level 0 is being removed, since a merged one holds it.
    pub fn is_removed(&self, txid: Txid) -> bool {
        let marks = self.marks.lock();
        marks.removing.as_ref().is_some_and(|r| r.contains(&txid))
    }

    /// The files of level 0 in this range are going to be removed. `false` if a replica needs one of them.
    pub fn removes(&self, range: RangeInclusive<Txid>) -> bool {
        let mut marks = self.marks.lock();
        if marks.ends.concat().iter().any(|txid| range.contains(txid)) {
            return false;
        }
        marks.removing = Some(range);
        true
    }

    /// They are.
    pub fn removed(&self) {
        self.marks.lock().removing = None;
    }

    pub fn status(&self, now: Monotonic) -> Status {
        let mut replicas: Vec<ReplicaStatus> = self.links.iter().map(|l| l.status()).collect();
        let trouble = self.trouble.lock().map(|since| now.since(since));
        {
            let pending = self.pending.lock();
            for replica in &mut replicas {
                let lag = pending.lag(replica.position, now);
                replica.lag = Lag {
                    age: lag.age.max(trouble.unwrap_or_default()),
                    ..lag
                };
            }
        }
        let requests = self.requests.lock();
        let request_ages: Vec<Duration> =
            requests.begun.values().map(|at| now.since(*at)).collect();
        drop(requests);
        Status {
            // `None` if one of them is not known.
            replica_position: replicas.iter().map(|r| r.position).min().flatten(),
            upload_error: replicas.iter().find_map(|r| r.upload_error.clone()),
            replicas,
            trouble,
            requests: request_ages.len(),
            request_ages,
            ..self.status.lock().clone()
        }
    }

    /// What the worker sees and does.
    pub fn see(&self, see: impl FnOnce(&mut Seen, &mut Counters)) {
        let mut status = self.status.lock();
        let Status { seen, counters, .. } = &mut *status;
        see(seen, counters);
    }

    /// At the start there is nothing here that could tell where the replica ends.
    pub fn knows_nothing(&self) {
        self.knows_nothing.store(true, Ordering::Relaxed);
    }

    /// Whether that was so.
    pub fn knew_nothing(&self) -> bool {
        self.knows_nothing.load(Ordering::Relaxed)
    }

    /// Somebody asks the worker for something, until what is returned is dropped.
    pub fn asks(self: &Arc<Self>, now: Monotonic) -> Asks {
        let mut requests = self.requests.lock();
        let number = requests.next;
        requests.next += 1;
        requests.begun.insert(number, now);
        Asks(Arc::clone(self), number)
    }

    /// The highest TXID that some replica is known to hold.
    pub fn highest_uploaded(&self) -> Txid {
        let positions = self.links.iter().filter_map(|link| link.position());
        positions.max().unwrap_or_default()
    }

    /// Up to here every replica that is up has everything; `None` if none is up.
    pub fn healthy(&self) -> Option<Txid> {
        let up = self.links.iter().map(|link| *link.progress.borrow());
        up.filter(|p| !p.passes.failed)
            .filter_map(|p| p.position)
            .min()
    }

    /// Up to here every replica has everything; `None` if one of them is not known.
    pub fn uploaded_everywhere(&self) -> Option<Txid> {
        self.links.iter().map(|link| link.position()).min()?
    }

    /// How often what is staged got other numbers.
    pub fn numbering(&self) -> u64 {
        self.links
            .first()
            .map_or(0, |link| link.progress.borrow().numbering)
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
    pub fn staged(&self, txid: Txid, file: Option<&Staged>, now: Monotonic) {
        let bytes = file.map_or(0, |file| file.size);
        let everywhere = self.uploaded_everywhere();
        self.pending.lock().staged(txid, bytes, now, everywhere);
        if file.is_some() {
            let mut given = self.given.lock();
            let first = given.map_or(txid, |(first, _)| first.min(txid));
            *given = Some((first, txid));
        }
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

    /// Whether that number was given to something here.
    pub fn gave(&self, txid: Txid) -> bool {
        let given = self.given.lock();
        given.is_some_and(|(first, last)| (first..=last).contains(&txid))
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

    /// Capture works, or it does not and has not since then.
    pub fn worker_error(&self, error: Option<(String, Monotonic)>) {
        *self.trouble.lock() = error.as_ref().map(|(_, since)| *since);
        self.status.lock().capture_error = error.map(|(text, _)| text);
    }

    pub fn uploaded(&self, bytes: u64) {
        let counters = &mut self.status.lock().counters;
        counters.files_uploaded += 1;
        counters.bytes_uploaded += bytes;
    }

    /// What is staged from now on goes by other numbers: a number given before says nothing any more.
    pub fn rebased(&self) {
        *self.given.lock() = None;
        self.pending.lock().clear();
        for link in &self.links {
            link.rebased();
        }
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
        for link in &self.links {
            link.closed();
        }
    }
}

/// See [`Shared::asks`].
pub(crate) struct Asks(Arc<Shared>, u64);

impl Drop for Asks {
    fn drop(&mut self) {
        self.0.requests.lock().begun.remove(&self.1);
    }
}

/// Tells those who wait when the thread or task that holds it ends, also by a panic.
pub(crate) struct EndsWith(pub Arc<Shared>);

/// What is left to say after a panic.
const UNEXPECTED: &str = "replication of this database ended unexpectedly; restart litestream";

impl EndsWith {
    /// Something panicked elsewhere.
    pub fn unexpectedly(self) {
        self.0.closed(Some(UNEXPECTED));
    }
}

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0
            .closed(std::thread::panicking().then_some(UNEXPECTED));
    }
}
