//! How far a replica is behind: what is staged and not there yet, and since when.

use std::collections::VecDeque;
use std::time::Duration;

use litestream_replica::env::Monotonic;
use ltx::Txid;

/// So many files are told apart; more are counted together, as old as the first of them.
const ENTRIES_MAX: usize = 256;

/// What a replica does not have yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Age of the oldest of it; zero: there is nothing.
    pub age: Duration,
    /// Bytes of LTX files.
    pub bytes: u64,
    /// Their number.
    pub files: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pending {
    entries: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The last TXID.
    txid: Txid,
    at: Monotonic,
    bytes: u64,
    files: u64,
}

impl Pending {
    /// A file was staged, or found staged. `everywhere`: every replica has everything up to there.
    pub fn staged(&mut self, txid: Txid, bytes: u64, at: Monotonic, everywhere: Option<Txid>) {
        self.entries
            .retain(|entry| everywhere.is_none_or(|e| entry.txid > e));
        let is_known = self.entries.back().is_some_and(|last| last.txid >= txid);
        if is_known || everywhere.is_some_and(|e| e >= txid) {
            return;
        }
        if self.entries.len() == ENTRIES_MAX
            && let Some(last) = self.entries.back_mut()
        {
            last.txid = txid;
            last.bytes += bytes;
            last.files += 1;
            return;
        }
        self.entries.push_back(Entry {
            txid,
            at,
            bytes,
            files: 1,
        });
    }

    /// Other numbers from now on.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// What a replica that ends there does not have; `None`: it is not known where it ends.
    pub fn lag(&self, position: Option<Txid>, now: Monotonic) -> Lag {
        let missing = self
            .entries
            .iter()
            .filter(|entry| position.is_none_or(|p| entry.txid > p));
        missing.fold(Lag::default(), |lag, entry| Lag {
            age: lag.age.max(now.since(entry.at)),
            bytes: lag.bytes + entry.bytes,
            files: lag.files + entry.files,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn lag_is_the_age_of_the_oldest_missing_file() {
        let mut pending = Pending::default();
        let txid = Txid::new;
        assert_eq!(pending.lag(None, at(9)), Lag::default());
        pending.staged(txid(1), 10, at(1), None);
        pending.staged(txid(2), 20, at(3), None);
        pending.staged(txid(2), 0, at(4), None);
        let lag = pending.lag(None, at(9));
        assert_eq!((lag.age.as_secs(), lag.bytes, lag.files), (8, 30, 2));
        let lag = pending.lag(Some(txid(1)), at(9));
        assert_eq!((lag.age.as_secs(), lag.bytes, lag.files), (6, 20, 1));
        assert_eq!(pending.lag(Some(txid(2)), at(9)), Lag::default());
        pending.staged(txid(2), 0, at(5), Some(txid(2)));
        assert!(pending.entries.is_empty());
    }

    #[test]
    fn many_files_take_no_more_room() {
        let mut pending = Pending::default();
        for n in 1..=1000 {
            pending.staged(Txid::new(n), 1, at(n), None);
        }
        assert_eq!(pending.entries.len(), ENTRIES_MAX);
        let lag = pending.lag(Some(Txid::new(999)), at(1000));
        assert_eq!(
            lag.age.as_secs(),
            1000 - 256,
            "as old as what it is counted with"
        );
        assert_eq!(pending.lag(None, at(1000)).files, 1000);
    }
}
