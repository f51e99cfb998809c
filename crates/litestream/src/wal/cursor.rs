//! Where reading stands in the WAL, and the scan that moves it.

use super::frame::{FRAME_HEADER_SIZE, FrameHeader, frame_offset, frame_size};
use super::header::{ByteOrder, Salts, WalChecksum, WalHeader};
use ltx::PageSize;

/// A proven position in one generation of the WAL: everything before it was read and its checksums held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The generation.
    pub salts: Salts,
    /// How checksums are computed in it.
    pub order: ByteOrder,
    /// Page size of the database.
    pub page_size: PageSize,
    /// Frames read so far.
    pub frames: u32,
    /// The chain's checksum after them.
    pub checksum: WalChecksum,
}

impl Cursor {
    /// Before the first frame of a generation.
    pub fn start(header: &WalHeader) -> Cursor {
        Cursor {
            salts: header.salts,
            order: header.order,
            page_size: header.page_size,
            frames: 0,
            checksum: header.checksum,
        }
    }

    /// For a WAL without content, whose salts are not known yet.
    pub fn before_any(page_size: PageSize) -> Cursor {
        Cursor {
            salts: Salts::default(),
            order: ByteOrder::Little,
            page_size,
            frames: 0,
            checksum: WalChecksum::default(),
        }
    }

    /// Byte offset in the file at which the next frame starts.
    pub fn offset(&self) -> u64 {
        frame_offset(self.frames, self.page_size)
    }
}

/// Why [`scan`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// All whole frames in the bytes were read.
    Consumed,
    /// `visit` asked to stop after a frame.
    Stopped,
    /// The next frame is not of this generation, or its checksum does not continue the chain: the end of
    /// what was written.
    Invalid,
}

/// Reads whole frames from `bytes`, which must start at the cursor's offset. Each frame whose salts and checksum
/// continue the chain moves the cursor and is given to `visit` (header, 0-based frame index, page); `visit` returns
/// false to stop after it. Never looks at bytes of a frame that did not verify.
pub fn scan(
    cursor: &mut Cursor,
    bytes: &[u8],
    mut visit: impl FnMut(&FrameHeader, u32, &[u8]) -> bool,
) -> ScanEnd {
    let size = frame_size(cursor.page_size) as usize;
    for frame in bytes.chunks_exact(size) {
        let Some(header) = FrameHeader::parse(frame) else {
            return ScanEnd::Invalid;
        };
        if header.salts != cursor.salts {
            return ScanEnd::Invalid;
        }
        let checksum = FrameHeader::computed_checksum(frame, cursor.checksum, cursor.order);
        if checksum != header.checksum {
            return ScanEnd::Invalid;
        }
        let index = cursor.frames;
        cursor.frames += 1;
        cursor.checksum = checksum;
        if !visit(&header, index, &frame[FRAME_HEADER_SIZE..]) {
            return ScanEnd::Stopped;
        }
    }
    ScanEnd::Consumed
}
