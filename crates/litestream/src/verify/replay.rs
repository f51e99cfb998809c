//! What the database was at each TXID, page by page, from the checksums of the pages that files hold.
//!
//! Files come by their last TXID, the one that begins last first ([`order`]). The first of those with the same end that can be applied
//! leads on to that TXID; the others must hold the same pages, and all that changed in their range. Whatever a file says of the
//! database before and after it is compared with what was found.
//!
//! Promise: a TXID is a point of the replay if some restore reaches it, as [`litestream_replica::chain::points`] says, without a file that
//! was found broken. Pure; 12 bytes a page, 8 bytes a TXID.

mod state;

use std::cmp::Reverse;

use litestream_replica::{FileInfo, Level};
use ltx::{Checksum, Header, PageNo, Txid};

use state::State;

pub(crate) use state::Difference;

/// The order in which files are to be given to [`Replay::step`].
pub(crate) fn order(file: &FileInfo) -> (Txid, Reverse<Txid>, Level) {
    (file.name.max, Reverse(file.name.min), file.level)
}

/// What a file holds, by its pages' checksums.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    pub info: FileInfo,
    pub header: Header,
    /// The checksum of the database before and after it, if it says so.
    pub before: Option<Checksum>,
    pub after: Option<Checksum>,
    /// Ascending.
    pub pages: Vec<u32>,
    /// One for each page.
    pub checksums: Vec<u64>,
}

/// What was found out about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It fits to all that is known.
    Fits,
    /// Nothing leads to where it begins.
    Unreached,
    /// It does not fit.
    Breaks(Break),
    /// It fits to what it says itself, and so another that ends there is wrong.
    Refutes(FileInfo),
}

/// How a file does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// It was made for another database than the one that was there.
    Before {
        says: u64,
        is: u64,
        /// A file confirmed the checksum of what was there.
        proved: bool,
    },
    /// What comes of it is not what it says.
    After {
        says: u64,
        is: u64,
        /// The last TXID whose checksum was confirmed by a file.
        proved: Option<Txid>,
    },
    /// Pages of the database are in no file up to its end.
    Missing { page: PageNo, count: u32 },
    /// A file that ends with the same TXID holds something else.
    Contradicts {
        how: Difference,
        /// The file that led there.
        other: FileInfo,
        /// The state was confirmed by the checksum of another file.
        proved: bool,
    },
    /// It lacks pages that changed in its range.
    Incomplete { count: u32, other: FileInfo },
}

/// A TXID that can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub txid: Txid,
    pub timestamp_ms: i64,
    pub sum: u64,
    /// A file confirmed its checksum.
    pub proved: bool,
    /// What led there.
    file: FileInfo,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Replay {
    state: State,
    points: Vec<Point>,
    /// Files that ended with the same TXID before one led there.
    unreached: Vec<Sums>,
}

impl Replay {
    /// All points that were reached, ascending.
    pub fn into_points(self) -> Vec<Point> {
        self.points
    }

    /// The next file. Besides it, files before may be judged anew.
    pub fn step(&mut self, file: Sums) -> Vec<(FileInfo, Judged)> {
        let max = file.info.name.max;
        if self
            .unreached
            .first()
            .is_some_and(|f| f.info.name.max != max)
        {
            self.unreached.clear();
        }
        let at = self.points.last().map_or(Txid::ZERO, |p| p.txid);
        if max <= at {
            let judged = self.compare(&file);
            return vec![(file.info, judged)];
        }
        if !self.continues(&file, at) {
            let info = file.info;
            self.unreached.push(file);
            return vec![(info, Judged::Unreached)];
        }
        if let Some(wrong) = self.wrong(&file) {
            return vec![(file.info, Judged::Breaks(wrong))];
        }
        self.apply(&file);
        let mut judged = vec![(file.info, Judged::Fits)];
        for earlier in std::mem::take(&mut self.unreached) {
            match self.compare(&earlier) {
                Judged::Fits => {}
                other => judged.push((earlier.info, other)),
            }
        }
        judged
    }

