//! Simulated storage: a [`Replica`](litestream_replica::Replica) in memory that takes its time, fails and lies as its [`Profile`] permits.
//!
//! Owns the content of the storage through time and the requests under way; content survives every process. Promise:
//! each call is a yield point before and after its effect, its time is virtual, what happens is decided by the seed
//! alone, and no lock is held where another fiber may run.

mod calls;
mod frozen;
mod profile;
mod request;
mod store;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use litestream_replica::env::{Env, UnixMillis};
use litestream_replica::faulty::{Op, When};
use litestream_replica::{FileInfo, Level};
use ltx::FileName;
use parking_lot::Mutex;

pub use frozen::Frozen;
pub use profile::{Failure, Faults, Profile};

use crate::sched::{self, FiberId, Nanos};
use store::{Store, V3};

/// Storage that processes share, as one of them sees it: with that process's disk to upload from and its clock. Cheap
/// to clone.
#[derive(Clone)]
pub struct SimReplica {
    env: Env,
    shared: Arc<Mutex<State>>,
}

/// What the storage was asked for so far, failures included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Listings.
    pub list: u64,
    /// Pages of listings.
    pub pages: u64,
    /// Files whose exact time had to be asked for one by one.
    pub heads: u64,
    /// Reads.
    pub read: u64,
    /// Bytes that reads gave.
    pub bytes_read: u64,
    /// Writes.
    pub write: u64,
    /// Bytes that writes sent.
    pub bytes_written: u64,
    /// Deletes, each of any number of files.
    pub delete: u64,
    /// Files in them.
    pub files_deleted: u64,
    /// Calls of any kind that reported a failure.
    pub failed: u64,
}

struct State {
    store: Store,
    v3: V3,
    profile: Profile,
    faults: Faults,
    counts: Counts,
    calls: u64,
    /// What each of them was.
    ops: Vec<Op>,
    ordered: BTreeMap<u64, (Failure, When)>,
    stop: Option<Stop>,
    outage_until: Nanos,
    /// So much longer a call takes.
    delay: Nanos,
    vanished: u64,
    /// The last time seen, for those who look from outside of the world.
    now: Nanos,
}

/// A call in which its process stands still until it is killed.
#[derive(Clone, Copy)]
struct Stop {
    number: u64,
    when: When,
    stage: FiberId,
    /// Who stands still.
    reached: Option<FiberId>,
}

impl State {
    /// Lets happen what is due.
    fn advance(&mut self) -> Nanos {
        if sched::in_world() {
            self.now = sched::now();
        }
        self.store.advance(self.now, self.profile.stale_max);
        self.now
    }
}

impl SimReplica {
    /// Empty storage of a kind, free of faults.
    pub fn new(env: Env, profile: Profile) -> SimReplica {
        let state = State {
            store: Store::default(),
            v3: V3::new(),
            profile,
            faults: Faults::none(),
            counts: Counts::default(),
            calls: 0,
            ops: Vec::new(),
            ordered: BTreeMap::new(),
            stop: None,
            outage_until: 0,
            delay: 0,
            vanished: 0,
            now: 0,
        };
        SimReplica {
            env,
            shared: Arc::new(Mutex::new(state)),
        }
    }

    /// When deletions took away the oldest states, and the time of the state that is the oldest since.
    pub fn losses(&self) -> Vec<(Nanos, i64)> {
        self.shared.lock().store.losses().to_vec()
    }

    /// The same storage, used by another process.
    pub fn used_by(&self, env: Env) -> SimReplica {
        SimReplica {
            env,
            shared: Arc::clone(&self.shared),
        }
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().faults = faults;
    }

    /// What goes wrong now.
    pub fn faults(&self) -> Faults {
        self.shared.lock().faults
    }

    /// What this kind of storage may do.
    pub fn profile(&self) -> Profile {
        self.shared.lock().profile.clone()
    }

    /// Nothing goes wrong any more, and what is on its way arrives; who stands still goes on. What was lost stays lost.
    pub fn heal(&self) {
        let stopped = {
            let mut state = self.shared.lock();
            state.faults = Faults::none();
            state.ordered.clear();
            state.outage_until = 0;
            state.delay = 0;
            let now = state.advance();
            let memory = state.profile.stale_max;
            state.store.land(now, memory);
            state.stop.take().and_then(|stop| stop.reached)
        };
        if let Some(fiber) = stopped {
            sched::unpark(fiber);
        }
    }

