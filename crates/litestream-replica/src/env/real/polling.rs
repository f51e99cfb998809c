//! Watching files by looking at its metadata, for systems without inotify.
//!
//! Promise: the file is never opened, and is looked at only while somebody waits.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::env::{Wake, Watcher};

const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Identity, length and time in nanoseconds: differs after any write that the file system records.
type Seen = (u64, u64, u64, i64, i64);

pub(super) struct Polling {
    watched: Vec<(PathBuf, Option<Seen>)>,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rung.lock() = true;
        self.changed.notify_all();
    }
}

fn look(path: &Path) -> io::Result<Option<Seen>> {
    match fs::metadata(path) {
        Ok(m) => Ok(Some((m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

impl Polling {
    pub(super) fn new() -> Polling {
        Polling {
            watched: Vec::new(),
            bell: Arc::default(),
        }
    }

    fn changed(&mut self) -> io::Result<bool> {
        let mut changed = false;
        for (path, seen) in &mut self.watched {
            let now = look(path)?;
            changed |= std::mem::replace(seen, now) != now;
        }
        Ok(changed)
    }
}

#[async_trait::async_trait]
impl Watcher for Polling {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let start = Instant::now();
        loop {
            let changed = self.changed()?;
            let mut rung = self.bell.rung.lock();
            if std::mem::take(&mut *rung) || changed {
                return Ok(true);
            }
            let left = timeout.map_or(LOOK_INTERVAL, |t| t.saturating_sub(start.elapsed()));
            if left.is_zero() {
                return Ok(false);
            }
            self.bell
                .changed
                .wait_for(&mut rung, left.min(LOOK_INTERVAL));
        }
    }

    async fn wait_async(&mut self, timeout: Duration) -> io::Result<bool> {
        let start = Instant::now();
        loop {
            let differs = |(path, seen): &(PathBuf, Option<Seen>)| {
                look(path).map_or(true, |now| now != *seen)
            };
            if std::mem::take(&mut *self.bell.rung.lock()) || self.watched.iter().any(differs) {
                return Ok(true);
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            tokio::time::sleep(left.min(LOOK_INTERVAL)).await;
        }
    }

    fn wait_quiet(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut rung = self.bell.rung.lock();
        if !std::mem::take(&mut *rung) {
            match timeout {
                Some(timeout) => {
                    let _ = self.bell.changed.wait_for(&mut rung, timeout);
                }
                None => self.bell.changed.wait(&mut rung),
            }
            *rung = false;
        }
        Ok(())
    }

    fn set_paths(&mut self, paths: &[&Path]) -> io::Result<()> {
        self.watched = paths
            .iter()
            .map(|path| {
                let seen = look(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
                Ok((path.to_path_buf(), Some(seen)))
            })
            .collect::<io::Result<_>>()?;
        Ok(())
    }

    fn is_sure(&self) -> bool {
        false
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.bell.clone()
    }
}
