//! One file: what a process sees now, what a power cut leaves, and the changes between the two.
//!
//! Promise: nothing here yields, nothing fails but for a full disk, and the space that a file takes is counted
//! as long as it has a name or a user.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Mutex, MutexGuard};

use super::content::{Content, touched};
use super::locks::{self, Held};
use super::{Kind, Metadata, Shared, errno};
use crate::sched::Process;

/// Unsynced bytes of one file above which its older half counts as written back: a system does not wait for ever.
const UNSYNCED_BYTES_MAX: usize = 32 << 20;

/// A change that no sync made durable yet.
pub(super) struct Unsynced {
    /// Place in the order of all changes of the disk.
    pub order: u64,
    pub change: Change,
}

pub(super) enum Change {
    Write { offset: u64, data: Box<[u8]> },
    SetLen(u64),
}

impl Change {
    pub fn apply(&self, content: &mut Content) {
        match self {
            Change::Write { offset, data } => content.write_at(data, *offset),
            Change::SetLen(len) => content.set_len(*len),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Change::Write { data, .. } => data.len(),
            Change::SetLen(_) => 0,
        }
    }
}

#[derive(Default)]
pub(super) struct State {
    pub live: Content,
    pub durable: Content,
    pub unsynced: Vec<Unsynced>,
    unsynced_bytes: usize,
    /// The process in which a sync failed and lost changes.
    lost_in: Option<Process>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: i64,
    pub links: u32,
    users: u32,
    /// A temporary file without a name: nothing of it survives anything.
    temporary: bool,
    pub held: Vec<Held>,
}

pub(super) struct Inode {
    pub id: u64,
    pub state: Mutex<State>,
}

impl Inode {
    pub fn new(id: u64, mode: u32) -> Arc<Inode> {
        let state = State {
            mode,
            modified: super::wall(),
            ..State::default()
        };
        Arc::new(Inode {
            id,
            state: Mutex::new(state),
        })
    }

    pub fn temporary(id: u64) -> Arc<Inode> {
        let inode = Inode::new(id, 0o600);
        inode.state.lock().temporary = true;
        inode
    }

    pub fn metadata(&self) -> Metadata {
        let state = self.state.lock();
        Metadata {
            id: self.id,
            kind: Kind::File,
            len: state.live.len(),
            modified: state.modified,
            mode: state.mode,
            uid: state.uid,
            gid: state.gid,
            links: state.links,
        }
    }

    pub fn overlay(&self, shared: &Shared, bytes: &[u8]) {
        let mut state = self.state.lock();
        let before = state.live.len();
        state.settle(Content::from_bytes(bytes));
        let grown = state.live.len().wrapping_sub(before);
        shared.used.fetch_add(grown, Ordering::Relaxed);
    }

    /// A name was added (`+1`) or taken (`-1`).
    pub fn count_link(&self, shared: &Shared, by: i32) {
        let mut state = self.state.lock();
        state.links = state.links.saturating_add_signed(by);
        state.free_if_gone(shared);
    }
}

impl State {
    fn free_if_gone(&mut self, shared: &Shared) {
        if self.links == 0 && self.users == 0 {
            shared.used.fetch_sub(self.live.len(), Ordering::Relaxed);
            // A later power cut may bring the name back; then the space is counted anew.
        }
    }

    /// The bytes that the disk has no room for if the file grows to `len`.
    fn lacking(&self, shared: &Shared, len: u64) -> u64 {
        let grow = len.saturating_sub(self.live.len());
        let free = shared
            .space
            .load(Ordering::Relaxed)
            .saturating_sub(shared.used.load(Ordering::Relaxed));
        grow.saturating_sub(free)
    }

    fn change(&mut self, shared: &Shared, change: Change) {
        let before = self.live.len();
        change.apply(&mut self.live);
        let after = self.live.len();
        shared
            .used
            .fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        self.modified = super::wall();
        if self.temporary {
            return;
        }
        self.unsynced_bytes += change.bytes();
        let order = shared.next_order();
        self.unsynced.push(Unsynced { order, change });
        if self.unsynced_bytes > UNSYNCED_BYTES_MAX {
            let half = self.unsynced.len() / 2;
            for old in self.unsynced.drain(..half) {
                self.unsynced_bytes -= old.change.bytes();
                old.change.apply(&mut self.durable);
            }
        }
    }

    /// Moves the list to the durable side: whole chunks, as a page cache writes them.
    fn sync(&mut self) {
        if self.unsynced.is_empty() && self.durable.len() == self.live.len() {
            return;
        }
        for unsynced in &self.unsynced {
            let range = match &unsynced.change {
                Change::Write { offset, data } => touched(*offset, data.len()),
                Change::SetLen(len) => touched(*len, 1).start..usize::MAX,
            };
            self.durable.adopt(&self.live, range);
        }
        self.durable.adopt(&self.live, 0..0);
        self.forget_unsynced();
    }

