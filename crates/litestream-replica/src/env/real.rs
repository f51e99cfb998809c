//! The real machine behind the traits of [`super`].
//!
//! Promise: this file and its folder are the only place that touches `std::fs`, clocks, threads and random numbers.
#![allow(
    clippy::disallowed_methods,
    reason = "the one place where the outside world is reached"
)]

#[cfg(target_os = "linux")]
mod folders;
#[cfg(target_os = "linux")]
mod inotify;
#[cfg(any(test, not(target_os = "linux")))]
mod polling;

use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::{
    Clock, DirEntry, Disk, Ended, Entropy, Env, File, Held, Kind, Metadata, Monotonic, Running,
    Spawn, Task, UnixMillis, Watch, Watcher, Work,
};

/// The real machine.
pub fn env() -> Env {
    Env {
        disk: Arc::new(RealDisk),
        clock: Arc::new(RealClock::new()),
        entropy: Arc::new(RealEntropy),
        spawn: Arc::new(RealSpawn),
        watch: Arc::new(RealWatch),
    }
}

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(fs::File);

/// The lock goes with the descriptor.
struct Locked(#[allow(dead_code, reason = "held, not read")] fs::File);

impl Held for Locked {}

fn kind(file_type: fs::FileType) -> Kind {
    if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Dir
    } else if file_type.is_symlink() {
        Kind::Symlink
    } else if file_type.is_socket() {
        Kind::Socket
    } else {
        Kind::Other
    }
}

fn metadata(m: &fs::Metadata) -> Metadata {
    Metadata {
        kind: kind(m.file_type()),
        len: m.len(),
        modified: UnixMillis(
            m.mtime()
                .saturating_mul(1000)
                .saturating_add(m.mtime_nsec() / 1_000_000),
        ),
        mode: m.mode() & 0o7777,
        uid: m.uid(),
        gid: m.gid(),
        id: (m.dev(), m.ino()),
    }
}

fn system_time(time: UnixMillis) -> io::Result<SystemTime> {
    let distance = Duration::from_millis(time.0.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let at = if time.0 < 0 {
        epoch.checked_sub(distance)
    } else {
        epoch.checked_add(distance)
    };
    at.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("time {} ms is out of range", time.0),
        )
    })
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len > 0 {
            match rustix::io::retry_on_intr(|| {
                rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len)
            }) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                Err(e) => return Err(e.into()),
            }
        }
        // Also after success: reserving never shortens a file.
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync writes the length too whenever reading back needs it; it only leaves out the times, and so
        // saves a journal commit when a file is overwritten in place.
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    /// Nothing: sync_file_range has no safe binding, and fadvise would drop the pages from the cache as well.
    fn start_writeback(&self, _offset: u64, _len: u64) {}

    fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata().map(|m| metadata(&m))
    }

    fn set_modified(&self, time: UnixMillis) -> io::Result<()> {
        let time = system_time(time)?;
        self.0
            .set_times(fs::FileTimes::new().set_modified(time).set_accessed(time))
    }
}

fn open(path: &Path, options: &OpenOptions) -> io::Result<Box<dyn File>> {
    Ok(Box::new(RealFile(options.open(path)?)))
}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        open(path, OpenOptions::new().read(true))
    }

    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn File>> {
        open(path, OpenOptions::new().read(true).write(true))
    }

    fn create_new(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(mode);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        open(path, &options)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Held>>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(mode)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(Locked(file)))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        fs::read_dir(dir)?
            .map(|entry| {
                let entry = entry?;
                Ok(DirEntry {
                    kind: kind(entry.file_type()?),
                    name: entry.file_name(),
                })
            })
            .collect()
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        fs::metadata(path).map(|m| metadata(&m))
    }

    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata> {
        fs::symlink_metadata(path).map(|m| metadata(&m))
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::DirBuilder::new().mode(mode).create(path)?;
        self.set_mode(path, mode) // what the umask took away
    }

    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::File::open(dir)?.sync_all() {
            // Some network and FUSE file systems refuse to flush a directory; they have nothing to flush.
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
            other => other,
        }
    }
}

/// The clocks of the operating system; monotonic time counts from the creation of this value.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    /// A clock whose monotonic time is zero now.
    pub fn new() -> RealClock {
        RealClock {
            start: Instant::now(),
        }
    }
}

