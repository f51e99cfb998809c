//! Unsigned LEB128, as the page index uses it. Only the shortest encoding of a number is accepted: every
//! writer produces it, and it makes "same entries" and "same bytes" the same question.

use crate::{Error, Result};

/// Appends `value`.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number of which some bytes may still be missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Partial {
    value: u64,
    shift: u32,
}

impl Partial {
    /// Takes the next byte; the number if it was the last one.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<u64>> {
        let bits = u64::from(byte & 0x7f);
        if self.shift > 63 || (self.shift == 63 && bits > 1) {
            return Err(Error::Index("a number has more than 64 bits"));
        }
        self.value |= bits << self.shift;
        if byte & 0x80 != 0 {
            self.shift += 7;
            return Ok(None);
        }
        if byte == 0 && self.shift != 0 {
            return Err(Error::Index("a number is longer than it need be"));
        }
        let value = self.value;
        *self = Self::default();
        Ok(Some(value))
    }

    /// Whether it is between two numbers.
    pub(crate) fn is_empty(self) -> bool {
        self.shift == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<u64>> {
        let mut partial = Partial::default();
        for (i, &byte) in bytes.iter().enumerate() {
            if let Some(value) = partial.push(byte)? {
                assert_eq!(i + 1, bytes.len());
                assert!(partial.is_empty());
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    #[test]
    fn roundtrip_at_every_length() {
        let edges = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for value in edges.chain([u64::MAX]) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            assert_eq!(read(&bytes).unwrap(), Some(value));
            assert_eq!(read(&bytes[..bytes.len() - 1]).unwrap(), None);
        }
    }

    #[test]
    fn refuses_padding_and_overflow() {
        assert!(read(&[0x80, 0x00]).is_err());
        assert!(read(&[0xff, 0x80, 0x00]).is_err());
        assert!(read(&[0xff; 11]).is_err());
        let mut bytes = [0xff; 10];
        bytes[9] = 0x02;
        assert!(read(&bytes).is_err());
        bytes[9] = 0x01;
        assert_eq!(read(&bytes).unwrap(), Some(u64::MAX));
    }
}
