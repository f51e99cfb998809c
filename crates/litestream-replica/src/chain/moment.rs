//! Where a time lies among files whose times are only known by reading them.
//!
//! The caller reads the headers of [`Search::probes`], tells of them with [`Search::learn`], and again, until there are no
//! more: each round cuts what is left to a quarter. Times ascend with the TXID, but for clocks that were set back; then a
//! time may have several places, and the search ends at one of them: always the same for the same files. What it promises
//! even then: the last file before the place was made before the time, and the first after it was not.

use ltx::Txid;

use crate::FileInfo;
use crate::env::UnixMillis;

/// Files probed in one round.
const PROBES: usize = 3;

/// See the [module](self).
pub struct Search {
    before: UnixMillis,
    /// By ascending max TXID, one for each.
    ends: Vec<FileInfo>,
    /// Those before `lo` were made before the time, those from `hi` on were not.
    lo: usize,
    hi: usize,
}

impl Search {
    /// Among `files`, in any order. Of files with the same end the one of the lowest level speaks for all: it was there first.
    pub fn new(files: impl IntoIterator<Item = FileInfo>, before: UnixMillis) -> Search {
        let mut ends: Vec<FileInfo> = files.into_iter().collect();
        ends.sort_unstable_by_key(|f| (f.name.max, f.level, f.name.min));
        ends.dedup_by_key(|f| f.name.max);
        let hi = ends.len();
        Search {
            before,
            ends,
            lo: 0,
            hi,
        }
    }

    /// The files whose times should be read next; none when the place is found.
    pub fn probes(&self) -> Vec<FileInfo> {
        self.places().into_iter().map(|at| self.ends[at]).collect()
    }

    fn places(&self) -> Vec<usize> {
        let left = self.hi - self.lo;
        if left <= PROBES {
            return (self.lo..self.hi).collect();
        }
        (1..=PROBES)
            .map(|n| self.lo + left * n / (PROBES + 1))
            .collect()
    }

    /// The times of the probes.
    pub fn learn(&mut self, times: &[UnixMillis]) {
        for (at, time) in self.places().into_iter().zip(times) {
            if *time >= self.before {
                self.hi = at;
                return;
            }
            self.lo = at + 1;
        }
    }

    /// The end of the last file made before the time; zero if none was.
    pub fn end(&self) -> Txid {
        self.lo
            .checked_sub(1)
            .map_or(Txid::ZERO, |at| self.ends[at].name.max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::plan::tests::file;

    /// The end that was found, and how many rounds and times it took. `times[n]` is that of TXID n + 1.
    fn search(times: &[i64], before: i64) -> (u64, usize, usize) {
        let files: Vec<FileInfo> = (1..=times.len() as u64)
            .rev()
            .map(|t| file(0, t, t))
            .collect();
        let mut search = Search::new(files, UnixMillis(before));
        let (mut rounds, mut reads) = (0, 0);
        loop {
            let probes = search.probes();
            if probes.is_empty() {
                return (search.end().get(), rounds, reads);
            }
            rounds += 1;
            reads += probes.len();
            let time = |f: &FileInfo| UnixMillis(times[f.name.max.get() as usize - 1]);
            search.learn(&probes.iter().map(time).collect::<Vec<_>>());
        }
    }

    #[test]
    fn few_and_none() {
        assert_eq!(search(&[], 5), (0, 0, 0));
        assert_eq!(search(&[5], 5), (0, 1, 1));
        assert_eq!(search(&[5], 6), (1, 1, 1));
        assert_eq!(search(&[5, 5, 6], 6), (2, 1, 3));
    }

    #[test]
    fn r03_a_hundred_thousand_files_take_nine_rounds() {
        let times: Vec<i64> = (0..100_000).collect();
        for before in [0, 1, 49_999, 99_999, 100_000] {
            let (end, rounds, reads) = search(&times, before);
            assert_eq!(end as i64, before);
            assert!(rounds <= 9 && reads <= 27, "{rounds} rounds, {reads} reads");
        }
    }

    #[test]
    fn of_files_with_one_end_the_lowest_level_speaks() {
        let search = Search::new([file(2, 1, 9), file(1, 4, 9), file(3, 1, 9)], UnixMillis(0));
        assert_eq!(search.probes(), [file(1, 4, 9)]);
    }

    proptest! {
        #[test]
        fn r01_exact_where_times_ascend(steps in prop::collection::vec(0..3i64, 0..200), before in 0..400i64) {
            let times: Vec<i64> = steps.iter().scan(0, |time, step| { *time += step; Some(*time) }).collect();
            prop_assert_eq!(search(&times, before).0 as usize, times.partition_point(|time| *time < before));
        }

        #[test]
        fn a_place_of_the_time_where_clocks_were_set_back(times in prop::collection::vec(0..50i64, 1..200), before in 0..50i64) {
            let end = search(&times, before).0 as usize;
            prop_assert!(end == 0 || times[end - 1] < before);
            prop_assert!(end == times.len() || times[end] >= before);
        }
    }
}
