//! The five locks on a database file, as SQLite's Unix VFS builds them from POSIX locks and from what the connections of
//! one process know about each other.
//!
//! Promise: the same answers as `unixLock`, `posixUnlock`, `unixCheckReservedLock` and the deferred close of `unixClose`.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::ops::Range;
use std::rc::Rc;

use rusqlite::ffi;

use super::file::OpenFile;
use super::shm::ShmNode;
use super::{Process, Stage};
use crate::disk::{FileHandle, Hold};

/// How far a connection has locked the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    None,
    Shared,
    Reserved,
    Pending,
    Exclusive,
}

impl Level {
    pub fn from_code(code: i32) -> Level {
        match code {
            ..=0 => Level::None,
            1 => Level::Shared,
            2 => Level::Reserved,
            3 => Level::Pending,
            _ => Level::Exclusive,
        }
    }
}

const PENDING: Range<u8> = 0..1;
const RESERVED: Range<u8> = 1..2;
const SHARED: Range<u8> = 2..3;
const ALL: Range<u8> = 0..3;

/// What the connections of one process share about one inode (`unixInodeInfo`).
#[derive(Default)]
pub struct InodeInfo {
    level: Cell<Level>,
    shared: Cell<u32>,
    locks: Cell<u32>,
    /// Handles whose close had to wait, since closing one would lose the locks of the others; and if for reading only.
    unused: RefCell<Vec<(FileHandle, bool)>>,
    pub shm: RefCell<Option<Rc<ShmNode>>>,
}

impl Stage {
    pub fn info(&self, process: Process, inode: u64) -> Rc<InodeInfo> {
        let mut infos = self.infos.borrow_mut();
        let slot = infos.entry((process, inode)).or_default();
        slot.upgrade().unwrap_or_else(|| {
            let info = Rc::new(InodeInfo::default());
            *slot = Rc::downgrade(&info);
            info
        })
    }

    /// A handle that waits to be closed and fits (`findReusableFd`).
    pub fn reusable(&self, process: Process, inode: u64, readonly: bool) -> Option<FileHandle> {
        let info = self.infos.borrow().get(&(process, inode))?.upgrade()?;
        let mut unused = info.unused.borrow_mut();
        let at = unused.iter().position(|(_, ro)| *ro == readonly)?;
        Some(unused.remove(at).0)
    }
}

impl OpenFile {
    pub fn lock(&mut self, want: Level) -> Result<(), c_int> {
        if self.level >= want {
            return Ok(());
        }
        let Some(info) = self.info.clone() else {
            return Ok(());
        };
        let inode_level = info.level.get();
        let siblings = self.level != inode_level;
        if siblings && (inode_level >= Level::Pending || want > Level::Shared) {
            return Err(ffi::SQLITE_BUSY);
        }
        if want == Level::Shared {
            return self.lock_shared(&info);
        }
        if want == Level::Exclusive && self.level == Level::Reserved {
            if !self.handle.lock(PENDING, Some(Hold::Exclusive)) {
                return Err(ffi::SQLITE_BUSY);
            }
            self.level = Level::Pending;
            info.level.set(Level::Pending);
        }
        let blocked = want == Level::Exclusive && info.shared.get() > 1;
        if blocked || self.shares_memory_with_other_processes() {
            return Err(ffi::SQLITE_BUSY);
        }
        if self.readonly {
            // The system refuses a write lock through a handle for reading.
            return Err(ffi::SQLITE_IOERR_LOCK);
        }
        let place = match want {
            Level::Reserved => RESERVED,
            _ => SHARED,
        };
        if !self.handle.lock(place, Some(Hold::Exclusive)) {
            return Err(ffi::SQLITE_BUSY);
        }
        self.level = want;
        info.level.set(want);
        Ok(())
    }

    fn lock_shared(&mut self, info: &InodeInfo) -> Result<(), c_int> {
        if matches!(info.level.get(), Level::Shared | Level::Reserved) {
            info.shared.set(info.shared.get() + 1);
        } else {
            if self.handle.lock_of_others(PENDING, Hold::Shared).is_some()
                || !self.handle.lock(SHARED, Some(Hold::Shared))
            {
                return Err(ffi::SQLITE_BUSY);
            }
            info.shared.set(1);
            info.level.set(Level::Shared);
        }
        info.locks.set(info.locks.get() + 1);
        self.level = Level::Shared;
        Ok(())
    }

    /// Lowers the lock to `to` (shared or none). Returns whether it was exclusive.
    pub fn unlock(&mut self, to: Level) -> bool {
        if self.level <= to {
            return false;
        }
        let was_exclusive = self.level == Level::Exclusive;
        let Some(info) = self.info.clone() else {
            return false;
        };
        if self.level > Level::Shared {
            if to == Level::Shared {
                // Can't fail while others keep to the rules.
                self.handle.lock(SHARED, Some(Hold::Shared));
            }
            self.handle.lock(PENDING.start..RESERVED.end, None);
            info.level.set(Level::Shared);
        }
        if to == Level::None {
            info.shared.set(info.shared.get() - 1);
            if info.shared.get() == 0 {
                self.handle.lock(ALL, None);
                info.level.set(Level::None);
            }
            info.locks.set(info.locks.get() - 1);
            if info.locks.get() == 0 {
                info.unused.take();
            }
        }
        self.level = to;
        was_exclusive
    }

    /// Whether anybody holds more than a shared lock.
    pub fn is_reserved(&self) -> bool {
        let known = |info: &Rc<InodeInfo>| info.level.get() > Level::Shared;
        self.info.as_ref().is_some_and(known)
            || self
                .handle
                .lock_of_others(RESERVED, Hold::Exclusive)
                .is_some()
    }

    /// What of closing concerns locks: the handle is kept if closing it would lose locks of this process.
    pub fn close_locks(&mut self) {
        self.unlock(Level::None);
        if let Some(info) = &self.info
            && info.locks.get() > 0
        {
            let entry = (self.handle.clone(), self.readonly);
            info.unused.borrow_mut().push(entry);
        }
    }
}
