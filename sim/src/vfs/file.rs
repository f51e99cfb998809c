//! An open file of SQLite: reading, writing, syncing, with the verdicts of the disk and SQLite's codes for them.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;

use rusqlite::ffi;

use super::lock::{InodeInfo, Level};
use super::shm::Shm;
use super::{LAST_ERRNO, Stage};
use crate::disk::{FileHandle, Op, Verdict, errno};
use crate::sched;

/// An open file.
pub struct OpenFile {
    pub stage: Rc<Stage>,
    pub handle: FileHandle,
    /// As SQLite gave it; empty for a temporary file.
    pub path: PathBuf,
    pub readonly: bool,
    /// A new journal or WAL, whose name the first sync makes durable too.
    pub sync_dir: bool,
    /// Set for database files only: others are never locked.
    pub info: Option<Rc<InodeInfo>>,
    pub level: Level,
    pub shm: Option<Shm>,
    pub chunk: i64,
    pub mmap_max: i64,
    pub persist_wal: bool,
    pub powersafe_overwrite: bool,
    /// The file is a rollback journal: its end is a commit.
    pub journal_of: Option<PathBuf>,
}

/// Kinds of calls, for the trace.
#[derive(Clone, Copy)]
pub enum Call {
    Close = 1,
    Read,
    Write,
    Truncate,
    Sync,
    Size,
    Lock,
    Unlock,
    CheckReserved,
    Control,
    ShmMap,
    ShmLock,
    ShmBarrier,
    ShmUnmap,
    Unfetch,
    Open,
    Delete,
    Access,
    FullPath,
}

/// The step with which each call begins.
pub fn step(call: Call, detail: u64) -> Result<(), c_int> {
    if sched::is_dead() {
        return Err(ffi::SQLITE_IOERR);
    }
    sched::yield_point(0x7600 | call as u64 | detail << 16);
    if sched::is_dead() {
        return Err(ffi::SQLITE_IOERR);
    }
    Ok(())
}

/// Runs a callback's body; a panic must not cross C frames.
pub fn guard(body: impl FnOnce() -> Result<(), c_int>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => ffi::SQLITE_OK,
        Ok(Err(code)) => code,
        Err(_) => {
            // The hook has printed it. Going on would hide a bug of the simulator.
            eprintln!("a callback of the simulated VFS panicked");
            std::process::abort()
        }
    }
}

fn remember(errno: i32) {
    LAST_ERRNO.set(errno);
}

/// The error number of a raw operation of the disk.
fn errno_of(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(errno::EIO)
}

impl OpenFile {
    pub fn admit(&self, op: Op) -> Result<Verdict, c_int> {
        let verdict = self.stage.disk.admit(op, &self.path);
        if sched::is_dead() {
            return Err(ffi::SQLITE_IOERR);
        }
        if let Verdict::Fail(errno) = verdict {
            remember(errno);
            if errno == errno::EINTR {
                // Repeated until it works.
                return Ok(Verdict::Go);
            }
        }
        Ok(verdict)
    }

    /// For calls that fail with `code` whatever the reason.
    pub fn admit_or(&self, op: Op, code: c_int) -> Result<(), c_int> {
        match self.admit(op)? {
            Verdict::Fail(_) => Err(code),
            _ => Ok(()),
        }
    }

    pub fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), c_int> {
        if let Verdict::Fail(errno) = self.admit(Op::Read)? {
            return Err(match errno {
                errno::EIO => ffi::SQLITE_IOERR_CORRUPTFS,
                _ => ffi::SQLITE_IOERR_READ,
            });
        }
        let got = self.handle.read_at(buf, offset);
        if got < buf.len() {
            buf[got..].fill(0);
            return Err(ffi::SQLITE_IOERR_SHORT_READ);
        }
        Ok(())
    }

    pub fn write(&self, data: &[u8], offset: u64) -> Result<(), c_int> {
        let code = |errno| {
            remember(errno);
            match errno {
                errno::ENOSPC => ffi::SQLITE_FULL,
                _ => ffi::SQLITE_IOERR_WRITE,
            }
        };
        let verdict = self.admit(Op::Write)?;
        if self.readonly {
            return Err(code(errno::EBADF));
        }
        let data = match verdict {
            Verdict::Go => data,
            Verdict::Fail(errno) => return Err(code(errno)),
            Verdict::Part { per_mille, .. } => &data[..data.len() * per_mille as usize / 1000],
        };
        let written = self.handle.write_at(data, offset);
        written.map_err(|error| code(errno_of(&error)))?;
        match verdict {
            Verdict::Part { errno, .. } => Err(code(errno)),
            _ => Ok(()),
        }
    }

    pub fn truncate(&self, len: i64) -> Result<(), c_int> {
        self.admit_or(Op::Resize, ffi::SQLITE_IOERR_TRUNCATE)?;
        if self.readonly {
            remember(errno::EINVAL);
            return Err(ffi::SQLITE_IOERR_TRUNCATE);
        }
        let mut len = len.max(0);
        if self.chunk > 0 {
            len = (len + self.chunk - 1) / self.chunk * self.chunk;
        }
        let done = self.handle.set_len(len as u64);
        done.map_err(|_| ffi::SQLITE_IOERR_TRUNCATE)?;
        self.journal_ended();
        Ok(())
    }

    pub fn sync(&mut self) -> Result<(), c_int> {
        if let Verdict::Fail(_) = self.admit(Op::Sync)? {
            self.handle.sync_failed();
            return Err(ffi::SQLITE_IOERR_FSYNC);
        }
        self.handle.sync();
        if std::mem::take(&mut self.sync_dir)
            && let Some(dir) = self.path.parent()
        {
            // As there: errors of this one are ignored.
            let _ = self.stage.disk.sync_dir(dir);
        }
        Ok(())
    }

    /// In exclusive locking mode a commit is not followed by an unlock.
    pub fn journal_ended(&self) {
        if let Some(database) = &self.journal_of {
            self.stage.published(database);
        }
    }

    pub fn has_moved(&self) -> bool {
        let now = self.stage.disk.metadata(&self.path);
        self.info.is_some() && now.map_or(true, |found| found.id != self.handle.id())
    }
}
