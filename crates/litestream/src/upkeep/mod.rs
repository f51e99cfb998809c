//! Keeping one replica small: compaction, snapshots, retention.
//!
//! Owns nothing but its memory of what was done; the files are the catalogue's. Promise: it works on what lies in the contiguous part
//! of the replica, never makes a hole, and costs nothing while nothing changes.

pub(crate) mod duty;
pub(crate) mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use litestream_replica::chain::retain::{self, KeepRules};
use litestream_replica::chain::{compact, position};
use litestream_replica::env::{Env, Monotonic, UnixMillis};
use litestream_replica::retry::Backoff;
use litestream_replica::{FileInfo, Level, Source};
use ltx::{FileName, Txid};
use parking_lot::Mutex;

use crate::depot::Depot;
use crate::error::{Error, Result};
use crate::link::{Level0, Link};
use crate::policy::Policy;
use crate::staging::{list_level, remove_if_there};
use crate::upload::Worker;
use crate::worker::created;
use duty::{Duty, Memory, View, is_base};
use merge::{Inputs, Merger};

/// First wait after a duty failed.
const FAILED_WAIT: Duration = Duration::from_secs(1);
/// Longest sleep: the clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_hours(1);
/// Files deleted by one request.
const DELETE_BATCH: usize = 500;

/// See the module.
pub(crate) struct Upkeep {
    pub env: Env,
    pub link: Arc<Link>,
    pub depot: Arc<Depot>,
    pub policy: Policy,
    pub worker: Worker,
    pub name: String,
    pub merger: Merger,
    pub state: Mutex<State>,
    /// Held while level 1 is compacted, by upkeep or by the uploader; the other levels are upkeep's alone.
    pub level_1: tokio::sync::Mutex<()>,
    /// Levels whose next file is being made or sent.
    pub made: Mutex<BTreeSet<Level>>,
}

/// What is remembered.
#[derive(Default)]
pub(crate) struct State {
    memory: Memory,
    /// Duties that failed, and when they may be tried again.
    failed: BTreeMap<Duty, (Backoff, Monotonic)>,
    /// Up to here files of each level are damaged in the replica; a snapshot stands in for them.
    damaged: [Txid; 10],
    /// Copies that could not be looked at or removed.
    untrimmed: bool,
    jitter: Option<f64>,
}

impl Upkeep {
    /// Runs until the task is aborted.
    pub async fn run(self: Arc<Self>) {
        self.depot.shared.wait_claimed().await;
        let (mut cleared, mut told) = (false, false);
        loop {
            let untrimmed = self.state.lock().untrimmed;
            if untrimmed {
                self.state.lock().untrimmed = self.trim_copies().is_err();
            }
            if !cleared {
                let result = self.clear_copies().await;
                cleared = result.is_ok();
                if let Err(error) = result
                    && !std::mem::replace(&mut told, true)
                {
                    tracing::warn!(db = %self.name, %error, "old copies cannot be removed, trying again later");
                }
            }
            // Perhaps nothing will be merged for long.
            self.merger.maker.sweep();
            let next = self.next();
            let Some((wait, duty)) = next else {
                self.link.changed.notified().await;
                continue;
            };
            if wait.is_zero() {
                self.perform(duty).await;
                continue;
            }
            tokio::select! {
                biased;
                () = self.link.changed.notified() => {}
                () = self.env.clock.sleep_async(wait.min(SLEEP_MAX)) => {}
            }
        }
    }

    /// The duty that comes next, and in how long.
    fn next(&self) -> Option<(Duration, Duty)> {
        let position = self.link.position()?;
        let (now, clock) = (self.env.clock.now(), self.env.clock.monotonic());
        let jitter = self.jitter();
        let spans = [self.policy.l0_retention, self.policy.snapshot_retention];
        let behind = spans.map(|span| {
            let millis = now.0.saturating_sub(self.now_for(span).0);
            Duration::from_millis(u64::try_from(millis).unwrap_or(0))
        });
        let state = self.state.lock();
        let catalogue = self.link.catalogue.lock();
        let view = View {
            catalogue: &catalogue,
            policy: &self.policy,
            memory: &state.memory,
            position,
            now,
            behind,
            jitter,
        };
        let is_down = self.link.progress.borrow().is_down();
        let duties = view.duties().into_iter();
        // While nothing can be uploaded, what is made would only take up room, here and among those who wait for a place.
        let duties = duties
            .filter(|(_, duty)| !is_down || matches!(duty, Duty::TrimL0 | Duty::TrimSnapshots));
        let duties = duties.map(|(at, duty)| {
            let wait = u64::try_from(at.0.saturating_sub(now.0)).unwrap_or(0);
            let pause = state
                .failed
                .get(&duty)
                .map_or(Duration::ZERO, |(_, until)| until.since(clock));
            (Duration::from_millis(wait).max(pause), duty)
        });
        duties.min()
    }

