//! Local files being written, and read front to back.
//!
//! Promise: a file that is given up is removed, now or later.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use litestream_replica::env::{Env, File, Metadata, Task, UnixMillis};
use ltx::FileName;
use parking_lot::Mutex;

use super::{TEMP_SUFFIX, remove_if_there};
use crate::error::{Error, Result};

/// Small parts are put together, so that a small file is written in one go.
const BUFFER_BYTES: usize = 64 << 10;
/// Read back at once.
const SPILL_BYTES: usize = 256 << 10;
/// Large enough for the disk's full speed, small enough to leave little for the end.
const FLUSH_BYTES: u64 = 32 << 20;

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
            buffer: Vec::new(),
            flush: Flush::default(),
            finished: false,
            leftovers: self.leftovers.clone(),
        })
    }

    /// Room in `dir` for what does not fit into memory. Makes a file only when it is used.
    pub fn spill(&self, dir: &Path) -> Box<dyn ltx::Spill> {
        Box::new(SpillFile {
            maker: self.clone(),
            dir: dir.to_owned(),
            file: None,
            len: 0,
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

/// See [`Maker::spill`]. Removed at the end.
struct SpillFile {
    maker: Maker,
    dir: PathBuf,
    file: Option<(Box<dyn File>, PathBuf)>,
    len: u64,
}

impl ltx::Spill for SpillFile {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (file, _) = match &mut self.file {
            Some(file) => file,
            none => {
                let env = &self.maker.env;
                let name = format!("index.{:016x}{TEMP_SUFFIX}", env.entropy.next_u64());
                let path = self.dir.join(name);
                let file = env.disk.create_new(&path, self.maker.mode)?;
                none.insert((file, path))
            }
        };
        file.write_at(bytes, self.len)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn replay(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let Some((file, _)) = &self.file else {
            return Ok(());
        };
        let mut piece = vec![0; SPILL_BYTES];
        let mut at = 0;
        while at < self.len {
            let len = piece.len().min((self.len - at) as usize);
            file.read_exact_at(&mut piece[..len], at)?;
            take(&piece[..len])?;
            at += len as u64;
        }
        Ok(())
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        if let Some((file, path)) = self.file.take() {
            drop(file);
            self.maker.discard(&path);
        }
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
    /// Where `buffer` belongs.
    position: u64,
    /// The last bytes, not written yet.
    buffer: Vec<u8>,
    flush: Flush,
    finished: bool,
    leftovers: Leftovers,
}

/// Begins to bring a large file to the disk while the rest of it is still being made, or all of it would be waited for at the end.
#[derive(Default)]
struct Flush {
    /// Bytes that had been written when the last flush began.
    begun: u64,
    running: Option<(Outcome, Box<dyn Task>)>,
}

type Outcome = Arc<OnceLock<io::Result<()>>>;

impl Flush {
    /// Begins a flush if enough was written since the last one began, and that one has ended.
    fn advance(&mut self, written: u64, file: &Arc<dyn File>, env: &Env) -> io::Result<()> {
        let is_running = |(outcome, _): &(Outcome, _)| outcome.get().is_none();
        if written - self.begun < FLUSH_BYTES || self.running.as_ref().is_some_and(is_running) {
            return Ok(());
        }
        self.wait()?;
        self.begun = written;
        let (outcome, file) = (Outcome::default(), Arc::clone(file));
        let told = Arc::clone(&outcome);
        let work = move || {
            let _ = told.set(file.sync()); // nobody else sets it
        };
        let task = env.spawn.spawn("flush", Box::new(work))?;
        self.running = Some((outcome, task));
        Ok(())
    }

    /// Waits for the flush that runs. Its failure must not be lost: the system tells of it only once.
    fn wait(&mut self) -> io::Result<()> {
        let Some((outcome, task)) = self.running.take() else {
            return Ok(());
        };
        task.join()?;
        let outcome = Arc::into_inner(outcome).and_then(OnceLock::into_inner);
        outcome.unwrap_or(Ok(()))
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.drain()?;
        }
        if bytes.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
        } else {
            self.append(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}

impl Writer {
    fn drain(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let appended = self.append(&buffer);
        // It is kept for what comes next; after an error the file is given up.
        self.buffer = buffer;
        self.buffer.clear();
        appended
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        let env = &self.leftovers.env;
        self.flush.advance(self.position, &self.file, env)
    }

    /// Puts bytes over those at the beginning, as many as there are at most.
    pub fn overwrite(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.position == 0
            && let Some(begin) = self.buffer.get_mut(..bytes.len())
        {
            begin.copy_from_slice(bytes);
            return Ok(());
        }
        self.drain()?;
        self.file.write_at(bytes, 0)
    }

    /// Makes what was written durable. To be called once: after a failure it is in doubt for ever.
    pub fn sync(&mut self) -> io::Result<()> {
        self.drain()?;
        self.file.sync()
    }

    /// Gives the whole file its name. It need not be durable.
    pub fn publish(mut self, path: &Path, created: UnixMillis) -> Result<()> {
        self.drain().map_err(Error::io("write", &self.temp))?;
        self.flush.wait().map_err(Error::io("sync", &self.temp))?;
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
        let _ = self.flush.wait(); // it is given up, or this was asked
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

#[cfg(test)]
mod tests {
    use litestream_replica::env::real;

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test looks at a real folder")]
    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn what_was_spilled_comes_back_and_its_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let maker = Maker::private(&real::env());
        let mut spill = maker.spill(dir.path());
        assert_eq!(files(dir.path()), 0);
        let parts: Vec<Vec<u8>> = (1..=5u8).map(|n| vec![n; 200_000]).collect();
        for part in &parts {
            spill.put(part).unwrap();
        }
        assert_eq!(files(dir.path()), 1);
        let mut back = Vec::new();
        let replayed = spill.replay(&mut |bytes| {
            back.extend_from_slice(bytes);
            Ok(())
        });
        replayed.unwrap();
        assert!(back == parts.concat());
        drop(spill);
        assert_eq!(files(dir.path()), 0);
    }
}
