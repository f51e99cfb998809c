//! The one owner of a database: it turns events (file changed, time passed, command) into captures and checkpoints.
//!
//! Owns [`Database`] and nothing of the replica; the directory of staged files is the queue to the uploader. After an error
//! that leaves doubt it drops the database and opens it anew, which judges continuity from what really lies on disk.

mod drive;
mod pace;
mod report;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use litestream_replica::chain::position;
use litestream_replica::env::{Env, Held, Monotonic, UnixMillis, Watcher};
use litestream_replica::{FileInfo, SharedReplica};
use ltx::{FileName, PageSize, Txid};
use tokio::sync::oneshot;

use self::drive::Rest;
use self::pace::{Rate, SETTLE};
use crate::base::Base;
use crate::capture::{FullReason, Holds, Staged};
use crate::checkpoint_policy::{Inputs, Plan};
use crate::database::{CheckpointReport, Database, Succession};
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::staging::{self, Doubts};
use crate::stop::Stop;
use crate::tidy::Tidy;
use crate::upkeep::merge::Merger;

/// The same error is logged at most this often.
const LOG_EVERY: Duration = Duration::from_secs(30);
/// Longest wait between attempts to stage while they fail.
const TROUBLE_WAIT_MAX: Duration = Duration::from_mins(1);
/// How long the state folder's lock is tried for.
const CLAIM_WAIT: Duration = Duration::from_secs(1);
/// Pause between tries.
const CLAIM_PAUSE: Duration = Duration::from_millis(5);
/// What a worker is asked to do.
pub(crate) enum Command {
    /// Stage everything committed by now; answers the position.
    Capture(oneshot::Sender<Result<Numbered<Txid>>>),
    /// The same, and a level-9 snapshot of it.
    Snapshot(oneshot::Sender<Result<Numbered<FileName>>>),
    /// The replica holds another history up to this TXID than what is staged: continue after it, with a full file.
    Rebase(ReplicaEnd),
    /// Give up all locks and end.
    Close(oneshot::Sender<()>),
}

/// TXIDs, and the numbering that they belong to: after a rebase, what was staged before under some number goes by another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbered<T> {
    /// By number.
    pub what: T,
    /// How many rebases came before.
    pub numbering: u64,
}

/// Where a replica ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplicaEnd {
    /// Its highest TXID.
    pub highest: Txid,
    /// Page size of that file.
    pub page_size: Option<PageSize>,
}

impl ReplicaEnd {
    /// Of a replica with these files.
    pub async fn of(replica: &SharedReplica, files: &[FileInfo]) -> Result<ReplicaEnd> {
        let highest = position::position(files).highest;
        let page_size = match files.iter().find(|f| f.name.max == highest) {
            None => None,
            Some(file) => {
                let header = replica
                    .read(file.level, file.name, 0, Some(ltx::HEADER_SIZE as u64))
                    .await?;
                ltx::Header::decode(&header).ok().map(|h| h.page_size)
            }
        };
        Ok(ReplicaEnd { highest, page_size })
    }
}

/// See the module.
pub(crate) struct Worker {
    pub env: Env,
    pub settings: Settings,
    pub shared: Arc<Shared>,
    pub commands: Receiver<Command>,
    pub watcher: Box<dyn Watcher>,
    /// Set to end long work early.
    pub stop: Stop,
    /// Asks the replica for its highest TXID and the page size there; `None` if it can't be reached. Blocks.
    pub replica_end: Box<dyn Fn() -> Option<ReplicaEnd> + Send>,
    /// Fetches what the replica holds at its end. Blocks.
    pub replica_base: Box<dyn Fn(Txid) -> Option<Base> + Send>,
    pub state: State,
    /// Staged files whose bytes may be lost.
    pub doubts: Doubts,
    /// Merges what waits for a replica.
    pub merger: Merger,
}

