//! The engine's outside world, simulated: one [`Env`] for each simulated process, over the scheduler and the disk.
//!
//! Promise: every call is a step of the scheduler first, and a numbered call of the disk if it is one; all that varies comes
//! from the seed. The fibers of a killed process unwind out of these calls without any further effect.

mod files;
mod threads;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::{Clock, Entropy, Env, Monotonic, UnixMillis};

use crate::disk::SimDisk;
use crate::sched::{self, Nanos, Process};
use crate::vfs;

/// The world as `process` sees it. Threads and tasks that are started through it belong to the process.
pub fn env(process: Process, disk: SimDisk) -> Env {
    Env {
        clock: Arc::new(SimClock),
        entropy: Arc::new(SimEntropy),
        spawn: Arc::new(threads::SimSpawn::new(process)),
        watch: Arc::new(watch::SimWatch::new(disk.clone())),
        disk: Arc::new(files::Files(disk)),
    }
}

/// Kinds of steps, for the trace.
#[derive(Clone, Copy)]
enum Step {
    Clock = 1,
    Disk = 2,
    Thread = 3,
    Watch = 4,
}

/// What every call begins with. An error if the fiber is dead and unwinds already.
fn step(kind: Step, detail: u64) -> Result<(), sched::Dead> {
    sched::yield_point((kind as u64) << 56 ^ detail);
    sched::die_if_dead()
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

struct SimClock;

#[async_trait::async_trait]
impl Clock for SimClock {
    fn now(&self) -> UnixMillis {
        let _ = step(Step::Clock, 1); // whoever unwinds may know the time
        UnixMillis(sched::wall_millis())
    }

    fn monotonic(&self) -> Monotonic {
        let _ = step(Step::Clock, 2);
        Monotonic(Duration::from_nanos(sched::now()))
    }

    fn boot(&self) -> Option<u128> {
        Some(u128::from(vfs::boot()))
    }

    fn sleep(&self, duration: Duration) {
        sched::sleep(nanos(duration));
        let _ = sched::die_if_dead();
    }

    async fn sleep_async(&self, duration: Duration) {
        sched::timer(sched::now().saturating_add(nanos(duration))).await;
    }
}

struct SimEntropy;

impl Entropy for SimEntropy {
    fn fill(&self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            chunk.copy_from_slice(&sched::random().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests;
