//! Which files to restore from.
//!
//! Promise: the files that Litestream 0.5.17 would take, for any set of files in any order, with any overlaps and
//! duplicates; a plan covers every TXID from 1 to its last without a gap. It differs in one: a gap below a point in
//! time is an error as it is below the newest, so that an older state is never taken for that of the time asked for. Where
//! nothing is missing, but a compacted file begins before the time and ends after it, the last point before it is taken.

use ltx::Txid;

use crate::env::UnixMillis;
use crate::{FileInfo, Level};

/// The point to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The newest. A gap is an error, so that an older state is never taken for the newest.
    Latest,
    /// Exactly this TXID.
    Txid(Txid),
    /// The last file made before this time, or, where only a file that was made later reaches over to it, the last point before.
    /// A gap among the files made before it that no file bridges is an error too; one after is not.
    Before(UnixMillis),
}

/// Files that make up the database at a point, by ascending max TXID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Never empty; each begins at or before the TXID after the end of the one before.
    pub files: Vec<FileInfo>,
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No files at all, or none that reach the point.
    #[error("transaction not available")]
    NotAvailable,
    /// Files exist that can't be reached from those before.
    #[error("non-contiguous transaction files: have up to {have}, next file starts at {next}")]
    NonContiguous {
        /// The last TXID that can be restored; zero if none.
        have: Txid,
        /// The first TXID after the gap.
        next: Txid,
    },
}

impl Plan {
    /// The first TXID held: 1 in any replica that is whole.
    pub fn min_txid(&self) -> Txid {
        self.files
            .iter()
            .map(|f| f.name.min)
            .min()
            .unwrap_or_default()
    }

    /// The TXID that is restored.
    pub fn max_txid(&self) -> Txid {
        self.files
            .iter()
            .map(|f| f.name.max)
            .max()
            .unwrap_or_default()
    }

    /// The size of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, f| sum.saturating_add(f.size))
    }

    /// The files without those whose TXIDs all lie in a later one, such as a snapshot below a compacted file that
    /// starts at TXID 1 as well: every page they hold is superseded.
    pub fn needed(&self) -> Vec<FileInfo> {
        let mut start = None;
        let mut needed: Vec<FileInfo> = Vec::with_capacity(self.files.len());
        for file in self.files.iter().rev() {
            if start.is_none_or(|start| file.name.min < start) {
                start = Some(file.name.min);
                needed.push(*file);
            }
        }
        needed.reverse();
        needed
    }
}

/// The plan for a point, given all files of all levels in any order.
pub fn plan(files: &[FileInfo], target: Target) -> Result<Plan, PlanError> {
    match target {
        Target::Latest => plan_among(files, |_| true),
        Target::Before(time) => plan_among(files, |f| f.created < time),
        Target::Txid(wanted) => {
            let reached = reach(files, |f| f.name.max <= wanted);
            let end = reached.last().map_or(Txid::ZERO, |f| f.name.max);
            if reached.is_empty() || end != wanted {
                return Err(PlanError::NotAvailable);
            }
            Ok(Plan { files: reached })
        }
    }
}

/// The plan for the furthest point that can be reached with the files that qualify. A gap below one of them that no file
/// bridges is an error.
pub(super) fn plan_among(
    files: &[FileInfo],
    qualifies: impl Fn(&FileInfo) -> bool,
) -> Result<Plan, PlanError> {
    let reached = reach(files, &qualifies);
    let have = reached.last().map_or(Txid::ZERO, |f| f.name.max);
    let gap = files
        .iter()
        .filter(|f| qualifies(f))
        .map(|f| f.name.min)
        .filter(|min| *min > have.next())
        .min();
    if let Some(next) = gap {
        // What is missing may lie in a file that doesn't qualify, since it reaches further: then nothing is lost.
        let all = reach(files, |_| true);
        if all.last().is_none_or(|f| f.name.max.next() < next) {
            return Err(PlanError::NonContiguous { have, next });
        }
    }
    if reached.is_empty() {
        return Err(PlanError::NotAvailable);
    }
    Ok(Plan { files: reached })
}

/// As far as the files that qualify reach without a gap: a snapshot, if there is one, then always the file that
/// reaches furthest among those that continue.
pub(super) fn reach(files: &[FileInfo], qualifies: impl Fn(&FileInfo) -> bool) -> Vec<FileInfo> {
    let (snapshots, rest): (Vec<&FileInfo>, Vec<&FileInfo>) = files
        .iter()
        .filter(|f| qualifies(f))
        .partition(|f| f.level == Level::SNAPSHOT);
    // The first of equals, so that the answer does not hang on the order of the listing more than it must.
    let snapshot = snapshots
        .into_iter()
        .filter(|f| f.name.min.get() == 1)
        .min_by_key(|f| (std::cmp::Reverse(f.name.max), f.created));

    let mut reached: Vec<FileInfo> = snapshot.into_iter().copied().collect();
    let end = snapshot.map_or(Txid::ZERO, |f| f.name.max);
    extend(&mut reached, end, rest);
    reached
}

/// The files that lead on from the state after `after`, as far as they reach without a gap, in the order in which they are
/// to be applied; none if no file continues there. Files of any level count alike.
pub fn continuation(files: &[FileInfo], after: Txid) -> Vec<FileInfo> {
    let mut reached = Vec::new();
    extend(&mut reached, after, files.iter().collect());
    reached
}

/// Always the file that reaches furthest among those that continue at `end`.
fn extend(reached: &mut Vec<FileInfo>, end: Txid, mut rest: Vec<&FileInfo>) {
    let mut end = end.get();
    rest.sort_unstable_by_key(|f| f.name.min);
    let mut rest = rest.into_iter().peekable();
    let mut best: Option<&FileInfo> = None;
    loop {
        // What continues here continues everywhere further on too, so one pass with one favourite is enough.
        while let Some(file) = rest.next_if(|f| f.name.min.get() <= end.saturating_add(1)) {
            if best.is_none_or(|best| rank(file) > rank(best)) {
                best = Some(file);
            }
        }
        match best {
            Some(file) if file.name.max.get() > end => {
                end = file.name.max.get();
                reached.push(*file);
            }
            _ => return,
        }
    }
}

/// Higher is better: the highest max, then the lowest min, then the highest level, then the earliest.
fn rank(
    f: &FileInfo,
) -> (
    Txid,
    std::cmp::Reverse<Txid>,
    Level,
    std::cmp::Reverse<UnixMillis>,
) {
    use std::cmp::Reverse;
    (f.name.max, Reverse(f.name.min), f.level, Reverse(f.created))
}

#[cfg(test)]
pub(super) mod tests;
