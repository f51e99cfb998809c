//! The write-ahead log as seen from outside: how large it gets, and how much went through it.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Bytes of a frame's header in the log.
pub const FRAME_HEADER: u64 = 24;

/// `PATH-SUFFIX`, as SQLite names the files beside a database.
pub fn beside(db: &Path, suffix: &str) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Counts the frames that commits add, from the header of the shared memory.
///
/// Never closes the file: that would release the locks that SQLite holds on it in this process.
pub struct WalMeter {
    shm: ManuallyDrop<File>,
    salts: [u8; 8],
    frames: u32,
    page_size: u64,
    bytes: u64,
}

impl WalMeter {
    /// Of a database that is open in this process and in WAL mode.
    pub fn new(db: &Path, page_size: u64) -> Result<WalMeter> {
        let path = beside(db, "-shm");
        let shm = File::open(&path).with_context(|| format!("{}", path.display()))?;
        let mut meter = WalMeter {
            shm: ManuallyDrop::new(shm),
            salts: [0; 8],
            frames: 0,
            page_size,
            bytes: 0,
        };
        meter.after_commit()?;
        meter.bytes = 0;
        Ok(meter)
    }

    /// To be called after every commit of the only writer.
    pub fn after_commit(&mut self) -> Result<()> {
        let mut header = [0; 48];
        self.shm.read_exact_at(&mut header, 0)?;
        let Some((frames, salts)) = header[16..20]
            .first_chunk()
            .zip(header[32..40].first_chunk())
        else {
            bail!("short header");
        };
        let frames = u32::from_ne_bytes(*frames);
        let added = if *salts == self.salts {
            frames.saturating_sub(self.frames)
        } else {
            frames
        };
        self.bytes += u64::from(added) * (self.page_size + FRAME_HEADER);
        (self.salts, self.frames) = (*salts, frames);
        Ok(())
    }

    /// Bytes of frames counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Watches the size of the log file.
pub struct WalWatch {
    done: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl WalWatch {
    /// From now on.
    pub fn start(db: &Path) -> WalWatch {
        let (path, done) = (beside(db, "-wal"), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut max = 0;
            while !flag.load(Ordering::Relaxed) {
                max = max.max(std::fs::metadata(&path).map_or(0, |m| m.len()));
                std::thread::sleep(Duration::from_millis(10));
            }
            max
        });
        WalWatch { done, thread }
    }

    /// The largest size seen, MiB.
    pub fn max_mib(self) -> f64 {
        self.done.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_or(f64::NAN, |max| max as f64 / f64::from(1 << 20))
    }
}
