//! Many databases in one process: each with its own worker and uploads, so that none waits for another.
//!
//! Owns which databases there are and which of them run. Promises: looking at them ([`Fleet::databases`], [`Member::status`]) waits
//! for nothing and touches nothing; starting, stopping and removing one database holds up no other; a database is given
//! up only when everything committed is in its replicas, unless the caller says otherwise.

mod ending;
mod member;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use litestream_replica::SharedReplica;
use litestream_replica::env::Env;
use parking_lot::Mutex;

pub use ending::{Attempt, Ending, Interrupt, Unfinished, not_uploaded};
pub use member::{Changed, FleetError, Member, Phase, Synced};

use crate::settings::Settings;
use crate::shared::Status;

/// A database and where it goes.
#[derive(Clone)]
pub struct Spec {
    /// How it is replicated; its path is its identity.
    pub settings: Settings,
    /// Its replicas.
    pub replicas: Vec<SharedReplica>,
    /// Nothing is done by the clock: it is synced when asked for.
    pub on_demand: bool,
}

/// A look at one database of a fleet.
#[derive(Clone, Debug)]
pub struct DatabaseStatus {
    /// Its path.
    pub path: PathBuf,
    /// Whether it is replicated.
    pub phase: Phase,
    /// Whether that goes by the clock, too, and not on demand only.
    pub monitored: bool,
    /// How it stands; of a stopped one, how it stood.
    pub status: Status,
}

/// See the module.
pub struct Fleet {
    env: Env,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    /// In the order in which they came.
    in_order: BTreeMap<u64, Arc<Member>>,
    by_path: HashMap<PathBuf, u64>,
    next: u64,
}

impl Fleet {
    /// Nobody yet.
    pub fn new(env: Env) -> Fleet {
        Fleet {
            env,
            members: Mutex::default(),
        }
    }

    /// Adds a database and starts its replication. The member, and whether it is new: one of the same path stays as it is.
    /// Must be called within the async runtime that its tasks are to run in.
    pub fn register(&self, spec: Spec) -> Result<(Arc<Member>, bool), FleetError> {
        let path = spec.settings.path.clone();
        let member = Arc::new(Member::new(spec, self.env.clone()));
        // Before others see it: nobody starts it at the same time.
        let turn = member.first_turn();
        {
            let mut members = self.members.lock();
            if let Some(member) = members.get(&path) {
                return Ok((member, false));
            }
            members.add(path.clone(), Arc::clone(&member));
        }
        // Outside of the lock: it starts a thread.
        let started = member.start_now();
        drop(turn);
        if let Err(error) = started {
            self.members.lock().remove_member(&path, &member);
            return Err(error);
        }
        Ok((member, true))
    }

    /// The database at this path.
    pub fn get(&self, path: &Path) -> Option<Arc<Member>> {
        self.members.lock().get(path)
    }

    /// All databases, in the order in which they came.
    pub fn members(&self) -> Vec<Arc<Member>> {
        self.members.lock().in_order.values().cloned().collect()
    }

    /// How all of them stand.
    pub fn databases(&self) -> Vec<DatabaseStatus> {
        self.members().iter().map(|m| m.database()).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.lock().in_order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends a database's replication with a final sync and forgets it. `Ok(None)`: there is none. If the sync fails, it stays and
    /// goes on, unless it is `forced`.
    pub async fn unregister(
        &self,
        path: &Path,
        ending: &Ending<'_>,
        forced: bool,
    ) -> Result<Option<Arc<Member>>, FleetError> {
        let Some(member) = self.get(path) else {
            return Ok(None);
        };
        let stopped = member.give_up(ending, forced, true).await;
        if member.is_gone() {
            self.members.lock().remove_member(path, &member);
        }
        stopped.map(|_| Some(member))
    }

    /// Ends all of them at the same time, and tells which were not brought to an end. All are given up afterwards.
    pub async fn close(&self, ending: &Ending<'_>) -> Vec<(Arc<Member>, Unfinished)> {
        let members = self.members();
        let ends = members.into_iter().map(|member| async move {
            match member.stop(ending, true).await {
                Err(FleetError::Unfinished(unfinished)) => Some((member, unfinished)),
                _ => None,
            }
        });
        let ended = futures_util::future::join_all(ends).await;
        ended.into_iter().flatten().collect()
    }
}

impl Members {
    fn get(&self, path: &Path) -> Option<Arc<Member>> {
        let number = self.by_path.get(path)?;
        self.in_order.get(number).cloned()
    }

    fn add(&mut self, path: PathBuf, member: Arc<Member>) {
        self.by_path.insert(path, self.next);
        self.in_order.insert(self.next, member);
        self.next += 1;
    }

    fn remove(&mut self, path: &Path) {
        if let Some(number) = self.by_path.remove(path) {
            self.in_order.remove(&number);
        }
    }

    /// Unless another one has its place by now.
    fn remove_member(&mut self, path: &Path, member: &Arc<Member>) {
        if self.get(path).is_some_and(|is| Arc::ptr_eq(&is, member)) {
            self.remove(path);
        }
    }
}