    /// The same for as long as the process runs.
    fn jitter(&self) -> f64 {
        let known = self.state.lock().jitter;
        known.unwrap_or_else(|| {
            // The top bits as a fraction.
            let jitter = (self.env.entropy.next_u64() >> 32) as f64 / f64::from(u32::MAX);
            self.state.lock().jitter = Some(jitter);
            jitter
        })
    }

    async fn perform(&self, duty: Duty) {
        let result = match duty {
            Duty::Compact(Level::L1) => self.compact_up_to(Txid::new(u64::MAX)).await,
            Duty::Compact(level) => self.compact(level, Txid::new(u64::MAX)).await,
            Duty::Snapshot => self.snapshot().await,
            Duty::TrimL0 => self.trim_l0().await,
            Duty::TrimSnapshots => self.trim_snapshots().await,
        };
        let (now, clock) = (self.env.clock.now(), self.env.clock.monotonic());
        let chance = result.is_err().then(|| self.env.entropy.next_u64());
        let mut state = self.state.lock();
        match result {
            Ok(()) => {
                state.memory.done(duty, now);
                state.failed.remove(&duty);
                if state.failed.is_empty() {
                    self.link.upkeep(None);
                }
            }
            Err(error) => {
                tracing::error!(db = %self.name, replica = self.link.replica.kind(), ?duty, error = %error, "upkeep failed, trying again later");
                let (backoff, until) = state
                    .failed
                    .entry(duty)
                    .or_insert((Backoff::new(FAILED_WAIT), clock));
                *until = clock + backoff.next(chance.unwrap_or_default());
                self.link.upkeep(Some(error.to_string()));
            }
        }
    }

    /// Compacts level 0 of the replica up to here. The uploader does it, too, before files come that were merged elsewhere, and must not
    /// wait for what upkeep does at the other levels.
    pub async fn compact_up_to(&self, end: Txid) -> Result<()> {
        let _one = self.level_1.lock().await;
        self.compact(Level::L1, end).await
    }

    async fn compact(&self, into: Level, end: Txid) -> Result<()> {
        loop {
            let inputs = self.inputs(into, end);
            if inputs.is_empty() {
                return Ok(());
            }
            match self.merge(into, inputs).await {
                Ok(()) => {}
                Err(Failure::Gone(level, name)) => {
                    // Somebody else deleted it: what is known is wrong.
                    self.link.catalogue.lock().gone(level, name);
                    let files = self.link.catalogue.lock().all();
                    if Some(position::position(&files).contiguous) < self.link.position() {
                        tracing::error!(db = %self.name, %level, %name, "file is missing in the replica, taking a snapshot that stands in for it");
                        self.worker.snapshot().await?;
                        self.link.kick.notify_one();
                    }
                }
                Err(Failure::Damaged(file, error)) => {
                    tracing::error!(db = %self.name, level = %file.level, name = %file.name, error = %error,
                        "file in the replica is damaged, taking a snapshot that stands in for it");
                    self.worker.snapshot().await?;
                    self.link.kick.notify_one();
                    let damaged = &mut self.state.lock().damaged[usize::from(file.level.get())];
                    *damaged = file.name.max.max(*damaged);
                }
                Err(Failure::Other(error)) => return Err(error),
            }
        }
    }

    /// What comes next into a level: contiguous, in the contiguous part of the replica.
    fn inputs(&self, into: Level, end: Txid) -> Vec<FileInfo> {
        let Some(below) = Level::new(into.get() - 1) else {
            return Vec::new();
        };
        let end = end.min(self.link.position().unwrap_or_default());
        let mut files = self.link.catalogue.lock().all();
        let damaged = self.state.lock().damaged[usize::from(below.get())];
        files.retain(|f| f.name.max <= end && (f.level != below || f.name.min > damaged));
        compact::compact_inputs(&with_base_as_snapshot(files), into)
    }

    async fn merge(&self, into: Level, inputs: Vec<FileInfo>) -> Result<(), Failure> {
        self.made.lock().insert(into);
        let merged = self.merge_and_send(into, inputs).await;
        self.made.lock().remove(&into);
        let merged = merged?;
        // What is merged is merged: that may be made up for later.
        self.state.lock().untrimmed = self.trim_copies().is_err();
        tracing::info!(db = %self.name, level = %into, name = %merged.name, inputs = merged.inputs, size = merged.size, "compaction complete");
        self.depot.offloaded(Depot::trim).await?;
        if self.policy.verify_compaction {
            self.look_for_gaps(into).await;
        }
        Ok(())
    }

