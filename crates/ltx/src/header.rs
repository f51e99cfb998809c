//! The fixed parts of a file: the header at its beginning and the trailer at its end.

use crate::chain::Chain;
use crate::{Checksum, Error, FileName, PageSize, Result, Txid};

/// Bytes of the header.
pub const HEADER_SIZE: usize = 100;
/// Bytes of the trailer.
pub const TRAILER_SIZE: usize = 16;
/// Header flag: the file carries no checksums of the database. Litestream sets it always.
pub const NO_CHECKSUM: u32 = 2;

const MAGIC: [u8; 4] = *b"LTX1";
const PRESENT: &str = "without the no-checksum flag it must be there, with its top bit set";
const ABSENT: &str = "with the no-checksum flag it must be zero";

/// What a file says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Zero or [`NO_CHECKSUM`].
    pub flags: u32,
    /// Page size of the database.
    pub page_size: PageSize,
    /// Size of the database in pages after this file is applied; zero if it was deleted.
    pub commit: u32,
    /// First transaction.
    pub min_txid: Txid,
    /// Last transaction.
    pub max_txid: Txid,
    /// When the last transaction was captured, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Checksum of the database before this file; zero if not tracked, or in a snapshot.
    pub pre_apply_checksum: u64,
    /// Where in the WAL the pages came from.
    pub wal_offset: i64,
    /// How many bytes of the WAL they were.
    pub wal_size: i64,
    /// First salt of that WAL.
    pub wal_salt1: u32,
    /// Second salt of that WAL.
    pub wal_salt2: u32,
    /// Who wrote the file, zero if not set.
    pub node_id: u64,
    /// Ignored by Litestream, but part of the file's checksum. May hold a [`Chain`]; [`crate::Encoder`] writes anything else as zero.
    pub reserved: [u8; 20],
}

impl Header {
    /// A header as this project writes it: no database checksum, WAL fields and node zero.
    pub const fn new(
        page_size: PageSize,
        commit: u32,
        min_txid: Txid,
        max_txid: Txid,
        timestamp_ms: i64,
    ) -> Self {
        Self {
            flags: NO_CHECKSUM,
            page_size,
            commit,
            min_txid,
            max_txid,
            timestamp_ms,
            pre_apply_checksum: 0,
            wal_offset: 0,
            wal_size: 0,
            wal_salt1: 0,
            wal_salt2: 0,
            node_id: 0,
            reserved: [0; 20],
        }
    }

    /// Whether the file holds the whole database.
    pub fn is_snapshot(&self) -> bool {
        self.min_txid.get() == 1
    }

    /// Whether the file carries checksums of the database.
    pub const fn tracks_checksum(&self) -> bool {
        self.flags & NO_CHECKSUM == 0
    }

    /// What the file says of the database before and after it.
    pub fn chain(&self) -> Chain {
        Chain::decode(&self.reserved)
    }

    /// The same header with this chain.
    pub fn with_chain(self, chain: Chain) -> Self {
        Self {
            reserved: chain.encode(),
            ..self
        }
    }

