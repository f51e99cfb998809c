//! What only a folder can get wrong; the rest is in the conformance suite.
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the folder past the code under test"
)]

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::env::{DirEntry, Disk, Metadata, real};

const TIME: UnixMillis = UnixMillis(1_700_000_000_123);
const L0: Level = Level::L0;

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

fn bytes(text: &'static str) -> Source {
    Source::Bytes(Bytes::from_static(text.as_bytes()))
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn k03_s12_names_that_are_not_ltx_are_skipped() {
    let root = tempfile::tempdir().unwrap();
    let replica = FileReplica::new(root.path().into(), real::env(), None);
    replica
        .write_blocking(L0, name(2), &bytes("two"), TIME)
        .unwrap();
    let dir = root.path().join("ltx/0");
    for junk in [
        "0000000000000001-0000000000000001.ltx.tmp",
        "0000000000000001-000000000000000A.ltx",
        "0000000000000000-0000000000000001.ltx",
        "0000000000000003-0000000000000001.ltx",
        "notes.txt",
        ".ltx",
    ] {
        fs::write(dir.join(junk), "junk").unwrap();
    }
    fs::create_dir(dir.join(name(7).to_string())).unwrap();
    symlink("nowhere", dir.join(name(8).to_string())).unwrap();
    symlink(name(2).to_string(), dir.join(name(9).to_string())).unwrap();
    let listed: Vec<_> = replica
        .list_blocking(L0, None)
        .unwrap()
        .iter()
        .map(|f| (f.name, f.size))
        .collect();
    assert_eq!(listed, [(name(2), 3), (name(9), 3)]);
}

#[test]
fn r21_only_a_missing_folder_is_empty() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| FileReplica::new(root.path().join(path), real::env(), None);
    assert!(at("missing").list_blocking(L0, None).unwrap().is_empty());

    fs::write(root.path().join("file"), "not a folder").unwrap();
    let error = at("file").list_blocking(L0, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("/file/ltx/0"), "{error}");
    assert!(
        at("file")
            .write_blocking(L0, name(1), &bytes("x"), TIME)
            .is_err()
    );
    assert!(
        at("file")
            .read_blocking(L0, name(1), 0, None)
            .unwrap_err()
            .kind()
            != ErrorKind::NotFound
    );

    fs::create_dir_all(root.path().join("closed/ltx/0")).unwrap();
    fs::set_permissions(root.path().join("closed"), fs::Permissions::from_mode(0)).unwrap();
    let listed = at("closed").list_blocking(L0, None);
    // Root may list anything.
    if fs::read_dir(root.path().join("closed")).is_err() {
        assert!(listed.unwrap_err().is_forbidden());
    }
    fs::set_permissions(
        root.path().join("closed"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
}

#[test]
fn layout_and_modes_without_a_database() {
    let root = tempfile::tempdir().unwrap();
    let replica = FileReplica::new(root.path().join("a/b"), real::env(), None);
    replica
        .write_blocking(Level::SNAPSHOT, name(1), &bytes("x"), TIME)
        .unwrap();
    let file = root
        .path()
        .join("a/b/ltx/9/0000000000000001-0000000000000001.ltx");
    assert_eq!(
        replica.local_path(Level::SNAPSHOT, name(1)),
        Some(file.clone())
    );
    assert_eq!(fs::read(&file).unwrap(), b"x");
    assert_eq!(mode(&file), 0o600);
    for dir in ["a", "a/b", "a/b/ltx", "a/b/ltx/9"] {
        assert_eq!(mode(&root.path().join(dir)), 0o700);
    }
    let modified = fs::metadata(&file).unwrap();
    assert_eq!(
        modified.mtime() * 1000 + modified.mtime_nsec() / 1_000_000,
        TIME.0
    );
}

#[test]
fn files_and_folders_get_the_modes_of_the_database() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o1775)).unwrap();
    let db = data.join("db");
    fs::write(&db, "").unwrap();
    fs::set_permissions(&db, fs::Permissions::from_mode(0o664)).unwrap();
    let staged = data.join("staged");
    fs::write(&staged, "staged").unwrap();
    let replica = FileReplica::new(root.path().join("r"), real::env(), Some(db));
    replica
        .write_blocking(L0, name(1), &bytes("x"), TIME)
        .unwrap();
    replica
        .write_blocking(L0, name(2), &Source::File(staged), TIME)
        .unwrap();
    for dir in ["r", "r/ltx", "r/ltx/0"] {
        assert_eq!(mode(&root.path().join(dir)), 0o775);
    }
    for txid in [1, 2] {
        assert_eq!(mode(&replica.local_path(L0, name(txid)).unwrap()), 0o664);
    }
}