    /// Whether what was compacted into a level is one chain there.
    async fn look_for_gaps(&self, level: Level) {
        let snapshots: Vec<Txid> = {
            let catalogue = self.link.catalogue.lock();
            let all = catalogue.all().into_iter();
            all.filter(|f| f.level == Level::SNAPSHOT)
                .map(|f| f.name.max)
                .collect()
        };
        // What a snapshot bridges is no gap for those who restore.
        let bridged = |after: Txid| snapshots.iter().any(|max| max.next() >= after);
        let gap = match self.link.replica.list(level, None, false).await {
            Ok(files) => files.windows(2).find_map(|pair| {
                let (before, after) = (pair[0].name.max, pair[1].name.min);
                let what = match after.cmp(&before.next()) {
                    std::cmp::Ordering::Equal => return None,
                    std::cmp::Ordering::Greater if bridged(after) => return None,
                    std::cmp::Ordering::Greater => "gap",
                    std::cmp::Ordering::Less => "overlap",
                };
                Some(format!(
                    "TXID {what} detected: prev.MaxTXID={before}, next.MinTXID={after} (expected {})",
                    before.next()
                ))
            }),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = gap {
            tracing::warn!(db = %self.name, subsystem = "compactor", %level, error, "post-compaction verification failed");
            self.link.compaction_gap();
        }
    }

    async fn merge_and_send(&self, into: Level, inputs: Vec<FileInfo>) -> Result<Made, Failure> {
        let merged = self.merger.run(into, Inputs::Replica(inputs)).await?;
        let Some(path) = self.merger.copy(into, merged.name) else {
            return Err(Error::Closed.into());
        };
        let source = Source::File(path.clone());
        let written = self
            .link
            .replica
            .write(into, merged.name, source, created(&merged.header))
            .await;
        let is_input = self.policy.above(into).is_some()
            && self.link.replica.local_path(into, merged.name).is_none();
        if written.is_err() || !is_input {
            remove_if_there(&self.env, &path)?;
        }
        let written = written.map_err(Error::from)?;
        let now = self.env.clock.monotonic();
        self.link.catalogue.lock().written(written, now);
        Ok(Made {
            name: merged.name,
            inputs: merged.inputs,
            size: written.size,
        })
    }

    /// Removes copies that were compacted further, and the oldest of the others beyond a quarter of the budget.
    fn trim_copies(&self) -> Result<()> {
        let Some(root) = &self.merger.copies else {
            return Ok(());
        };
        let mut copies = Vec::new();
        let made = self.made.lock().clone();
        for level in Level::all().filter(|level| !made.contains(level)) {
            let dir = root.join(level.to_string());
            let above = self.policy.above(level);
            let end = above.map(|above| self.link.catalogue.lock().end(above));
            for name in list_level(&self.env, &dir)? {
                let path = dir.join(name.to_string());
                match end {
                    Some(end) if name.max > end => copies.push((name.max, path)),
                    _ => remove_if_there(&self.env, &path)?,
                }
            }
        }
        copies.sort_unstable();
        let mut left = self.depot.bytes_max / 4;
        for (_, path) in copies.iter().rev() {
            let len = self.env.disk.metadata(path).map_or(0, |m| m.len);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => remove_if_there(&self.env, path)?,
            }
        }
        Ok(())
    }

