//! Files and folders of the simulated disk, as the operating system shows them to the engine.

use std::io;
use std::path::{Component, Path, PathBuf};

use litestream_replica::env::{DirEntry, Disk, File, Held, Kind, Metadata, UnixMillis};
use xxhash_rust::xxh3::xxh3_64;

use super::{Step, step};
use crate::disk::{self, FileHandle, Hold, Op, SimDisk, Verdict, errno};
use crate::sched;

/// Largest part of a write or read that a short one does, in thousandths.
const PART_WHOLE: u64 = 1000;

pub(super) struct Files(pub(super) SimDisk);

struct OpenFile {
    disk: SimDisk,
    path: PathBuf,
    file: FileHandle,
}

/// Counts a call and lets it fail as planned. What POSIX repeats by itself, and std for it, is repeated here.
fn admit(disk: &SimDisk, op: Op, path: &Path, detail: u64) -> io::Result<Verdict> {
    let tag = xxh3_64(path.as_os_str().as_encoded_bytes()) ^ detail ^ ((op as u64) << 48);
    loop {
        step(Step::Disk, tag)?;
        let verdict = disk.admit(op, path);
        sched::die_if_dead()?;
        match verdict {
            Verdict::Fail(errno::EINTR) if op != Op::Read => {}
            verdict => return Ok(verdict),
        }
    }
}

/// The same for calls that have no parts.
fn enter(disk: &SimDisk, op: Op, path: &Path) -> io::Result<()> {
    match admit(disk, op, path, 0)? {
        Verdict::Go => Ok(()),
        Verdict::Fail(errno) | Verdict::Part { errno, .. } => Err(errno::error(errno)),
    }
}

fn part(len: usize, per_mille: u32) -> usize {
    (len as u64 * u64::from(per_mille) / PART_WHOLE) as usize
}

fn kind(kind: disk::Kind) -> Kind {
    match kind {
        disk::Kind::File => Kind::File,
        disk::Kind::Dir => Kind::Dir,
    }
}

fn metadata(found: disk::Metadata) -> Metadata {
    Metadata {
        kind: kind(found.kind),
        len: found.len,
        modified: UnixMillis(found.modified),
        mode: found.mode,
        uid: found.uid,
        gid: found.gid,
        id: (1, found.id),
    }
}

/// Lost with the handle, or with its process.
struct Locked(#[allow(dead_code, reason = "held, not read")] FileHandle);

impl Held for Locked {}

impl Files {
    fn opened(&self, path: &Path, file: FileHandle) -> Box<dyn File> {
        Box::new(OpenFile {
            disk: self.0.clone(),
            path: path.to_owned(),
            file,
        })
    }
}

impl Disk for Files {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        enter(&self.0, Op::Open, path)?;
        Ok(self.opened(path, self.0.open(path)?))
    }

    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path)
    }

    fn create_new(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        enter(&self.0, Op::Create, path)?;
        Ok(self.opened(path, self.0.create_new(path, mode)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        enter(&self.0, Op::Remove, path)?;
        self.0.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        enter(&self.0, Op::Remove, path)?;
        self.0.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        enter(&self.0, Op::Rename, to)?;
        self.0.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        enter(&self.0, Op::Link, to)?;
        self.0.hard_link(from, to)
    }

    fn lock(&self, path: &Path, mode: u32) -> io::Result<Option<Box<dyn Held>>> {
        enter(&self.0, Op::Create, path)?;
        let file = match self.0.create_new(path, mode) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.0.open(path)?,
            other => other?,
        };
        let held = file.lock(0..1, Some(Hold::Exclusive));
        Ok(held.then(|| Box::new(Locked(file)) as Box<dyn Held>))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        enter(&self.0, Op::List, dir)?;
        let entries = self.0.list(dir)?;
        let mut entries: Vec<DirEntry> = entries
            .into_iter()
            .map(|(name, of)| DirEntry {
                name,
                kind: kind(of),
            })
            .collect();
        // In no particular order.
        if !entries.is_empty() {
            let start = sched::below(entries.len() as u64) as usize;
            entries.rotate_left(start);
        }
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        enter(&self.0, Op::Stat, path)?;
        self.0.metadata(path).map(metadata)
    }

    fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.metadata(path)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        enter(&self.0, Op::MakeDir, path)?;
        self.0.create_dir(path, mode)
    }

    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        enter(&self.0, Op::Stat, path)?;
        self.0.set_owner(path, uid, gid)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        enter(&self.0, Op::Stat, path)?;
        self.0.set_mode(path, mode)
    }

    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        enter(&self.0, Op::Stat, path)?;
        let mut whole = PathBuf::from("/");
        for part in path.components() {
            match part {
                Component::ParentDir => drop(whole.pop()),
                Component::Normal(name) => {
                    whole.push(name);
                    self.0.metadata(&whole)?;
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(whole)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        enter(&self.0, Op::SyncDir, dir)?;
        self.0.sync_dir(dir)
    }
}

impl File for OpenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = match admit(&self.disk, Op::Read, &self.path, offset)? {
            Verdict::Go => buf.len(),
            Verdict::Fail(errno) => return Err(errno::error(errno)),
            // Nothing at all would mean the end of the file.
            Verdict::Part { per_mille, .. } => part(buf.len(), per_mille).max(1).min(buf.len()),
        };
        Ok(self.file.read_at(&mut buf[..len], offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        match admit(&self.disk, Op::Write, &self.path, offset)? {
            Verdict::Go => self.file.write_at(buf, offset),
            Verdict::Fail(errno) => Err(errno::error(errno)),
            Verdict::Part { per_mille, errno } => {
                self.file
                    .write_at(&buf[..part(buf.len(), per_mille)], offset)?;
                Err(errno::error(errno))
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        enter(&self.disk, Op::Resize, &self.path)?;
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        enter(&self.disk, Op::Resize, &self.path)?;
        self.file.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        match admit(&self.disk, Op::Sync, &self.path, 0)? {
            Verdict::Go => {
                self.file.sync();
                Ok(())
            }
            Verdict::Fail(errno) | Verdict::Part { errno, .. } => {
                self.file.sync_failed();
                Err(errno::error(errno))
            }
        }
    }

    fn start_writeback(&self, _offset: u64, _len: u64) {}

    fn metadata(&self) -> io::Result<Metadata> {
        enter(&self.disk, Op::Stat, &self.path)?;
        Ok(metadata(self.file.metadata()))
    }

    fn set_modified(&self, time: UnixMillis) -> io::Result<()> {
        enter(&self.disk, Op::Stat, &self.path)?;
        self.file.set_modified(time.0);
        Ok(())
    }
}

impl Drop for OpenFile {
    /// Closing takes the process's locks on the file, so it is a step, too.
    fn drop(&mut self) {
        if sched::in_world() {
            sched::yield_point(Op::Close as u64);
            if !sched::is_dead() && !std::thread::panicking() {
                let _ = self.disk.admit(Op::Close, &self.path);
            }
        }
    }
}
