//! The WAL index in shared memory: the `-shm` file, its regions, its eight locks and the dead man's switch.
//!
//! Promise: the same answers as `unixShmMap`, `unixShmLock`, `unixShmUnmap`. Whoever finds that nobody has the file open
//! starts with empty memory, whatever the file says.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rusqlite::ffi;

use super::file::OpenFile;
use super::regions::{REGION, Regions};
use super::{Stage, beside};
use crate::disk::{FileHandle, Hold, Op, Verdict, errno};

const LOCKS: usize = ffi::SQLITE_SHM_NLOCK as usize;
/// The dead man's switch: held by all who have the file open.
pub const DMS: Range<u8> = LOCKS as u8..LOCKS as u8 + 1;
/// The lock that a writer holds, and the one that recovery holds.
const WRITE_LOCK: usize = 0;
const RECOVER_LOCK: usize = 2;
/// Length to which the first who opens the file cuts it.
const CUT_LEN: u64 = 3;

/// What the connections of one process share about one `-shm` file (`unixShmNode`).
pub struct ShmNode {
    file: FileHandle,
    path: PathBuf,
    memory: Rc<Regions>,
    /// Regions that this process has mapped.
    mapped: Cell<usize>,
    users: Cell<u32>,
    /// Shared holders of each lock, or -1 for an exclusive one.
    locks: RefCell<[i32; LOCKS]>,
}

/// A connection's part (`unixShm`).
pub struct Shm {
    node: Rc<ShmNode>,
    shared: u16,
    exclusive: u16,
}

fn mask(first: usize, count: usize) -> u16 {
    (1u16 << (first + count)).wrapping_sub(1 << first)
}

impl ShmNode {
    fn open(stage: &Stage, database: &Path, mode: u32) -> Result<ShmNode, c_int> {
        let path = beside(database, "-shm");
        let file = stage.disk.open(&path);
        let file = file.or_else(|_| stage.disk.create_new(&path, mode & 0o777));
        let file = file.map_err(|_| ffi::SQLITE_CANTOPEN)?;
        let memory = if file.lock_of_others(DMS, Hold::Exclusive).is_none() {
            let cut = file.set_len(CUT_LEN);
            cut.map_err(|_| ffi::SQLITE_IOERR_SHMOPEN)?;
            let memory = Rc::new(Regions::new(file.clone()));
            let weak = Rc::downgrade(&memory);
            stage.memory.borrow_mut().insert(file.id(), weak);
            memory
        } else {
            let memory = stage.memory.borrow().get(&file.id()).cloned();
            let memory = memory.and_then(|weak| weak.upgrade());
            memory.ok_or(ffi::SQLITE_BUSY)?
        };
        file.lock(DMS, Some(Hold::Shared));
        Ok(ShmNode {
            file,
            path,
            memory,
            mapped: Cell::new(0),
            users: Cell::new(0),
            locks: RefCell::default(),
        })
    }

    fn map(&self, index: usize, extend: bool) -> Result<*mut c_void, c_int> {
        if self.mapped.get() <= index {
            if self.memory.count() <= index {
                if !extend {
                    return Ok(std::ptr::null_mut());
                }
                let len = (index + 1) * REGION;
                let grown = self.file.set_len(len as u64);
                grown.map_err(|_| ffi::SQLITE_IOERR_SHMSIZE)?;
                self.grow_memory(index + 1);
            }
            self.mapped.set(index + 1);
        }
        Ok(self.memory.pointer(index))
    }

    /// New memory shows what the file holds: zeros, but for the few bytes that survived the cut.
    fn grow_memory(&self, count: usize) {
        let first = self.memory.count() == 0;
        self.memory.grow(count);
        if first {
            let mut bytes = vec![0; REGION];
            self.file.read_at(&mut bytes, 0);
            self.memory.restore(&bytes);
        }
    }
}

impl OpenFile {
    pub fn shm_map(
        &mut self,
        stage: &Stage,
        index: usize,
        extend: bool,
    ) -> Result<*mut c_void, c_int> {
        if self.shm.is_none() {
            let node = self.shm_node(stage)?;
            node.users.set(node.users.get() + 1);
            self.shm = Some(Shm {
                node,
                shared: 0,
                exclusive: 0,
            });
        }
        match &self.shm {
            Some(shm) => shm.node.map(index, extend),
            None => Ok(std::ptr::null_mut()),
        }
    }