    /// Removes what an earlier run left: copies only save requests.
    async fn clear_copies(&self) -> Result<()> {
        // Nothing is being merged meanwhile: the uploader merges into level 1 only.
        let _level_1 = self.level_1.lock().await;
        let Some(root) = &self.merger.copies else {
            return Ok(());
        };
        for level in Level::all() {
            let dir = root.join(level.to_string());
            match self.env.disk.list(&dir) {
                Ok(entries) => {
                    for entry in entries {
                        remove_if_there(&self.env, &dir.join(&entry.name))?;
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("list", dir)(e)),
            }
        }
        Ok(())
    }

    async fn snapshot(&self) -> Result<()> {
        let name = self.worker.snapshot().await?.what;
        self.depot.snapshot_staged(name);
        self.link.kick.notify_one();
        Ok(())
    }

    /// The time for whoever judges by an age of `span`.
    fn now_for(&self, span: Duration) -> UnixMillis {
        let (now, clock) = (self.env.clock.now(), self.env.clock.monotonic());
        let mut ages = self.link.ages.lock();
        ages.note(now, clock);
        ages.now(span, now, clock)
    }

    async fn trim_l0(&self) -> Result<()> {
        let keep = self.policy.l0_retention;
        let now = self.now_for(keep);
        let files = with_base_as_snapshot(self.link.catalogue.lock().all());
        let window = self.policy.snapshot_retention;
        let promised_from =
            (!window.is_zero()).then(|| retain::cutoff(self.now_for(window), window));
        let doomed = retain::l0_retention(&files, now, keep, promised_from);
        let end = self.link.catalogue.lock().end(Level::L1);
        let in_level_0 = || files.iter().filter(|f| f.level == Level::L0);
        let waiting = in_level_0().filter(|f| f.name.max > end).count() as u64;
        let compacted = in_level_0().count() as u64 - waiting;
        let eligible = doomed.len() as u64;
        self.link.level_0(Level0 {
            eligible,
            not_compacted: waiting,
            too_recent: compacted.saturating_sub(eligible),
        });
        self.delete(doomed).await?;
        if eligible > 0 {
            tracing::info!(db = %self.name, replica = self.link.replica.kind(), deleted_count = eligible, max_l1_txid = %end, "l0 retention enforced");
        }
        Ok(())
    }

    async fn trim_snapshots(&self) -> Result<()> {
        let policy = &self.policy;
        let now = self.now_for(policy.snapshot_retention);
        let files = self.link.catalogue.lock().all();
        let doomed = old_snapshots(files, now, policy.snapshot_retention, &policy.keep);
        let count = doomed.len();
        self.delete(doomed).await?;
        if count > 0 {
            tracing::info!(db = %self.name, replica = self.link.replica.kind(), files = count, "old files deleted");
        }
        // What lay below them in level 0 may not be needed any more.
        self.trim_l0().await
    }

    /// Deletes files, but never what the rest needs to reach as far as before.
    async fn delete(&self, doomed: Vec<(Level, FileName)>) -> Result<()> {
        for batch in doomed.chunks(DELETE_BATCH) {
            let files = self.link.catalogue.lock().all();
            let rest: Vec<FileInfo> = files
                .iter()
                .filter(|f| !batch.contains(&(f.level, f.name)))
                .copied()
                .collect();
            if position::position(&rest).contiguous < position::position(&files).contiguous {
                return Err(Error::WouldMakeHole(batch[0].1));
            }
            self.link.replica.delete(batch).await?;
            let mut catalogue = self.link.catalogue.lock();
            for (level, name) in batch {
                catalogue.gone(*level, *name);
            }
        }
        Ok(())
    }
}

/// The snapshots that are not needed any more for what is promised, the base among them, and what goes with them.
pub(crate) fn old_snapshots(
    files: Vec<FileInfo>,
    now: UnixMillis,
    window: Duration,
    keep: &KeepRules,
) -> Vec<(Level, FileName)> {
    let mut there: BTreeSet<(Level, FileName)> = BTreeSet::new();
    there.extend(files.iter().map(|f| (f.level, f.name)));
    let bases: Vec<FileInfo> = files.iter().copied().filter(is_base).collect();
    let files = with_base_as_snapshot(files);
    let mut doomed = retain::keep_rules_retention(&files, now, window, keep);
    for base in bases {
        if doomed.contains(&(Level::SNAPSHOT, base.name)) {
            doomed.push((base.level, base.name));
        }
    }
    doomed.retain(|file| there.contains(file));
    doomed
}

/// The base is as good as a snapshot: left alone by compaction like one, and by what decides over the rest of level 0.
fn with_base_as_snapshot(mut files: Vec<FileInfo>) -> Vec<FileInfo> {
    for file in files.iter_mut().filter(|file| is_base(file)) {
        file.level = Level::SNAPSHOT;
    }
    files
}

/// A file that was compacted and sent.
struct Made {
    name: FileName,
    inputs: usize,
    size: u64,
}

/// Why a merge failed.
pub(crate) enum Failure {
    /// An input is not there any more.
    Gone(Level, FileName),
    /// An input is damaged in the replica.
    Damaged(FileInfo, Box<Error>),
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Other(error)
    }
}

#[cfg(test)]
mod tests {
    use litestream_replica::env::UnixMillis;

    use super::*;

    fn file(level: u8, min: u64, max: u64, size: u64) -> FileInfo {
        FileInfo {
            level: Level::new(level).unwrap(),
            name: FileName::new(Txid::new(min), Txid::new(max)),
            size,
            created: UnixMillis(0),
        }
    }

    #[test]
    fn level_0_goes_although_its_first_file_stays() {
        let mut files = vec![file(0, 1, 1, 2 << 20), file(1, 2, 4, 300)];
        files.extend((2..=6).map(|txid| file(0, txid, txid, 100)));
        let (now, keep) = (UnixMillis(1_000_000), Duration::from_secs(1));
        assert_eq!(retain::l0_retention(&files, now, keep, None), []);
        let doomed = retain::l0_retention(&with_base_as_snapshot(files), now, keep, None);
        let expected = (2..=4).map(|txid| (Level::L0, FileName::single(Txid::new(txid))));
        assert_eq!(doomed, expected.collect::<Vec<_>>());
    }
}