/// What the worker remembers between events.
#[derive(Default)]
pub(crate) struct State {
    database: Option<Database>,
    /// The lock of the state folder, once it was taken.
    claim: Option<Box<dyn Held>>,
    /// Seen when the database was closed to have its WAL-index recovered.
    succession: Option<Succession>,
    /// The database that was open last is another one than that at its path.
    replaced: bool,
    /// Why the next file must be full.
    full: Option<FullReason>,
    /// What the next file must come after, whatever lies on disk.
    ahead: Txid,
    /// The highest TXID that was staged since start. The uploader may have seen its file, whatever became of it.
    given: Txid,
    /// What is staged is of another history than the replica, until a full file is staged.
    must_rebase: bool,
    /// What the replica holds at its end, until that is made use of.
    base: Option<Base>,
    /// Up to here it was tried to fetch that.
    base_tried: Txid,
    /// The replica was asked where it ends.
    asked: bool,
    /// Page size of its newest file then.
    replica_page_size: Option<PageSize>,
    /// Since when every attempt has failed.
    trouble_since: Option<Monotonic>,
    captured_at: Option<Monotonic>,
    opened_at: Option<Monotonic>,
    /// Nobody has looked since it was opened.
    just_opened: bool,
    tidied_at: Option<Monotonic>,
    /// The position when the database was first opened.
    first: Option<Txid>,
    /// When it was last checked that the files are still those at their paths.
    looked_at: Option<Monotonic>,
    /// When something happened to them last.
    event_at: Option<Monotonic>,
    complete_at: Option<Monotonic>,
    attempt_at: Option<Monotonic>,
    failures: u32,
    stuck: bool,
    rate: Rate,
    settle: usize,
    look: Duration,
    logged: Option<(String, Monotonic)>,
}

impl Worker {
    /// Does what was asked for. `Some` if that is to end.
    fn obey_all(&mut self) -> Option<Rest> {
        loop {
            match self.next_command() {
                Some(Command::Close(done)) => {
                    self.state.database = None;
                    self.state.claim = None;
                    let _ = done.send(());
                    return Some(Rest::Closed);
                }
                Some(command) => self.obey(command),
                None if self.stop.is_set() => return Some(Rest::Closed),
                None => return None,
            }
        }
    }

    fn next_command(&mut self) -> Option<Command> {
        match self.commands.try_recv() {
            Ok(command) => Some(command),
            Err(TryRecvError::Empty) => None,
            // Nobody can ask any more: end.
            Err(TryRecvError::Disconnected) => Some(Command::Close(oneshot::channel().0)),
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Capture(reply) => {
                let result = self.open_current().and_then(|()| self.capture_all());
                let result = self.settle_result(result);
                let _ = reply.send(result.map(|txid| self.numbered(txid)));
            }
            Command::Snapshot(reply) => {
                let result = self.open_current().and_then(|()| self.snapshot());
                let result = self.settle_result(result);
                let _ = reply.send(result.map(|name| self.numbered(name)));
            }
            Command::Rebase(end) if self.is_past(end.highest) => {
                tracing::debug!(db = %self.name(), txid = %end.highest, "a full copy after that is under way already");
            }
            Command::Rebase(mut end) => {
                if self.shared.links.len() > 1 {
                    // Another replica may have got what is numbered after that.
                    end.highest = end.highest.max(self.state.given);
                }
                self.state.ahead = end.highest;
                self.state.replica_page_size = end.page_size;
                // Also if the database is not open right now, or what is staged can't be removed at once.
                self.state.must_rebase = true;
                self.state.base_tried = Txid::ZERO;
                self.state.database = None;
                self.shared.rebased();
            }
            Command::Close(_) => {}
        }
    }

    /// Whether what is staged, or will be next, comes after `txid` and depends on nothing before it: the replica was asked meanwhile.
    fn is_past(&mut self, txid: Txid) -> bool {
        let database = self.state.database.as_mut();
        database.is_some_and(|database| database.is_past(txid).unwrap_or(false))
    }

