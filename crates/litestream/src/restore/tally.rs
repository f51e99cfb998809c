//! What the threads of a restore found out together: progress, and what can only be judged when all files are read.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use litestream_replica::FileInfo;
use litestream_replica::env::UnixMillis;
use ltx::{Checksum, Header};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::error::RestoreError;

/// Bytes read between two tellings of progress: each wakes a task.
const TELL_BYTES: u64 = 1 << 20;

/// What a file says of the database before and after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) info: FileInfo,
    pub(crate) header: Header,
    pub(crate) post_apply: u64,
    /// Some page of the result comes from it.
    pub(crate) used: bool,
}

impl Ends {
    /// Checksum of the database after it, if it says one.
    pub(crate) fn after(&self) -> Option<Checksum> {
        Checksum::from_stored(self.post_apply).or(self.header.chain().after)
    }

    /// And before it.
    pub(crate) fn before(&self) -> Option<Checksum> {
        Checksum::from_stored(self.header.pre_apply_checksum).or(self.header.chain().before)
    }
}

/// Counters and findings, shared by all threads.
pub(crate) struct Tally {
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    verified: AtomicUsize,
    /// XOR of the checksums of all pages written.
    pages: AtomicU64,
    /// By position, newest file first.
    ends: Mutex<Vec<Option<Ends>>>,
    /// Something was counted, or a thread ended.
    pub(crate) changed: Notify,
}

impl Tally {
    pub(crate) fn new(files: usize) -> Tally {
        Tally {
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            verified: AtomicUsize::new(0),
            pages: AtomicU64::new(0),
            ends: Mutex::new(vec![None; files]),
            changed: Notify::new(),
        }
    }

    pub(crate) fn read(&self, bytes: usize) {
        let before = self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
        if before / TELL_BYTES != (before + bytes as u64) / TELL_BYTES {
            self.changed.notify_one();
        }
    }

    pub(crate) fn wrote(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn verified(&self) {
        self.verified.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn pages(&self, xor: u64) {
        self.pages.fetch_xor(xor, Ordering::Relaxed);
    }

    pub(crate) fn ends(&self, at: usize, ends: Ends) {
        self.ends.lock()[at] = Some(ends);
    }

    /// Bytes read, bytes written.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (
            self.bytes_read.load(Ordering::Relaxed),
            self.bytes_written.load(Ordering::Relaxed),
        )
    }

    /// The times in the headers of the files that were read.
    pub(crate) fn times(&self) -> Vec<(FileInfo, UnixMillis)> {
        let ends = self.ends.lock();
        let time = |e: &Ends| (e.info, UnixMillis(e.header.timestamp_ms));
        ends.iter().flatten().map(time).collect()
    }

    /// Checksum of the database, if its pages' were asked for.
    pub(crate) fn checksum(&self) -> Checksum {
        Checksum::from_crc(self.pages.load(Ordering::Relaxed))
    }

    /// To be asked when all threads have ended without an error: whether every file was read to its end, and what the
    /// files say of each other and of the result agrees. `false` if they say nothing of the result.
    pub(crate) fn judge(&self) -> Result<bool, RestoreError> {
        let ends = self.ends.lock();
        let known: Vec<Ends> = ends.iter().copied().flatten().collect();
        let verified = self.verified.load(Ordering::Relaxed);
        assert!(
            known.len() == ends.len() && verified == ends.len(),
            "every file is read to its end: {verified} of {}",
            ends.len()
        );
        check_chain(&known)?;
        let Some((newest, expected)) = known.first().and_then(|e| Some((e, e.after()?))) else {
            return Ok(false);
        };
        let actual = self.pages.load(Ordering::Relaxed) | Checksum::FLAG;
        if actual == expected.get() {
            return Ok(true);
        }
        Err(RestoreError::DatabaseChecksum {
            file: newest.info,
            expected: expected.get(),
            actual,
        })
    }
}

/// Newest first: each file must follow the one before, as far back as anything of the result comes from. What is wrong before that does not show
/// in it: a file that came later holds every page.
fn check_chain(files: &[Ends]) -> Result<(), RestoreError> {
    let used = files.iter().rposition(|file| file.used);
    let matters = files.get(..=used.unwrap_or_default()).unwrap_or_default();
    matters
        .windows(2)
        .try_for_each(|pair| check_adjacent(&pair[0], &pair[1]))
}

/// A file that begins right after another must begin with the database that the other left.
fn check_adjacent(newer: &Ends, older: &Ends) -> Result<(), RestoreError> {
    let adjacent = newer.header.min_txid == older.header.max_txid.next();
    let (before, after) = match (newer.before(), older.after()) {
        (Some(before), Some(after)) if adjacent && before != after => (before.get(), after.get()),
        _ => return Ok(()),
    };
    let what = format!(
        "it applies to a database with checksum {before:016x}, but {} leaves one with {after:016x}",
        older.info.name
    );
    Err(RestoreError::BrokenChain {
        file: newer.info,
        what,
    })
}
