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
    /// The machine was not started since: what was written then is still there, and SQLite's counters were not reset by that.
    pub same_boot: bool,
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
    /// SQLite's change counter stands where the commits now in the WAL would have brought it from the cursor.
    pub changes_agree: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Frames from here on continue the last file.
    Continue(Cursor),
    /// They don't, or it can't be proved: write every page.
    Full(FullReason),
}

/// Why the WAL alone can't say what to write: all pages that differ from the last file, if they can be told, else every page.
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
    /// The database holds other pages than were captured.
    ContentDiffers,
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
            FullReason::ContentDiffers => "database was changed by something else than SQLite",
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
        // Nothing was in the WAL. All since is still in it unless a checkpoint wrote the database file. But after a power failure
        // an older WAL may be back.
        let all_there = now.backfilled == 0 && last.database_unchanged;
        return if all_there && (last.same_boot || now.salts == cursor.salts) {
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
        // After a power failure a frame may still lie in the file although one before it was lost, and it with that.
        _ if !last.same_boot => Decision::Full(FullReason::WalRestarted),
        Evidence::NothingMissed => Decision::Continue(cursor),
        Evidence::EndOfFile if now.changes_agree => Decision::Continue(cursor),
        Evidence::EndOfFile | Evidence::None => Decision::Full(FullReason::WalRestarted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::ByteOrder;

    const CHECKSUM: WalChecksum = WalChecksum(7, 8);

    fn cursor(frames: u32) -> Cursor {
        let page_size = PageSize::new(4096).expect("valid");
        Cursor {
            salts: Salts(10, 99),
            order: ByteOrder::Little,
            page_size,
            frames,
            checksum: CHECKSUM,
        }
    }

    fn last(frames: u32) -> LastFile {
        let cursor = cursor(frames);
        LastFile {
            page_size: cursor.page_size,
            cursor: Some(cursor),
            database_unchanged: false,
            same_boot: true,
        }
    }

    fn view(salts: Salts, frames: u32) -> WalView {
        WalView {
            page_size: PageSize::new(4096).expect("valid"),
            salts,
            frames,
            backfilled: 0,
            stored: Some(CHECKSUM),
            evidence: Evidence::None,
            changes_agree: false,
        }
    }

    #[test]
    fn the_same_generation_continues_if_the_last_frame_is_the_one_read() {
        let same = view(Salts(10, 99), 5);
        assert_eq!(decide(Some(&last(5)), &same), Decision::Continue(cursor(5)));
        assert_eq!(decide(Some(&last(4)), &same), Decision::Continue(cursor(4)));
        assert_eq!(
            decide(Some(&last(6)), &same),
            Decision::Full(FullReason::WalShorter)
        );
        let other = WalView {
            stored: Some(WalChecksum(7, 9)),
            ..same
        };
        assert_eq!(
            decide(Some(&last(5)), &other),
            Decision::Full(FullReason::PositionLost)
        );
        assert_eq!(
            decide(
                Some(&last(5)),
                &WalView {
                    stored: None,
                    ..same
                }
            ),
            Decision::Full(FullReason::PositionLost)
        );
    }

    #[test]
    fn another_generation_continues_only_with_evidence() {
        let next = view(Salts(11, 5), 2);
        assert_eq!(
            decide(Some(&last(5)), &next),
            Decision::Full(FullReason::WalRestarted)
        );
        let proved = WalView {
            evidence: Evidence::NothingMissed,
            ..next
        };
        assert_eq!(
            decide(Some(&last(5)), &proved),
            Decision::Continue(cursor(5))
        );
    }

    #[test]
    fn after_a_power_failure_a_frame_in_the_file_proves_nothing_of_a_generation_that_followed() {
        let rebooted = LastFile {
            same_boot: false,
            ..last(5)
        };
        let next = WalView {
            evidence: Evidence::NothingMissed,
            ..view(Salts(11, 5), 2)
        };
        assert_eq!(
            decide(Some(&rebooted), &next),
            Decision::Full(FullReason::WalRestarted)
        );
    }

    #[test]
    fn an_empty_wal_continues_only_if_no_checkpoint_wrote_the_database() {
        let grown = view(Salts(77, 5), 9);
        let unchanged = LastFile {
            database_unchanged: true,
            same_boot: true,
            ..last(0)
        };
        assert_eq!(
            decide(Some(&unchanged), &grown),
            Decision::Continue(cursor(0))
        );
        assert_eq!(
            decide(Some(&last(0)), &grown),
            Decision::Full(FullReason::WalRestarted)
        );
        let partly = WalView {
            backfilled: 1,
            ..grown
        };
        assert_eq!(
            decide(Some(&unchanged), &partly),
            Decision::Full(FullReason::WalRestarted)
        );
    }

    #[test]
    fn without_a_comparable_file_everything_is_written() {
        let now = view(Salts(10, 99), 5);
        assert_eq!(
            decide(None, &now),
            Decision::Full(FullReason::NothingStaged)
        );
        let larger = WalView {
            page_size: PageSize::new(8192).expect("valid"),
            ..now
        };
        assert_eq!(
            decide(Some(&last(5)), &larger),
            Decision::Full(FullReason::PageSizeChanged)
        );
        let lost = LastFile {
            cursor: None,
            ..last(5)
        };
        assert_eq!(
            decide(Some(&lost), &now),
            Decision::Full(FullReason::PositionLost)
        );
    }
}
