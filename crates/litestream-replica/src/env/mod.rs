//! The seam between the engine and the world: disk, clock, randomness, threads, change events.
//!
//! Everything above floor 0 reaches the outside only through these traits, so that the same code runs
//! on a real machine ([`real`]) and in a simulated one. SQLite is not abstracted here; its VFS is
//! chosen by name instead.
//!
//! Promise: nothing but `real.rs` touches `std::fs`, clocks, threads or random numbers (a lint checks it).

pub mod real;

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// Milliseconds since the Unix epoch, UTC; the unit of LTX header timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

/// A point of monotonic time: the duration since an arbitrary start that the clock keeps fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// Time passed from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Monotonic {
    type Output = Monotonic;
    fn add(self, rhs: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(rhs))
    }
}

/// What a directory entry or path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link (only from [`Disk::symlink_metadata`]).
    Symlink,
    /// A socket.
    Socket,
    /// A device, FIFO, …
    Other,
}

/// What is known about a path without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub len: u64,
    /// Modification time.
    pub modified: UnixMillis,
    /// Permission bits (lower 12), zero where the system has none.
    pub mode: u32,
    /// Owning user, zero where the system has none.
    pub uid: u32,
    /// Owning group, zero where the system has none.
    pub gid: u32,
    /// Device and inode: the identity of the file, stable over renames.
    pub id: (u64, u64),
}

/// One entry of [`Disk::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Base name.
    pub name: OsString,
    /// What it is (links are not followed).
    pub kind: Kind,
}

