//! The sentinel: a connection that runs one read at open and no SQL afterwards, and holds locks through its file.
//!
//! While it holds the CHECKPOINT lock nobody can copy frames into the database, so `backfilled` stands still, and a
//! WAL that is not wholly backfilled can't restart. An application's own checkpoint, of any mode, answers busy at once:
//! the CHECKPOINT lock is the first that SQLite takes and the only one for which it never waits, so that
//! (unlike with a reader's lock) a TRUNCATE does not sit on the write lock until its busy time-out.

use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rusqlite::Connection;

use super::conn::open_and_prepare;
use super::file::{DbFile, Slot};
pub use super::shm::WalState;
use super::{memory, shm};
use crate::error::Result;

/// See the module.
pub struct Sentinel {
    file: DbFile,
    index: NonNull<[AtomicU32; shm::WORDS]>,
    /// The index is a file that SQLite itself has mapped.
    is_mapped: bool,
    guarded: bool,
    barred: bool,
    /// How many of the read slots are held, from the first on.
    slots_held: usize,
    /// Last, so that it is closed after everything that points into it.
    _conn: Connection,
}

// SAFETY: the mapped WAL-index is shared memory that any thread may read; everything else is `Send`.
unsafe impl Send for Sentinel {}

impl Sentinel {
    /// Opens the database. The flag says whether it had to be switched to WAL mode. No lock that blocks anyone is held yet.
    pub fn open(
        path: &Path,
        vfs: Option<&str>,
        busy_timeout: Duration,
    ) -> Result<(Sentinel, bool)> {
        let (conn, switched) = open_and_prepare(path, vfs, busy_timeout)?;
        let file = DbFile::of(&conn)?;
        file.lock_shared()?;
        let index = file.map_index()?;
        Ok((
            Sentinel {
                file,
                index,
                is_mapped: vfs.is_none(),
                guarded: false,
                barred: false,
                slots_held: 0,
                _conn: conn,
            },
            switched,
        ))
    }

    /// The last committed state. `None` while a commit is being published; if that lasts, the index needs recovery.
    pub fn state(&self) -> Option<WalState> {
        // SAFETY: mapped since open, unmapped only when the connection closes, which `self` owns.
        shm::read(unsafe { self.index.as_ref() }, || self.file.database_size())
    }

    /// Nothing is looked at for a while.
    pub fn rest(&self) {
        if self.is_mapped {
            memory::let_go(self.index);
        }
    }

    /// Tries to take the guard: the CHECKPOINT lock.
    pub fn try_guard(&mut self) -> Result<bool> {
        if !self.guarded {
            self.guarded = self.file.try_lock(Slot::Checkpoint)?;
        }
        Ok(self.guarded)
    }

    /// Lets others (and our own checkpointer) checkpoint. The caller has made that harmless.
    pub fn release_guard(&mut self) -> Result<()> {
        if std::mem::take(&mut self.guarded) {
            self.file.unlock(Slot::Checkpoint)
        } else {
            Ok(())
        }
    }

    /// Whether the guard is held.
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// Tries to take the barrier: the WRITE lock. While it is held nobody can commit.
    pub fn try_bar(&mut self) -> Result<bool> {
        if !self.barred {
            self.barred = self.file.try_lock(Slot::Write)?;
        }
        Ok(self.barred)
    }

    /// Opens the barrier.
    pub fn release_bar(&mut self) -> Result<()> {
        if std::mem::take(&mut self.barred) {
            self.file.unlock(Slot::Write)
        } else {
            Ok(())
        }
    }

    /// Does something with the RECOVER lock held, if that is free. A transaction that begins meanwhile and finds the index torn gives
    /// up at once; otherwise SQLite would try for ten seconds to recover it, in vain while the guard is held.
    pub fn without_recovery<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let held = self.file.try_lock(Slot::Recover)?;
        let done = work();
        if held {
            self.file.unlock(Slot::Recover)?;
        }
        Ok(done)
    }

    /// Tries to shut the gate: holds every slot that a transaction needs to read the WAL, so that none is running and
    /// none can begin, and therefore none can commit. Unlike with the WRITE lock nobody gets a busy error: SQLite waits for
    /// a read slot inside, for seconds, whatever its busy time-out. `false` if a transaction is running.
    pub fn try_shut_gate(&mut self) -> Result<bool> {
        for &slot in &Slot::READS[self.slots_held..] {
            if !self.file.try_lock(slot)? {
                self.open_gate()?;
                return Ok(false);
            }
            self.slots_held += 1;
        }
        let Some(state) = self.state() else {
            self.open_gate()?;
            return Ok(false);
        };
        // Marks left behind by past readers would bound the checkpoint: it can't take the locks that we hold.
        // SAFETY: as in `state`; every lock that guards these words is held.
        shm::clear_read_marks(unsafe { self.index.as_ref() }, state.frames);
        Ok(true)
    }

    /// Lets transactions begin, but keeps one slot, so that the WAL can't restart until the gate is opened.
    pub fn narrow_gate(&mut self) -> Result<()> {
        while self.slots_held > 1 {
            self.slots_held -= 1;
            self.file.unlock(Slot::READS[self.slots_held])?;
        }
        Ok(())
    }

    /// Opens the gate.
    pub fn open_gate(&mut self) -> Result<()> {
        while self.slots_held > 0 {
            self.slots_held -= 1;
            self.file.unlock(Slot::READS[self.slots_held])?;
        }
        Ok(())
    }

    /// Reads from the database file; bytes beyond its end are zero.
    pub fn read_database(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file.read(buf, offset)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // Locks die with the connection anyway; giving them back first keeps its close free of surprises.
        let _ = self.open_gate();
        let _ = self.release_bar();
        let _ = self.release_guard();
    }
}