    pub fn forget_unsynced(&mut self) {
        self.unsynced.clear();
        self.unsynced_bytes = 0;
    }

    /// Whether a power cut would leave it as it is. What a failed sync lost, only the process that saw it fail can know.
    pub fn outlives(&self, dead: &BTreeSet<Process>) -> bool {
        let known = self.lost_in.is_some_and(|process| !dead.contains(&process));
        self.unsynced.is_empty() && !(known && self.durable.hash() != self.live.hash())
    }

    pub fn in_use(&self) -> bool {
        self.users > 0
    }

    /// Makes `content` what is there now and after any power cut.
    pub fn settle(&mut self, content: Content) {
        self.live = content.clone();
        self.durable = content;
        self.lost_in = None;
        self.forget_unsynced();
    }
}

/// One use of an open file; the inode lives as long as a name or a user.
struct Open {
    inode: Arc<Inode>,
    shared: Arc<Shared>,
    owner: Process,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.inode.state.lock();
        state.users -= 1;
        state.held.retain(|held| held.process != self.owner);
        state.free_if_gone(&self.shared);
    }
}

/// An open file. Raw: no yields, no faults but a full disk.
#[derive(Clone)]
pub struct FileHandle(Arc<Open>);

impl FileHandle {
    pub(super) fn new(inode: Arc<Inode>, shared: Arc<Shared>) -> FileHandle {
        inode.state.lock().users += 1;
        FileHandle(Arc::new(Open {
            inode,
            shared,
            owner: locks::caller(),
        }))
    }

    pub(super) fn lock_state(&self) -> (Process, &Shared, MutexGuard<'_, State>) {
        (self.0.owner, &self.0.shared, self.0.inode.state.lock())
    }

    /// Reads up to the end of the file; returns how much.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        self.0.inode.state.lock().live.read_at(buf, offset)
    }

    /// Writes all of `data`, or what the disk has room for and then fails with "no space".
    pub fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let lacking = {
            let mut state = self.0.inode.state.lock();
            let end = offset + data.len() as u64;
            let lacking = state.lacking(&self.0.shared, end).min(data.len() as u64);
            let data: Box<[u8]> = data[..data.len() - lacking as usize].into();
            if !data.is_empty() {
                state.change(&self.0.shared, Change::Write { offset, data });
            }
            lacking
        };
        self.0.shared.tell(self.0.inode.id);
        if lacking > 0 {
            return Err(errno::error(errno::ENOSPC));
        }
        Ok(())
    }

    /// Cuts or extends with zeros.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        {
            let mut state = self.0.inode.state.lock();
            if state.lacking(&self.0.shared, len) > 0 {
                return Err(errno::error(errno::ENOSPC));
            }
            state.change(&self.0.shared, Change::SetLen(len));
        }
        self.0.shared.tell(self.0.inode.id);
        Ok(())
    }

    /// Reserves room for `len` bytes and sets the length.
    pub fn allocate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    /// Makes content and length durable.
    pub fn sync(&self) {
        self.0.inode.state.lock().sync();
    }

    /// What a failed sync leaves behind: the unsynced changes count as clean but never reached the disk, so
    /// that the next sync succeeds without them.
    pub fn sync_failed(&self) {
        let (process, _, mut state) = self.lock_state();
        if !state.unsynced.is_empty() {
            state.lost_in = Some(process);
        }
        state.forget_unsynced();
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a file, not a collection")]
    pub fn len(&self) -> u64 {
        self.0.inode.state.lock().live.len()
    }

    /// The identity of the file.
    pub fn id(&self) -> u64 {
        self.0.inode.id
    }

    /// What is known about the file.
    pub fn metadata(&self) -> Metadata {
        self.0.inode.metadata()
    }

    /// Sets the modification time (milliseconds since 1970).
    pub fn set_modified(&self, millis: i64) {
        self.0.inode.state.lock().modified = millis;
    }

    /// Number of changes that a power cut may take.
    pub fn unsynced(&self) -> usize {
        self.0.inode.state.lock().unsynced.len()
    }

    /// All bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.0.inode.state.lock().live.to_vec()
    }

    /// Replaces the bytes without a trace: no change event, nothing unsynced. For memory that is mapped over a file.
    pub fn overlay(&self, bytes: &[u8]) {
        self.0.inode.overlay(&self.0.shared, bytes);
    }
}