/// An open file. All offsets and lengths in bytes. Safe to use from several threads at once.
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; 0 means end of file. May return less than asked.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf` at `offset`, growing the file if needed.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Truncates or extends (with zeros) to `len`.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves disk space for `len` bytes and sets the length; plain [`File::set_len`] where unsupported.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
    /// As [`File::sync`], and the times and mode with it.
    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
    /// Asks the system to start writing `len` bytes from `offset` to the disk, without waiting. A hint.
    fn start_writeback(&self, offset: u64, len: u64);
    /// What is known about the open file.
    fn metadata(&self) -> io::Result<Metadata>;
    /// Sets modification and access time.
    fn set_modified(&self, time: UnixMillis) -> io::Result<()>;

    /// Reads exactly `buf.len()` bytes at `offset`; an early end is [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// A lock, until it is dropped.
pub trait Held: Send + Sync {}

/// The file system.
pub trait Disk: Send + Sync {
    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Creates a file that must not exist, never following a link at `path`. `mode` as for open(2), umask applies.
    fn create_new(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>>;
    /// Removes a file or link.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Atomically renames `from` to `to`, replacing a file there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes `to` a second name of the file `from`; fails if `to` exists or the file systems differ.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Lists a directory in no particular order, without `.` and `..`.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// What `path` is, links followed.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// What `path` is, links not followed.
    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// Creates one directory with `mode` (umask does not apply).
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Sets owner and group; best effort callers ignore the error.
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()>;
    /// Sets permission bits.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Resolves links and makes the path absolute.
    fn canonicalize(&self, path: &Path) -> io::Result<std::path::PathBuf>;
    /// Takes the lock of the file at `path`, which is created with `mode` if it is missing, for as long as the result lives and this
    /// process does. `None` if somebody has it.
    fn lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Held>>>;
    /// Makes the entries of a directory (creations, renames, removals) durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Creates `path` and its missing parents, each with `mode`. Existing directories are left alone.
    fn create_dir_all(&self, path: &Path, mode: u32) -> io::Result<()> {
        match self.metadata(path) {
            Ok(m) if m.kind == Kind::Dir => return Ok(()),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!("{} is not a directory", path.display()),
                ));
            }
            Err(_) => {}
        }
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            self.create_dir_all(parent, mode)?;
        }
        match self.create_dir(path, mode) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }
}

/// Wall and monotonic time.
#[async_trait::async_trait]
pub trait Clock: Send + Sync {
    /// Wall-clock time; may step.
    fn now(&self) -> UnixMillis;
    /// Monotonic time; never steps.
    fn monotonic(&self) -> Monotonic;
    /// As [`Clock::monotonic`], and goes on while the machine sleeps, where the system can tell. From another start.
    fn awake_or_not(&self) -> Monotonic {
        self.monotonic()
    }
    /// Names the time since the machine was started: after a power failure it is another one. `None` if the system can't tell.
    fn boot(&self) -> Option<u128>;
    /// Blocks the calling thread.
    fn sleep(&self, duration: Duration);
    /// Suspends the calling task.
    async fn sleep_async(&self, duration: Duration);
}

/// Randomness for names, jitter and identities; not for keys.
pub trait Entropy: Send + Sync {
    /// Fills `buf` with random bytes.
    fn fill(&self, buf: &mut [u8]);
    /// A random 64-bit number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// A running blocking task.
pub trait Task: Send {
    /// Waits for its end. An error if it panicked.
    fn join(self: Box<Self>) -> io::Result<()>;
}

/// A future that runs on its own.
pub trait Running: Send + Sync {
    /// Drops the future soon: at the latest when it would wait the next time.
    fn abort(&self);
    /// Whether the future has ended or was dropped.
    fn is_finished(&self) -> bool;
}

/// Tells of the end of offloaded work.
pub type Ended = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Threads, and the async runtime where there is one.
pub trait Spawn: Send + Sync {
    /// Runs `work` on a thread of its own.
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Task>>;
    /// How many threads may compute at once; 1 means that parallel work should run inline.
    fn parallelism(&self) -> usize;
    /// Runs a future on its own; dropping the handle does not end it. Where an async runtime is needed, the caller must be in
    /// it, or on a thread that [`Spawn::spawn`] started from there.
    fn task(&self, name: &str, work: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn Running>;
    /// Blocks the calling thread until a future has ended; the thread as for [`Spawn::task`], and never one that runs futures.
    fn block_on(&self, work: Pin<Box<dyn Future<Output = ()> + Send + '_>>);
    /// Runs short blocking work where it does not hold up futures; called where [`Spawn::task`] may be. It begins at once, and
    /// goes on if the future is dropped. An error if it panicked or the runtime ends.
    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> Ended;
    /// The places for work of a kind in the whole process, so that a thousand databases don't do it all at once.
    fn places(&self, work: Work) -> Arc<Semaphore>;
}

/// Work of which a process does little at once. Nobody who has a place waits for one of an earlier kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// May take hours, slowly, and nobody waits for it: verification.
    Background,
    /// Takes much memory or processor time: merges, snapshots.
    Heavy,
    /// Reads a slice of a database: page ledgers.
    Ledger,
}

impl Work {
    /// Places for each kind, in order.
    pub fn all_places() -> [Arc<Semaphore>; 3] {
        [Work::Background, Work::Heavy, Work::Ledger]
            .map(|work| Arc::new(Semaphore::new(work.places())))
    }

    /// How many places there are.
    pub const fn places(self) -> usize {
        match self {
            Work::Background => 4,
            Work::Heavy | Work::Ledger => 2,
        }
    }
}

impl dyn Spawn {
    /// [`Spawn::block_on`] for a future with a result.
    pub fn wait_for<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        let mut result = None;
        self.block_on(Box::pin(async { result = Some(work.await) }));
        result.expect("block_on returns when the future has ended")
    }

    /// [`Spawn::offload`] for work with a result.
    pub async fn offloaded<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        self.offload(Box::new(move || drop(reply.send(work()))))
            .await?;
        Ok(answer
            .try_recv()
            .expect("work that did not panic has answered"))
    }
}

/// Notices that files change, without reading them.
#[async_trait::async_trait]
pub trait Watcher: Send {
    /// Waits until a watched file was written, removed or replaced, or [`Wake::wake`] was called, or `timeout` passed
    /// (`None`: no limit). Several changes since the last call count as one. `true` if something happened.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool>;
    /// The same without a thread, and without using a change up: the next [`Watcher::wait`] tells of it, too.
    async fn wait_async(&mut self, timeout: Duration) -> io::Result<bool>;
    /// Waits for [`Wake::wake`] or `timeout` only. Changes are not lost: the next [`Watcher::wait`] tells of them.
    fn wait_quiet(&mut self, timeout: Option<Duration>) -> io::Result<()>;
    /// Watches these from now on (replacing those watched before). An error if one does not exist.
    fn set_paths(&mut self, paths: &[&Path]) -> io::Result<()>;
    /// Whether no change of what is watched goes unnoticed: not on a network file system.
    fn is_sure(&self) -> bool;
    /// A handle that ends a [`Watcher::wait`] from another thread.
    fn waker(&self) -> Arc<dyn Wake>;
}

/// See [`Watcher::waker`].
pub trait Wake: Send + Sync {
    /// Ends the current or next wait.
    fn wake(&self);
}

/// Is told, on a thread of its own, of what has come or gone in a watched folder or was written to its end; `None`: of anything.
pub type FolderEvent = Box<dyn Fn(Option<&OsStr>) + Send>;

/// Folders that are watched for files that come and go.
pub trait Folders: Send + Sync {
    /// Watches these from now on, and no others.
    fn set(&self, folders: &[std::path::PathBuf]) -> FoldersSet;
}

/// What became of [`Folders::set`].
#[derive(Debug, Default)]
pub struct FoldersSet {
    /// One of them was not watched before, even if another folder of its name was: what happened there until now was not told.
    pub has_new: bool,
    /// Those that can't be watched, with why.
    pub failed: Vec<(std::path::PathBuf, io::Error)>,
}

/// File change events.
pub trait Watch: Send + Sync {
    /// A watcher that watches nothing yet.
    fn watcher(&self) -> io::Result<Box<dyn Watcher>>;
    /// Watched folders, none yet. Where the system can't tell, that is an error: look from time to time.
    fn folders(&self, tell: FolderEvent) -> io::Result<Box<dyn Folders>> {
        drop(tell);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// All of the outside world, cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Threads.
    pub spawn: Arc<dyn Spawn>,
    /// File events.
    pub watch: Arc<dyn Watch>,
}
