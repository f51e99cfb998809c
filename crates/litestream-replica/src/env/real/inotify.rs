//! Watching files through Linux inotify: one instance for the whole process, since a user has few (128 by default).
//!
//! Promise: no event is lost while nobody waits, and a file that changes all the time costs one event a wait: each watch is for one
//! event, and set anew by whoever takes it. Watched files are never opened: a database's POSIX locks would fall with the first close.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::sync::Notify;

use crate::env::{Wake, Watcher};

/// Bytes of events read at a time; what doesn't fit comes next.
const EVENT_BUFFER_BYTES: usize = 64 << 10;
/// What the thread that reads events needs, with that buffer.
const STACK_BYTES: usize = 256 << 10;

/// Unlinking an open file shows as ATTRIB only (its link count), hence that flag.
const EVENTS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONESHOT);

/// The process's inotify instance, and who waits for which of its watches.
struct Hub {
    events: OwnedFd,
    watches: Mutex<HashMap<i32, Vec<Weak<Bell>>>>,
}

/// What a watcher waits on.
#[derive(Default)]
struct Bell {
    state: Mutex<State>,
    /// For a thread that waits.
    rings: Condvar,
    /// For a future that waits.
    rings_async: Notify,
}

#[derive(Default)]
struct State {
    rung: bool,
    changed: bool,
    /// The watches that have not fired.
    armed: Vec<i32>,
}

pub(super) struct Inotify {
    hub: &'static Hub,
    bell: Arc<Bell>,
    paths: Vec<PathBuf>,
    /// They lie where every change is told.
    sure: bool,
    /// All of them are watched.
    complete: bool,
}

impl Wake for Bell {
    fn wake(&self) {
        self.state.lock().rung = true;
        self.ring();
    }
}

impl Bell {
    fn ring(&self) {
        self.rings.notify_all();
        self.rings_async.notify_one();
    }
}

impl State {
    /// Whether it was rung, or also something changed; the former is used up.
    fn take(&mut self, changes: bool) -> bool {
        std::mem::take(&mut self.rung) || changes && self.changed
    }
}

impl Hub {
    /// The one of this process, with the thread that reads it.
    fn get() -> io::Result<&'static Hub> {
        static HUB: OnceLock<Hub> = OnceLock::new();
        static STARTED: Mutex<bool> = Mutex::new(false);
        let mut started = STARTED.lock();
        if !*started {
            let events = inotify::init(CreateFlags::CLOEXEC)?;
            let hub = HUB.get_or_init(|| Hub {
                events,
                watches: Mutex::default(),
            });
            std::thread::Builder::new()
                .name("file events".into())
                .stack_size(STACK_BYTES)
                .spawn(|| hub.run())?;
            *started = true;
        }
        HUB.get()
            .ok_or_else(|| io::Error::other("file events are not there"))
    }

    /// Reads events for as long as the process lives.
    fn run(&self) {
        let mut buf = vec![MaybeUninit::uninit(); EVENT_BUFFER_BYTES];
        loop {
            let mut reader = Reader::new(&self.events, &mut buf);
            loop {
                match reader.next() {
                    // The kernel dropped events: any watch may have fired.
                    Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                        self.fired_all();
                    }
                    Ok(event) => self.fired(event.wd()),
                    Err(Errno::INTR) => {}
                    // Never seen. Waits have an end; they look then.
                    Err(_) => {
                        std::thread::sleep(Duration::from_secs(1));
                        self.fired_all();
                    }
                }
                if reader.is_buffer_empty() {
                    break;
                }
            }
        }
    }

    fn fired(&self, watch: i32) {
        let bells = self.watches.lock().remove(&watch).unwrap_or_default();
        for bell in bells.iter().filter_map(Weak::upgrade) {
            let mut state = bell.state.lock();
            state.armed.retain(|armed| *armed != watch);
            state.changed = true;
            drop(state);
            bell.ring();
        }
    }

    fn fired_all(&self) {
        let watches: Vec<i32> = self.watches.lock().keys().copied().collect();
        for watch in watches {
            self.fired(watch);
        }
    }

    /// Watches a file for its next event.
    fn arm(&self, path: &Path, bell: &Arc<Bell>) -> io::Result<()> {
        // Events of the new watch wait for this lock.
        let mut watches = self.watches.lock();
        let watch = inotify::add_watch(&self.events, path, EVENTS)?;
        let bells = watches.entry(watch).or_default();
        if !bells.iter().any(|b| b.as_ptr() == Arc::as_ptr(bell)) {
            bells.push(Arc::downgrade(bell));
        }
        let mut state = bell.state.lock();
        if !state.armed.contains(&watch) {
            state.armed.push(watch);
        }
        Ok(())
    }

    /// Gives up what a watcher has watched, but for what others watch, too.
    fn disarm(&self, bell: &Arc<Bell>) {
        let armed = std::mem::take(&mut bell.state.lock().armed);
        let mut watches = self.watches.lock();
        for watch in armed {
            let Some(bells) = watches.get_mut(&watch) else {
                continue;
            };
            bells.retain(|b| b.as_ptr() != Arc::as_ptr(bell) && b.strong_count() > 0);
            if bells.is_empty() {
                watches.remove(&watch);
                // Fails if it fired just now: then it is gone.
                let _ = inotify::remove_watch(&self.events, watch);
            }
        }
    }
}

