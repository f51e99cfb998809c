//! What can go wrong on the way back, in words that name the file, the page where there is one, and the way out.

use std::io;
use std::path::PathBuf;

use litestream_replica::FileInfo;
use litestream_replica::env::UnixMillis;
use ltx::{PageNo, Txid};

use super::v3::V3Error;

/// Why a restore did not happen. Whatever it says, the output is as it was before, but for [`RestoreError::NotDurable`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is nothing to restore, or no chain of files reaches the target.
    #[error("no matching backup files available")]
    NoBackup,
    /// The chain has a hole.
    #[error(
        "cannot calc restore plan: non-contiguous ltx files: have up to {have} but next file starts at {next}"
    )]
    NonContiguous {
        /// The last TXID that can be reached.
        have: Txid,
        /// Where the files go on.
        next: Txid,
    },
    /// The output is a directory.
    #[error("cannot restore, output path is a directory: {}", .0.display())]
    OutputIsDirectory(PathBuf),
    /// The output is a FIFO, a socket or a device.
    #[error("cannot restore, output path is not a regular file but a FIFO, socket or device: {}", .0.display())]
    OutputNotRegular(PathBuf),
    /// The output is a symbolic link that leads nowhere.
    #[error("cannot restore, output path is a symbolic link to a file that does not exist: {}. Remove the link or name its target", .0.display())]
    OutputDangling(PathBuf),
    /// There is a database at the output already.
    #[error("cannot restore, output path already exists and is not empty: {}. Use -force to overwrite", .0.display())]
    OutputExists(PathBuf),
    /// Somebody works with the database at the output.
    #[error("cannot restore, output database is in use by another process: {}. Stop it first", .0.display())]
    OutputInUse(PathBuf),
    /// A file that SQLite would take as part of the restored database.
    #[error("cannot restore, SQLite sidecar path already exists: {}. Use -force to overwrite", .0.display())]
    SidecarExists(PathBuf),
    /// The output cannot be looked at.
    #[error("cannot access output path: {}: {source}", path.display())]
    OutputAccess {
        /// What was looked at.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The folder of the output cannot be made.
    #[error("create parent directory: {}: {source}", path.display())]
    CreateParent {
        /// The folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Output {
        /// `write`, `sync`, …
        action: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The new database is in place and whole, but its name may not outlive a power failure.
    #[error("restored {}, but its folder could not be synced to the disk ({source}): after a power failure the old state may be back; check the disk and restore again, or run sync", path.display())]
    NotDurable {
        /// The output.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Our temporary file has gone: a newer restore to the same output removes those of older ones.
    #[error("cannot restore, the temporary file {} was removed meanwhile; is another restore to the same output running?", .0.display())]
    TemporaryGone(PathBuf),
    /// A file that cannot even hold a header.
    #[error("invalid ltx file: level={} min={} max={} has size {} bytes (minimum {})", .0.level, .0.name.min, .0.name.max, .0.size, ltx::HEADER_SIZE)]
    TooSmall(FileInfo),
    /// A planned file is no longer there, although the restore was planned again several times.
    #[error("ltx file is gone: {}: it is listed, but cannot be read", name(.0))]
    Gone(FileInfo),
    /// A file's length is not the listed one.
    #[error("ltx file has another length than listed: {}: expected {} bytes, got {actual}", name(.file), .file.size)]
    Length {
        /// The file, with the listed size.
        file: FileInfo,
        /// What was found.
        actual: u64,
    },
    /// Files were made at the time to restore to or later, which the search for it did not see because a clock was set back.
    #[error("ltx file is from after the time to restore to: {}", late_name(.0))]
    Late(Vec<(FileInfo, UnixMillis)>),
    /// The newest file listed now ends before the one that was listed a moment ago.
    #[error(
        "the replica lists an older state than before: up to {now} after {before}; its listings are not consistent, try again later"
    )]
    WentBack {
        /// Up to where it reached.
        before: Txid,
        /// Up to where it reaches now.
        now: Txid,
    },
    /// LTX files or objects of 0.3 that were the newest a moment ago are not listed now, and what is listed is older.
    #[error(
        "the replica no longer lists the {0} that held its newest state a moment ago; its listings are not consistent, try again later"
    )]
    Vanished(&'static str),
    /// The content is not what the format demands.
    #[error("decode database: {}: {source}", name(.file))]
    Damaged {
        /// The file.
        file: FileInfo,
        /// What is wrong, and with which page.
        source: ltx::Error,
    },
    /// The parts of a file, or two files, contradict each other.
    #[error("decode database: {}: {what}", name(.file))]
    Mismatch {
        /// The file.
        file: FileInfo,
        /// The contradiction.
        what: String,
    },
    /// No file of the chain holds this page.
    #[error(
        "decode database: page {page} of {pages} is in none of the {files} files up to TXID {txid}"
    )]
    PageMissing {
        /// The page.
        page: PageNo,
        /// Size of the database in pages.
        pages: u32,
        /// Length of the chain.
        files: usize,
        /// The end of the chain.
        txid: Txid,
    },
    /// The database is not the one the newest file was written from.
    #[error("decode database: the restored database has checksum {actual:016x}, but {} demands {expected:016x}", name(.file))]
    DatabaseChecksum {
        /// The newest file.
        file: FileInfo,
        /// What it says.
        expected: u64,
        /// What came out.
        actual: u64,
    },
    /// A file was made for another database than the files before it give, or gives another than it says.
    #[error("decode database: {}: {what}", name(.file))]
    BrokenChain {
        /// The first file that does not fit.
        file: FileInfo,
        /// The contradiction.
        what: String,
    },
    /// A file is damaged, and no others lead to the same state.
    #[error("{error}; {}", way_out(*.good))]
    NoOtherWay {
        /// What is wrong with the file.
        error: Box<RestoreError>,
        /// The newest state before that can be restored without it, as far as names tell.
        good: Option<Txid>,
    },
    /// A file of a local replica cannot be read.
    #[error("cannot read {}: {}: {source}", name(.file), path.display())]
    Read {
        /// The file.
        file: FileInfo,
        /// Where it lies.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The replica failed while a file was read.
    #[error("cannot read {}: {source}", name(.file))]
    Fetch {
        /// The file.
        file: FileInfo,
        /// Why it failed.
        source: litestream_replica::Error,
    },
    /// A backup of Litestream 0.3 is not whole, or could not be read.
    #[error(transparent)]
    V3(#[from] V3Error),
    /// The replica could not be listed.
    #[error("cannot calc restore plan: {0}")]
    Replica(#[from] litestream_replica::Error),
    /// SQLite finds fault with the restored database.
    #[error("post-restore integrity check: integrity check failed: {0}")]
    Integrity(String),
    /// A thread could not be started or did not survive.
    #[error("restore thread: {0}")]
    Thread(io::Error),
    /// The restore was given up by its caller.
    #[error("restore cancelled")]
    Cancelled,
}

impl RestoreError {
    /// Planning again may help: the replica is not what was listed.
    pub(crate) fn plan_is_stale(&self) -> bool {
        matches!(
            self,
            RestoreError::Gone(_)
                | RestoreError::Length { .. }
                | RestoreError::WentBack { .. }
                | RestoreError::Vanished(_)
                | RestoreError::V3(V3Error::Changed { .. })
        )
    }

    /// Another replica may do better: what is wrong is in this one.
    pub fn is_of_replica(&self) -> bool {
        match self {
            RestoreError::NoBackup
            | RestoreError::NonContiguous { .. }
            | RestoreError::TooSmall(_)
            | RestoreError::Gone(_)
            | RestoreError::Length { .. }
            | RestoreError::Late(_)
            | RestoreError::WentBack { .. }
            | RestoreError::Vanished(_)
            | RestoreError::Damaged { .. }
            | RestoreError::Mismatch { .. }
            | RestoreError::PageMissing { .. }
            | RestoreError::DatabaseChecksum { .. }
            | RestoreError::BrokenChain { .. }
            | RestoreError::NoOtherWay { .. }
            | RestoreError::Read { .. }
            | RestoreError::Fetch { .. }
            | RestoreError::V3(
                V3Error::Unreadable { .. }
                | V3Error::NoSnapshot { .. }
                | V3Error::Missing { .. }
                | V3Error::Overlap { .. }
                | V3Error::Damaged { .. }
                | V3Error::Changed { .. }
                | V3Error::Fetch { .. },
            )
            | RestoreError::Replica(_)
            | RestoreError::Integrity(_) => true,
            RestoreError::OutputIsDirectory(_)
            | RestoreError::OutputNotRegular(_)
            | RestoreError::OutputDangling(_)
            | RestoreError::OutputExists(_)
            | RestoreError::OutputInUse(_)
            | RestoreError::SidecarExists(_)
            | RestoreError::OutputAccess { .. }
            | RestoreError::CreateParent { .. }
            | RestoreError::Output { .. }
            | RestoreError::NotDurable { .. }
            | RestoreError::TemporaryGone(_)
            | RestoreError::Thread(_)
            | RestoreError::Cancelled => false,
        }
    }

    /// What was read of the replica is not what was written, or can't be read any more: other files may do without it.
    pub(crate) fn is_damage(&self) -> bool {
        self.damaged_file().is_some()
    }

    /// The file that is damaged.
    pub(crate) fn damaged_file(&self) -> Option<FileInfo> {
        match self {
            RestoreError::TooSmall(file)
            | RestoreError::Damaged { file, .. }
            | RestoreError::Mismatch { file, .. }
            | RestoreError::DatabaseChecksum { file, .. }
            | RestoreError::BrokenChain { file, .. } => Some(*file),
            RestoreError::Read { file, source, .. }
                if source.kind() != io::ErrorKind::PermissionDenied =>
            {
                Some(*file)
            }
            RestoreError::Fetch { file, source } if source.is_corrupt() => Some(*file),
            _ => None,
        }
    }

    /// There is no backup, as opposed to one that cannot be reached or read.
    pub fn is_no_backup(&self) -> bool {
        matches!(self, RestoreError::NoBackup)
    }

    pub(crate) fn mismatch(file: FileInfo, what: impl Into<String>) -> RestoreError {
        RestoreError::Mismatch {
            file,
            what: what.into(),
        }
    }

    pub(crate) fn damaged(file: FileInfo) -> impl FnOnce(ltx::Error) -> RestoreError {
        move |source| RestoreError::Damaged { file, source }
    }

    pub(crate) fn output(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> RestoreError {
        let path = path.into();
        move |source| RestoreError::Output {
            action,
            path,
            source,
        }
    }
}

fn way_out(good: Option<Txid>) -> String {
    match good {
        Some(txid) => format!(
            "no other files lead to the same state, the newest one before that can be restored is that of TXID {txid} (restore -txid {txid})"
        ),
        None => "and nothing can be restored without it".to_owned(),
    }
}

fn late_name(late: &[(FileInfo, UnixMillis)]) -> String {
    late.first()
        .map_or_else(String::new, |(file, _)| name(file))
}

/// `level 0 0000000000000001-0000000000000001.ltx`.
fn name(file: &FileInfo) -> String {
    format!("level {} {}", file.level, file.name)
}
