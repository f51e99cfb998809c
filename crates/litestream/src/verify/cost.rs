//! What can be restored, and what can't because of a finding.
//!
//! Promise: pure.

use std::collections::BTreeMap;

use litestream_replica::FileInfo;
use litestream_replica::chain::points::restorable;
use litestream_replica::env::UnixMillis;
use ltx::Txid;

use super::report::{Finding, Kind, Point, Range};

/// Findings of which it is computed what each alone costs.
const FINDINGS_MAX: usize = 200;

/// See the module.
pub(super) struct Cost<'a> {
    files: &'a [FileInfo],
    /// TXIDs that could be restored if all files were sound, and that can be.
    all: Vec<Txid>,
    good: Vec<Txid>,
    /// Between these and what was before them something is missing.
    cuts: Vec<Txid>,
    times: BTreeMap<Txid, UnixMillis>,
    expensive: bool,
}

impl<'a> Cost<'a> {
    /// `known` is the time in a file's header.
    pub fn new(
        files: &'a [FileInfo],
        findings: &[Finding],
        known: impl Fn(&FileInfo) -> Option<i64>,
    ) -> Cost<'a> {
        let bad = |f: &FileInfo| findings.iter().any(|x| is_of_content(x) && x.is_of(f));
        let good: Vec<FileInfo> = files.iter().filter(|f| !bad(f)).copied().collect();
        let (all, good) = (restorable(files), restorable(&good));
        let holes = findings.iter().filter(|f| f.kind == Kind::Hole);
        let mut cuts: Vec<Txid> = holes.filter_map(|f| f.file).map(|name| name.min).collect();
        cuts.extend(all.iter().filter(|p| good.binary_search(p).is_err()));
        cuts.sort_unstable();
        let mut sorted: Vec<&FileInfo> = files.iter().collect();
        // Of those with the same end, the one of the lowest level was there first.
        sorted.sort_unstable_by_key(|f| std::cmp::Reverse(f.level));
        let time = |f: &FileInfo| known(f).map_or(f.created, UnixMillis);
        let times = sorted.into_iter().map(|f| (f.name.max, time(f))).collect();
        Cost {
            files,
            all,
            good,
            cuts,
            times,
            expensive: findings.len() > FINDINGS_MAX,
        }
    }

    /// What can be restored.
    pub fn ranges(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        let mut last = Txid::ZERO;
        for txid in &self.good {
            let cut = self.cuts.partition_point(|c| *c <= last);
            let apart = self.cuts.get(cut).is_some_and(|c| c <= txid);
            match ranges.last_mut().filter(|_| !apart) {
                Some(range) => {
                    range.last = self.point(*txid);
                    range.points += 1;
                }
                None => ranges.extend(self.range(&[*txid])),
            }
            last = *txid;
        }
        ranges
    }

    fn point(&self, txid: Txid) -> Point {
        let time = self.times.get(&txid).copied().unwrap_or_default();
        Point { txid, time }
    }

    fn range(&self, points: &[Txid]) -> Option<Range> {
        Some(Range {
            first: self.point(*points.first()?),
            last: self.point(*points.last()?),
            points: points.len(),
        })
    }

    /// What is lost by it, if anything is known to be.
    pub fn of(&self, finding: &Finding) -> Option<Range> {
        let lost: Vec<Txid> = match finding.kind {
            Kind::Damaged | Kind::Unreadable | Kind::Chain if self.expensive => return None,
            Kind::Damaged | Kind::Unreadable | Kind::Chain => {
                let rest: Vec<FileInfo> = self
                    .files
                    .iter()
                    .filter(|f| !finding.is_of(f))
                    .copied()
                    .collect();
                let rest = restorable(&rest);
                let all = self.all.iter().copied();
                all.filter(|p| rest.binary_search(p).is_err()).collect()
            }
            Kind::NoBase => self.times.keys().copied().collect(),
            Kind::Hole => self.beyond(finding),
            Kind::WentBack | Kind::Overlap | Kind::Differs => return None,
        };
        self.range(&lost)
    }

    /// Ends of files of the level after a hole, up to the first that can be restored.
    fn beyond(&self, finding: &Finding) -> Vec<Txid> {
        let Some(name) = finding.file else {
            return Vec::new();
        };
        let level = self.files.iter().filter(|f| Some(f.level) == finding.level);
        let mut ends: Vec<Txid> = level
            .map(|f| f.name.max)
            .filter(|max| *max >= name.max)
            .collect();
        ends.sort_unstable();
        let lost = ends.into_iter();
        lost.take_while(|end| self.all.binary_search(end).is_err())
            .collect()
    }
}

fn is_of_content(finding: &Finding) -> bool {
    matches!(finding.kind, Kind::Damaged | Kind::Unreadable | Kind::Chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litestream_replica::Level;
    use ltx::FileName;

    fn file(level: u8, min: u64, max: u64) -> FileInfo {
        FileInfo {
            level: Level::new(level).unwrap(),
            name: FileName::new(Txid::new(min), Txid::new(max)),
            size: 1000,
            created: UnixMillis(max as i64),
        }
    }

    #[test]
    fn what_a_damaged_file_costs() {
        let files = [
            file(0, 1, 1),
            file(0, 2, 2),
            file(0, 3, 3),
            file(0, 4, 4),
            file(1, 1, 3),
        ];
        let finding = Finding::new(Kind::Damaged, Some(&files[1]), "");
        let cost = Cost::new(&files, std::slice::from_ref(&finding), |_| None);
        let lost = cost.of(&finding).unwrap();
        assert_eq!((lost.first.txid, lost.points), (Txid::new(2), 1));
        let ranges = cost.ranges();
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges[1].first.txid, Txid::new(3));
        assert_eq!(ranges[1].last.txid, Txid::new(4));
        let harmless = Finding::new(Kind::Damaged, Some(&files[4]), "");
        assert_eq!(cost.of(&harmless), None);
    }
}
