//! The files of an old database while a new one takes its place.
//!
//! Promise: whenever a swap ends, be it by a kill, the old database is at the output, or aside with all that is not at
//! the output, or the new one is in place; and the next restore to the same output puts back what a killed one set
//! aside.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use litestream_replica::env::{Disk, Env};

use super::error::RestoreError;
use super::temp;

/// Files that SQLite would take as part of a database, by what follows its name.
pub(super) const SIDECARS: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Between the name of a database and the number of the swap.
const INFIX: &str = ".before-restore-";

/// Files of the old database, out of the way but not yet deleted. Dropped without [`Aside::release`], they go back.
pub(super) struct Aside<'a> {
    disk: &'a dyn Disk,
    /// `<name>.before-restore-<16 hex>`, to which the sidecar's suffix is added, so that it still opens as a database.
    name: PathBuf,
    output: &'a Path,
    moved: Vec<(PathBuf, PathBuf)>,
}

impl<'a> Aside<'a> {
    pub(super) fn new(env: &'a Env, output: &'a Path) -> Aside<'a> {
        let name = with_suffix(output, &format!("{INFIX}{:016x}", env.entropy.next_u64()));
        Aside {
            disk: &*env.disk,
            name,
            output,
            moved: Vec::new(),
        }
    }

    pub(super) fn move_away(&mut self, path: PathBuf) -> Result<(), RestoreError> {
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

    /// The new database is in place: the old one does not come back. Where its files are.
    pub(super) fn release(mut self) -> Vec<PathBuf> {
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

/// Puts back what an interrupted swap set aside, if there is no database at the output.
pub(super) fn recover(disk: &dyn Disk, output: &Path) -> Result<(), RestoreError> {
    if leftovers(disk, output).is_empty() {
        return Ok(());
    }
    // Another restore may be in its swap right now: without its temporary file it cannot end that.
    temp::remove_leftovers(disk, output);
    let mut swaps = leftovers(disk, output);
    let absent =
        matches!(disk.symlink_metadata(output), Err(e) if e.kind() == io::ErrorKind::NotFound);
    let name = match swaps.pop_first() {
        // Which of several was the last is not known.
        Some((name, suffixes)) if absent && swaps.is_empty() && suffixes.contains(&"") => {
            return put_back(disk, output, &name, suffixes);
        }
        first => first,
    };
    for (name, _) in name.into_iter().chain(swaps) {
        tracing::warn!(path = %name.display(), "files of a database that an interrupted restore replaced are left; remove them if they are not needed");
    }
    Ok(())
}

/// The sidecars first: the database must not be there without them.
fn put_back(
    disk: &dyn Disk,
    output: &Path,
    name: &Path,
    mut suffixes: Vec<&str>,
) -> Result<(), RestoreError> {
    suffixes.sort_unstable_by_key(|s| s.is_empty());
    for suffix in suffixes {
        let (from, to) = (with_suffix(name, suffix), with_suffix(output, suffix));
        disk.rename(&from, &to)
            .map_err(RestoreError::output("put back", &from))?;
    }
    tracing::warn!(path = %output.display(), "put back the database that an interrupted restore had set aside");
    disk.sync_dir(dir(output))
        .map_err(RestoreError::output("sync folder", dir(output)))
}

/// Names that interrupted swaps gave the database, and the suffixes of the files there are.
fn leftovers(disk: &dyn Disk, output: &Path) -> BTreeMap<PathBuf, Vec<&'static str>> {
    let mut found: BTreeMap<PathBuf, Vec<&'static str>> = BTreeMap::new();
    let mut prefix = output.file_name().unwrap_or_default().to_owned();
    prefix.push(INFIX);
    // Best effort: a folder that can't be listed can still be written to.
    for entry in disk.list(dir(output)).unwrap_or_default() {
        if let Some((hex, suffix)) = parse(&entry.name, &prefix) {
            let path = with_suffix(output, &format!("{INFIX}{hex}"));
            found.entry(path).or_default().push(suffix);
        }
    }
    found
}

/// The 16 hex digits after `prefix`, and the suffix after them.
fn parse<'a>(name: &'a OsStr, prefix: &OsStr) -> Option<(&'a str, &'static str)> {
    let rest = name
        .as_encoded_bytes()
        .strip_prefix(prefix.as_encoded_bytes())?;
    let (hex, suffix) = std::str::from_utf8(rest).ok()?.split_at_checked(16)?;
    let mut known = SIDECARS.into_iter().chain([""]);
    let suffix = known.find(|s| *s == suffix)?;
    hex.bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then_some((hex, suffix))
}

pub(super) fn is_shm(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"-shm")
}

/// Removes files of a database that has been replaced.
pub(crate) fn remove(disk: &dyn Disk, old: Vec<PathBuf>) {
    for path in old {
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove a file of the replaced database");
            }
            _ => {}
        }
    }
}

/// The folder a file lies in.
pub(crate) fn dir(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// `path` with something added to its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
