//! Operations by path: open, create, remove, rename, link, list, look.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::file::{FileHandle, Inode};
use super::tree::Entry;
use super::{Kind, Metadata, SimDisk, errno};

impl SimDisk {
    fn handle(&self, inode: Arc<Inode>) -> FileHandle {
        FileHandle::new(inode, self.0.shared.clone())
    }

    /// Opens an existing file.
    pub fn open(&self, path: &Path) -> io::Result<FileHandle> {
        let inode = self.0.tree.lock().find_file(path)?;
        Ok(self.handle(inode))
    }

    /// Creates a file that must not exist.
    pub fn create_new(&self, path: &Path, mode: u32) -> io::Result<FileHandle> {
        let mut tree = self.0.tree.lock();
        let place = tree.place(path)?;
        let inode = Inode::new(self.0.shared.next_inode(), mode);
        let handle = self.handle(inode.clone());
        tree.add(&self.0.shared, place, Entry::File(inode))?;
        Ok(handle)
    }

    /// A file without a name, which ends with its last user.
    pub fn temporary(&self) -> FileHandle {
        self.handle(Inode::temporary(self.0.shared.next_inode()))
    }

    /// Creates a directory.
    pub fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mut tree = self.0.tree.lock();
        let place = tree.place(path)?;
        let id = self.0.shared.next_inode();
        tree.add_dir(&self.0.shared, place, id, mode)
    }

    /// Creates a directory and its missing parents, all durable at once: for setting the stage.
    pub fn stage_dir(&self, path: &Path) -> io::Result<()> {
        for dir in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            match self.metadata(dir) {
                Ok(found) if found.kind == Kind::Dir => {}
                Ok(_) => return Err(errno::error(errno::ENOTDIR)),
                Err(_) => {
                    self.create_dir(dir, 0o755)?;
                    self.sync_dir(dir.parent().unwrap_or(Path::new("/")))?;
                }
            }
        }
        Ok(())
    }

    /// Whether a power cut now would leave this file as it is, under this name.
    pub fn outlives(&self, path: &Path) -> bool {
        let tree = self.0.tree.lock();
        let Ok((dir, name)) = tree.place(path) else {
            return false;
        };
        let Some(dir) = tree.dirs.get(&dir) else {
            return false;
        };
        match (dir.live.get(&name), dir.durable.get(&name)) {
            (Some(Entry::File(live)), Some(durable)) => {
                let dead = self.0.shared.dead.lock();
                live.id == durable.id() && live.state.lock().outlives(&dead)
            }
            _ => false,
        }
    }

    /// Takes a name from a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.remove_kind(path, Kind::File)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.remove_kind(path, Kind::Dir)
    }

    fn remove_kind(&self, path: &Path, kind: Kind) -> io::Result<()> {
        let id = {
            let mut tree = self.0.tree.lock();
            let place = tree.place(path)?;
            tree.remove(&self.0.shared, place, kind)?.id()
        };
        self.0.shared.tell(id);
        Ok(())
    }

    /// Renames, replacing a file (or an empty directory by a directory).
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let told = {
            let mut tree = self.0.tree.lock();
            let (from, to) = (tree.place(from)?, tree.place(to)?);
            tree.rename(&self.0.shared, from, to)?
        };
        for id in told {
            self.0.shared.tell(id);
        }
        Ok(())
    }

    /// Gives the file `from` a second name that must not exist.
    pub fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let id = {
            let mut tree = self.0.tree.lock();
            let inode = tree.find_file(from)?;
            let place = tree.place(to)?;
            let id = inode.id;
            tree.add(&self.0.shared, place, Entry::File(inode))?;
            id
        };
        self.0.shared.tell(id);
        Ok(())
    }

    /// The names in a directory, sorted.
    pub fn list(&self, dir: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        let tree = self.0.tree.lock();
        let id = tree.find_dir(dir)?;
        let entries = tree.dirs.get(&id).map(|dir| &dir.live);
        let kind = |entry: &Entry| match entry {
            Entry::File(_) => Kind::File,
            Entry::Dir(_) => Kind::Dir,
        };
        let entries = entries.into_iter().flatten();
        Ok(entries
            .map(|(name, entry)| (name.clone(), kind(entry)))
            .collect())
    }

    /// What is known about a path.
    pub fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let tree = self.0.tree.lock();
        match tree.find(path)? {
            Entry::File(inode) => Ok(inode.metadata()),
            Entry::Dir(id) => tree.dir_metadata(id),
        }
    }

    /// Sets the permission bits.
    pub fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mut tree = self.0.tree.lock();
        match tree.find(path)? {
            Entry::File(inode) => inode.state.lock().mode = mode,
            Entry::Dir(id) => tree.set_dir_mode(id, mode)?,
        }
        Ok(())
    }

    /// Sets owner and group.
    pub fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        let mut tree = self.0.tree.lock();
        match tree.find(path)? {
            Entry::File(inode) => {
                let mut state = inode.state.lock();
                (state.uid, state.gid) = (uid, gid);
            }
            Entry::Dir(id) => tree.set_dir_owner(id, uid, gid)?,
        }
        Ok(())
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut tree = self.0.tree.lock();
        let id = tree.find_dir(dir)?;
        tree.sync_dir(id);
        Ok(())
    }
}
