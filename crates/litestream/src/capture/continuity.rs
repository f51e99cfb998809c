//! Can the WAL as it is now continue the last staged file? A pure decision.

use ltx::PageSize;

use crate::wal::{Cursor, Evidence, Salts, WalChecksum};

/// The last staged file, as far as the decision needs it.
#[derive(Clone, Copy, Debug)]
pub struct LastFile {
    /// Page size of the database when it was written.
    pub page_size: PageSize,
    /// Where in the WAL it ended; `None` if that can't be told any more.
    pub cursor: Option<Cursor>,
    /// The database file is the one, and as it was, when that file was written.
    pub database_unchanged: bool,
}

/// The WAL now, under the guard.
#[derive(Clone, Copy, Debug)]
pub struct WalView {
    /// Page size of the database.
    pub page_size: PageSize,
    /// Generation.
    pub salts: Salts,
    /// Committed frames.
    pub frames: u32,
    /// Frames in the database file.
    pub backfilled: u32,
    /// The checksum stored where the cursor ended, if that frame is of the cursor's generation.
    pub stored: Option<WalChecksum>,
    /// What the file still tells about the cursor's generation, if that has been restarted.
    pub evidence: Evidence,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Frames from here on continue the last file.
    Continue(Cursor),
    /// They don't, or it can't be proved: write every page.
    Full(FullReason),
}

/// Why every page must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullReason {
    /// There is no staged file.
    NothingStaged,
    /// The replica holds later transactions than the local files.
    ReplicaAhead,
    /// The page size changed.
    PageSizeChanged,
    /// The last file does not say where in the WAL it ended, or that frame is gone.
    PositionLost,
    /// The WAL was restarted while nobody watched, and what it held can't be proved to have been captured.
    WalRestarted,
    /// The WAL is shorter than what was captured of it: the machine lost power, or the file was replaced.
    WalShorter,
    /// Another file took the database's place.
    DatabaseReplaced,
    /// The WAL changed while it was read.
    WalChanged,
}

impl std::fmt::Display for FullReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FullReason::NothingStaged => "no local ltx file to continue from",
            FullReason::ReplicaAhead => "replica is ahead of local files",
            FullReason::PageSizeChanged => "page size changed",
            FullReason::PositionLost => "last position not found in wal",
            FullReason::WalRestarted => "wal was restarted while not watched",
            FullReason::WalShorter => "wal is shorter than last position",
            FullReason::DatabaseReplaced => "database file was replaced",
            FullReason::WalChanged => "wal changed while it was read",
        })
    }
}

/// Decides. Sound because frames of one generation are only appended, and a generation ends by a restart only.
pub fn decide(last: Option<&LastFile>, now: &WalView) -> Decision {
    let Some(last) = last else {
        return Decision::Full(FullReason::NothingStaged);
    };
    if last.page_size != now.page_size {
        return Decision::Full(FullReason::PageSizeChanged);
    }
    let Some(cursor) = last.cursor else {
        return Decision::Full(FullReason::PositionLost);
    };
    if cursor.frames == 0 {
        // Nothing was in the WAL. All since is still in it unless a checkpoint wrote the database file.
        let all_there = now.backfilled == 0 && last.database_unchanged;
        return if all_there {
            Decision::Continue(cursor)
        } else {
            Decision::Full(FullReason::WalRestarted)
        };
    }
    if now.salts == cursor.salts {
        return if now.frames < cursor.frames {
            Decision::Full(FullReason::WalShorter)
        } else if now.stored == Some(cursor.checksum) {
            Decision::Continue(cursor)
        } else {
            Decision::Full(FullReason::PositionLost)
        };
    }
    match now.evidence {
        Evidence::NothingMissed => Decision::Continue(cursor),
        Evidence::None => Decision::Full(FullReason::WalRestarted),
    }
}
