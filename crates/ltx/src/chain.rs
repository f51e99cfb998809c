//! Database checksums that chain from file to file.
//!
//! Litestream 0.5 refuses checksums in the header's own field and in the trailer of the files that it reads, so they stand in the 20
//! reserved bytes of the header, which it ignores: a tag of four bytes, the checksum of the database before the file, and after it,
//! both big-endian, zero where not known. Files without the tag are valid, just unproved.

use crate::Checksum;

/// Marks reserved bytes that hold a chain.
const TAG: [u8; 4] = *b"LCK1";

/// Checksums ([`crate::DatabaseChecksum`]) of the database before and after a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Before the file, if known; it is the predecessor's `after`.
    pub before: Option<Checksum>,
    /// After the file, if known.
    pub after: Option<Checksum>,
}

impl Chain {
    /// Nothing is known.
    pub const UNKNOWN: Chain = Chain {
        before: None,
        after: None,
    };

    /// The reserved bytes of a header that say this; zero if nothing is known.
    pub fn encode(&self) -> [u8; 20] {
        let mut out = [0; 20];
        if *self != Chain::UNKNOWN {
            let value = |sum: Option<Checksum>| sum.map_or(0, Checksum::get).to_be_bytes();
            out[..4].copy_from_slice(&TAG);
            out[4..12].copy_from_slice(&value(self.before));
            out[12..].copy_from_slice(&value(self.after));
        }
        out
    }

    /// What the reserved bytes of a header say; nothing if they hold no chain.
    pub fn decode(reserved: &[u8; 20]) -> Chain {
        let value = |at: usize| {
            let bytes = reserved[at..at + 8].try_into().unwrap_or_default();
            Checksum::from_stored(u64::from_be_bytes(bytes))
        };
        if reserved[..4] == TAG {
            Chain {
                before: value(4),
                after: value(12),
            }
        } else {
            Chain::UNKNOWN
        }
    }

    /// Whether a file with this chain can be followed by one with `next`. Unknown sums contradict nothing.
    pub fn continues_with(&self, next: &Chain) -> bool {
        match (self.after, next.before) {
            (Some(after), Some(before)) => after == before,
            _ => true,
        }
    }

    /// The chain of two files taken together.
    pub fn joined(&self, next: &Chain) -> Chain {
        Chain {
            before: self.before,
            after: next.after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_survives_encoding() {
        let sum = Some(Checksum::from_crc(0x1234));
        for chain in [(None, None), (sum, None), (None, sum), (sum, sum)] {
            let chain = Chain {
                before: chain.0,
                after: chain.1,
            };
            assert_eq!(Chain::decode(&chain.encode()), chain);
        }
        assert_eq!(Chain::UNKNOWN.encode(), [0; 20]);
    }

    #[test]
    fn other_bytes_are_no_chain_and_a_sum_without_its_top_bit_is_none() {
        assert_eq!(Chain::decode(&[7; 20]), Chain::UNKNOWN);
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&TAG);
        bytes[11] = 9;
        assert_eq!(Chain::decode(&bytes), Chain::UNKNOWN);
    }

    #[test]
    fn only_two_known_sums_can_contradict() {
        let chain = |before, after| Chain {
            before: Some(Checksum::from_crc(before)),
            after: Some(Checksum::from_crc(after)),
        };
        assert!(chain(1, 2).continues_with(&chain(2, 3)));
        assert!(!chain(1, 2).continues_with(&chain(3, 4)));
        assert!(chain(1, 2).continues_with(&Chain::UNKNOWN));
        assert_eq!(chain(1, 2).joined(&chain(2, 3)), chain(1, 3));
    }
}
