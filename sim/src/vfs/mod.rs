//! SQLite's door to the simulated disk: a VFS with the name "sim" that behaves as SQLite's own for Unix, with locks and
//! shared memory between connections of one and of several simulated processes.
//!
//! Promise: each callback is one numbered call of the disk and one step of the scheduler, before it does its work; then
//! it is atomic. Nothing waits but `xSleep`. No callback that SQLite makes with one of its global mutexes held
//! (`xRandomness`) yields. A dead process' callbacks fail without effect. Memory-mapped reading (`mmap_size`) is off.
#![allow(
    unsafe_code,
    reason = "SQLite calls this code through C function pointers, with raw pointers"
)]

mod control;
mod file;
mod global;
mod image;
mod lock;
mod methods;
mod regions;
mod shm;
mod wal;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use rusqlite::ffi;

use crate::disk::{CutImage, SimDisk};
use crate::sched::{self, FiberId, Nanos, Process};
pub use global::register;
pub use image::{Image, committed_image};
use lock::InodeInfo;
use regions::Regions;

/// The name of the VFS.
pub const NAME: &str = "sim";

/// The lock of the WAL index that who checkpoints takes.
pub const CHECKPOINT_LOCK: usize = 1;

/// The first of the locks of the WAL index that transactions hold to read it; of the last four each bears a mark.
pub const READ_LOCK: usize = 3;

/// Is told when others may see a new state of a database. Called without yields; it must not yield, and not call SQLite.
pub trait Observer {
    /// A connection gave up the write lock or the recovery lock of the WAL of this database, or its exclusive lock of
    /// the database file, or finished a rollback journal; or a process died; or the power was cut. The state may be
    /// the same as before.
    fn published(&self, database: &Path);

    /// The caller's process is about to write to this file.
    fn writes(&self, _path: &Path) {}
}

/// What belongs to one episode.
struct Stage {
    disk: SimDisk,
    observer: Option<Rc<dyn Observer>>,
    /// What the connections of a process know together about an inode.
    infos: RefCell<BTreeMap<(Process, u64), Weak<InodeInfo>>>,
    /// Shared memory by inode of the `-shm` file.
    memory: RefCell<BTreeMap<u64, Weak<Regions>>>,
    /// Databases opened so far.
    databases: RefCell<BTreeSet<PathBuf>>,
    /// Power cuts so far.
    boot: Cell<u64>,
    /// See [`wait_for_unlock`].
    waiting: RefCell<Vec<Waiting>>,
}

/// Who waits for a lock of a WAL index to be given up.
struct Waiting {
    fiber: FiberId,
    slot: usize,
    told: Rc<Cell<bool>>,
}

thread_local! {
    static STAGE: RefCell<Option<Rc<Stage>>> = const { RefCell::new(None) };
    static LAST_ERRNO: Cell<i32> = const { Cell::new(0) };
}

/// From now on "sim" on this thread means `disk`. Also starts SQLite's random numbers anew: from the episode's, or the
/// same ones each time outside of an episode.
pub fn install(disk: SimDisk, observer: Option<Rc<dyn Observer>>) {
    register();
    let stage = Stage {
        disk,
        observer,
        infos: RefCell::default(),
        memory: RefCell::default(),
        databases: RefCell::default(),
        boot: Cell::default(),
        waiting: RefCell::default(),
    };
    STAGE.with(|slot| *slot.borrow_mut() = Some(Rc::new(stage)));
    let seed = if sched::in_world() {
        sched::random() as u32
    } else {
        1
    };
    seed_sqlite(seed);
}

/// Takes the disk away again: opening a database fails until the next [`install`].
pub fn uninstall() {
    STAGE.with(|slot| slot.borrow_mut().take());
}

/// Sets the state of SQLite's generator of random numbers, which the whole OS process shares.
pub fn seed_sqlite(seed: u32) {
    let seed = (seed | 1).cast_signed();
    // SAFETY: this operation takes an int and a connection, which may be null; it changes only the generator.
    unsafe {
        ffi::sqlite3_test_control(
            ffi::SQLITE_TESTCTRL_PRNG_SEED,
            seed as c_int,
            std::ptr::null_mut::<ffi::sqlite3>(),
        );
    }
}

fn stage() -> Option<Rc<Stage>> {
    STAGE.with(|slot| slot.try_borrow().ok()?.clone())
}