impl Default for RealClock {
    fn default() -> RealClock {
        RealClock::new()
    }
}

#[async_trait::async_trait]
impl Clock for RealClock {
    fn now(&self) -> UnixMillis {
        let now = SystemTime::now();
        UnixMillis(match now.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => after.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        })
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.start.elapsed())
    }

    #[cfg(target_os = "linux")]
    fn awake_or_not(&self) -> Monotonic {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or(0));
        Monotonic(seconds + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or(0)))
    }

    fn boot(&self) -> Option<u128> {
        // Asked with every commit; no process outlives it.
        static BOOT: LazyLock<Option<u128>> = LazyLock::new(|| {
            let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
        });
        *BOOT
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    async fn sleep_async(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The random number generator of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealEntropy;

impl Entropy for RealEntropy {
    fn fill(&self, buf: &mut [u8]) {
        if os_random(buf).is_ok() {
            return;
        }
        // Never seen; std's hash keys come from the system as well and are good enough for names and jitter.
        for chunk in buf.chunks_mut(8) {
            use std::hash::{BuildHasher, RandomState};
            let word = RandomState::new().hash_one(chunk.len()).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(target_os = "linux")]
fn os_random(buf: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buf.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut buf[filled..], flags) {
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn os_random(buf: &mut [u8]) -> io::Result<()> {
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, buf)
}

/// Threads of the operating system, and the tokio runtime that the caller runs in.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealSpawn;

struct RealTask(JoinHandle<()>);

impl Task for RealTask {
    fn join(self: Box<Self>) -> io::Result<()> {
        self.0.join().map_err(|panic| {
            let text = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            io::Error::other(format!("a thread panicked: {text}"))
        })
    }
}

struct RealRunning(tokio::task::AbortHandle);

impl Running for RealRunning {
    fn abort(&self) {
        self.0.abort();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Spawn for RealSpawn {
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Task>> {
        // A thread belongs to the runtime that it was started from, so that it can wait for futures.
        let runtime = Handle::try_current().ok();
        let handle = std::thread::Builder::new()
            .name(name.replace('\0', ""))
            .spawn(move || {
                let _context = runtime.as_ref().map(Handle::enter);
                work();
            })?;
        Ok(Box::new(RealTask(handle)))
    }

    fn parallelism(&self) -> usize {
        // To find out, a few files of the system are read.
        static CORES: LazyLock<usize> = LazyLock::new(|| {
            std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
        });
        *CORES
    }

    fn task(
        &self,
        _name: &str,
        work: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Box<dyn Running> {
        Box::new(RealRunning(tokio::spawn(work).abort_handle()))
    }

    fn block_on(&self, work: Pin<Box<dyn Future<Output = ()> + Send + '_>>) {
        Handle::current().block_on(work);
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> Ended {
        let work = tokio::task::spawn_blocking(work);
        Box::pin(async {
            work.await.map_err(|e| {
                let kind = if e.is_cancelled() {
                    io::ErrorKind::Interrupted
                } else {
                    io::ErrorKind::Other
                };
                io::Error::new(kind, e)
            })
        })
    }

    fn places(&self, work: Work) -> Arc<Semaphore> {
        static PLACES: LazyLock<[Arc<Semaphore>; 3]> = LazyLock::new(Work::all_places);
        Arc::clone(&PLACES[work as usize])
    }
}

/// File events of the operating system: inotify on Linux, elsewhere a look at the file ten times a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealWatch;

impl Watch for RealWatch {
    #[cfg(target_os = "linux")]
    fn watcher(&self) -> io::Result<Box<dyn Watcher>> {
        Ok(Box::new(inotify::Inotify::new()?))
    }

    #[cfg(target_os = "linux")]
    fn folders(&self, tell: super::FolderEvent) -> io::Result<Box<dyn super::Folders>> {
        Ok(Box::new(folders::RealFolders::new(tell)?))
    }

    #[cfg(not(target_os = "linux"))]
    fn watcher(&self) -> io::Result<Box<dyn Watcher>> {
        Ok(Box::new(polling::Polling::new()))
    }
}

#[cfg(test)]
mod tests;
