//! Bringing a file into a local replica, and its folder before it.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ltx::FileName;
use parking_lot::Mutex;

use super::Inner;
use crate::env::{Disk, File, Kind, Metadata, UnixMillis};
use crate::{Error, Level, Result, Source, key};

const COPY_BUFFER_BYTES: usize = 1 << 20;
/// Permission bits that are passed on; set-user-id and the like are not.
const MODE_MASK: u32 = 0o777;

/// Smaller files are copied: what happens to one copy then leaves the other alone. Larger ones become a second name of the
/// local file, which nobody changes and which is removed once the next one is in the replica.
const LINK_BYTES_MIN: u64 = 64 << 10;

impl Inner {
    /// Writes the file and returns its size. Nothing but whole files is left behind, whatever happens.
    pub(super) fn put(
        &self,
        level: Level,
        name: FileName,
        source: &Source,
        created: UnixMillis,
    ) -> Result<u64> {
        self.ready_level(level)?;
        match self.put_in_place(level, name, source, created) {
            Err(e) if e.is_not_found() => {
                // Somebody removed the folder since we made it (or the source is gone: then this fails again).
                self.ready.lock()[usize::from(level.get())] = false;
                self.ready_level(level)?;
                self.put_in_place(level, name, source, created)
            }
            done => done,
        }
    }

    fn put_in_place(
        &self,
        level: Level,
        name: FileName,
        source: &Source,
        created: UnixMillis,
    ) -> Result<u64> {
        let path = key::file_path(&self.root, level, name);
        let temp = key::temp_name(name, self.env.clock.now().0, self.env.entropy.next_u64());
        let temp = path.with_file_name(temp);
        let _being_written = BeingWritten::new(&temp);
        let done = match source {
            Source::Bytes(bytes) => self.write_new(&temp, &path, created, |file| {
                file.write_at(bytes, 0)?;
                Ok(bytes.len() as u64)
            }),
            Source::File(from) => {
                let source = self
                    .env
                    .disk
                    .symlink_metadata(from)
                    .map_err(|e| Error::io("read", from, &e))?;
                let linked = if source.len >= LINK_BYTES_MIN {
                    self.link(from, &source, &temp, &path, created)
                } else {
                    Err(io::ErrorKind::Unsupported.into())
                };
                match linked {
                    // Another file system, not allowed, not supported, …: copying may still do.
                    Err(e) if copying_may_help(&e) => {
                        let copied = self
                            .env
                            .disk
                            .open(from)
                            .map_err(|e| Error::io("read", from, &e))?;
                        let len = source.len;
                        self.write_new(&temp, &path, created, |file| copy(&*copied, len, file))
                    }
                    done => done,
                }
            }
        };
        done.map_err(|e| Error::io("write", &path, &e))
    }

    /// Creates `temp`, lets `fill` write it, makes it durable and renames it to `path`.
    fn write_new(
        &self,
        temp: &Path,
        path: &Path,
        created: UnixMillis,
        fill: impl FnOnce(&dyn File) -> io::Result<u64>,
    ) -> io::Result<u64> {
        let disk = &*self.env.disk;
        let file = disk.create_new(temp, 0o600)?;
        let written = || -> io::Result<u64> {
            self.make_like_database(temp, &file.metadata()?)?;
            let size = fill(&*file)?;
            file.set_modified(created)?;
            file.sync_all()?;
            disk.rename(temp, path)?;
            Ok(size)
        };
        let size = written().inspect_err(|_| drop(disk.remove(temp)))?;
        sync_parent(disk, path)?;
        Ok(size)
    }