    fn continues(&self, file: &Sums, at: Txid) -> bool {
        let is_whole = file.header.is_snapshot();
        let same = self.state.page_size() == Some(file.header.page_size);
        is_whole || (file.info.name.min <= at.next() && same)
    }

    /// The point at a TXID.
    fn at(&self, txid: Txid) -> Option<usize> {
        self.points.binary_search_by_key(&txid, |p| p.txid).ok()
    }

    /// What speaks against applying a file.
    fn wrong(&self, file: &Sums) -> Option<Break> {
        if let Some(wrong) = self.wrong_before(file) {
            return Some(wrong);
        }
        let result = self.state.after(file);
        if let Some((page, count)) = self.state.missing(file, &result) {
            return Some(Break::Missing { page, count });
        }
        let says = file.after?.get();
        (says != result.sum).then(|| Break::After {
            says,
            is: result.sum,
            proved: self.points.iter().rev().find(|p| p.proved).map(|p| p.txid),
        })
    }

    fn wrong_before(&self, file: &Sums) -> Option<Break> {
        let says = file.before?.get();
        let point = &self.points[self.at(Txid::new(file.info.name.min.get() - 1))?];
        let (is, proved) = (point.sum, point.proved);
        (says != is).then_some(Break::Before { says, is, proved })
    }

    fn apply(&mut self, file: &Sums) {
        let node = self.points.len() as u32;
        self.state.apply(file, node);
        self.confirm_before(file);
        self.points.push(Point {
            txid: file.info.name.max,
            timestamp_ms: file.header.timestamp_ms,
            sum: self.state.sum(),
            proved: file.after.is_some(),
            file: file.info,
        });
    }

    /// What it was made for is what was there.
    fn confirm_before(&mut self, file: &Sums) {
        if file.before.is_some()
            && let Some(at) = self.at(Txid::new(file.info.name.min.get() - 1))
        {
            self.points[at].proved = true;
        }
    }

    /// A file that ends where the replay is.
    fn compare(&mut self, file: &Sums) -> Judged {
        let Some(at) = self.points.last().copied() else {
            return Judged::Unreached;
        };
        if at.txid != file.info.name.max {
            // The files were not in order.
            return Judged::Unreached;
        }
        if let Some(wrong) = self.wrong_before(file) {
            return Judged::Breaks(wrong);
        }
        let (other, proved) = (at.file, at.proved);
        let wrong = match self.state.difference(file) {
            Some(how) => Some(Break::Contradicts { how, other, proved }),
            None => self.incomplete(file, other),
        };
        let after = file.after.map(Checksum::get);
        match (wrong, after) {
            (None, Some(says)) if says != at.sum => Judged::Breaks(Break::After {
                says,
                is: at.sum,
                proved: proved.then_some(at.txid),
            }),
            (None, after) => {
                self.confirm_before(file);
                if let Some(last) = self.points.last_mut() {
                    last.proved |= after.is_some();
                }
                Judged::Fits
            }
            (Some(_), Some(says)) if !proved && self.refutes(file, says) => Judged::Refutes(other),
            (Some(wrong), _) => Judged::Breaks(wrong),
        }
    }

    /// Whether applying it gives what it says, and so what was there was wrong.
    fn refutes(&mut self, file: &Sums, says: u64) -> bool {
        let same = self.state.page_size() == Some(file.header.page_size);
        if !(same || file.header.is_snapshot()) {
            return false;
        }
        let result = self.state.after(file);
        if result.sum != says || self.state.missing(file, &result).is_some() {
            return false;
        }
        self.points.pop();
        self.apply(file);
        true
    }

    /// Whether it holds all that changed since the first point from which it may be applied.
    fn incomplete(&self, file: &Sums, other: FileInfo) -> Option<Break> {
        if file.header.is_snapshot() {
            // Its pages run without a hole.
            return None;
        }
        let begin = Txid::new(file.info.name.min.get() - 1);
        let from = self.points.partition_point(|p| p.txid < begin);
        let count =
            self.state.changed_since(from as u32) - self.state.changed_in(from as u32, file);
        (count > 0).then_some(Break::Incomplete { count, other })
    }
}
