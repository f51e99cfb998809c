//! When a database's worker has a thread: while there is something to do. Thousands of idle databases then cost no stacks.

use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::Env;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Worker;
use crate::shared::EndsWith;

/// Pause before another attempt to start a thread.
const THREAD_PAUSE: Duration = Duration::from_secs(1);

/// Why a worker gave its thread back.
pub(super) enum Rest {
    /// It is closed.
    Closed,
    /// Nothing is to be done for so long, unless an event comes.
    Idle(Duration),
    /// There is more to do than one look.
    Busy,
}

/// The worker, in the hands of whoever works or waits for it.
type Slot = Arc<Mutex<Option<Box<Worker>>>>;

impl Worker {
    /// Runs until closed.
    pub async fn drive(self: Box<Worker>) {
        let env = self.env.clone();
        let ends = EndsWith(Arc::clone(&self.shared));
        let slot: Slot = Arc::new(Mutex::new(Some(self)));
        let mut woken = None;
        loop {
            let rest = match woken {
                // Most often there is nothing to do.
                Some(false) => looked(&env, &slot).await,
                _ => worked(&env, &slot, woken).await,
            };
            let limit = match rest {
                Some(Rest::Idle(limit)) => limit,
                Some(Rest::Busy) => {
                    woken = None;
                    continue;
                }
                Some(Rest::Closed) => return,
                None => return ends.unexpectedly(),
            };
            let Some(mut worker) = slot.lock().take() else {
                return ends.unexpectedly();
            };
            // If waiting fails, look.
            woken = Some(worker.watcher.wait_async(limit).await.unwrap_or(false));
            *slot.lock() = Some(worker);
        }
    }
}

/// Works on a thread of its own for as long as there is something to do. `None` if that panicked.
async fn worked(env: &Env, slot: &Slot, woken: Option<bool>) -> Option<Rest> {
    let (done, ended) = oneshot::channel();
    let work = step(slot, move |worker| worker.run_until_idle(woken));
    let work = move || {
        if let Some(rest) = work() {
            let _ = done.send(rest); // nobody waits any more if the runtime ends
        }
    };
    match env.spawn.spawn("database", Box::new(work)) {
        // The thread ends with its work; its worker is back before.
        Ok(_thread) => ended.await.ok(),
        Err(error) => {
            tracing::error!(%error, "no thread can be started for a database, which is looked at once a second until one can");
            env.clock.sleep_async(THREAD_PAUSE).await;
            looked(env, slot).await
        }
    }
}

/// One look on a thread of the pool, which is there for what is short. `None` if that panicked.
async fn looked(env: &Env, slot: &Slot) -> Option<Rest> {
    let work = step(slot, Worker::look_once);
    env.spawn.offloaded(work).await.ok()?
}

fn step(
    slot: &Slot,
    work: impl FnOnce(&mut Worker) -> Rest + Send + 'static,
) -> impl FnOnce() -> Option<Rest> + Send + 'static {
    let slot = Arc::clone(slot);
    move || {
        // Not locked meanwhile; if it panics, the worker is dropped and gives its locks back.
        let mut worker = slot.lock().take()?;
        let rest = work(&mut worker);
        // Closing files is not for threads that run futures.
        if !matches!(rest, Rest::Closed) {
            *slot.lock() = Some(worker);
        }
        Some(rest)
    }
}