#[test]
fn a_staged_file_is_shared_not_copied() {
    let root = tempfile::tempdir().unwrap();
    let staged = root.path().join("staged");
    fs::write(&staged, "staged").unwrap();
    let replica = FileReplica::new(root.path().join("r"), real::env(), None);
    let path = replica.local_path(L0, name(1)).unwrap();
    for _ in 0..2 {
        replica
            .write_blocking(L0, name(1), &Source::File(staged.clone()), TIME)
            .unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().ino(),
            fs::metadata(&staged).unwrap().ino()
        );
        assert_eq!(names_in(path.parent().unwrap()), [name(1).to_string()]);
    }
    // Over a different file.
    replica
        .write_blocking(L0, name(1), &bytes("other"), TIME)
        .unwrap();
    assert_eq!(fs::read(&staged).unwrap(), b"staged");
    replica
        .write_blocking(L0, name(1), &Source::File(staged.clone()), TIME)
        .unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().ino(),
        fs::metadata(&staged).unwrap().ino()
    );
    assert_eq!(names_in(path.parent().unwrap()), [name(1).to_string()]);
}

#[test]
fn a_symbolic_link_as_source_is_copied() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("staged"), "staged").unwrap();
    symlink("staged", root.path().join("link")).unwrap();
    let replica = FileReplica::new(root.path().join("r"), real::env(), None);
    replica
        .write_blocking(L0, name(1), &Source::File(root.path().join("link")), TIME)
        .unwrap();
    let path = replica.local_path(L0, name(1)).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read(&path).unwrap(), b"staged");
}

#[test]
fn a_missing_source_is_named() {
    let root = tempfile::tempdir().unwrap();
    let replica = FileReplica::new(root.path().into(), real::env(), None);
    let error = replica
        .write_blocking(L0, name(1), &Source::File(root.path().join("gone")), TIME)
        .unwrap_err();
    assert!(error.is_not_found());
    assert!(error.subject().ends_with("/gone"), "{error}");
}

#[test]
fn folders_removed_meanwhile_are_made_again() {
    let root = tempfile::tempdir().unwrap();
    let replica = FileReplica::new(root.path().join("r"), real::env(), None);
    for _ in 0..2 {
        replica
            .write_blocking(L0, name(1), &bytes("x"), TIME)
            .unwrap();
        fs::remove_dir_all(root.path().join("r")).unwrap();
    }
    replica.delete_blocking(&[(L0, name(1))]).unwrap();
}

#[test]
fn only_our_own_old_leftovers_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let env = real::env();
    let dir = root.path().join("ltx/0");
    fs::create_dir_all(&dir).unwrap();
    let now = env.clock.now().0;
    let old = key::temp_name(name(1), now - 3_700_000, 1);
    let young = key::temp_name(name(1), now - 3_500_000, 2);
    let foreign = format!("{}.tmp", name(1));
    for file in [&old, &young, &foreign] {
        fs::write(dir.join(file), "left").unwrap();
    }
    let replica = FileReplica::new(root.path().into(), env, None);
    replica.list_blocking(L0, None).unwrap();
    assert_eq!(names_in(&dir).len(), 3, "reading changes nothing");
    replica
        .write_blocking(L0, name(2), &bytes("x"), TIME)
        .unwrap();
    let mut expected = vec![young, foreign, name(2).to_string()];
    expected.sort();
    assert_eq!(names_in(&dir), expected);
}

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
        if done.is_ok() {
            assert!(path.is_file(), "step {nth}");
            let info = replica.list_blocking(L0, None);
            if broken.calls_left.load(Ordering::Relaxed) == 0 {
                assert_eq!(info.unwrap(), [done.unwrap()]);
                continue;
            }
            return failures;
        }
        failures += 1;
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
