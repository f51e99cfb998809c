//! A disk that fails below one folder on command, at one call or from one on.
#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use litestream::env::{DirEntry, Disk, Env, File, Held, Metadata, UnixMillis};

#[derive(Clone)]
pub struct BrokenDisk {
    inner: Arc<dyn Disk>,
    root: PathBuf,
    fault: Arc<Fault>,
}

#[derive(Default)]
struct Fault {
    calls: AtomicU64,
    /// First and last failing call.
    failing: Mutex<Option<(u64, u64, io::ErrorKind)>>,
    /// The next fsync of an LTX file fails, and so many calls after it.
    trap: Mutex<Option<u64>>,
    /// The files that it failed for, by identity: whatever is said of them later, their bytes are lost. Kept open, so that no other
    /// file gets that identity.
    lost: Mutex<BTreeMap<(u64, u64), std::fs::File>>,
}

impl Fault {
    fn hit(&self) -> io::Result<()> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        match *self.failing.lock().unwrap() {
            Some((from, to, kind)) if (from..=to).contains(&number) => {
                Err(io::Error::new(kind, "failed on purpose"))
            }
            _ => Ok(()),
        }
    }

    fn sync(&self, path: &Path, file: &dyn File) -> io::Result<()> {
        let ltx = path.extension().is_some_and(|e| e == "ltx");
        if ltx && let Some(calls) = self.trap.lock().unwrap().take() {
            let number = self.calls.load(Ordering::SeqCst);
            let failing = (number, number + 1 + calls, io::ErrorKind::Other);
            *self.failing.lock().unwrap() = Some(failing);
            let kept = std::fs::File::open(path)?;
            self.lost.lock().unwrap().insert(file.metadata()?.id, kept);
        }
        self.hit()
    }
}

impl BrokenDisk {
    /// An environment whose disk fails below `root` when told to.
    pub fn env(env: &Env, root: &Path) -> (Env, BrokenDisk) {
        let disk = BrokenDisk {
            inner: Arc::clone(&env.disk),
            root: root.to_owned(),
            fault: Arc::default(),
        };
        let env = Env {
            disk: Arc::new(disk.clone()),
            ..env.clone()
        };
        (env, disk)
    }

    /// The `nth` changing call from now on fails.
    pub fn fail(&self, nth: u64, kind: io::ErrorKind) {
        let number = self.calls() + nth;
        *self.fault.failing.lock().unwrap() = Some((number, number, kind));
    }

    /// All changing calls fail from now on.
    pub fn fail_always(&self, kind: io::ErrorKind) {
        *self.fault.failing.lock().unwrap() = Some((0, u64::MAX, kind));
    }

    /// The next fsync of an LTX file fails and loses its bytes, and the `calls` changing calls after it fail as well.
    pub fn trap(&self, calls: u64) {
        *self.fault.trap.lock().unwrap() = Some(calls);
    }

    /// The files whose bytes were lost so.
    pub fn lost(&self) -> BTreeSet<(u64, u64)> {
        self.fault.lost.lock().unwrap().keys().copied().collect()
    }

    pub fn heal(&self) {
        *self.fault.failing.lock().unwrap() = None;
    }

    /// Changing calls so far.
    pub fn calls(&self) -> u64 {
        self.fault.calls.load(Ordering::SeqCst)
    }

    fn hit(&self, path: &Path) -> io::Result<()> {
        if path.starts_with(&self.root) {
            self.fault.hit()
        } else {
            Ok(())
        }
    }

    fn wrap(&self, path: &Path, file: Box<dyn File>) -> Box<dyn File> {
        if path.starts_with(&self.root) {
            Box::new(BrokenFile {
                inner: file,
                path: path.to_owned(),
                fault: Arc::clone(&self.fault),
            })
        } else {
            file
        }
    }
}

struct BrokenFile {
    inner: Box<dyn File>,
    path: PathBuf,
    fault: Arc<Fault>,
}

impl File for BrokenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.fault.hit()?;
        self.inner.write_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fault.hit()?;
        self.inner.set_len(len)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fault.hit()?;
        self.inner.allocate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.fault.sync(&self.path, &*self.inner)?;
        self.inner.sync()
    }
    fn start_writeback(&self, offset: u64, len: u64) {
        self.inner.start_writeback(offset, len);
    }
    fn metadata(&self) -> io::Result<Metadata> {
        self.inner.metadata()
    }
    fn set_modified(&self, time: UnixMillis) -> io::Result<()> {
        self.fault.hit()?;
        self.inner.set_modified(time)
    }
}

impl Disk for BrokenDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.inner.open(path)
    }
    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.hit(path)?;
        Ok(self.wrap(path, self.inner.open_rw(path)?))
    }
    fn create_new(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        self.hit(path)?;
        Ok(self.wrap(path, self.inner.create_new(path, mode)?))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.hit(path)?;
        self.inner.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.hit(path)?;
        self.inner.remove_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.hit(to)?;
        self.inner.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.hit(to)?;
        self.inner.hard_link(from, to)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(dir)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }
    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.symlink_metadata(path)
    }
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.hit(path)?;
        self.inner.create_dir(path, mode)
    }
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        self.inner.set_owner(path, uid, gid)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.inner.set_mode(path, mode)
    }
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.canonicalize(path)
    }
    fn lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Held>>> {
        self.hit(path)?;
        self.inner.lock(path, mode)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.hit(dir)?;
        self.inner.sync_dir(dir)
    }
}
