//! The WAL's 32-byte header, its salts and the running checksum that chains all frames.

use ltx::PageSize;

/// Bytes before the first frame.
pub const WAL_HEADER_SIZE: usize = 32;

const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// How the checksum reads 32-bit words. The magic number's lowest bit says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Magic `0x377f0682`.
    Little,
    /// Magic `0x377f0683`.
    Big,
}

/// The two random numbers that name one generation of the WAL: each restart increments the first and
/// draws the second anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Salts(pub u32, pub u32);

impl Salts {
    /// Whether `self` can be what `previous` became by exactly one restart.
    pub fn follows(self, previous: Salts) -> bool {
        self.0 == previous.0.wrapping_add(1)
    }
}

/// The cumulative checksum of header and frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalChecksum(pub u32, pub u32);

impl WalChecksum {
    /// Continues over `bytes`, whose length must be a multiple of 8.
    pub fn update(self, order: ByteOrder, bytes: &[u8]) -> WalChecksum {
        debug_assert!(bytes.len().is_multiple_of(8));
        match order {
            ByteOrder::Little => self.update_with(bytes, u32::from_le_bytes),
            ByteOrder::Big => self.update_with(bytes, u32::from_be_bytes),
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // the closure must be a constant in the hot loop
    fn update_with(self, bytes: &[u8], word: impl Fn([u8; 4]) -> u32) -> WalChecksum {
        let (mut s1, mut s2) = (self.0, self.1);
        for pair in bytes.chunks_exact(8) {
            let x0 = word([pair[0], pair[1], pair[2], pair[3]]);
            let x1 = word([pair[4], pair[5], pair[6], pair[7]]);
            s1 = s1.wrapping_add(x0).wrapping_add(s2);
            s2 = s2.wrapping_add(x1).wrapping_add(s1);
        }
        WalChecksum(s1, s2)
    }
}

/// What the first 32 bytes of a WAL say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalHeader {
    /// How checksums are computed.
    pub order: ByteOrder,
    /// Page size of the database.
    pub page_size: PageSize,
    /// How often the WAL was restarted.
    pub sequence: u32,
    /// The generation.
    pub salts: Salts,
    /// Checksum over the header's first 24 bytes: where the frames' chain starts.
    pub checksum: WalChecksum,
}

impl WalHeader {
    /// Reads a header. `None` for anything that SQLite would treat as "no WAL content": short, zeros, wrong
    /// magic or version, impossible page size, wrong checksum.
    pub fn parse(bytes: &[u8]) -> Option<WalHeader> {
        let bytes: &[u8; WAL_HEADER_SIZE] = bytes.get(..WAL_HEADER_SIZE)?.try_into().ok()?;
        let word = |i: usize| {
            u32::from_be_bytes([
                bytes[4 * i],
                bytes[4 * i + 1],
                bytes[4 * i + 2],
                bytes[4 * i + 3],
            ])
        };
        let order = match word(0) {
            MAGIC => ByteOrder::Little,
            m if m == MAGIC | 1 => ByteOrder::Big,
            _ => return None,
        };
        if word(1) != VERSION {
            return None;
        }
        let page_size = PageSize::new(word(2))?;
        let checksum = WalChecksum::default().update(order, &bytes[..24]);
        if checksum != WalChecksum(word(6), word(7)) {
            return None;
        }
        Some(WalHeader {
            order,
            page_size,
            sequence: word(3),
            salts: Salts(word(4), word(5)),
            checksum,
        })
    }

    /// The bytes of a header, checksum computed.
    pub fn encode(
        order: ByteOrder,
        page_size: PageSize,
        sequence: u32,
        salts: Salts,
    ) -> [u8; WAL_HEADER_SIZE] {
        let magic = MAGIC | u32::from(order == ByteOrder::Big);
        let mut out = [0; WAL_HEADER_SIZE];
        for (i, v) in [magic, VERSION, page_size.get(), sequence, salts.0, salts.1]
            .into_iter()
            .enumerate()
        {
            out[4 * i..4 * i + 4].copy_from_slice(&v.to_be_bytes());
        }
        let sum = WalChecksum::default().update(order, &out[..24]);
        out[24..28].copy_from_slice(&sum.0.to_be_bytes());
        out[28..32].copy_from_slice(&sum.1.to_be_bytes());
        out
    }
}
