//! Which TXIDs can be restored.
//!
//! Promise: a TXID is named if and only if [`plan`](super::plan::plan) has a plan for it.

use ltx::Txid;

use crate::{FileInfo, Level};

/// All TXIDs that can be restored, ascending, given all files of all levels in any order.
pub fn restorable(files: &[FileInfo]) -> Vec<Txid> {
    let mut last = Txid::ZERO;
    let mut points = Vec::new();
    for (end, starts) in ends(files) {
        if starts.iter().any(|(min, _)| *min <= last.next()) {
            last = end;
            points.push(end);
        }
    }
    points
}

/// A TXID at which files end, and where and at which level each of them begins.
pub(super) type End = (Txid, Vec<(Txid, Level)>);

/// The TXIDs at which files end, ascending. What lies among the snapshots and doesn't begin at the beginning is left out,
/// since it restores nothing.
pub(super) fn ends(files: &[FileInfo]) -> Vec<End> {
    let mut sorted: Vec<&FileInfo> = files
        .iter()
        .filter(|f| f.level != Level::SNAPSHOT || f.name.min.get() == 1)
        .collect();
    sorted.sort_unstable_by_key(|f| (f.name.max, f.name.min, f.level));
    sorted
        .chunk_by(|a, b| a.name.max == b.name.max)
        .map(|group| {
            let starts = group.iter().map(|f| (f.name.min, f.level)).collect();
            (group[0].name.max, starts)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::plan::tests::file;
    use crate::chain::plan::{Target, plan};

    fn points(files: &[FileInfo]) -> Vec<u64> {
        restorable(files).into_iter().map(Txid::get).collect()
    }

    #[test]
    fn ends_that_can_be_reached() {
        assert!(points(&[]).is_empty());
        assert_eq!(points(&[file(0, 2, 2)]), [0; 0]);
        let files = [
            file(9, 1, 10),
            file(9, 3, 12),
            file(1, 8, 14),
            file(0, 15, 15),
            file(0, 17, 17),
        ];
        assert_eq!(points(&files), [10, 14, 15]);
    }

    proptest! {
        #[test]
        fn r17_those_that_have_a_plan(raw in prop::collection::vec((0..=9u8, 1..20u64, 0..6u64), 0..25)) {
            let files: Vec<FileInfo> = raw
                .iter()
                .map(|&(level, min, more)| file(level, if level == 9 && min > 2 { 1 } else { min }, min + more))
                .collect();
            let planned: Vec<u64> = (0..=30).filter(|&txid| plan(&files, Target::Txid(Txid::new(txid))).is_ok()).collect();
            prop_assert_eq!(points(&files), planned);
        }
    }
}
