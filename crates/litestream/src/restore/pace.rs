//! Reading no faster than asked: for what goes on in the background.
//!
//! Promise: over any longer time no more bytes are read than the limit allows; who waits notices a stop soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use litestream_replica::FileInfo;
use litestream_replica::env::{Clock, Monotonic};
use parking_lot::Mutex;

use super::error::RestoreError;
use super::fetch::{Fetch, Ranged};

/// A sleep is interrupted this often to look whether it should end.
const NAP: Duration = Duration::from_millis(50);

/// A limit that several threads share, and those who read before and after them.
pub(crate) struct Pace {
    limit: Arc<Limit>,
    stop: AtomicBool,
}

struct Limit {
    clock: Arc<dyn Clock>,
    bytes_per_second: u64,
    /// When everything read so far would have been read at the limit.
    free: Mutex<Monotonic>,
}

impl Pace {
    pub(crate) fn new(clock: &Arc<dyn Clock>, bytes_per_second: u64) -> Arc<Pace> {
        Pace::of(&Arc::new(Limit {
            clock: Arc::clone(clock),
            bytes_per_second: bytes_per_second.max(1),
            free: Mutex::new(clock.monotonic()),
        }))
    }

    fn of(limit: &Arc<Limit>) -> Arc<Pace> {
        Arc::new(Pace {
            limit: Arc::clone(limit),
            stop: AtomicBool::new(false),
        })
    }

    /// The same limit for a group of threads that can be stopped by themselves.
    pub(crate) fn for_others(&self) -> Arc<Pace> {
        Pace::of(&self.limit)
    }

    /// Nobody waits any longer.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// How long to wait before that many more bytes are read.
    pub(crate) fn take(&self, bytes: u64) -> Duration {
        let limit = &self.limit;
        let now = limit.clock.monotonic();
        let mut free = limit.free.lock();
        let wait = free.since(now);
        let cost = Duration::from_secs_f64(bytes as f64 / limit.bytes_per_second as f64);
        *free = (*free).max(now) + cost;
        wait
    }

    fn wait(&self, bytes: usize) -> Result<(), RestoreError> {
        let mut left = self.take(bytes as u64);
        while !left.is_zero() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(RestoreError::Cancelled);
            }
            let nap = left.min(NAP);
            self.limit.clock.sleep(nap);
            left -= nap;
        }
        Ok(())
    }
}

/// Files that are read at a pace.
pub(crate) struct Paced {
    pub(crate) inner: Box<dyn Fetch>,
    pub(crate) pace: Arc<Pace>,
}

struct PacedFile {
    inner: Box<dyn Ranged>,
    pace: Arc<Pace>,
    size: u64,
}

impl Fetch for Paced {
    fn open(&self, file: FileInfo) -> Result<Box<dyn Ranged>, RestoreError> {
        Ok(Box::new(PacedFile {
            inner: self.inner.open(file)?,
            pace: Arc::clone(&self.pace),
            size: file.size,
        }))
    }

    fn read_files(
        &self,
        files: &[FileInfo],
        bufs: &mut [&mut Vec<u8>],
    ) -> Result<(), RestoreError> {
        for file in files {
            self.pace.wait(file.size as usize)?;
        }
        self.inner.read_files(files, bufs)
    }
}

impl Ranged for PacedFile {
    fn read(&self, offset: u64, len: usize, buf: &mut Vec<u8>) -> Result<(), RestoreError> {
        self.pace.wait(len)?;
        self.inner.read(offset, len, buf)
    }

    fn read_all(&self, buf: &mut Vec<u8>) -> Result<(), RestoreError> {
        self.pace.wait(self.size as usize)?;
        self.inner.read_all(buf)
    }
}