    fn numbered<T>(&self, what: T) -> Numbered<T> {
        let numbering = self.shared.numbering();
        Numbered { what, numbering }
    }

    /// For those who were promised what is committed by now: an open database may have been replaced a moment ago.
    fn open_current(&mut self) -> Result<()> {
        self.open()?;
        self.check_identity()
    }

    /// One look at the database: open it, capture and checkpoint as far as that is due.
    fn tick(&mut self) {
        let result = self.open().and_then(|()| self.work());
        let _ = self.settle_result(result);
    }

    fn work(&mut self) -> Result<()> {
        let now = self.env.clock.monotonic();
        if self
            .state
            .looked_at
            .is_none_or(|at| now.since(at) >= self.settings.monitor_interval)
        {
            self.state.looked_at = Some(now);
            self.check_identity()?;
        }
        let Some(database) = &mut self.state.database else {
            return Ok(());
        };
        let state = database.state()?;
        self.state.rate.note(now, &state);
        let behind = database.is_behind(&state);
        // While it was closed others may have backfilled what is not staged; then any commit may overwrite it.
        let at_risk = std::mem::take(&mut self.state.just_opened)
            && behind
            && state.frames > 0
            && state.backfilled == state.frames
            && database.position().is_some();
        if at_risk || behind && self.capture_wait(now).is_zero() {
            self.capture_all()?;
            // What the event was about is here; what is written later is another event.
            self.state.settle = SETTLE.len();
        }
        self.checkpoint_if_due()?;
        if !behind {
            self.settled();
        }
        if let Some(database) = &mut self.state.database {
            database.tend_ledger(&self.stop.flag)?;
        }
        self.tidy_if_due(now);
        Ok(())
    }

    /// Whoever stages files also sees to it that they don't pile up.
    fn tidy_if_due(&mut self, now: Monotonic) {
        let policy = &self.settings.policy;
        let Some((_, interval)) = policy.levels.first() else {
            return;
        };
        let Some(database) = &mut self.state.database else {
            return;
        };
        let Some(position) = database.position() else {
            return;
        };
        let first = *self.state.first.get_or_insert(position.txid);
        let floor = self.shared.uploaded_everywhere();
        let last = *self.state.tidied_at.get_or_insert(now);
        let waiting = position.txid > floor.unwrap_or(first);
        if !waiting || now.since(last) < *interval {
            return;
        }
        self.state.tidied_at = Some(now);
        let tidied = Tidy {
            env: &self.env,
            staging: database.staging(),
            merger: &self.merger,
            floor: floor.unwrap_or(first),
            shared: &self.shared,
            age: policy.l0_retention,
            bytes_max: self.settings.local_bytes_max,
        }
        .run();
        if let Err(error) = tidied {
            // It can wait, and what is staged is there still.
            tracing::warn!(db = %self.name(), %error, "waiting files cannot be merged, trying again later");
        }
    }

    /// How long until the next file may be staged: the first change after silence goes at once. Trouble makes it longer, but no longer
    /// than it has lasted.
    fn capture_wait(&self, now: Monotonic) -> Duration {
        let Some(at) = self.state.captured_at else {
            return Duration::ZERO;
        };
        let interval = self.settings.sync_interval;
        let pause = self.state.trouble_since.map_or(interval, |since| {
            at.since(since)
                .clamp(interval, TROUBLE_WAIT_MAX.max(interval))
        });
        pause.saturating_sub(now.since(at))
    }

