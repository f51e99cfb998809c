//! Names: directories, what of them is durable, and the ordered list of name changes that no sync reached yet.
//!
//! Promise: a rename is atomic, across directories too (a journaling file system keeps both halves together).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::file::Inode;
use super::{Kind, Metadata, Shared, errno};

/// The root directory.
pub(super) const ROOT: u64 = 1;

#[derive(Clone)]
pub(super) enum Entry {
    File(Arc<Inode>),
    Dir(u64),
}

impl Entry {
    pub fn id(&self) -> u64 {
        match self {
            Entry::File(inode) => inode.id,
            Entry::Dir(id) => *id,
        }
    }
}

#[derive(Default)]
pub(super) struct Dir {
    pub live: BTreeMap<OsString, Entry>,
    pub durable: BTreeMap<OsString, Entry>,
    parent: u64,
    mode: u32,
    owner: (u32, u32),
    modified: i64,
}

/// A place for a name: the directory and the name in it.
pub(super) type Place = (u64, OsString);

pub(super) enum NameChange {
    Add(Place, Entry),
    Remove(Place),
    Rename {
        from: Place,
        to: Place,
        entry: Entry,
    },
}

impl NameChange {
    fn dirs(&self) -> [u64; 2] {
        match self {
            NameChange::Add((dir, _), _) | NameChange::Remove((dir, _)) => [*dir, *dir],
            NameChange::Rename { from, to, .. } => [from.0, to.0],
        }
    }
}

pub(super) struct UnsyncedName {
    pub order: u64,
    pub change: NameChange,
}

pub(super) struct Tree {
    pub dirs: BTreeMap<u64, Dir>,
    pub unsynced: Vec<UnsyncedName>,
}

impl Tree {
    pub fn new() -> Tree {
        let root = Dir {
            parent: ROOT,
            mode: 0o755,
            ..Dir::default()
        };
        Tree {
            dirs: BTreeMap::from([(ROOT, root)]),
            unsynced: Vec::new(),
        }
    }

    fn dir(&self, id: u64) -> io::Result<&Dir> {
        self.dirs
            .get(&id)
            .ok_or_else(|| errno::error(errno::ENOENT))
    }

    fn dir_mut(&mut self, id: u64) -> io::Result<&mut Dir> {
        self.dirs
            .get_mut(&id)
            .ok_or_else(|| errno::error(errno::ENOENT))
    }

    /// Follows `path` (relative paths start at the root).
    pub fn find(&self, path: &Path) -> io::Result<Entry> {
        let mut at = Entry::Dir(ROOT);
        for component in path.components() {
            let Entry::Dir(id) = at else {
                return Err(errno::error(errno::ENOTDIR));
            };
            at = match component {
                Component::ParentDir => Entry::Dir(self.dir(id)?.parent),
                Component::Normal(name) => {
                    let entry = self.dir(id)?.live.get(name);
                    entry.ok_or_else(|| errno::error(errno::ENOENT))?.clone()
                }
                _ => Entry::Dir(id),
            };
        }
        Ok(at)
    }

    pub fn find_dir(&self, path: &Path) -> io::Result<u64> {
        match self.find(path)? {
            Entry::Dir(id) => Ok(id),
            Entry::File(_) => Err(errno::error(errno::ENOTDIR)),
        }
    }

    pub fn find_file(&self, path: &Path) -> io::Result<Arc<Inode>> {
        match self.find(path)? {
            Entry::File(inode) => Ok(inode),
            Entry::Dir(_) => Err(errno::error(errno::EISDIR)),
        }
    }

    /// The directory and name that `path` means, existing or not.
    pub fn place(&self, path: &Path) -> io::Result<Place> {
        let name = path
            .file_name()
            .ok_or_else(|| errno::error(errno::EINVAL))?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok((self.find_dir(parent)?, name.to_owned()))
    }

    pub fn get(&self, place: &Place) -> Option<&Entry> {
        self.dirs.get(&place.0)?.live.get(&place.1)
    }

    fn note(&mut self, shared: &Shared, change: NameChange) {
        for dir in change.dirs() {
            if let Some(dir) = self.dirs.get_mut(&dir) {
                dir.modified = super::wall();
            }
        }
        let order = shared.next_order();
        self.unsynced.push(UnsyncedName { order, change });
    }

    /// Adds a name; it must not exist.
    pub fn add(&mut self, shared: &Shared, place: Place, entry: Entry) -> io::Result<()> {
        let dir = self.dir_mut(place.0)?;
        if dir.live.contains_key(&place.1) {
            return Err(errno::error(errno::EEXIST));
        }
        dir.live.insert(place.1.clone(), entry.clone());
        if let Entry::File(inode) = &entry {
            inode.count_link(shared, 1);
        }
        self.note(shared, NameChange::Add(place, entry));
        Ok(())
    }

    pub fn add_dir(&mut self, shared: &Shared, place: Place, id: u64, mode: u32) -> io::Result<()> {
        let dir = Dir {
            parent: place.0,
            mode,
            modified: super::wall(),
            ..Dir::default()
        };
        self.add(shared, place, Entry::Dir(id))?;
        self.dirs.insert(id, dir);
        Ok(())
    }

