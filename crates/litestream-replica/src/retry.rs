//! Trying again: how long to wait, and reading on where a broken read stopped.
//!
//! Promise: this room is the only place of this crate that waits before it tries again.

mod again;
#[cfg(any(feature = "http", feature = "sftp", feature = "nats"))]
#[allow(dead_code, reason = "not every storage uses all of it")]
mod resume;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ltx::FileName;

use crate::env::Clock;
use crate::{Level, Replica, Result};

#[cfg(any(feature = "http", feature = "sftp", feature = "nats"))]
#[allow(unused_imports, reason = "not every storage uses all of it")]
pub(crate) use again::attempts;
pub use again::{Patience, Retrying};
#[cfg(any(feature = "http", feature = "sftp", feature = "nats"))]
#[allow(unused_imports, reason = "not every storage uses all of it")]
pub(crate) use resume::{Fetch, resumed};

/// The longest wait of a [`Backoff`] unless set otherwise.
pub const BACKOFF_MAX: Duration = Duration::from_mins(5);

/// The first wait between attempts of a read.
const READ_WAIT: Duration = Duration::from_millis(250);

/// How much is asked for at a time by [`read_all_retrying`]: what a broken connection can lose.
const PART_BYTES: u64 = 8 << 20;

/// Waits that double from an initial value up to a limit, each shortened at random by up to a quarter so that
/// those who failed together don't come back together.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// From `initial`, doubling to [`BACKOFF_MAX`] (or `initial`, if that is longer).
    pub fn new(initial: Duration) -> Backoff {
        Backoff::with_max(initial, BACKOFF_MAX)
    }

    /// From `initial`, doubling to `max` (or `initial`, if that is longer).
    pub fn with_max(initial: Duration, max: Duration) -> Backoff {
        Backoff {
            initial,
            max: max.max(initial),
            next: initial,
        }
    }

    /// How long to wait now, given a random number.
    pub fn next(&mut self, rand: u64) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.max);
        // The top 32 bits as a fraction of a quarter.
        wait.saturating_sub((wait / 4).mul_f64((rand >> 32) as f64 / f64::from(u32::MAX)))
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.initial;
    }
}

/// What is read.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// An LTX file.
    Ltx(Level, FileName),
    /// An object of Litestream 0.3.
    V3(&'a str),
}

impl Subject<'_> {
    async fn read(self, replica: &dyn Replica, offset: u64, len: u64) -> Result<Bytes> {
        match self {
            Subject::Ltx(level, name) => replica.read(level, name, offset, Some(len)).await,
            Subject::V3(path) => replica.read_v3(path, offset, Some(len)).await,
        }
    }
}

/// Reads as [`Replica::read`], in parts, and goes on where a part failed for a reason that may pass. Gives up once
/// nothing has arrived for `patience`; every byte that arrives renews it.
pub async fn read_all_retrying(
    replica: &dyn Replica,
    subject: Subject<'_>,
    offset: u64,
    len: Option<u64>,
    clock: &dyn Clock,
    patience: Duration,
) -> Result<Bytes> {
    let mut parts: Vec<Bytes> = Vec::new();
    let mut done = 0;
    let mut backoff = Backoff::new(READ_WAIT);
    let mut progress = clock.monotonic();
    loop {
        let want = len.map_or(PART_BYTES, |len| (len - done).min(PART_BYTES));
        let from = offset.saturating_add(done);
        match subject.read(replica, from, want).await {
            Ok(part) => {
                let got = part.len() as u64;
                done += got;
                parts.push(part);
                if got < want || len == Some(done) {
                    return Ok(join(parts, done));
                }
                backoff.reset();
                progress = clock.monotonic();
            }
            Err(e) => {
                let wait = backoff.next(rand(clock));
                let waited = clock.monotonic().since(progress);
                if !e.is_retryable() || waited.saturating_add(wait) > patience {
                    return Err(e);
                }
                tracing::debug!(?subject, error = %e, "read failed, trying again");
                clock.sleep_async(wait).await;
            }
        }
    }
}

/// The low bits of the time since start are as good as random here.
fn rand(clock: &dyn Clock) -> u64 {
    (clock.monotonic().0.as_nanos() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn join(mut parts: Vec<Bytes>, len: u64) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    let mut all = BytesMut::with_capacity(len as usize);
    for part in parts {
        all.extend_from_slice(&part);
    }
    all.freeze()
}

#[cfg(test)]
mod tests;
