//! The change counter of a followed database: the lower half of its TXID, disguised.
//!
//! SQLite's readers drop their caches when it changes. The disguise is one to one, so it changes with every TXID and gives the
//! TXID back; and it scatters neighbours, so that a counter which another program has advanced stands for no TXID nearby.

use std::ops::Range;

use ltx::Txid;

/// Where the counter lies in page 1.
pub(super) const COUNTER: Range<usize> = 24..28;
/// Where page 1 says how the database is journalled: both bytes are 1 for a rollback journal, 2 for a WAL.
pub(super) const JOURNAL_MODE: Range<usize> = 18..20;

const FACTOR: u32 = 0x9e37_79b1;
/// `FACTOR * INVERSE == 1` modulo 2^32.
const INVERSE: u32 = inverse(FACTOR);
const OFFSET: u32 = 0x6c74_7866;

/// Newton's iteration: each round doubles the number of right bits, and an odd number is right in three.
const fn inverse(odd: u32) -> u32 {
    let mut x = odd;
    let mut round = 0;
    while round < 4 {
        x = x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x)));
        round += 1;
    }
    x
}

/// The counter of the state at `txid`.
pub(super) fn of(txid: Txid) -> u32 {
    (txid.get() as u32)
        .wrapping_mul(FACTOR)
        .wrapping_add(OFFSET)
}

/// The highest TXID up to `newest` that has this counter.
pub(super) fn txid(counter: u32, newest: Txid) -> Option<Txid> {
    let low = u64::from(counter.wrapping_sub(OFFSET).wrapping_mul(INVERSE));
    let high = newest.get() & !u64::from(u32::MAX);
    let found = if high | low <= newest.get() {
        Some(high | low)
    } else {
        high.checked_sub(1 << 32).map(|high| high | low)
    };
    found.filter(|&txid| txid > 0).map(Txid::new)
}

/// Makes page 1 that of the followed state at `txid`.
pub(super) fn mark(page: &mut [u8], txid: Txid) {
    page[JOURNAL_MODE].fill(1);
    page[COUNTER].copy_from_slice(&of(txid).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_txid_back() {
        for txid in [
            1,
            2,
            3,
            77,
            1 << 20,
            u64::from(u32::MAX),
            1 << 32,
            (5 << 32) + 9,
        ] {
            let txid = Txid::new(txid);
            assert_eq!(super::txid(of(txid), txid), Some(txid));
            let newest = Txid::new(txid.get() + 1000);
            assert_eq!(super::txid(of(txid), newest), Some(txid));
        }
        assert_eq!(super::txid(of(Txid::new(5)), Txid::new(4)), None);
    }

    #[test]
    fn one_that_was_advanced_stands_for_no_txid_nearby() {
        let newest = Txid::new(1_000_000);
        let start = of(Txid::new(500_000));
        let hits = (1..1000).filter(|&n| super::txid(start.wrapping_add(n), newest).is_some());
        assert!(hits.count() <= 3);
    }
}