    /// Every call that begins within this time fails.
    pub fn outage(&self, duration: Duration) {
        let mut state = self.shared.lock();
        let nanos = Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX);
        state.outage_until = state.advance().saturating_add(nanos);
    }

    /// Calls that begin from now on take so much longer.
    pub fn delay(&self, nanos: Nanos) {
        self.shared.lock().delay = nanos;
    }

    /// How many calls have begun; the number of the last one.
    pub fn calls(&self) -> u64 {
        self.shared.lock().calls
    }

    /// What each call was, the first one first.
    pub fn ops(&self) -> Vec<Op> {
        self.shared.lock().ops.clone()
    }

    /// The call of this number, counted from 1 at the beginning of the storage, fails.
    pub fn fail_nth(&self, number: u64, failure: Failure, when: When) {
        self.shared.lock().ordered.insert(number, (failure, when));
    }

    /// In the call of this number the fiber that makes it stands still, before or after its effect, until its process is
    /// killed or the storage healed; `stage` is woken.
    pub fn stop_at_nth(&self, number: u64, when: When, stage: FiberId) {
        self.shared.lock().stop = Some(Stop {
            number,
            when,
            stage,
            reached: None,
        });
    }

    /// Whether a call stands still as [`SimReplica::stop_at_nth`] ordered.
    pub fn stopped(&self) -> bool {
        self.shared
            .lock()
            .stop
            .is_some_and(|stop| stop.reached.is_some())
    }

    /// What was asked for so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// How many changes are on their way, also such as will come after a failed answer.
    pub fn pending(&self) -> usize {
        let mut state = self.shared.lock();
        state.advance();
        state.store.pending()
    }

    /// All files that are really there, by level, min TXID, max TXID, with the times in their headers.
    pub fn files(&self) -> Vec<FileInfo> {
        let mut state = self.shared.lock();
        state.advance();
        let all = state.store.all();
        all.map(|(key, version)| store::info(key, version, true))
            .collect()
    }

    /// What a file really holds.
    pub fn bytes(&self, level: Level, name: FileName) -> Option<Bytes> {
        let mut state = self.shared.lock();
        state.advance();
        let version = state.store.get(store::key(level, name))?;
        Some(version.bytes.clone())
    }

    /// All that is really there now, as a replica that never changes, fails or waits.
    pub fn fork(&self) -> Frozen {
        let mut state = self.shared.lock();
        state.advance();
        Frozen::new(state.store.all(), state.v3.clone())
    }

    /// Puts an object of Litestream 0.3 there, as if it had always been.
    pub fn put_v3(&self, path: &str, bytes: Bytes, created: UnixMillis) {
        let mut state = self.shared.lock();
        state.v3.insert(path.to_owned(), (bytes, created));
    }

    /// Damages a file at rest; false if it is not there.
    pub fn damage(&self, level: Level, name: FileName, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.shared.lock();
        state.advance();
        state.store.damage(store::key(level, name), change)
    }

    /// Loses a file; false if it is not there.
    pub fn lose(&self, level: Level, name: FileName) -> bool {
        let mut state = self.shared.lock();
        state.advance();
        let (now, memory) = (state.now, state.profile.stale_max);
        state.store.lose(store::key(level, name), now, memory)
    }

    /// All files of a level, or all files, are gone at once; how many there were.
    pub fn vanish(&self, level: Option<Level>) -> usize {
        let mut state = self.shared.lock();
        state.advance();
        vanish(&mut state, level)
    }

    /// How many files vanished so far, by order or by chance: while this is zero, the storage kept what it promised to keep.
    pub fn vanished(&self) -> u64 {
        self.shared.lock().vanished
    }
}

fn vanish(state: &mut State, level: Option<Level>) -> usize {
    let (now, memory) = (state.now, state.profile.stale_max);
    let gone = state.store.vanish(level, now, memory);
    state.vanished += gone as u64;
    gone
}

fn count(counts: &mut Counts, op: Op) {
    match op {
        Op::List => counts.list += 1,
        Op::Read => counts.read += 1,
        Op::Write => counts.write += 1,
        Op::Delete => counts.delete += 1,
    }
}

#[cfg(test)]
mod tests;