    fn open(&mut self) -> Result<()> {
        if self.state.database.is_some() {
            return Ok(());
        }
        self.state.opened_at = Some(self.env.clock.monotonic());
        self.claim()?;
        self.ask_replica()?;
        self.fetch_base()?;
        let (mut database, switched) = Database::open(&self.env, &self.settings, &self.doubts)?;
        database.recall(self.state.succession);
        if switched {
            tracing::info!(db = %self.name(), "database switched to WAL mode, which replication needs");
        }
        // What the replica has, or may be getting right now, must not be numbered again, should local files be lost.
        let uploaded = self.shared.highest_uploaded();
        let ahead = self.state.ahead.max(uploaded).max(self.state.given);
        let must_rebase = self.state.must_rebase;
        let base = self.state.base.take();
        self.state.full =
            database.establish(ahead, self.state.replica_page_size, must_rebase, base)?;
        if self.state.full == Some(FullReason::ReplicaAhead) {
            self.shared.rebased();
        }
        if database.has_adopted() {
            // Should the rest fail, it is there after the next opening.
            self.state.must_rebase = false;
        }
        if let Some(position) = database.position() {
            self.shared
                .staged(position.txid, None, self.env.clock.monotonic());
        }
        if std::mem::take(&mut self.state.replaced) {
            // Another file's WAL must never be taken for the continuation of this one's.
            database.start_over();
            self.state.full = Some(FullReason::DatabaseReplaced);
        }
        self.watcher
            .set_paths(&[&self.settings.wal_path(), &self.settings.path])
            .map_err(Error::io("watch", self.settings.wal_path()))?;
        self.state.complete_at = Some(self.env.clock.monotonic());
        self.state.database = Some(database);
        self.state.just_opened = true;
        self.report_sizes();
        Ok(())
    }

    /// Before anything is read or written in the state folder, by worker or uploader.
    fn claim(&mut self) -> Result<()> {
        if self.state.claim.is_none() {
            let path = &self.settings.path;
            let start = self.env.clock.monotonic();
            let claim = loop {
                match staging::claim(&self.env, path, &self.settings.meta_path) {
                    // Whoever was here before may be ending right now.
                    Err(Error::Busy { .. })
                        if self.env.clock.monotonic().since(start) < CLAIM_WAIT
                            && !self.stop.is_set() =>
                    {
                        self.env.clock.sleep(CLAIM_PAUSE);
                    }
                    claim => break claim?,
                }
            };
            let claim = claim.ok_or_else(|| Error::NoDatabase(path.clone()))?;
            self.doubts.inherit(&self.settings.meta_path)?;
            self.state.claim = Some(claim);
            self.shared.claimed();
        }
        Ok(())
    }

    /// Once, before any lock is held: an answer may take long. If there is none, the uploader finds out later.
    fn ask_replica(&mut self) -> Result<()> {
        if !self.state.asked {
            self.env
                .disk
                .metadata(&self.settings.path)
                .map_err(|e| match e.kind() {
                    std::io::ErrorKind::NotFound => Error::NoDatabase(self.settings.path.clone()),
                    _ => Error::io("stat database", &self.settings.path)(e),
                })?;
            self.state.asked = true;
            let ltx = self.settings.meta_path.join("ltx");
            let empty = |level: &str| staging::list_level(&self.env, &ltx.join(level));
            if empty("0")?.is_empty() && empty("1")?.is_empty() {
                self.shared.knows_nothing();
            }
            let end = (self.replica_end)().unwrap_or_default();
            self.state.ahead = end.highest;
            self.state.replica_page_size = end.page_size;
        }
        Ok(())
    }

    /// If what is staged can't be continued, what the replica holds tells what differs. Also before any lock is held: it may take as long
    /// as a restore.
    fn fetch_base(&mut self) -> Result<()> {
        let ahead = self.state.ahead;
        let alone = self.shared.links.len() == 1;
        let given = self.shared.highest_uploaded().max(self.state.given);
        if !alone || ahead == Txid::ZERO || given > ahead || self.state.base_tried == ahead {
            return Ok(());
        }
        let local = staging::list_level(&self.env, &self.settings.meta_path.join("ltx/0"))?;
        let behind = local.last().is_none_or(|name| name.max < ahead);
        if behind || self.state.must_rebase {
            self.state.base_tried = ahead;
            self.state.base = (self.replica_base)(ahead);
        }
        Ok(())
    }

