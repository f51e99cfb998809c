//! Local files being written, and read front to back.
//!
//! Promise: a file that is given up is removed, now or later.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use litestream_replica::env::{Env, File, Metadata, UnixMillis};
use ltx::FileName;
use parking_lot::Mutex;

use super::{TEMP_SUFFIX, remove_if_there};
use crate::error::{Error, Result};

/// Makes files with the mode and owner of the database, since they contain its content.
#[derive(Clone)]
pub struct Maker {
    env: Env,
    pub(super) mode: u32,
    owner: Option<(u32, u32)>,
    leftovers: Leftovers,
}

impl Maker {
    /// The same, for files like this one.
    pub fn with_looks(mut self, database: &Metadata) -> Maker {
        self.owner = Some((database.uid, database.gid));
        self.mode = database.mode & 0o777;
        self
    }

    /// For files that only this user may read.
    pub fn private(env: &Env) -> Maker {
        Maker {
            env: env.clone(),
            mode: 0o600,
            owner: None,
            leftovers: Leftovers {
                env: env.clone(),
                paths: Arc::default(),
            },
        }
    }

    /// Starts a file in `dir`.
    pub fn create(&self, dir: &Path, name: FileName) -> Result<Writer> {
        self.sweep();
        let temp = dir.join(format!(
            "{name}.{:016x}{TEMP_SUFFIX}",
            self.env.entropy.next_u64()
        ));
        let file = self
            .env
            .disk
            .create_new(&temp, self.mode)
            .map_err(Error::io("create", &temp))?;
        self.own(&temp);
        Ok(Writer {
            file: file.into(),
            temp,
            position: 0,
            finished: false,
            leftovers: self.leftovers.clone(),
        })
    }

    /// Best effort: only root may give files away.
    pub(super) fn own(&self, path: &Path) {
        if let Some((user, group)) = self.owner {
            let _ = self.env.disk.set_owner(path, user, group);
        }
    }

    /// Tries again to remove what could not be removed when it was given up.
    pub fn sweep(&self) {
        self.leftovers.retry();
    }

    /// Removes a file, now or later.
    pub(super) fn discard(&self, path: &Path) {
        self.leftovers.discard(path);
    }
}

/// Temporary files that could not be removed when they were given up.
#[derive(Clone)]
struct Leftovers {
    env: Env,
    paths: Arc<Mutex<Vec<PathBuf>>>,
}

impl Leftovers {
    /// Removes a file, now or later.
    fn discard(&self, path: &Path) {
        if remove_if_there(&self.env, path).is_err() {
            self.paths.lock().push(path.to_owned());
        }
    }

    /// Tries again what failed before.
    fn retry(&self) {
        let paths = std::mem::take(&mut *self.paths.lock());
        for path in paths {
            self.discard(&path);
        }
    }
}

/// A staged file being written.
pub struct Writer {
    file: Arc<dyn File>,
    temp: PathBuf,
    position: u64,
    finished: bool,
    leftovers: Leftovers,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// Makes what was written durable. To be called once: after a failure it is in doubt for ever.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Gives the whole file its name. It need not be durable.
    pub fn publish(mut self, path: &Path, created: UnixMillis) -> Result<()> {
        self.file
            .set_modified(created)
            .map_err(Error::io("set time of", &self.temp))?;
        self.leftovers
            .env
            .disk
            .rename(&self.temp, path)
            .map_err(Error::io("rename to", path))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            self.leftovers.discard(&self.temp);
        }
    }
}

/// Sequential reader of a file.
pub struct Reader {
    file: Box<dyn File>,
    position: u64,
}

impl Reader {
    /// From the beginning.
    pub fn new(file: Box<dyn File>) -> Reader {
        Reader { file, position: 0 }
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}