impl Stage {
    fn published(&self, database: &Path) {
        if let Some(observer) = &self.observer {
            observer.published(database);
        }
    }

    fn writes(&self, path: &Path) {
        if let Some(observer) = &self.observer {
            observer.writes(path);
        }
    }

    fn published_all(&self) {
        let all: Vec<PathBuf> = self.databases.borrow().iter().cloned().collect();
        for database in all {
            self.published(&database);
        }
    }

    /// Exclusive locks of a WAL index were given up.
    fn unlocked(&self, slots: &Range<usize>) {
        self.waiting.borrow_mut().retain(|waiting| {
            let hit = slots.contains(&waiting.slot);
            if hit {
                waiting.told.set(true);
                sched::cut_in(waiting.fiber);
            }
            !hit
        });
    }

    fn regions(&self) -> Vec<Rc<Regions>> {
        let memory = self.memory.borrow();
        memory.values().filter_map(Weak::upgrade).collect()
    }
}

/// Kills a process as an operating system does: its locks are gone, and shared memory stays as it is at this moment,
/// whatever SQLite does while the fibers end. Use this instead of [`sched::kill`].
pub fn kill(process: Process) {
    let Some(stage) = stage() else {
        return sched::kill(process);
    };
    let kept: Vec<_> = stage
        .regions()
        .into_iter()
        .map(|regions| (regions.save(), regions))
        .collect();
    sched::kill(process);
    stage.disk.process_died(process);
    stage.infos.borrow_mut().retain(|(of, _), _| *of != process);
    for (bytes, regions) in kept {
        regions.restore(&bytes);
    }
    stage.published_all();
}

/// Cuts the power. All processes that use the disk must be dead.
pub fn power_cut(disk: &SimDisk, image: CutImage) {
    if let Some(stage) = stage() {
        stage.memory.borrow_mut().clear();
        stage.boot.set(stage.boot.get() + 1);
        disk.power_cut(image);
        stage.published_all();
    } else {
        disk.power_cut(image);
    }
}

/// Counts the starts of the machine, from 1.
pub fn boot() -> u64 {
    stage().map_or(1, |stage| stage.boot.get() + 1)
}

/// Writes shared memory into the `-shm` files, as a real mapping does by itself; for looking at those files.
pub fn flush_shared_memory() {
    for regions in stage().iter().flat_map(|stage| stage.regions()) {
        regions.flush();
    }
}

/// As if somebody had died while he published a commit: the two headers of the WAL index differ. `false` if nobody has it open.
pub fn tear_index(disk: &SimDisk, database: &Path) -> bool {
    // The change counter in the second of two headers of 48 bytes.
    const SECOND_COUNTER_AT: usize = 48 + 8;
    let Some(stage) = stage() else { return false };
    let Ok(found) = disk.metadata(&beside(database, "-shm")) else {
        return false;
    };
    let regions = stage.memory.borrow().get(&found.id).and_then(Weak::upgrade);
    let Some(regions) = regions else { return false };
    let mut bytes = regions.save();
    let Some(byte) = bytes.get_mut(SECOND_COUNTER_AT) else {
        return false;
    };
    *byte ^= 1;
    regions.restore(&bytes);
    true
}

/// Waits until somebody gives up this exclusive lock of a WAL index, and goes on before he does: the narrowest moment there is, which
/// chance hits once in many thousand episodes. `false` if that does not happen in time. Not below C code.
pub fn wait_for_unlock(slot: usize, limit: Nanos) -> bool {
    let Some(stage) = stage() else { return false };
    let (fiber, told) = (sched::current(), Rc::new(Cell::new(false)));
    stage.waiting.borrow_mut().push(Waiting {
        fiber,
        slot,
        told: Rc::clone(&told),
    });
    let until = sched::now().saturating_add(limit);
    while !told.get() && sched::now() < until && !sched::is_dead() {
        sched::park(Some(until));
    }
    stage
        .waiting
        .borrow_mut()
        .retain(|waiting| waiting.fiber != fiber);
    told.get()
}

/// The caller's process; outside of episodes all is one.
fn caller() -> Process {
    if sched::in_world() {
        sched::current_process()
    } else {
        Process(0)
    }
}

/// `base` with `suffix` appended to its name.
fn beside(base: &Path, suffix: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
