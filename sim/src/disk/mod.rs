//! The simulated disk: files and directories with two faces, what processes see (*live*) and what a power cut leaves
//! (*durable*), and an ordered list of the changes between them.
//!
//! Promise: operations are raw and deterministic: no yields, no faults but a full disk. The doors (the engine's env,
//! SQLite's VFS) yield, ask [`SimDisk::admit`] and then call. Locks inside are never held across a yield.
//! Modes, owners and times are durable at once; there are no symbolic links.

mod content;
mod faults;
mod file;
mod locks;
mod names;
mod power;
mod tree;

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::sched;
pub use faults::{Class, Fault, Faults, Op, Rule, Seen, Verdict};
pub use file::FileHandle;
pub use locks::Hold;
pub use power::CutImage;
use tree::{Entry, Tree};

/// Error numbers of Linux.
pub mod errno {
    use std::io;

    /// No such file or directory.
    pub const ENOENT: i32 = 2;
    /// Interrupted; to be repeated.
    pub const EINTR: i32 = 4;
    /// The device failed.
    pub const EIO: i32 = 5;
    /// The handle is not for this.
    pub const EBADF: i32 = 9;
    /// Permission denied.
    pub const EACCES: i32 = 13;
    /// It exists already.
    pub const EEXIST: i32 = 17;
    /// Not a directory.
    pub const ENOTDIR: i32 = 20;
    /// A directory.
    pub const EISDIR: i32 = 21;
    /// Nonsense.
    pub const EINVAL: i32 = 22;
    /// The disk is full.
    pub const ENOSPC: i32 = 28;
    /// The directory is not empty.
    pub const ENOTEMPTY: i32 = 39;

    /// As the operating system would report it.
    pub fn error(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
}

/// What is known about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The inode: the identity of the file, never used again.
    pub id: u64,
    /// What it is.
    pub kind: Kind,
    /// Length in bytes; 0 for directories.
    pub len: u64,
    /// Modification time, milliseconds since 1970.
    pub modified: i64,
    /// Permission bits.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Number of names.
    pub links: u32,
}

/// One line of [`SimDisk::dump`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpEntry {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub kind: Kind,
    /// Length in bytes.
    pub len: u64,
    /// Hash of the content.
    pub hash: u64,
}

type Listener = Arc<dyn Fn(u64) + Send + Sync>;

/// What files and names share.
struct Shared {
    calls: AtomicU64,
    order: AtomicU64,
    next_inode: AtomicU64,
    used: AtomicU64,
    space: AtomicU64,
    planned: AtomicBool,
    plan: Mutex<faults::Plan>,
    heard: AtomicBool,
    listeners: Mutex<Vec<Listener>>,
    dead: Mutex<BTreeSet<sched::Process>>,
}

impl Shared {
    fn next_order(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    fn next_inode(&self) -> u64 {
        self.next_inode.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells the listeners that the file `id` was changed.
    fn tell(&self, id: u64) {
        if self.heard.load(Ordering::Relaxed) {
            let listeners = self.listeners.lock().clone();
            for listener in listeners {
                listener(id);
            }
        }
    }
}

/// The time for new modification times.
fn wall() -> i64 {
    sched::wall_millis()
}

struct Inner {
    shared: Arc<Shared>,
    tree: Mutex<Tree>,
}

/// A disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Inner>);

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new()
    }
}

impl SimDisk {
    /// An empty disk: only the root directory.
    pub fn new() -> SimDisk {
        let shared = Shared {
            calls: AtomicU64::new(0),
            order: AtomicU64::new(0),
            next_inode: AtomicU64::new(tree::ROOT + 1),
            used: AtomicU64::new(0),
            space: AtomicU64::new(u64::MAX),
            planned: AtomicBool::new(false),
            plan: Mutex::default(),
            heard: AtomicBool::new(false),
            listeners: Mutex::default(),
            dead: Mutex::default(),
        };
        SimDisk(Arc::new(Inner {
            shared: Arc::new(shared),
            tree: Mutex::new(Tree::new()),
        }))
    }

    /// Calls `listener` with the inode of each file that is written, resized, renamed, linked or loses a name.
    /// It must not yield; unparking is fine.
    pub fn on_write(&self, listener: impl Fn(u64) + Send + Sync + 'static) {
        self.0.shared.listeners.lock().push(Arc::new(listener));
        self.0.shared.heard.store(true, Ordering::Relaxed);
    }

    /// All bytes of a file, read without opening it (so no lock is lost).
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inode = self.0.tree.lock().find_file(path)?;
        Ok(inode.state.lock().live.to_vec())
    }

    /// Bytes that files take.
    pub fn used(&self) -> u64 {
        self.0.shared.used.load(Ordering::Relaxed)
    }

    /// All there is, sorted by path.
    pub fn dump(&self) -> Vec<DumpEntry> {
        let mut dump = Vec::new();
        let tree = self.0.tree.lock();
        tree.walk(tree::ROOT, Path::new("/"), &mut |path, entry| {
            let (kind, len, hash) = match entry {
                Entry::File(inode) => {
                    let live = &inode.state.lock().live;
                    (Kind::File, live.len(), live.hash())
                }
                Entry::Dir(_) => (Kind::Dir, 0, 0),
            };
            dump.push(DumpEntry {
                path,
                kind,
                len,
                hash,
            });
        });
        dump
    }

    /// A hash over [`SimDisk::dump`].
    pub fn tree_hash(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for entry in self.dump() {
            hasher.update(entry.path.as_os_str().as_encoded_bytes());
            hasher.write_u8(u8::from(entry.kind == Kind::Dir));
            hasher.write_u64(entry.len);
            hasher.write_u64(entry.hash);
        }
        hasher.digest()
    }
}

/// The hash that [`SimDisk::dump`] gives for these bytes.
pub fn content_hash(bytes: &[u8]) -> u64 {
    content::Content::from_bytes(bytes).hash()
}

#[cfg(test)]
mod tests;
