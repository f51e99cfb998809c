//! What names alone tell: holes, overlaps, a replica that does not reach as far as it should.
//!
//! Every file of level 0 to 8 was made where the state before it could be restored. Retention deletes, with a snapshot, what ends before
//! it in the compacted levels, but for the newest file of each; and of level 0 what level 1 holds. So either all files stand on states that
//! can still be restored, or they did when a snapshot was there that is gone: [`Ground`] looks for one that explains it. Litestream itself
//! trims level 0 amid a compacted file: `foreign` allows that.
//!
//! Promise: pure.

use std::collections::BTreeMap;

use litestream_replica::chain::points::restorable;
use litestream_replica::chain::position::position;
use litestream_replica::env::UnixMillis;
use litestream_replica::{FileInfo, Level};
use ltx::{FileName, Txid};

use super::report::{Finding, Kind};

/// What the files of all levels, in any order, show. `foreign`: level 0 may have been trimmed by Litestream.
pub(super) fn examine(files: &[FileInfo], foreign: bool) -> Vec<Finding> {
    let points = restorable(files);
    let mut found = Vec::new();
    if points.is_empty() {
        if let Some(first) = files.iter().min_by_key(|f| (f.name.min, f.level)) {
            let what = format!(
                "no file holds the whole database: the first TXID is {}",
                first.name.min
            );
            found.push(Finding::new(Kind::NoBase, Some(first), what));
        }
        return found;
    }
    let levels = by_level(files);
    found.extend(missing_levels(&levels));
    found.extend(holes(files, &levels, points, foreign));
    found.extend(levels.values().filter_map(|files| overlaps(files)));
    let at = position(files);
    if at.has_gap() && !found.iter().any(|f| f.kind == Kind::Hole) {
        let what = format!(
            "files reach up to TXID {}, but nothing leads there from {}",
            at.highest, at.contiguous
        );
        let top = files.iter().max_by_key(|f| f.name.max);
        found.push(Finding::new(Kind::Hole, top, what));
    }
    found
}

/// The files of level 0 to 8 by level, then first and last TXID.
type Levels = BTreeMap<Level, Vec<FileInfo>>;

fn by_level(files: &[FileInfo]) -> Levels {
    let mut levels = Levels::new();
    for file in files.iter().filter(|f| f.level != Level::SNAPSHOT) {
        levels.entry(file.level).or_default().push(*file);
    }
    for files in levels.values_mut() {
        files.sort_unstable_by_key(|f| (f.name.min, f.name.max));
    }
    levels
}

fn end(levels: &Levels, level: u8) -> Txid {
    let files = Level::new(level).and_then(|level| levels.get(&level));
    let ends = files.into_iter().flatten().map(|f| f.name.max);
    ends.max().unwrap_or_default()
}

/// A compacted level is made of the one below, whose newest file always stays.
fn missing_levels(levels: &Levels) -> Vec<Finding> {
    let mut found = Vec::new();
    for level in 1..8 {
        let (here, above) = (end(levels, level), end(levels, level + 1));
        if here < above {
            let what = format!(
                "it ends with TXID {here}, but level {}, which is made of it, with {above}",
                level + 1
            );
            let mut finding = Finding::new(Kind::Hole, None, what);
            finding.level = Level::new(level);
            found.push(finding);
        }
    }
    found
}

/// The holes, as few as a deleted snapshot can explain.
fn holes(files: &[FileInfo], levels: &Levels, points: Vec<Txid>, foreign: bool) -> Vec<Finding> {
    let mut ground = Ground {
        levels,
        points: points.clone(),
        real: points,
        deleted: Txid::ZERO,
        foreign,
    };
    let mut fewest = ground.holes();
    let snapshots = files.iter().filter(|f| f.level == Level::SNAPSHOT);
    let Some(oldest) = snapshots.map(|f| f.name.max).min() else {
        return fewest;
    };
    // Where one that matters may have ended: where the first files of the levels begin or end.
    let first = levels.values().flat_map(|files| files.iter().take(2));
    let mut ends: Vec<Txid> = first
        .flat_map(|f| [Txid::new(f.name.min.get() - 1), f.name.max])
        .filter(|end| !end.is_zero() && *end < oldest)
        .collect();
    ends.sort_unstable();
    ends.dedup();
    for deleted in ends {
        if fewest.is_empty() {
            break;
        }
        let virtual_one = FileInfo {
            level: Level::SNAPSHOT,
            name: FileName::new(Txid::new(1), deleted),
            size: 0,
            created: UnixMillis::default(),
        };
        let mut with = files.to_vec();
        with.push(virtual_one);
        ground.points = restorable(&with);
        ground.deleted = deleted;
        if ground.is_possible() {
            let found = ground.holes();
            if found.len() < fewest.len() {
                fewest = found;
            }
        }
    }
    fewest
}

/// What files stand on, or stood on when a snapshot was there that is deleted.
struct Ground<'a> {
    levels: &'a Levels,
    points: Vec<Txid>,
    /// Those that can be restored.
    real: Vec<Txid>,
    /// Its end; zero if it is about the files that are there.
    deleted: Txid,
    foreign: bool,
}

