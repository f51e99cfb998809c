//! Where the restored database goes: what may be there already, and how it is replaced.
//!
//! Promise: nothing at the output changes before the new database is complete and durable, and at no moment does an
//! old WAL lie beside a new database.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use litestream_replica::env::{Disk, Env, Kind, Metadata};

use super::error::RestoreError;
use super::temp::Temp;

/// Files that SQLite would take as part of a database, by what follows its name.
const SIDECARS: [&str; 3] = ["-journal", "-wal", "-shm"];

/// A path that a database may be restored to.
#[derive(Debug)]
pub(super) struct Destination {
    /// Links followed.
    pub(super) path: PathBuf,
    force: bool,
    /// The file that is there now.
    previous: Option<Metadata>,
}

impl Destination {
    /// Checks what is at `output`.
    pub(super) fn check(
        disk: &dyn Disk,
        output: &Path,
        force: bool,
    ) -> Result<Destination, RestoreError> {
        let path = follow(disk, output)?;
        let previous = metadata(disk, &path)?;
        match previous.map(|m| (m.kind, m.len)) {
            None | Some((Kind::File, 0)) => {}
            Some((Kind::Dir, _)) => return Err(RestoreError::OutputIsDirectory(output.to_owned())),
            Some((Kind::File, _)) if force => {}
            Some((Kind::File, _)) => return Err(RestoreError::OutputExists(output.to_owned())),
            Some(_) => return Err(RestoreError::OutputNotRegular(output.to_owned())),
        }
        if path.file_name().is_none() {
            return Err(RestoreError::OutputIsDirectory(output.to_owned()));
        }
        let destination = Destination {
            path,
            force,
            previous,
        };
        if !force && let Some(sidecar) = destination.sidecars(disk)?.into_iter().next() {
            return Err(RestoreError::SidecarExists(sidecar));
        }
        Ok(destination)
    }

    /// The folder the output lies in.
    pub(super) fn dir(&self) -> &Path {
        match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        }
    }

    /// Makes the folder, if it is missing.
    pub(super) fn create_dir(&self, disk: &dyn Disk) -> Result<(), RestoreError> {
        let dir = self.dir();
        disk.create_dir_all(dir, 0o700)
            .map_err(|source| RestoreError::CreateParent {
                path: dir.to_owned(),
                source,
            })
    }

    /// Permission bits for a new file: those of the file it replaces.
    pub(super) fn mode(&self) -> u32 {
        self.previous.map_or(0o666, |m| m.mode & 0o777)
    }

    /// The sidecars that are there.
    fn sidecars(&self, disk: &dyn Disk) -> Result<Vec<PathBuf>, RestoreError> {
        let mut found = Vec::new();
        for suffix in SIDECARS {
            let path = with_suffix(&self.path, suffix);
            match disk.symlink_metadata(&path) {
                Ok(_) => found.push(path),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(RestoreError::OutputAccess { path, source }),
            }
        }
        Ok(found)
    }

    /// Puts a complete, durable file in its place.
    pub(super) fn replace(&self, env: &Env, temp: Temp) -> Result<(), RestoreError> {
        let disk = &*env.disk;
        // Somebody may have put a database there meanwhile.
        let now = Destination::check(disk, &self.path, self.force)?;
        self.take_over_owner(disk, temp.path());
        let mut aside = Aside::new(env, &self.path);
        if now.force {
            // The database first: without it the rest is harmless, without its WAL it would look whole and be old.
            if now.previous.is_some() {
                aside.move_away(self.path.clone())?;
            }
            for sidecar in now.sidecars(disk)? {
                aside.move_away(sidecar)?;
            }
        }
        if aside.is_used() {
            disk.sync_dir(self.dir())
                .map_err(RestoreError::output("sync folder", self.dir()))?;
        }
        temp.rename(&self.path)?;
        let old = aside.release();
        disk.sync_dir(self.dir())
            .map_err(RestoreError::output("sync folder", self.dir()))?;
        for path in old {
            if let Err(error) = disk.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove a file of the replaced database");
            }
        }
        Ok(())
    }

    /// The new file belongs to whom the old one belonged, else to whom the folder belongs, if we may give it away.
    fn take_over_owner(&self, disk: &dyn Disk, temp: &Path) {
        let Ok(have) = disk.metadata(temp) else {
            return;
        };
        let Some(want) = self.previous.or_else(|| disk.metadata(self.dir()).ok()) else {
            return;
        };
        if have.uid != want.uid {
            let _ = disk.set_owner(temp, want.uid, want.gid);
        }
        if let Some(previous) = self.previous {
            // The umask applied when it was created.
            let _ = disk.set_mode(temp, previous.mode & 0o777);
        }
    }
}

/// Files of the old database, out of the way but not yet deleted. Dropped without [`Aside::release`], they go back.
struct Aside<'a> {
    disk: &'a dyn Disk,
    /// `<name>.before-restore-<16 hex>`, to which the sidecar's suffix is added, so that it still opens as a database.
    name: PathBuf,
    output: &'a Path,
    moved: Vec<(PathBuf, PathBuf)>,
}

impl<'a> Aside<'a> {
    fn new(env: &'a Env, output: &'a Path) -> Aside<'a> {
        let name = with_suffix(
            output,
            &format!(".before-restore-{:016x}", env.entropy.next_u64()),
        );
        Aside {
            disk: &*env.disk,
            name,
            output,
            moved: Vec::new(),
        }
    }

    fn move_away(&mut self, path: PathBuf) -> Result<(), RestoreError> {
        let suffix = SIDECARS
            .iter()
            .find(|s| with_suffix(self.output, s) == path);
        let to = suffix.map_or_else(|| self.name.clone(), |s| with_suffix(&self.name, s));
        match self.disk.rename(&path, &to) {
            Ok(()) => self.moved.push((path, to)),
            // SQLite removes its sidecars itself when the last connection closes.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(RestoreError::Output {
                    action: "set aside",
                    path,
                    source,
                });
            }
        }
        Ok(())
    }

    fn is_used(&self) -> bool {
        !self.moved.is_empty()
    }

    /// The new database is in place: the old one does not come back. Where its files are.
    fn release(mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.moved)
            .into_iter()
            .map(|(_, to)| to)
            .collect()
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        for (from, to) in self.moved.drain(..).rev() {
            if let Err(error) = self.disk.rename(&to, &from) {
                tracing::error!(path = %to.display(), %error, "cannot put a file of the old database back in place");
            }
        }
    }
}

/// The output itself, or what it links to.
fn follow(disk: &dyn Disk, output: &Path) -> Result<PathBuf, RestoreError> {
    let access = |source| RestoreError::OutputAccess {
        path: output.to_owned(),
        source,
    };
    match disk.symlink_metadata(output) {
        Ok(m) if m.kind == Kind::Symlink => match disk.canonicalize(output) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(RestoreError::OutputDangling(output.to_owned()))
            }
            result => result.map_err(access),
        },
        Ok(_) => Ok(output.to_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(output.to_owned()),
        Err(e) => Err(access(e)),
    }
}

fn metadata(disk: &dyn Disk, path: &Path) -> Result<Option<Metadata>, RestoreError> {
    match disk.metadata(path) {
        Ok(m) => Ok(Some(m)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RestoreError::OutputAccess {
            path: path.to_owned(),
            source,
        }),
    }
}

/// `path` with something added to its name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
