//! What to merge into a level.
//!
//! Promise: what is merged begins at or before the end of the level and has no hole, so that the level never claims TXIDs
//! whose files were missing.

use ltx::Txid;

use super::position::position;
use crate::{FileInfo, Level};

/// The files of the level below to merge into one file of the level `into`, given all files of all levels in any order: what
/// ends after the end of that level, as far as it is contiguous. In the order in which [`ltx::merge`] wants them; empty if
/// there is nothing to do, or `into` is no compacted level.
///
/// A file that begins within what the level already has is taken, too: what it holds beyond would be missing otherwise. Where
/// the level below begins only after a hole, it is taken if other files bridge the hole (old files were deleted because there
/// is a snapshot); if not, a file may still be on its way, and nothing is merged until it is there.
pub fn compact_inputs(files: &[FileInfo], into: Level) -> Vec<FileInfo> {
    let below = into.get().checked_sub(1).and_then(Level::new);
    let Some(below) = below.filter(|_| into != Level::SNAPSHOT) else {
        return Vec::new();
    };
    let of = |level| files.iter().filter(move |f| f.level == level);
    let end = of(into).map(|f| f.name.max).max().unwrap_or_default();
    let mut rest: Vec<&FileInfo> = of(below).filter(|f| f.name.max > end).collect();
    rest.sort_unstable_by_key(|f| f.name.min);
    let Some(first) = rest.first().map(|f| f.name.min) else {
        return Vec::new();
    };
    if first <= end.next() {
        return chain(&rest, end);
    }
    if first <= position(files).contiguous.next() {
        return chain(&rest, Txid::new(first.get() - 1));
    }
    Vec::new()
}

/// Always the file that reaches furthest; of those the one that repeats least. `rest` by min TXID.
fn chain(rest: &[&FileInfo], mut end: Txid) -> Vec<FileInfo> {
    let mut rest = rest.iter().copied().peekable();
    let mut best: Option<&FileInfo> = None;
    let mut taken = Vec::new();
    loop {
        while let Some(file) = rest.next_if(|f| f.name.min <= end.next()) {
            let rank = |f: &FileInfo| (f.name.max, f.name.min);
            if best.is_none_or(|best| rank(file) > rank(best)) {
                best = Some(file);
            }
        }
        match best {
            Some(file) if file.name.max > end => {
                end = file.name.max;
                taken.push(*file);
            }
            _ => return taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::plan::tests::file;
    use crate::chain::points::restorable;

    fn inputs(files: &[FileInfo], into: u8) -> Vec<(u64, u64)> {
        compact_inputs(files, Level::new(into).unwrap())
            .iter()
            .map(|f| {
                assert_eq!(f.level.get() + 1, into);
                (f.name.min.get(), f.name.max.get())
            })
            .collect()
    }

    #[test]
    fn what_lies_beyond_the_end_of_the_level() {
        let files = [
            file(0, 4, 4),
            file(0, 3, 3),
            file(1, 1, 2),
            file(0, 2, 2),
            file(0, 5, 5),
            file(2, 1, 1),
        ];
        assert_eq!(inputs(&files, 1), [(3, 3), (4, 4), (5, 5)]);
        assert_eq!(
            inputs(&files, 2),
            [(1, 2)],
            "it begins before the end of level 2"
        );
        assert!(inputs(&files, 3) == [(1, 1)]);
        assert!(inputs(&files, 4).is_empty());
    }

    #[test]
    fn levels_that_are_not_compacted() {
        let files = [file(0, 1, 1), file(8, 1, 1)];
        assert!(inputs(&files, 0).is_empty());
        assert!(inputs(&files, 9).is_empty());
    }

    #[test]
    fn k01_stops_at_a_hole_and_waits_for_the_missing_file() {
        let mut files = vec![file(1, 1, 2), file(0, 3, 3), file(0, 5, 5), file(0, 6, 6)];
        assert_eq!(inputs(&files, 1), [(3, 3)]);
        files.push(file(1, 3, 3));
        assert!(inputs(&files, 1).is_empty());
        let mut found = files.clone();
        found.push(file(0, 4, 4));
        assert_eq!(inputs(&found, 1), [(4, 4), (5, 5), (6, 6)]);
        files.push(file(9, 1, 5));
        assert_eq!(
            inputs(&files, 1),
            [(5, 5), (6, 6)],
            "a snapshot bridges the hole"
        );
    }

    #[test]
    fn k03_a_file_that_spans_the_end_of_the_level_is_taken() {
        let files = [
            file(2, 1, 10),
            file(1, 8, 12),
            file(1, 13, 15),
            file(1, 5, 10),
        ];
        assert_eq!(inputs(&files, 2), [(8, 12), (13, 15)]);
        let files = [
            file(1, 1, 10),
            file(1, 4, 10),
            file(1, 11, 15),
            file(1, 9, 15),
            file(2, 1, 3),
        ];
        assert_eq!(
            inputs(&files, 2),
            [(4, 10), (11, 15)],
            "of equals the one that repeats least"
        );
    }

    #[test]
    fn extreme_txids() {
        let files = [
            file(0, u64::MAX, u64::MAX),
            file(0, u64::MAX - 1, u64::MAX - 1),
            file(9, 1, u64::MAX - 2),
        ];
        assert_eq!(
            inputs(&files, 1),
            [(u64::MAX - 1, u64::MAX - 1), (u64::MAX, u64::MAX)]
        );
    }

    proptest! {
        #[test]
        fn the_merged_file_stands_for_its_inputs(
            raw in prop::collection::vec((prop::sample::select(vec![0u8, 0, 1, 2, 9]), 1..20u64, 0..4u64), 0..25),
            into in 1..4u8,
        ) {
            let files: Vec<FileInfo> = raw
                .iter()
                .map(|&(level, min, more)| file(level, if level == 9 { 1 } else { min }, min + more))
                .collect();
            let taken = inputs(&files, into);
            // What `ltx::merge` demands.
            for pair in taken.windows(2) {
                prop_assert!(pair[1].0 <= pair[0].1 + 1 && pair[1].1 > pair[0].1);
            }
            if let (Some(first), Some(last)) = (taken.first(), taken.last()) {
                let end = files.iter().filter(|f| f.level.get() == into).map(|f| f.name.max.get()).max().unwrap_or(0);
                prop_assert!(last.1 > end);
                let mut after = files.clone();
                after.push(file(into, first.0, last.1));
                prop_assert_eq!(restorable(&after), restorable(&files), "no point is invented");
                prop_assert!(inputs(&after, into).is_empty() || last.1 < 30);
            }
        }
    }
}
