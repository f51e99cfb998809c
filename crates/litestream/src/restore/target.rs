//! Where the restored database goes: what may be there already, and how it is replaced.
//!
//! Promise: nothing at the output changes before the new database is complete and durable, and at no moment does an
//! old WAL lie beside a new database.

use std::io;
use std::path::{Path, PathBuf};

use litestream_replica::env::{Disk, Env, Kind, Metadata};

use super::aside::{self, Aside, SIDECARS, with_suffix};
use super::error::RestoreError;
use super::in_use;
use super::temp::Temp;

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
    /// Checks what is at `output`, after an interrupted swap is undone.
    pub(super) fn check(
        disk: &dyn Disk,
        output: &Path,
        force: bool,
    ) -> Result<Destination, RestoreError> {
        aside::recover(disk, &follow(disk, output)?)?;
        Destination::look(disk, output, force)
    }

    fn look(disk: &dyn Disk, output: &Path, force: bool) -> Result<Destination, RestoreError> {
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
        aside::dir(&self.path)
    }

    /// Makes the folder durably, if it is missing.
    pub(super) fn create_dir(&self, disk: &dyn Disk) -> Result<(), RestoreError> {
        let dir = self.dir();
        let is_missing = |dir: &&Path| {
            !dir.as_os_str().is_empty()
                && matches!(disk.metadata(dir), Err(e) if e.kind() == io::ErrorKind::NotFound)
        };
        let made: Vec<&Path> = dir.ancestors().take_while(is_missing).collect();
        disk.create_dir_all(dir, 0o700)
            .map_err(|source| RestoreError::CreateParent {
                path: dir.to_owned(),
                source,
            })?;
        for parent in made.into_iter().rev().map(aside::dir) {
            disk.sync_dir(parent)
                .map_err(RestoreError::output("sync folder", parent))?;
        }
        Ok(())
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
    pub(super) fn replace(
        &self,
        env: &Env,
        vfs: Option<&str>,
        temp: Temp,
    ) -> Result<(), RestoreError> {
        let disk = &*env.disk;
        // Somebody may have put a database there meanwhile.
        let now = Destination::look(disk, &self.path, self.force)?;
        self.take_over_owner(disk, temp.path());
        // SQLite would delete the sidecars of an empty file.
        if now.previous.is_some_and(|m| m.len > 0) {
            in_use::refuse(disk, &self.path, vfs)?;
        }
        let sidecars = if now.force {
            now.sidecars(disk)?
        } else {
            Vec::new()
        };
        if sidecars.iter().all(|s| aside::is_shm(s)) {
            // Nothing that the old database needs or that would spoil the new: there is always one of them.
            temp.rename(&self.path)?;
            self.sync_new(disk)?;
            aside::remove(disk, sidecars);
            return Ok(());
        }
        let mut aside = Aside::new(env, &self.path);
        // The database first: without it the rest is harmless, without its WAL it would look whole and be old.
        if now.previous.is_some() {
            aside.move_away(self.path.clone())?;
        }
        for sidecar in sidecars {
            aside.move_away(sidecar)?;
        }
        self.sync(disk)?;
        temp.rename(&self.path)?;
        let old = aside.release();
        self.sync_new(disk)?;
        aside::remove(disk, old);
        Ok(())
    }

    /// Makes the new file's name durable.
    fn sync_new(&self, disk: &dyn Disk) -> Result<(), RestoreError> {
        disk.sync_dir(self.dir())
            .map_err(|source| RestoreError::NotDurable {
                path: self.path.clone(),
                source,
            })
    }

    fn sync(&self, disk: &dyn Disk) -> Result<(), RestoreError> {
        disk.sync_dir(self.dir())
            .map_err(RestoreError::output("sync folder", self.dir()))
    }

    /// The new file belongs to whom the old one belonged, else to whom the folder belongs, if we may give it away.
    fn take_over_owner(&self, disk: &dyn Disk, temp: &Path) {
        let Ok(have) = disk.metadata(temp) else {
            return;
        };
        let Some(want) = self.previous.or_else(|| disk.metadata(self.dir()).ok()) else {
            return;
        };
        // The group of the folder says nothing about that of a new file, the group of the old file does.
        let differs = have.uid != want.uid || (self.previous.is_some() && have.gid != want.gid);
        if differs && disk.set_owner(temp, want.uid, want.gid).is_err() && have.gid != want.gid {
            // Who can't give a file away may still be in the group.
            let _ = disk.set_owner(temp, have.uid, want.gid);
        }
        if let Some(previous) = self.previous {
            // The umask applied when it was created.
            let _ = disk.set_mode(temp, previous.mode & 0o777);
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
