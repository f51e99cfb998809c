//! The checksum of a file that is read in parts, in any order.
//!
//! Promise: a file counts as verified only when every one of its bytes was hashed and the sum is the one in its trailer.

use std::collections::BTreeMap;

use ltx::{Checksum, crc64_combine};
use parking_lot::Mutex;

/// A checksum of some consecutive hashed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) crc: u64,
    pub(crate) len: u64,
}

/// What a file's checksum should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Parts are still missing.
    Open,
    /// All bytes are accounted for.
    Verified,
    /// The content is not what was written.
    Wrong {
        /// The sum over what was read.
        actual: u64,
        /// The sum in the trailer.
        expected: u64,
    },
}

/// Collects the sums of a file's parts.
pub(crate) struct Fold(Mutex<State>);

struct State {
    crc: u64,
    next: u64,
    /// Parts that are done before an earlier one is: no more than there are threads.
    early: BTreeMap<u64, Sum>,
    end: Option<End>,
}

#[derive(Clone, Copy)]
struct End {
    parts: u64,
    rest: Sum,
    expected: u64,
}

impl Fold {
    /// `header`: the sum of what comes before the first part.
    pub(crate) fn new(header: u64) -> Fold {
        Fold(Mutex::new(State {
            crc: header,
            next: 0,
            early: BTreeMap::new(),
            end: None,
        }))
    }

    /// Part `number` (from zero) was read.
    pub(crate) fn part(&self, number: u64, sum: Sum) -> Verdict {
        let mut state = self.0.lock();
        state.early.insert(number, sum);
        while let Some(sum) = {
            let next = state.next;
            state.early.remove(&next)
        } {
            state.crc = crc64_combine(state.crc, sum.crc, sum.len);
            state.next += 1;
        }
        state.verdict()
    }

    /// There are `parts` parts, followed by `rest`; all of it should give `expected`.
    pub(crate) fn end(&self, parts: u64, rest: Sum, expected: u64) -> Verdict {
        let mut state = self.0.lock();
        state.end = Some(End {
            parts,
            rest,
            expected,
        });
        state.verdict()
    }
}

impl State {
    fn verdict(&self) -> Verdict {
        match self.end {
            Some(end) if end.parts == self.next => {
                let actual = stored(crc64_combine(self.crc, end.rest.crc, end.rest.len));
                if actual == end.expected {
                    Verdict::Verified
                } else {
                    Verdict::Wrong {
                        actual,
                        expected: end.expected,
                    }
                }
            }
            _ => Verdict::Open,
        }
    }
}

/// A CRC as it is stored: with the bit set that tells it from "none".
pub(crate) fn stored(crc: u64) -> u64 {
    crc | Checksum::FLAG
}

#[cfg(test)]
mod tests {
    use super::*;
    use ltx::crc64;

    fn sum(bytes: &[u8]) -> Sum {
        Sum {
            crc: crc64(bytes),
            len: bytes.len() as u64,
        }
    }

    #[test]
    fn parts_in_any_order() {
        let expected = stored(crc64(b"header, one, two, three, rest"));
        let fold = Fold::new(crc64(b"header, "));
        assert_eq!(fold.part(2, sum(b"three, ")), Verdict::Open);
        assert_eq!(fold.part(0, sum(b"one, ")), Verdict::Open);
        assert_eq!(fold.end(3, sum(b"rest"), expected), Verdict::Open);
        assert_eq!(fold.part(1, sum(b"two, ")), Verdict::Verified);
    }

    #[test]
    fn a_wrong_part_is_seen_at_the_end() {
        let expected = stored(crc64(b"header, one, rest"));
        let fold = Fold::new(crc64(b"header, "));
        assert_eq!(fold.part(0, sum(b"0ne, ")), Verdict::Open);
        assert!(matches!(
            fold.end(1, sum(b"rest"), expected),
            Verdict::Wrong { .. }
        ));
    }
}
