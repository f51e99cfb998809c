//! Threads, tasks and blocking work of a process: all of them fibers.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use litestream_replica::env::{Ended, Running, Spawn, Task, Work};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use super::{Step, step};
use crate::sched::{self, FiberId, Process};

pub(super) struct SimSpawn {
    process: Process,
    places: [Arc<Semaphore>; 3],
}

impl SimSpawn {
    pub(super) fn new(process: Process) -> SimSpawn {
        SimSpawn {
            process,
            places: Work::all_places(),
        }
    }
}

struct Thread(FiberId);

impl Task for Thread {
    fn join(self: Box<Self>) -> io::Result<()> {
        sched::join(self.0);
        sched::die_if_dead()?;
        if sched::has_panicked(self.0) {
            return Err(io::Error::other("a thread panicked"));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Abort {
    asked: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

struct TaskFiber {
    fiber: FiberId,
    abort: Arc<Abort>,
}

impl Running for TaskFiber {
    fn abort(&self) {
        self.abort.asked.store(true, Ordering::Relaxed);
        let waker = self.abort.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_finished(&self) -> bool {
        sched::is_finished(self.fiber)
    }
}

impl Spawn for SimSpawn {
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Task>> {
        step(Step::Thread, 1)?;
        Ok(Box::new(Thread(sched::spawn(self.process, name, work))))
    }

    /// Parallel work runs inline: locks and queues between threads would stop the only thread there is.
    fn parallelism(&self) -> usize {
        1
    }

    fn task(
        &self,
        name: &str,
        mut work: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Box<dyn Running> {
        let abort = Arc::new(Abort::default());
        let asked = Arc::clone(&abort);
        let fiber = sched::spawn(self.process, name, move || {
            sched::block_on(poll_fn(|context| {
                if asked.asked.load(Ordering::Relaxed) {
                    return Poll::Ready(());
                }
                *asked.waker.lock() = Some(context.waker().clone());
                work.as_mut().poll(context)
            }));
        });
        Box::new(TaskFiber { fiber, abort })
    }

    fn block_on(&self, work: Pin<Box<dyn Future<Output = ()> + Send + '_>>) {
        sched::block_on(work);
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> Ended {
        let (done, ended) = oneshot::channel();
        sched::spawn(self.process, "offloaded", move || {
            work();
            let _ = done.send(()); // nobody may wait for it
        });
        Box::pin(async {
            ended
                .await
                .map_err(|_| io::Error::other("the work panicked"))
        })
    }

    fn places(&self, work: Work) -> Arc<Semaphore> {
        Arc::clone(&self.places[work as usize])
    }
}