impl Ground<'_> {
    /// What ended before the snapshot went with it, but for the newest file of each level.
    fn is_possible(&self) -> bool {
        let compacted = self.levels.iter().filter(|(level, _)| **level != Level::L0);
        let below = |files: &[FileInfo]| files.iter().filter(|f| f.name.max < self.deleted).count();
        compacted.into_iter().all(|(_, files)| below(files) <= 1)
    }

    /// Files that stand on nothing. Of a run of them only the first is told of.
    fn holes(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for (level, files) in self.levels {
            let mut end: Option<Txid> = None;
            for file in files {
                let continues = end.is_some_and(|end| file.name.min <= end.next());
                if !continues && !self.stands(*level, file, end.is_none()) {
                    let before = Txid::new(file.name.min.get() - 1);
                    let below = self.points.partition_point(|p| *p < before);
                    let after = self.points[..below].last();
                    let from = end.or(after.copied()).unwrap_or_default();
                    let what = format!(
                        "TXIDs {} to {before} are missing before it, and nothing else leads there",
                        from.next()
                    );
                    found.push(Finding::new(Kind::Hole, Some(file), what));
                }
                end = end.max(Some(file.name.max));
            }
        }
        found
    }

    /// Whether a file that does not continue the one before it in its level has, or had, something to stand on.
    fn stands(&self, level: Level, file: &FileInfo, is_first: bool) -> bool {
        let before = Txid::new(file.name.min.get() - 1);
        if before.is_zero() || self.real.binary_search(&before).is_ok() {
            return true;
        }
        let compacted = end(self.levels, 1);
        // Level 0 goes from its old end on, as far as level 1 holds it, and so nothing is missing in the middle of level 1.
        let cut = match level.get() {
            0 => is_first && (before <= compacted || compacted.is_zero()),
            1 => is_first,
            _ => true,
        };
        let had = before < self.deleted || self.points.binary_search(&before).is_ok();
        let foreign = self.foreign && level == Level::L0 && !compacted.is_zero();
        cut && (had || foreign)
    }
}

/// Two files of a level that share TXIDs, once per level.
fn overlaps(files: &[FileInfo]) -> Option<Finding> {
    let mut end = files.first()?;
    for file in &files[1..] {
        if file.name.min <= end.name.max {
            let what = format!("it holds TXIDs that {} holds, too", end.name);
            return Some(Finding::new(Kind::Overlap, Some(file), what));
        }
        if file.name.max > end.name.max {
            end = file;
        }
    }
    None
}

/// Whether the replica falls short of what was there before, or should be there.
pub(super) fn went_back(at: Txid, expected: Option<Txid>, proved: Option<Txid>) -> Option<Finding> {
    let what = match (expected, proved) {
        (Some(expected), _) if at < expected => {
            format!("it should reach TXID {expected}, but ends with {at}")
        }
        (_, Some(proved)) if at < proved => {
            format!("it reached TXID {proved} when it was last verified, but now ends with {at}")
        }
        _ => return None,
    };
    Some(Finding::new(Kind::WentBack, None, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(level: u8, min: u64, max: u64) -> FileInfo {
        FileInfo {
            level: Level::new(level).unwrap(),
            name: FileName::new(Txid::new(min), Txid::new(max)),
            size: 1000,
            created: litestream_replica::env::UnixMillis(max as i64),
        }
    }

    fn kinds(files: &[FileInfo], foreign: bool) -> Vec<(Kind, u64)> {
        let found = examine(files, foreign).into_iter();
        found
            .map(|f| (f.kind, f.file.map_or(0, |n| n.min.get())))
            .collect()
    }

    #[test]
    fn what_retention_leaves_is_whole() {
        let files = [
            file(9, 1, 30),
            file(9, 1, 60),
            file(3, 1, 40),
            file(2, 21, 40),
            file(1, 21, 40),
            file(1, 41, 50),
            file(0, 41, 45),
            file(0, 46, 50),
            file(0, 51, 60),
        ];
        assert_eq!(kinds(&files, false), []);
        let begins = [file(1, 1, 4), file(0, 2, 2), file(0, 3, 4)];
        assert_eq!(kinds(&begins, false), [(Kind::Hole, 2)], "TXID 1 is gone");
        let first = [
            file(1, 1, 1),
            file(1, 2, 10),
            file(0, 9, 10),
            file(0, 11, 11),
        ];
        assert_eq!(kinds(&first, false), [(Kind::Hole, 9)], "9 amid 2 to 10");
        assert_eq!(kinds(&first, true), [], "as Litestream leaves it");
    }

    #[test]
    fn a_file_that_is_missing() {
        let all = [file(0, 1, 1), file(0, 2, 2), file(0, 3, 3), file(0, 4, 4)];
        assert_eq!(kinds(&all, false), []);
        assert_eq!(kinds(&all[1..], false), [(Kind::NoBase, 2)]);
        let hole = [all[0], all[1], all[3]];
        assert_eq!(kinds(&hole, false), [(Kind::Hole, 4)]);
        assert_eq!(kinds(&hole, true), [(Kind::Hole, 4)]);
        let bridged = [all[0], all[1], all[3], file(1, 3, 4)];
        assert_eq!(
            kinds(&bridged, false),
            [(Kind::Hole, 4)],
            "3 can't be restored"
        );
        let covered = [all[0], all[1], all[3], file(1, 3, 3)];
        assert_eq!(kinds(&covered, false), [], "level 1 has it");
    }

    #[test]
    fn overlaps_are_told_of_once() {
        let files = [file(0, 1, 3), file(0, 2, 4), file(0, 3, 5)];
        assert_eq!(kinds(&files, false), [(Kind::Overlap, 2)]);
    }

    #[test]
    fn what_should_be_reached() {
        let txid = Txid::new;
        assert!(went_back(txid(5), Some(txid(5)), Some(txid(4))).is_none());
        assert!(went_back(txid(5), Some(txid(6)), None).is_some());
        assert!(went_back(txid(5), None, Some(txid(6))).is_some());
    }
}