    /// Makes `path` a second name of the finished local file `from`: the same durable bytes without a copy.
    fn link(
        &self,
        from: &Path,
        source: &Metadata,
        temp: &Path,
        path: &Path,
        created: UnixMillis,
    ) -> io::Result<u64> {
        let disk = &*self.env.disk;
        if source.kind != Kind::File {
            // A link to a symbolic link would not hold the bytes.
            return Err(io::ErrorKind::Unsupported.into());
        }
        let file = disk.open_rw(from)?;
        self.make_like_database(from, source)?;
        file.set_modified(created)?;
        file.sync_all()?;
        match disk.hard_link(from, path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                // Renaming one name of a file over another of the same file does nothing, so look first.
                if disk.metadata(path)?.id != source.id {
                    disk.hard_link(from, temp)?;
                    let renamed = disk.rename(temp, path);
                    // Gone after a successful rename, unless another call linked the same file meanwhile.
                    let _ = disk.remove(temp);
                    renamed?;
                }
            }
            other => other?,
        }
        sync_parent(disk, path)?;
        Ok(source.len)
    }

    /// Gives a file the database's mode and, as far as we may, its owner.
    fn make_like_database(&self, path: &Path, is: &Metadata) -> io::Result<()> {
        let disk = &*self.env.disk;
        let Some(like) = self.like.as_ref().and_then(|db| disk.metadata(db).ok()) else {
            return Ok(());
        };
        if (is.uid, is.gid) != (like.uid, like.gid) {
            // Only root may give files away; a file of our own is better than none.
            let _ = disk.set_owner(path, like.uid, like.gid);
        }
        if is.mode & MODE_MASK == like.mode & MODE_MASK {
            return Ok(());
        }
        disk.set_mode(path, like.mode & MODE_MASK)
    }

    /// Makes the folder of a level exist, durably, once per process.
    fn ready_level(&self, level: Level) -> Result<()> {
        let at = usize::from(level.get());
        if self.ready.lock()[at] {
            return Ok(());
        }
        let dir = key::level_dir(&self.root, level);
        let like = self
            .like
            .as_ref()
            .and_then(|db| db.parent())
            .and_then(|dir| {
                // A bare file name has the empty parent.
                let dir = if dir.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    dir
                };
                self.env.disk.metadata(dir).ok()
            });
        make_dir(&*self.env.disk, &dir, like.as_ref())?;
        self.ready.lock()[at] = true;
        Ok(())
    }

    /// [`Self::remove_leftovers`] in the folders of all levels.
    pub(super) fn tidy(&self) -> Result<()> {
        for level in Level::all() {
            let dir = key::level_dir(&self.root, level);
            match self.remove_leftovers(&dir) {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes what a killed process left behind: all temporary files of ours but those being written in this process. Should
    /// another process be writing one, its rename fails and is tried again; a replica has one writer.
    fn remove_leftovers(&self, dir: &Path) -> Result<()> {
        let disk = &self.env.disk;
        for entry in disk.list(dir).map_err(|e| Error::io("list", dir, &e))? {
            let path = dir.join(&entry.name);
            let ours = entry.name.to_str().and_then(key::temp_begun_ms).is_some();
            if entry.kind == Kind::File && ours && !being_written().lock().contains(&path) {
                // What can't be removed does no harm.
                let _ = disk.remove(&path);
            }
        }
        Ok(())
    }
}

/// Temporary files being written in this process, by whatever replica.
fn being_written() -> &'static Mutex<HashSet<PathBuf>> {
    static PATHS: OnceLock<Mutex<HashSet<PathBuf>>> = OnceLock::new();
    PATHS.get_or_init(Mutex::default)
}

/// Keeps a temporary file from being taken for a leftover.
struct BeingWritten(PathBuf);

impl BeingWritten {
    fn new(path: &Path) -> BeingWritten {
        being_written().lock().insert(path.to_owned());
        BeingWritten(path.to_owned())
    }
}

impl Drop for BeingWritten {
    fn drop(&mut self) {
        being_written().lock().remove(&self.0);
    }
}

/// Whether a failed link is worth a copy: not if the disk is full or a file or folder is missing.
fn copying_may_help(e: &io::Error) -> bool {
    use io::ErrorKind as Io;
    !matches!(e.kind(), Io::NotFound | Io::StorageFull | Io::QuotaExceeded)
}

/// All of `from`, which has about `len` bytes.
fn copy(from: &dyn File, len: u64, to: &dyn File) -> io::Result<u64> {
    let mut buf = vec![0; len.clamp(1, COPY_BUFFER_BYTES as u64) as usize];
    let mut offset = 0;
    loop {
        match from.read_at(&mut buf, offset) {
            Ok(0) => return Ok(offset),
            Ok(n) => {
                to.write_at(&buf[..n], offset)?;
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => disk.sync_dir(Path::new(".")),
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    }
}

/// Creates `dir` and its missing parents like the folder `like`, each durable before the next is made in it. One that exists
/// may have been made just now by another call, or by one that was killed, and not be durable yet.
fn make_dir(disk: &dyn Disk, dir: &Path, like: Option<&Metadata>) -> Result<()> {
    let failed = |e: &io::Error| Error::io("create folder", dir, e);
    match disk.metadata(dir) {
        Ok(m) if m.kind == Kind::Dir => {
            return match sync_parent(disk, dir) {
                // Not a folder that we could have made.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                done => done.map_err(|e| failed(&e)),
            };
        }
        Ok(_) => {
            return Err(failed(&io::Error::new(
                io::ErrorKind::NotADirectory,
                "it exists and is not a folder",
            )));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(&e)),
    }
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_dir(disk, parent, like)?;
    }
    match disk.create_dir(dir, like.map_or(0o700, |like| like.mode & MODE_MASK)) {
        Ok(()) => {
            if let Some(like) = like {
                let _ = disk.set_owner(dir, like.uid, like.gid); // as for files: best effort
            }
        }
        // Another process was faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(failed(&e)),
    }
    sync_parent(disk, dir).map_err(|e| failed(&e))
}