    fn check_identity(&mut self) -> Result<()> {
        let Some(database) = &self.state.database else {
            return Ok(());
        };
        if !database.is_current()? {
            self.state.database = None;
            tracing::warn!(db = %self.name(), "database file or its wal was replaced or written by something else than SQLite, starting over with what is there");
            self.state.replaced = true;
            self.open()?;
        }
        Ok(())
    }

    fn capture_all(&mut self) -> Result<Txid> {
        let start = self.env.clock.monotonic();
        let full = self.state.full.is_some();
        self.begins(
            "sync",
            if full {
                "write_ltx_from_db"
            } else {
                "write_ltx_from_wal"
            },
        );
        let captured = self.capturing(|database, stop, each| database.capture(stop, each));
        let took = self.env.clock.monotonic().since(start);
        self.shared.see(|_, counters| {
            counters.syncs += 1;
            counters.sync_time += took;
        });
        captured?;
        let database = self.state.database.as_ref();
        let position = database.and_then(Database::position);
        let position = position.ok_or(Error::NoPosition)?;
        self.settled();
        self.report_sizes();
        self.ends(None);
        self.state.captured_at = Some(self.env.clock.monotonic());
        self.shared
            .staged(position.txid, None, self.env.clock.monotonic());
        Ok(position.txid)
    }

    /// Does work that may stage files, and tells of them.
    fn capturing<T>(
        &mut self,
        work: impl FnOnce(&mut Database, &AtomicBool, &mut dyn FnMut(Staged)) -> Result<T>,
    ) -> Result<T> {
        let name = self.name();
        let (env, shared, state) = (&self.env, &self.shared, &mut self.state);
        let Some(database) = &mut state.database else {
            return Err(Error::NoPosition);
        };
        let (given, full) = (&mut state.given, &mut state.full);
        let must_rebase = &mut state.must_rebase;
        work(database, &self.stop.flag, &mut |staged| {
            let txid = staged.position.txid;
            *given = txid;
            let what = match staged.holds {
                Holds::Written => None,
                Holds::Differing => Some("pages that differ from the last file staged"),
                Holds::All => Some("full database copy staged"),
            };
            if let Some(what) = what {
                *must_rebase = false;
                let reason = full.take().unwrap_or(FullReason::ContentDiffers);
                tracing::info!(db = %name, %txid, pages = staged.pages, size = staged.size, %reason, "{what}");
            }
            shared.staged(txid, Some(&staged), env.clock.monotonic());
        })
    }

    fn snapshot(&mut self) -> Result<FileName> {
        self.capture_all()?;
        let name = self.capturing(|database, stop, each| database.snapshot(stop, each))?;
        self.shared.snapshot_staged();
        Ok(name)
    }

    /// Everything is staged: whatever was wrong is over. The cursor is noted; that it is a cache makes a failure harmless.
    fn settled(&mut self) {
        if let Some(database) = &mut self.state.database
            && let Err(error) = database.save_cursor()
        {
            tracing::debug!(db = %self.name(), %error, "cannot note the position, trying again");
        }
        self.state.logged = None;
        self.state.trouble_since = None;
        self.shared.worker_error(None);
    }

    fn checkpoint_if_due(&mut self) -> Result<()> {
        let now = self.env.clock.monotonic();
        let Some(inputs) = self.policy_inputs(now)? else {
            return Ok(());
        };
        let barrier = match inputs.plan() {
            Plan::No => return Ok(()),
            Plan::Quiet => false,
            Plan::Barrier => true,
        };
        let before = self.state.given;
        self.begins("checkpoint", "checkpoint_exec");
        let report =
            self.capturing(|database, stop, each| database.checkpoint(barrier, stop, each));
        if report.is_err() {
            self.shared
                .see(|_, counters| counters.checkpoint_errors += 1);
        }
        let report = report?;
        self.ends(None);
        let end = self.env.clock.monotonic();
        if self.state.given != before {
            self.state.captured_at = Some(end);
        }
        self.state.attempt_at = Some(end);
        if report.complete {
            self.state.complete_at = Some(end);
        }
        self.state.failures = if report.complete {
            0
        } else {
            self.state.failures.saturating_add(1)
        };
        self.state.stuck = report.pinned || report.slow;
        self.log_checkpoint(&inputs, &report, end.since(now));
        self.shared.checkpointed(&report, end.since(now));
        Ok(())
    }

