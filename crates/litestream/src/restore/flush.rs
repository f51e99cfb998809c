//! Starts writing the restored file to the disk while the rest of it is still being made.
//!
//! Promise: at most one flush runs at a time; a failed one fails the restore, since the system tells of it only once.

use std::sync::Arc;

use litestream_replica::env::{Env, Task};

use super::error::RestoreError;
use super::worker::Job;

/// Bytes written before the next flush: large enough for the disk's full speed, small enough to leave little for the end.
const EVERY_BYTES: u64 = 32 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct Flush {
    /// Bytes that had been written when the newest flush began.
    flushed: u64,
    running: Option<(Arc<()>, Box<dyn Task>)>,
}

impl Flush {
    /// Begins a flush if enough was written since the last one began, and that one has ended.
    pub(super) fn advance(
        &mut self,
        written: u64,
        job: &Arc<Job>,
        env: &Env,
    ) -> Result<(), RestoreError> {
        if written - self.flushed < EVERY_BYTES {
            return Ok(());
        }
        // Its thread holds the other reference until it ends.
        if self
            .running
            .as_ref()
            .is_some_and(|(alive, _)| Arc::strong_count(alive) > 1)
        {
            return Ok(());
        }
        self.wait()?;
        self.flushed = written;
        let (alive, job) = (Arc::new(()), Arc::clone(job));
        let held = Arc::clone(&alive);
        let task = env
            .spawn
            .spawn(
                "restore-flush",
                Box::new(move || {
                    if let Err(e) = job.out.sync() {
                        job.fail(RestoreError::output("sync", &job.out_path)(e));
                    }
                    drop(held);
                }),
            )
            .map_err(RestoreError::Thread)?;
        self.running = Some((alive, task));
        Ok(())
    }

    /// Waits for the flush that runs.
    pub(super) fn wait(&mut self) -> Result<(), RestoreError> {
        match self.running.take() {
            Some((_, task)) => task.join().map_err(RestoreError::Thread),
            None => Ok(()),
        }
    }
}