    /// The name that a file with this header has.
    pub const fn file_name(&self) -> FileName {
        FileName::new(self.min_txid, self.max_txid)
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut out = [0; HEADER_SIZE];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&self.flags.to_be_bytes());
        put(&self.page_size.get().to_be_bytes());
        put(&self.commit.to_be_bytes());
        put(&self.min_txid.get().to_be_bytes());
        put(&self.max_txid.get().to_be_bytes());
        put(&self.timestamp_ms.to_be_bytes());
        put(&self.pre_apply_checksum.to_be_bytes());
        put(&self.wal_offset.to_be_bytes());
        put(&self.wal_size.to_be_bytes());
        put(&self.wal_salt1.to_be_bytes());
        put(&self.wal_salt2.to_be_bytes());
        put(&self.node_id.to_be_bytes());
        put(&self.reserved);
        out
    }

    /// Reads and validates a header from the first [`HEADER_SIZE`] bytes of `data`.
    pub fn decode(data: &[u8]) -> Result<Self> {
        let Some(mut rest) = data.get(..HEADER_SIZE) else {
            return Err(Error::Truncated {
                offset: data.len() as u64,
            });
        };
        let found = take(&mut rest);
        if found != MAGIC {
            return Err(Error::Magic { found });
        }
        let flags = u32::from_be_bytes(take(&mut rest));
        let page_size = u32::from_be_bytes(take(&mut rest));
        let header = Self {
            flags,
            page_size: PageSize::new(page_size).ok_or(Error::PageSize(page_size))?,
            commit: u32::from_be_bytes(take(&mut rest)),
            min_txid: Txid::new(u64::from_be_bytes(take(&mut rest))),
            max_txid: Txid::new(u64::from_be_bytes(take(&mut rest))),
            timestamp_ms: i64::from_be_bytes(take(&mut rest)),
            pre_apply_checksum: u64::from_be_bytes(take(&mut rest)),
            wal_offset: i64::from_be_bytes(take(&mut rest)),
            wal_size: i64::from_be_bytes(take(&mut rest)),
            wal_salt1: u32::from_be_bytes(take(&mut rest)),
            wal_salt2: u32::from_be_bytes(take(&mut rest)),
            node_id: u64::from_be_bytes(take(&mut rest)),
            reserved: take(&mut rest),
        };
        header.validate()?;
        Ok(header)
    }

    /// Whether the fields agree with the format and with each other.
    pub fn validate(&self) -> Result<()> {
        if self.flags & !NO_CHECKSUM != 0 {
            return Err(Error::HeaderFlags(self.flags));
        }
        if self.min_txid.is_zero() || self.max_txid < self.min_txid {
            return Err(Error::TxidRange {
                min: self.min_txid,
                max: self.max_txid,
            });
        }
        let (offset, size) = (self.wal_offset, self.wal_size);
        let has_wal = size != 0 || self.wal_salt1 != 0 || self.wal_salt2 != 0;
        if offset < 0 || size < 0 || (offset == 0 && has_wal) {
            return Err(Error::WalPosition { offset, size });
        }
        if !self.is_snapshot() {
            return self.check_apply("pre", self.pre_apply_checksum);
        }
        if self.pre_apply_checksum != 0 {
            let rule = "in a snapshot it must be zero";
            return Err(Error::ApplyChecksum {
                which: "pre",
                value: self.pre_apply_checksum,
                rule,
            });
        }
        Ok(())
    }

    /// Whether `value` may stand in the trailer as post-apply checksum.
    pub(crate) fn check_post_apply(&self, value: u64) -> Result<()> {
        self.check_apply("post", value)
    }

    fn check_apply(&self, which: &'static str, value: u64) -> Result<()> {
        let (ok, rule) = if self.tracks_checksum() {
            (value & Checksum::FLAG != 0, PRESENT)
        } else {
            (value == 0, ABSENT)
        };
        if ok {
            Ok(())
        } else {
            Err(Error::ApplyChecksum { which, value, rule })
        }
    }
}

/// Takes the first `N` bytes off `rest`, which the caller knows to be long enough.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let (head, tail) = rest.split_at(N);
    out.copy_from_slice(head);
    *rest = tail;
    out
}

/// The last bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Checksum of the database after this file; zero if not tracked.
    pub post_apply_checksum: u64,
    /// Checksum of the file.
    pub file_checksum: u64,
}

impl Trailer {
    /// The trailer's bytes.
    pub fn encode(&self) -> [u8; TRAILER_SIZE] {
        let mut out = [0; TRAILER_SIZE];
        out[..8].copy_from_slice(&self.post_apply_checksum.to_be_bytes());
        out[8..].copy_from_slice(&self.file_checksum.to_be_bytes());
        out
    }

    /// Reads a trailer from the first [`TRAILER_SIZE`] bytes of `data`. Nothing can be checked without the file.
    pub fn decode(data: &[u8]) -> Result<Self> {
        let Some(mut rest) = data.get(..TRAILER_SIZE) else {
            return Err(Error::Truncated {
                offset: data.len() as u64,
            });
        };
        Ok(Self {
            post_apply_checksum: u64::from_be_bytes(take(&mut rest)),
            file_checksum: u64::from_be_bytes(take(&mut rest)),
        })
    }
}
