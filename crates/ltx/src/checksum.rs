//! CRC-64/GO-ISO and the checksums built on it.
//!
//! A *stored* checksum always has bit 63 set, which tells "present" from "absent" (zero); a plain CRC does
//! not. The two are different types here.

use crc_fast::{CrcAlgorithm, Digest};

use crate::PageNo;

const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64GoIso;

/// A checksum in its stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Checksum(u64);

impl Checksum {
    /// The bit that every stored checksum has.
    pub const FLAG: u64 = 1 << 63;

    /// The stored form of a plain CRC.
    pub const fn from_crc(crc: u64) -> Self {
        Self(crc | Self::FLAG)
    }

    /// A stored value; `None` for one without the bit that every checksum has.
    pub const fn from_stored(value: u64) -> Option<Self> {
        if value & Self::FLAG == 0 {
            None
        } else {
            Some(Self(value))
        }
    }

    /// The stored value.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Checksum of one page: over its number and its bytes.
    pub fn page(page: PageNo, data: &[u8]) -> Self {
        let mut crc = Crc64::new();
        crc.update(&page.get().to_be_bytes());
        crc.update(data);
        Self::from_crc(crc.value())
    }
}

/// Checksum of a whole database: the XOR of its pages' checksums, so that it can follow page by page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseChecksum(u64);

impl DatabaseChecksum {
    /// Checksum of the empty database.
    pub const fn new() -> Self {
        Self(Checksum::FLAG)
    }

    /// One that is known already.
    pub const fn from_value(value: Checksum) -> Self {
        Self(value.0)
    }

    /// Adds a page, or takes one out that was added before. The lock page has no part in it.
    pub const fn toggle(&mut self, page: Checksum) {
        self.0 = (self.0 ^ page.0) | Checksum::FLAG;
    }

    /// The checksum so far.
    pub const fn value(self) -> Checksum {
        Checksum(self.0)
    }
}

impl Default for DatabaseChecksum {
    fn default() -> Self {
        Self::new()
    }
}

/// CRC-64/GO-ISO over data that comes in pieces.
#[derive(Clone, Copy)]
pub struct Crc64(Digest);

impl Crc64 {
    /// Over nothing yet.
    pub fn new() -> Self {
        Self(Digest::new(ALGORITHM))
    }

    /// Continues with `data`.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The plain CRC so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crc64({:#018x})", self.value())
    }
}

/// Plain CRC-64/GO-ISO of `data`.
pub fn crc64(data: &[u8]) -> u64 {
    crc_fast::checksum(ALGORITHM, data)
}

/// Plain CRC of A followed by B, from the CRCs of each and the length of B, in less than a microsecond.
///
/// The library's own way takes twenty, too much for readers that combine page by page.
pub fn crc64_combine(crc_a: u64, crc_b: u64, len_b: u64) -> u64 {
    let (mut shifted, mut len, mut power) = (crc_a, len_b, BITS_PER_BYTE_LOG2);
    while len != 0 {
        if len & 1 == 1 {
            shifted = multiply(SQUARES[power], shifted);
        }
        len >>= 1;
        power += 1;
    }
    shifted ^ crc_b
}

/// The polynomial, reflected: the highest bit is the coefficient of x^0.
const POLYNOMIAL: u64 = 0xD800_0000_0000_0000;
const BITS_PER_BYTE_LOG2: usize = 3;
/// x^(2^k), enough for any count of bytes in 64 bits.
const SQUARES: [u64; 64 + BITS_PER_BYTE_LOG2] = squares();

const fn squares() -> [u64; 64 + BITS_PER_BYTE_LOG2] {
    let mut out = [1 << 62; 64 + BITS_PER_BYTE_LOG2];
    let mut k = 1;
    while k < out.len() {
        out[k] = multiply(out[k - 1], out[k - 1]);
        k += 1;
    }
    out
}

/// The product of two polynomials, modulo [`POLYNOMIAL`].
const fn multiply(mut a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    while a != 0 {
        if a >> 63 == 1 {
            product ^= b;
        }
        a <<= 1;
        b = (b >> 1) ^ if b & 1 == 1 { POLYNOMIAL } else { 0 };
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(crc64(b"123456789"), 0xB909_56C7_75A4_1001);
        assert_eq!(Crc64::new().value(), crc64(b""));
    }

    #[test]
    fn agrees_with_an_independent_implementation_in_any_pieces() {
        let reference = crc::Crc::<u64>::new(&crc::CRC_64_GO_ISO);
        let data: Vec<u8> = (0..70_000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for len in (0..600).chain([4095, 4096, 4097, 65_536, 70_000]) {
            assert_eq!(
                crc64(&data[..len]),
                reference.checksum(&data[..len]),
                "{len}"
            );
        }
        for (piece, len) in [(1, 1000), (6, 5000), (10, 5000), (4096, 70_000)] {
            let mut crc = Crc64::new();
            data[..len].chunks(piece).for_each(|c| crc.update(c));
            assert_eq!(crc.value(), reference.checksum(&data[..len]));
        }
    }

    #[test]
    fn combines() {
        let data: Vec<u8> = (0..9000u32).map(|i| (i * i) as u8).collect();
        for cut in [0, 1, 7, 10, 4106, 8999, 9000] {
            let (a, b) = data.split_at(cut);
            let combined = crc64_combine(crc64(a), crc64(b), b.len() as u64);
            assert_eq!(combined, crc64(&data), "{cut}");
        }
        for bit in 0..64 {
            for len in [1 << bit, (1 << bit) | 0x1234, u64::MAX >> bit] {
                let (a, b) = (crc64(&len.to_be_bytes()), !len);
                let expected = crc_fast::checksum_combine(ALGORITHM, a, b, len);
                assert_eq!(crc64_combine(a, b, len), expected, "{len}");
            }
        }
    }

    #[test]
    fn database_checksum_forgets_a_page_toggled_twice() {
        let (one, two) = (
            Checksum::page(PageNo::FIRST, &[1; 512]),
            Checksum::page(PageNo::FIRST.next(), &[1; 512]),
        );
        assert_ne!(one, two, "the number is part of it");
        let mut sum = DatabaseChecksum::new();
        assert_eq!(sum.value().get(), Checksum::FLAG);
        sum.toggle(one);
        let before = sum;
        sum.toggle(two);
        assert_ne!(sum, before);
        assert_eq!(sum.value().get() & Checksum::FLAG, Checksum::FLAG);
        sum.toggle(two);
        assert_eq!(sum, before);
    }
}