    /// Takes a name away and returns what it meant.
    pub fn remove(&mut self, shared: &Shared, place: Place, kind: Kind) -> io::Result<Entry> {
        let entry = self.get(&place).cloned();
        let entry = entry.ok_or_else(|| errno::error(errno::ENOENT))?;
        match (&entry, kind) {
            (Entry::File(_), Kind::Dir) => return Err(errno::error(errno::ENOTDIR)),
            (Entry::Dir(_), Kind::File) => return Err(errno::error(errno::EISDIR)),
            (Entry::Dir(id), Kind::Dir) => {
                if !self.dir(*id)?.live.is_empty() {
                    return Err(errno::error(errno::ENOTEMPTY));
                }
            }
            (Entry::File(inode), Kind::File) => inode.count_link(shared, -1),
        }
        self.dir_mut(place.0)?.live.remove(&place.1);
        self.note(shared, NameChange::Remove(place));
        Ok(entry)
    }

    /// Renames; a file there is replaced and returned.
    pub fn rename(&mut self, shared: &Shared, from: Place, to: Place) -> io::Result<Vec<u64>> {
        let entry = self.get(&from).cloned();
        let entry = entry.ok_or_else(|| errno::error(errno::ENOENT))?;
        let mut told = vec![entry.id()];
        match (&entry, self.get(&to)) {
            (a, Some(b)) if a.id() == b.id() => return Ok(told),
            (Entry::File(_), Some(Entry::Dir(_))) => return Err(errno::error(errno::EISDIR)),
            (Entry::Dir(_), Some(Entry::File(_))) => return Err(errno::error(errno::ENOTDIR)),
            (Entry::Dir(_), Some(Entry::Dir(id))) if !self.dir(*id)?.live.is_empty() => {
                return Err(errno::error(errno::ENOTEMPTY));
            }
            (_, Some(Entry::File(old))) => {
                told.push(old.id);
                old.count_link(shared, -1);
            }
            _ => {}
        }
        self.dir_mut(to.0)?.live.insert(to.1.clone(), entry.clone());
        self.dir_mut(from.0)?.live.remove(&from.1);
        if let Entry::Dir(id) = entry {
            self.dir_mut(id)?.parent = to.0;
        }
        self.note(shared, NameChange::Rename { from, to, entry });
        Ok(told)
    }

    /// Makes the names in `dir` durable, and what must come before them.
    pub fn sync_dir(&mut self, dir: u64) {
        let mut dirs = BTreeSet::from([dir]);
        let mut take = vec![false; self.unsynced.len()];
        for (index, unsynced) in self.unsynced.iter().enumerate().rev() {
            let both = unsynced.change.dirs();
            if both.iter().any(|dir| dirs.contains(dir)) {
                take[index] = true;
                dirs.extend(both);
            }
        }
        let all = std::mem::take(&mut self.unsynced);
        for (unsynced, take) in all.into_iter().zip(take) {
            if take {
                self.apply(&unsynced.change);
            } else {
                self.unsynced.push(unsynced);
            }
        }
    }

    /// Applies a change to the durable side.
    pub fn apply(&mut self, change: &NameChange) {
        let mut durable = |dir: u64, name: &OsStr, entry: Option<Entry>| {
            if let Some(dir) = self.dirs.get_mut(&dir) {
                match entry {
                    Some(entry) => dir.durable.insert(name.to_owned(), entry),
                    None => dir.durable.remove(name),
                };
            }
        };
        match change {
            NameChange::Add((dir, name), entry) => durable(*dir, name, Some(entry.clone())),
            NameChange::Remove((dir, name)) => durable(*dir, name, None),
            NameChange::Rename { from, to, entry } => {
                durable(from.0, &from.1, None);
                durable(to.0, &to.1, Some(entry.clone()));
            }
        }
    }

    pub fn dir_metadata(&self, id: u64) -> io::Result<Metadata> {
        let dir = self.dir(id)?;
        Ok(Metadata {
            id,
            kind: Kind::Dir,
            len: 0,
            modified: dir.modified,
            mode: dir.mode,
            uid: dir.owner.0,
            gid: dir.owner.1,
            links: 1,
        })
    }

    pub fn set_dir_mode(&mut self, id: u64, mode: u32) -> io::Result<()> {
        self.dir_mut(id)?.mode = mode;
        Ok(())
    }

    pub fn set_dir_owner(&mut self, id: u64, uid: u32, gid: u32) -> io::Result<()> {
        self.dir_mut(id)?.owner = (uid, gid);
        Ok(())
    }

    /// Every path below `dir` with what it means, sorted.
    pub fn walk(&self, dir: u64, path: &Path, visit: &mut dyn FnMut(PathBuf, &Entry)) {
        let Some(entries) = self.dirs.get(&dir).map(|dir| &dir.live) else {
            return;
        };
        for (name, entry) in entries {
            let path = path.join(name);
            visit(path.clone(), entry);
            if let Entry::Dir(id) = entry {
                self.walk(*id, &path, visit);
            }
        }
    }
}
