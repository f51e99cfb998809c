//! File events: the disk tells of every change of a file, by whatever process and door.

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use litestream_replica::env::{Wake, Watch, Watcher};
use parking_lot::Mutex;

use super::{Step, nanos, step};
use crate::disk::SimDisk;
use crate::sched::{self, FiberId};

/// The watchers of a process.
type Bells = Arc<Mutex<Vec<Weak<Bell>>>>;

pub(super) struct SimWatch {
    disk: SimDisk,
    bells: Bells,
}

#[derive(Default)]
struct Bell(Mutex<State>);

#[derive(Default)]
struct State {
    /// The files that are watched.
    inodes: Vec<u64>,
    changed: bool,
    woken: bool,
    /// Who waits, and whether for changes too.
    waits: Option<(FiberId, bool)>,
}

struct SimWatcher {
    disk: SimDisk,
    bell: Arc<Bell>,
}

impl SimWatch {
    pub(super) fn new(disk: SimDisk) -> SimWatch {
        let bells = Bells::default();
        let heard = Arc::clone(&bells);
        disk.on_write(move |inode| {
            for bell in heard.lock().iter().filter_map(Weak::upgrade) {
                bell.file_changed(inode);
            }
        });
        SimWatch { disk, bells }
    }
}

impl Watch for SimWatch {
    fn watcher(&self) -> io::Result<Box<dyn Watcher>> {
        step(Step::Watch, 1)?;
        let bell = Arc::new(Bell::default());
        let mut bells = self.bells.lock();
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(Arc::downgrade(&bell));
        Ok(Box::new(SimWatcher {
            disk: self.disk.clone(),
            bell,
        }))
    }
}

impl Bell {
    fn file_changed(&self, inode: u64) {
        let mut state = self.0.lock();
        if state.inodes.contains(&inode) {
            state.changed = true;
            if let Some((fiber, true)) = state.waits {
                sched::unpark(fiber);
            }
        }
    }

    /// Waits for a wake-up, or also for a change; both are used up.
    fn wait(&self, timeout: Option<Duration>, for_changes: bool) -> io::Result<bool> {
        step(Step::Watch, 2 + u64::from(for_changes))?;
        let deadline = timeout.map(|timeout| sched::now().saturating_add(nanos(timeout)));
        loop {
            {
                let mut state = self.0.lock();
                state.waits = None;
                let changed = for_changes && std::mem::take(&mut state.changed);
                if std::mem::take(&mut state.woken) | changed {
                    return Ok(true);
                }
                if deadline.is_some_and(|deadline| sched::now() >= deadline) {
                    return Ok(false);
                }
                state.waits = Some((sched::current(), for_changes));
            }
            sched::park(deadline);
            sched::die_if_dead()?;
        }
    }
}

impl Wake for Bell {
    fn wake(&self) {
        let mut state = self.0.lock();
        state.woken = true;
        if let Some((fiber, _)) = state.waits {
            sched::unpark(fiber);
        }
    }
}

#[async_trait::async_trait]
impl Watcher for SimWatcher {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.bell.wait(timeout, true)
    }

    /// A task is a fiber like any thread.
    async fn wait_async(&mut self, timeout: Duration) -> io::Result<bool> {
        let happened = self.bell.wait(Some(timeout), true)?;
        // Not used up. That a change is told of without one does no harm.
        self.bell.0.lock().changed |= happened;
        Ok(happened)
    }

    fn wait_quiet(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.bell.wait(timeout, false).map(drop)
    }

    fn set_paths(&mut self, paths: &[&Path]) -> io::Result<()> {
        step(Step::Watch, 4)?;
        let inodes = paths.iter().map(|path| Ok(self.disk.metadata(path)?.id));
        let inodes: Vec<u64> = inodes.collect::<io::Result<_>>()?;
        let mut state = self.bell.0.lock();
        if state.inodes != inodes {
            state.changed = false;
            state.inodes = inodes;
        }
        Ok(())
    }

    fn is_sure(&self) -> bool {
        true
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.bell.clone()
    }
}
