//! A replica in a local folder, laid out as Litestream's `file` replica.
//!
//! Promise: a file is durable, whole and carries its time before anybody can see it under its name. The blocking
//! half is plain functions over [`Disk`](crate::env::Disk); the async half only moves them off the runtime.

mod put;
mod v3;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ltx::{FileName, Txid};
use parking_lot::Mutex;

use crate::env::{Env, File, Kind, UnixMillis};
use crate::{Error, ErrorKind, FileInfo, Level, Replica, Result, Source, key};

/// LTX files in a local folder. Cheap to clone; clones share what they know of the folder.
#[derive(Clone)]
pub struct FileReplica {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    env: Env,
    /// The database whose mode and owner new files get, and whose folder's new folders get.
    like: Option<PathBuf>,
    /// Which level folders are known to exist durably.
    ready: Mutex<[bool; 10]>,
}

impl FileReplica {
    /// A replica in the folder `root`, which is created by the first write. New folders and files get the mode and
    /// owner of the folder and file of the database `like`, if given and there; else 0700 and 0600.
    pub fn new(root: PathBuf, env: Env, like: Option<PathBuf>) -> FileReplica {
        FileReplica {
            inner: Arc::new(Inner {
                root,
                env,
                like,
                ready: Mutex::default(),
            }),
        }
    }

    /// [`Replica::list`], blocking.
    pub fn list_blocking(&self, level: Level, seek: Option<Txid>) -> Result<Vec<FileInfo>> {
        let dir = key::level_dir(&self.inner.root, level);
        let disk = &self.inner.env.disk;
        let entries = match disk.list(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", &dir, &e)),
        };
        let mut files = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(name) = entry.name.to_str().and_then(FileName::parse) else {
                continue;
            };
            if seek.is_some_and(|seek| name.max < seek) {
                continue;
            }
            let path = dir.join(&entry.name);
            match disk.metadata(&path) {
                Ok(m) if m.kind == Kind::File => {
                    files.push(FileInfo {
                        level,
                        name,
                        size: m.len,
                        created: m.modified,
                    });
                }
                Ok(_) => {}
                // Deleted since the folder was read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("list", &path, &e)),
            }
        }
        files.sort_unstable_by_key(|f| (f.name.min, f.name.max));
        Ok(files)
    }

    /// Replaces the modification time by the time in the file's header, which a copy of the folder does not change. A damaged
    /// header leaves it: whoever reads the file will say so.
    fn take_header_time(&self, file: &mut FileInfo) {
        let header = self.read_blocking(file.level, file.name, 0, Some(ltx::HEADER_SIZE as u64));
        if let Some(header) = header
            .ok()
            .and_then(|bytes| ltx::Header::decode(&bytes).ok())
        {
            file.created = UnixMillis(header.timestamp_ms);
        }
    }

    /// [`Replica::read`], blocking.
    pub fn read_blocking(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let path = key::file_path(&self.inner.root, level, name);
        self.read_path(&path, offset, len)
    }

    fn read_path(&self, path: &Path, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let read = || -> io::Result<Bytes> {
            let file = self.inner.env.disk.open(path)?;
            let left = file.metadata()?.len.saturating_sub(offset);
            read_up_to(&*file, offset, len.map_or(left, |len| len.min(left)))
        };
        read().map_err(|e| Error::io("read", path, &e))
    }

    /// [`Replica::write`], blocking.
    pub fn write_blocking(
        &self,
        level: Level,
        name: FileName,
        source: &Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let size = self.inner.put(level, name, source, created)?;
        Ok(FileInfo {
            level,
            name,
            size,
            created,
        })
    }

    /// [`Replica::delete`], blocking. Tries every file and reports the first failure.
    pub fn delete_blocking(&self, files: &[(Level, FileName)]) -> Result<()> {
        let mut result = Ok(());
        for &(level, name) in files {
            let path = key::file_path(&self.inner.root, level, name);
            match self.inner.env.disk.remove(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    result = result.and(Err(Error::io("delete", &path, &e)));
                }
                _ => {}
            }
        }
        result
    }

    /// Runs blocking work where it doesn't hold up other tasks.
    async fn blocking<T: Send + 'static>(
        &self,
        op: &'static str,
        work: impl FnOnce(&FileReplica) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let replica = self.clone();
        let done = self.inner.env.spawn.offloaded(move || work(&replica)).await;
        done.unwrap_or_else(|e| {
            let kind = if e.kind() == io::ErrorKind::Interrupted {
                ErrorKind::Interrupted
            } else {
                ErrorKind::Other
            };
            Err(Error::new(kind, op, self.location(), e))
        })
    }
}

fn read_up_to(file: &dyn File, offset: u64, len: u64) -> io::Result<Bytes> {
    let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

#[async_trait::async_trait]
impl Replica for FileReplica {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn location(&self) -> String {
        self.inner.root.display().to_string()
    }

    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
        self.blocking("list", move |r| {
            let mut files = r.list_blocking(level, seek)?;
            if exact_times {
                for file in &mut files {
                    r.take_header_time(file);
                }
            }
            Ok(files)
        })
        .await
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        self.blocking("read", move |r| r.read_blocking(level, name, offset, len))
            .await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        self.blocking("write", move |r| {
            r.write_blocking(level, name, &source, created)
        })
        .await
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        let files = files.to_vec();
        self.blocking("delete", move |r| r.delete_blocking(&files))
            .await
    }

    async fn tidy(&self) -> Result<()> {
        self.blocking("tidy", |r| r.inner.tidy()).await
    }

    async fn list_v3(&self) -> Result<Vec<crate::v3::Object>> {
        self.blocking("list", FileReplica::list_v3_blocking).await
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let path = path.to_owned();
        self.blocking("read", move |r| r.read_v3_blocking(&path, offset, len))
            .await
    }

    fn local_path(&self, level: Level, name: FileName) -> Option<PathBuf> {
        Some(key::file_path(&self.inner.root, level, name))
    }
}

#[cfg(test)]
mod tests;
