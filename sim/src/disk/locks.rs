//! POSIX record locks (fcntl), over numbered places of a file instead of byte ranges.
//!
//! Promise: as in POSIX a lock belongs to a process, never waits, and is lost when its process dies, or closes *any* handle
//! of the file.

use std::ops::Range;
use std::path::Path;

use super::file::FileHandle;
use super::{Shared, SimDisk};
use crate::sched::{self, Process};

/// How a place is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Others may hold it shared too.
    Shared,
    /// Nobody else holds it.
    Exclusive,
}

pub(super) struct Held {
    pub process: Process,
    place: u8,
    hold: Hold,
}

/// The process that a new handle belongs to; outside of episodes all is one process.
pub(super) fn caller() -> Process {
    if sched::in_world() {
        sched::current_process()
    } else {
        Process(0)
    }
}

/// A lock of another living process that stands against `want`.
fn obstacle(
    shared: &Shared,
    held: &[Held],
    me: Process,
    places: &Range<u8>,
    want: Hold,
) -> Option<Hold> {
    let dead = shared.dead.lock();
    let hit = held.iter().find(|held| {
        held.process != me
            && places.contains(&held.place)
            && (want == Hold::Exclusive || held.hold == Hold::Exclusive)
            && !dead.contains(&held.process)
    });
    hit.map(|held| held.hold)
}

impl FileHandle {
    /// Locks all `places` for the process of this handle, replacing what it holds there; `None` unlocks. `false`, and
    /// nothing changed, if another process stands against it.
    pub fn lock(&self, places: Range<u8>, hold: Option<Hold>) -> bool {
        let (me, shared, mut state) = self.lock_state();
        if let Some(want) = hold
            && obstacle(shared, &state.held, me, &places, want).is_some()
        {
            return false;
        }
        state
            .held
            .retain(|held| held.process != me || !places.contains(&held.place));
        if let Some(hold) = hold {
            state.held.extend(places.map(|place| Held {
                process: me,
                place,
                hold,
            }));
        }
        true
    }

    /// The lock of another process that would stand against `want` in `places`.
    pub fn lock_of_others(&self, places: Range<u8>, want: Hold) -> Option<Hold> {
        let (me, shared, state) = self.lock_state();
        obstacle(shared, &state.held, me, &places, want)
    }
}

impl SimDisk {
    /// Whether any living process holds a lock on `places` of the file at `path`.
    pub fn is_locked(&self, path: &Path, places: Range<u8>) -> bool {
        let Ok(inode) = self.0.tree.lock().find_file(path) else {
            return false;
        };
        let dead = self.0.shared.dead.lock();
        let state = inode.state.lock();
        let mut held = state.held.iter();
        held.any(|held| places.contains(&held.place) && !dead.contains(&held.process))
    }

    /// Its locks are gone from now on. Numbers of dead processes are not used again.
    pub fn process_died(&self, process: Process) {
        self.0.shared.dead.lock().insert(process);
    }
}
