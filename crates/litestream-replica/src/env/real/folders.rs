//! Noticing that something in a folder has come, gone, or been written to its end.
//!
//! What is written on and on is not told: a busy database in a watched folder costs nothing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::env::{FolderEvent, Folders, FoldersSet};

const EVENT_BUFFER_BYTES: usize = 64 << 10;
const STACK_BYTES: usize = 256 << 10;

const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

struct Shared {
    events: OwnedFd,
    end: OwnedFd,
}

pub(super) struct RealFolders {
    shared: Arc<Shared>,
    watched: Mutex<HashMap<PathBuf, i32>>,
}

impl RealFolders {
    pub(super) fn new(tell: FolderEvent) -> io::Result<RealFolders> {
        let shared = Arc::new(Shared {
            events: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            end: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let reads = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("folder events".into())
            .stack_size(STACK_BYTES)
            .spawn(move || reads.run(&*tell))?;
        Ok(RealFolders {
            shared,
            watched: Mutex::default(),
        })
    }
}

impl Shared {
    fn run(&self, tell: &dyn Fn(Option<&OsStr>)) {
        let mut buf = vec![MaybeUninit::uninit(); EVENT_BUFFER_BYTES];
        loop {
            let mut fds = [
                PollFd::new(&self.events, PollFlags::IN),
                PollFd::new(&self.end, PollFlags::IN),
            ];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return, // whoever watches looks from time to time, too
            }
            if !fds[1].revents().is_empty() {
                return;
            }
            let mut reader = Reader::new(&self.events, &mut buf);
            // The queue is empty when reading would block. What the kernel dropped has no name.
            while let Ok(event) = reader.next() {
                let name = event.file_name();
                tell(name.map(|name| OsStr::from_bytes(name.to_bytes())));
            }
        }
    }
}

impl Folders for RealFolders {
    fn set(&self, folders: &[PathBuf]) -> FoldersSet {
        let mut watched = self.watched.lock();
        let mut done = FoldersSet::default();
        let mut now = HashMap::new();
        for folder in folders {
            // Also one that is watched: another folder may have its name by now.
            match inotify::add_watch(&self.shared.events, folder, EVENTS) {
                Ok(watch) => {
                    // Numbers of watches are not used twice.
                    done.has_new |= watched.get(folder) != Some(&watch);
                    now.insert(folder.clone(), watch);
                }
                Err(e) => done.failed.push((folder.clone(), e.into())),
            }
        }
        for old in watched.values() {
            if !now.values().any(|watch| watch == old) {
                let _ = inotify::remove_watch(&self.shared.events, *old); // gone with its folder
            }
        }
        *watched = now;
        done
    }
}

impl Drop for RealFolders {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.shared.end, &1u64.to_ne_bytes());
    }
}