    fn shm_node(&self, stage: &Stage) -> Result<Rc<ShmNode>, c_int> {
        let info = self.info.as_ref().ok_or(ffi::SQLITE_IOERR_SHMMAP)?;
        if let Some(node) = &*info.shm.borrow() {
            return Ok(node.clone());
        }
        let node = ShmNode::open(stage, &self.path, self.handle.metadata().mode)?;
        let node = Rc::new(node);
        *info.shm.borrow_mut() = Some(node.clone());
        Ok(node)
    }

    /// The open of the `-shm` file may fail by plan. May let others run.
    pub fn shm_admitted(&self, stage: &Stage) -> bool {
        let first = self.shm.is_none()
            && self
                .info
                .as_ref()
                .is_some_and(|info| info.shm.borrow().is_none());
        if !first {
            return true;
        }
        let verdict = stage.disk.admit(Op::Open, &beside(&self.path, "-shm"));
        !matches!(verdict, Verdict::Fail(errno) if errno != errno::EINTR)
    }

    /// `Ok(true)` if a new state may have been published.
    pub fn shm_lock(&mut self, first: usize, count: usize, flags: c_int) -> Result<bool, c_int> {
        let Some(shm) = &mut self.shm else {
            return Err(ffi::SQLITE_IOERR_SHMLOCK);
        };
        if first + count > LOCKS || count == 0 {
            return Err(ffi::SQLITE_MISUSE);
        }
        if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
            return Ok(shm.unlock(first, count, flags));
        }
        if flags & ffi::SQLITE_SHM_SHARED != 0 {
            shm.lock_shared(first).map(|()| false)
        } else {
            shm.lock_exclusive(first, count).map(|()| false)
        }
    }

    pub fn shm_unmap(&mut self, stage: &Stage, delete: bool) {
        let Some(shm) = self.shm.take() else { return };
        let node = shm.node;
        node.users.set(node.users.get() - 1);
        if node.users.get() > 0 {
            return;
        }
        node.memory.flush();
        // The memory may outlive this process' part and keep its handle open.
        node.file.lock(0..DMS.end, None);
        if let Some(info) = &self.info {
            info.shm.borrow_mut().take();
        }
        if delete {
            // As there: whether the name still was the file's, nobody asks.
            let _ = stage.disk.remove(&node.path);
        }
    }

    /// `unixIsSharingShmNode`: another process has the WAL index open.
    pub fn shares_memory_with_other_processes(&self) -> bool {
        let Some(shm) = &self.shm else { return false };
        let file = &shm.node.file;
        file.lock_of_others(DMS, Hold::Exclusive).is_some()
    }

    /// `unixFcntlExternalReader`.
    pub fn has_external_reader(&self) -> bool {
        let Some(shm) = &self.shm else { return false };
        let readers = 3..LOCKS as u8;
        shm.node
            .file
            .lock_of_others(readers, Hold::Exclusive)
            .is_some()
    }
}

impl Shm {
    fn unlock(&mut self, first: usize, count: usize, flags: c_int) -> bool {
        let mask = mask(first, count);
        if (self.shared | self.exclusive) & mask == 0 {
            return false;
        }
        let published = [WRITE_LOCK, RECOVER_LOCK].map(|lock| self.exclusive & mask & (1 << lock));
        let mut locks = self.node.locks.borrow_mut();
        if flags & ffi::SQLITE_SHM_SHARED != 0 && locks[first] > 1 {
            locks[first] -= 1;
            self.shared &= !mask;
            return false;
        }
        let places = first as u8..(first + count) as u8;
        self.node.file.lock(places, None);
        locks[first..first + count].fill(0);
        self.shared &= !mask;
        self.exclusive &= !mask;
        published != [0, 0]
    }

    fn lock_shared(&mut self, slot: usize) -> Result<(), c_int> {
        let mask = mask(slot, 1);
        if self.shared & mask != 0 {
            return Ok(());
        }
        let mut locks = self.node.locks.borrow_mut();
        let place = slot as u8..slot as u8 + 1;
        let free = match locks[slot] {
            ..0 => false,
            0 => self.node.file.lock(place, Some(Hold::Shared)),
            _ => true,
        };
        if !free {
            return Err(ffi::SQLITE_BUSY);
        }
        self.shared |= mask;
        locks[slot] += 1;
        Ok(())
    }

    fn lock_exclusive(&mut self, first: usize, count: usize) -> Result<(), c_int> {
        let mut locks = self.node.locks.borrow_mut();
        let slots = first..first + count;
        let places = first as u8..(first + count) as u8;
        if locks[slots.clone()].iter().any(|&lock| lock != 0)
            || !self.node.file.lock(places, Some(Hold::Exclusive))
        {
            return Err(ffi::SQLITE_BUSY);
        }
        self.exclusive |= mask(first, count);
        locks[slots].fill(-1);
        Ok(())
    }
}
