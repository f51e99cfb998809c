//! A disk that fails at any chosen step, and what a write then leaves.
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the folder past the code under test"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::env::{DirEntry, Disk, Held, Metadata};

/// The real disk until the countdown ends; the call that ends it fails, and every link does if told so.
struct BrokenDisk {
    calls_left: AtomicU64,
    error: io::ErrorKind,
    no_links: bool,
}

struct BrokenFile(Box<dyn File>, Arc<BrokenDisk>);

impl BrokenDisk {
    fn step(&self) -> io::Result<()> {
        match self.calls_left.fetch_sub(1, Ordering::Relaxed) {
            1 => Err(self.error.into()),
            0 => {
                self.calls_left.store(0, Ordering::Relaxed);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl File for BrokenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.step()?;
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.1.step()?;
        self.0.write_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.step()?;
        self.0.sync()
    }
    fn start_writeback(&self, _: u64, _: u64) {}
    fn metadata(&self) -> io::Result<Metadata> {
        self.1.step()?;
        self.0.metadata()
    }
    fn set_modified(&self, time: UnixMillis) -> io::Result<()> {
        self.1.step()?;
        self.0.set_modified(time)
    }
}

struct SharedBrokenDisk(Arc<BrokenDisk>);

impl SharedBrokenDisk {
    fn wrap(&self, file: io::Result<Box<dyn File>>) -> io::Result<Box<dyn File>> {
        Ok(Box::new(BrokenFile(file?, self.0.clone())))
    }
}

impl Disk for SharedBrokenDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.0.step()?;
        self.wrap(real::RealDisk.open(path))
    }
    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.0.step()?;
        self.wrap(real::RealDisk.open_rw(path))
    }
    fn create_new(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        self.0.step()?;
        self.wrap(real::RealDisk.create_new(path, mode))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        real::RealDisk.remove(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        real::RealDisk.remove_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.step()?;
        real::RealDisk.rename(from, to)
    }
    fn lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Held>>> {
        self.0.step()?;
        real::RealDisk.lock(path, mode)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.0.no_links {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        self.0.step()?;
        real::RealDisk.hard_link(from, to)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.step()?;
        real::RealDisk.list(dir)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.0.step()?;
        real::RealDisk.metadata(path)
    }
    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.0.step()?;
        real::RealDisk.symlink_metadata(path)
    }
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.0.step()?;
        real::RealDisk.create_dir(path, mode)
    }
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        real::RealDisk.set_owner(path, uid, gid)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.0.step()?;
        real::RealDisk.set_mode(path, mode)
    }
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        real::RealDisk.canonicalize(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.step()?;
        real::RealDisk.sync_dir(dir)
    }
}

/// Writes a file once for every step of the way that can fail, and checks what is left.
fn fail_at_every_step(
    source: impl Fn(&Path) -> Source,
    no_links: bool,
    error: io::ErrorKind,
) -> u64 {
    let mut failures = 0;
    for nth in 1..200 {
        let root = tempfile::tempdir().unwrap();
        let source = source(root.path());
        let broken = Arc::new(BrokenDisk {
            calls_left: AtomicU64::new(nth),
            error,
            no_links,
        });
        let env = Env {
            disk: Arc::new(SharedBrokenDisk(broken.clone())),
            ..real::env()
        };
        let replica = FileReplica::new(root.path().join("r"), env, None);
        let done = replica.write_blocking(L0, name(1), &source, TIME);
        let failed = broken.calls_left.swap(0, Ordering::Relaxed) == 0;
        let dir = root.path().join("r/ltx/0");
        let left = if dir.is_dir() {
            names_in(&dir)
        } else {
            Vec::new()
        };
        assert!(
            left.iter().all(|n| *n == name(1).to_string()),
            "step {nth} left {left:?}"
        );
        let path = dir.join(name(1).to_string());
        if path.is_file() {
            assert_eq!(fs::read(&path).unwrap(), b"content", "step {nth}");
        }
        match done {
            Ok(info) => assert_eq!(
                replica.list_blocking(L0, None).unwrap(),
                [info],
                "step {nth}"
            ),
            Err(_) => failures += 1,
        }
        if !failed {
            return failures;
        }
        // And once more, on a disk that works again.
        assert_eq!(
            replica
                .write_blocking(L0, name(1), &source, TIME)
                .unwrap()
                .size,
            7
        );
        assert_eq!(replica.list_blocking(L0, None).unwrap().len(), 1);
    }
    panic!("never got through");
}

#[test]
fn a_failure_at_any_step_leaves_no_part_behind() {
    let staged = |root: &Path| {
        fs::write(root.join("staged"), "content").unwrap();
        Source::File(root.join("staged"))
    };
    assert!(fail_at_every_step(|_| bytes("content"), false, io::ErrorKind::StorageFull) > 8);
    assert!(fail_at_every_step(staged, false, io::ErrorKind::StorageFull) > 8);
    assert!(fail_at_every_step(staged, true, io::ErrorKind::StorageFull) > 12);
    assert!(fail_at_every_step(staged, true, io::ErrorKind::Other) > 8);
    fail_at_every_step(staged, false, io::ErrorKind::PermissionDenied);
}

#[test]
fn a_full_disk_says_so() {
    let root = tempfile::tempdir().unwrap();
    let disk = BrokenDisk {
        calls_left: AtomicU64::new(0),
        error: io::ErrorKind::StorageFull,
        no_links: false,
    };
    let disk = Arc::new(disk);
    let env = Env {
        disk: Arc::new(SharedBrokenDisk(disk.clone())),
        ..real::env()
    };
    let replica = FileReplica::new(root.path().into(), env, None);
    replica
        .write_blocking(L0, name(1), &bytes("x"), TIME)
        .unwrap();
    disk.calls_left.store(3, Ordering::Relaxed);
    let error = replica
        .write_blocking(L0, name(2), &bytes("x"), TIME)
        .unwrap_err();
    assert!(error.is_no_space(), "{error}");
    assert_eq!(names_in(&root.path().join("ltx/0")), [name(1).to_string()]);
}
