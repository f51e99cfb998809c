//! One frame: 24 bytes of header and a page.

use super::header::{ByteOrder, Salts, WAL_HEADER_SIZE, WalChecksum};
use ltx::{PageNo, PageSize};

/// Bytes before each page.
pub const FRAME_HEADER_SIZE: usize = 24;

/// Bytes of a whole frame.
pub fn frame_size(page_size: PageSize) -> u64 {
    (FRAME_HEADER_SIZE + page_size.bytes()) as u64
}

/// Where the frame with this 0-based index starts in the file; also the end of `frames` frames.
pub fn frame_offset(frames: u32, page_size: PageSize) -> u64 {
    WAL_HEADER_SIZE as u64 + u64::from(frames) * frame_size(page_size)
}

/// What the first 24 bytes of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whose content follows.
    pub page: PageNo,
    /// Database size in pages after the transaction that this frame ends; zero if it ends none.
    pub commit: u32,
    /// The generation it was written in.
    pub salts: Salts,
    /// The chain's checksum after this frame.
    pub checksum: WalChecksum,
}

impl FrameHeader {
    /// Reads a frame header. `None` for page number zero, which no frame has.
    pub fn parse(bytes: &[u8]) -> Option<FrameHeader> {
        let bytes: &[u8; FRAME_HEADER_SIZE] = bytes.get(..FRAME_HEADER_SIZE)?.try_into().ok()?;
        let word = |i: usize| {
            u32::from_be_bytes([
                bytes[4 * i],
                bytes[4 * i + 1],
                bytes[4 * i + 2],
                bytes[4 * i + 3],
            ])
        };
        Some(FrameHeader {
            page: PageNo::new(word(0))?,
            commit: word(1),
            salts: Salts(word(2), word(3)),
            checksum: WalChecksum(word(4), word(5)),
        })
    }

    /// The chain's checksum after this frame, computed: over the header's first 8 bytes, then the page.
    pub fn computed_checksum(frame: &[u8], before: WalChecksum, order: ByteOrder) -> WalChecksum {
        before
            .update(order, &frame[..8])
            .update(order, &frame[FRAME_HEADER_SIZE..])
    }

    /// The bytes of a whole frame that continues the chain at `before`; the checksum after it beside.
    pub fn encode(
        page: PageNo,
        commit: u32,
        salts: Salts,
        before: WalChecksum,
        order: ByteOrder,
        data: &[u8],
    ) -> (Vec<u8>, WalChecksum) {
        let mut out = vec![0; FRAME_HEADER_SIZE];
        for (i, v) in [page.get(), commit, salts.0, salts.1]
            .into_iter()
            .enumerate()
        {
            out[4 * i..4 * i + 4].copy_from_slice(&v.to_be_bytes());
        }
        out.extend_from_slice(data);
        let sum = Self::computed_checksum(&out, before, order);
        out[16..20].copy_from_slice(&sum.0.to_be_bytes());
        out[20..24].copy_from_slice(&sum.1.to_be_bytes());
        (out, sum)
    }
}