    fn log_checkpoint(&self, inputs: &Inputs, report: &CheckpointReport, took: Duration) {
        let hold = report.held.map_or(0, |d| d.as_micros());
        tracing::debug!(db = %self.name(), frames = inputs.frames, complete = report.complete, pinned = report.pinned,
            held_us = hold as u64, took_us = took.as_micros() as u64, "checkpoint");
        if report.pinned && self.state.failures == 10 {
            tracing::warn!(db = %self.name(), frames = inputs.frames, "a long read transaction keeps the wal from being checkpointed");
        }
        if report.slow && self.state.failures == 10 {
            tracing::warn!(db = %self.name(), frames = inputs.frames,
                "the disk is too slow to empty the wal without holding up writers for seconds; it grows until they pause");
        }
    }

    fn policy_inputs(&mut self, now: Monotonic) -> Result<Option<Inputs>> {
        let Some(database) = &mut self.state.database else {
            return Ok(None);
        };
        let state = database.state()?;
        Ok(Some(Inputs {
            frames: state.frames,
            backfilled: state.backfilled,
            page_size: state.page_size,
            page_count_min: self.settings.min_checkpoint_page_count,
            frames_per_second: self.state.rate.frames_per_second,
            failures: self.state.failures,
            stuck: self.state.stuck,
            since_attempt: self
                .state
                .attempt_at
                .map_or(Duration::MAX, |at| now.since(at)),
            since_complete: self
                .state
                .complete_at
                .map_or(Duration::MAX, |at| now.since(at)),
            interval: self.settings.checkpoint_interval,
        }))
    }

    /// Turns an error into the state to go on from.
    fn settle_result<T>(&mut self, result: Result<T>) -> Result<T> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let now = self.env.clock.monotonic();
        let is_first = self.state.trouble_since.is_none();
        self.state.trouble_since.get_or_insert(now);
        self.state.captured_at = Some(now);
        self.state.attempt_at = Some(now);
        self.state.failures = self.state.failures.saturating_add(1);
        let guarded = self
            .state
            .database
            .as_ref()
            .is_some_and(Database::is_guarded);
        // A full disk: keep the guard, so that the WAL keeps what can't be staged now. After anything else open anew, which judges
        // by what lies on disk: at once the first time, so that nobody checkpoints in between.
        if !(guarded && (error.is_disk_full() || matches!(error, Error::Closed))) {
            if let Some(database) = self.state.database.take() {
                self.state.succession = database.succession().filter(|_| error.is_busy());
            }
            if is_first {
                self.state.opened_at = None;
            }
        }
        self.log_error(&error);
        self.failed(&error, self.state.trouble_since.unwrap_or(now));
        Err(error)
    }

    fn log_error(&mut self, error: &Error) {
        if matches!(error, Error::Closed | Error::NoDatabase(_)) {
            return;
        }
        let (text, now) = (error.to_string(), self.env.clock.monotonic());
        if self
            .state
            .logged
            .as_ref()
            .is_some_and(|(old, at)| *old == text && now.since(*at) < LOG_EVERY)
        {
            return;
        }
        if error.is_busy() {
            tracing::warn!(db = %self.name(), error = %text, "database is busy, trying again");
        } else {
            tracing::error!(db = %self.name(), error = %text, "sync error");
        }
        self.state.logged = Some((text, now));
    }

    fn name(&self) -> String {
        self.settings
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// Time of a file by its header.
pub(crate) fn created(header: &ltx::Header) -> UnixMillis {
    UnixMillis(header.timestamp_ms)
}
