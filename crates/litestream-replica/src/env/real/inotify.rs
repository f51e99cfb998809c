//! Watching one file through Linux inotify.
//!
//! Promise: no work is done and no event is lost while nobody waits (the kernel gathers them), and the watched
//! file is never opened: a database's POSIX locks would fall with the first close.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::env::{Wake, Watcher};

/// Bytes of events read per wake; what doesn't fit only makes the next wait return at once.
const EVENT_BUFFER_BYTES: usize = 4096;

pub(super) struct Inotify {
    events: OwnedFd,
    bell: Arc<Bell>,
    watched: Option<i32>,
}

struct Bell(OwnedFd);

impl Wake for Bell {
    fn wake(&self) {
        // Can only fail when the counter is full, and then the bell rings already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Inotify {
    pub(super) fn new() -> io::Result<Inotify> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Inotify {
            events,
            bell: Arc::new(Bell(bell)),
            watched: None,
        })
    }

    /// Takes what the kernel gathered; whether any of it concerns the watched file.
    fn drain(&self) -> io::Result<bool> {
        let mut buf = [MaybeUninit::uninit(); EVENT_BUFFER_BYTES];
        let mut reader = Reader::new(&self.events, &mut buf);
        let mut changed = false;
        loop {
            match reader.next() {
                // The kernel dropped events: one of them may have been ours.
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => changed = true,
                // Also the kernel's note that an old watch ended, hence the comparison.
                Ok(event) => changed |= Some(event.wd()) == self.watched,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(changed),
                Err(e) => return Err(e.into()),
            }
            if reader.is_buffer_empty() {
                return Ok(changed);
            }
        }
    }

    fn take_bell(&self) -> bool {
        rustix::io::read(&self.bell.0, &mut [0u8; 8]).is_ok()
    }

    /// Sleeps until either descriptor has something or the time is over.
    fn poll(&self, timeout: Option<Duration>) -> io::Result<()> {
        // Beyond what the system can express is as good as for ever.
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let mut fds = [
            PollFd::new(&self.events, PollFlags::IN),
            PollFd::new(&self.bell.0, PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

impl Watcher for Inotify {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let start = Instant::now();
        loop {
            let left = timeout.map(|t| t.saturating_sub(start.elapsed()));
            self.poll(left)?;
            let rung = self.take_bell();
            if self.drain()? || rung {
                return Ok(true);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
        }
    }

    fn wait_quiet(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let mut fds = [PollFd::new(&self.bell.0, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        self.take_bell();
        Ok(())
    }

    fn set_path(&mut self, path: &Path) -> io::Result<()> {
        // Unlinking an open file shows as ATTRIB only (its link count), hence that flag.
        let mask = WatchFlags::MODIFY
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ATTRIB;
        let new = inotify::add_watch(&self.events, path, mask)?;
        if let Some(old) = self.watched.replace(new)
            && old != new
        {
            // Fails if the old file is gone: then its watch is gone too.
            let _ = inotify::remove_watch(&self.events, old);
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.bell.clone()
    }
}