impl Inotify {
    pub(super) fn new() -> io::Result<Inotify> {
        Ok(Inotify {
            hub: Hub::get()?,
            bell: Arc::default(),
            paths: Vec::new(),
            sure: false,
            complete: false,
        })
    }

    /// Sets the watches that have fired anew. What can't be watched (there are no watches left, the file is gone) is tried again at the
    /// next wait; until then nothing is sure.
    fn rearm(&mut self) {
        self.complete = true;
        for path in &self.paths {
            self.complete &= self.hub.arm(path, &self.bell).is_ok();
        }
    }

    /// Waits for the bell, or also for a change; both are used up.
    fn wait_for(&self, timeout: Option<Duration>, changes: bool) -> bool {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.bell.state.lock();
        loop {
            if state.take(changes) {
                return true;
            }
            match end {
                Some(end) => {
                    if self.bell.rings.wait_until(&mut state, end).timed_out() {
                        return state.take(changes);
                    }
                }
                None => self.bell.rings.wait(&mut state),
            }
        }
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        self.hub.disarm(&self.bell);
    }
}

#[async_trait::async_trait]
impl Watcher for Inotify {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        if !self.complete {
            self.rearm();
        }
        let happened = self.wait_for(timeout, true);
        let changed = std::mem::take(&mut self.bell.state.lock().changed);
        if changed {
            // Before anybody looks at the file: what comes after that look is an event again.
            self.rearm();
        }
        Ok(happened || changed)
    }

    async fn wait_async(&mut self, timeout: Duration) -> io::Result<bool> {
        // A ring from before is remembered, so none is missed between the look and the wait.
        let rung = async {
            while !self.bell.state.lock().take(true) {
                self.bell.rings_async.notified().await;
            }
        };
        Ok(tokio::time::timeout(timeout, rung).await.is_ok())
    }

    fn wait_quiet(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.wait_for(timeout, false);
        Ok(())
    }

    fn set_paths(&mut self, paths: &[&Path]) -> io::Result<()> {
        let paths: Vec<PathBuf> = paths.iter().map(|p| p.to_path_buf()).collect();
        if paths != self.paths {
            self.hub.disarm(&self.bell);
            self.bell.state.lock().changed = false;
            self.sure = paths.iter().all(|path| is_sure(path));
            self.paths = paths;
        }
        for path in &self.paths {
            rustix::fs::stat(path)?;
        }
        self.rearm();
        Ok(())
    }

    fn is_sure(&self) -> bool {
        self.sure && self.complete
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.bell.clone()
    }
}

/// Whether the file lies on a local file system, which tells of every change.
fn is_sure(path: &Path) -> bool {
    /// ext2 to ext4, XFS, Btrfs, tmpfs, F2FS, ZFS, bcachefs: the numbers of statfs(2).
    const LOCAL: [u32; 7] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0xf2f5_2010,
        0x2fc1_2fc1,
        0xca45_1a4e,
    ];
    rustix::fs::statfs(path).is_ok_and(|fs| LOCAL.contains(&(fs.f_type as u32)))
}
