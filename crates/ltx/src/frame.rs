//! One page frame: its prefix, its compressed data, and the two encodings of that data.
//!
//! Writers produce only LZ4 blocks with a size before them; the older encoding, an LZ4 frame without a size,
//! is read for ever.

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use crate::{Error, PageNo, PageSize, Result, lz4frame};

/// Bytes of page number and flags before each page, and of the zeros after the last one.
pub const PAGE_HEADER_SIZE: usize = 6;
/// Bytes of a frame before its LZ4 block.
pub(crate) const BLOCK_PREFIX: usize = 10;
/// Page flag: a size follows, and the data is an LZ4 block.
pub(crate) const FLAG_BLOCK: u16 = 1;

/// How a frame's data is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameEncoding {
    /// Size and LZ4 block, as all writers of today do it.
    Block,
    /// LZ4 frame without a size before it, as early versions did it.
    Lz4Frame,
}

impl FrameEncoding {
    /// How many bytes of the frame come before its data; these are hashed as they stand.
    pub const fn prefix_len(self) -> usize {
        match self {
            Self::Block => BLOCK_PREFIX,
            Self::Lz4Frame => PAGE_HEADER_SIZE,
        }
    }
}

/// The first six bytes of a frame, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePrefix {
    /// Which page it is.
    pub page: PageNo,
    /// How its data is compressed.
    pub encoding: FrameEncoding,
}

/// Reads a frame's first six bytes; `None` is the end of the page block.
pub(crate) fn read_prefix(bytes: &[u8]) -> Result<Option<FramePrefix>> {
    let fields = bytes
        .split_first_chunk()
        .and_then(|(number, rest)| Some((number, rest.first_chunk()?)));
    let Some((number, flags)) = fields else {
        return Err(Error::Truncated {
            offset: bytes.len() as u64,
        });
    };
    let (number, flags) = (u32::from_be_bytes(*number), u16::from_be_bytes(*flags));
    match (PageNo::new(number), flags) {
        (None, 0) => Ok(None),
        (Some(page), FLAG_BLOCK) => Ok(Some(FramePrefix {
            page,
            encoding: FrameEncoding::Block,
        })),
        (Some(page), 0) => Ok(Some(FramePrefix {
            page,
            encoding: FrameEncoding::Lz4Frame,
        })),
        _ => Err(Error::PageFlags {
            page: number,
            flags,
        }),
    }
}

/// Which page a whole frame is for, and how it is encoded.
pub fn frame_encoding(frame: &[u8]) -> Result<FramePrefix> {
    read_prefix(frame)?.ok_or(Error::PageFlags { page: 0, flags: 0 })
}

/// Which page a frame is for, and how many of its first bytes are hashed as they stand (6 or 10); after them
/// the file checksum covers the uncompressed page.
pub fn frame_prefix(frame: &[u8]) -> Result<(PageNo, usize)> {
    let prefix = frame_encoding(frame)?;
    let len = prefix.encoding.prefix_len();
    if frame.len() < len {
        return Err(Error::Truncated {
            offset: frame.len() as u64,
        });
    }
    Ok((prefix.page, len))
}

/// Greatest size of an LZ4 block that inflates to one page.
pub(crate) const fn max_block_size(page_size: PageSize) -> usize {
    page_size.bytes() + page_size.bytes() / 255 + 16
}

/// Greatest size of a whole frame in either encoding.
pub const fn max_frame_size(page_size: PageSize) -> usize {
    PAGE_HEADER_SIZE + lz4frame::OVERHEAD_MAX + max_block_size(page_size)
}

/// The size of the LZ4 block after a ten-byte prefix, refused if one page cannot need that much.
pub(crate) fn block_size(page: PageNo, prefix: &[u8], page_size: PageSize) -> Result<usize> {
    let Some(size) = prefix.get(PAGE_HEADER_SIZE..).and_then(<[u8]>::first_chunk) else {
        return Err(Error::Truncated {
            offset: prefix.len() as u64,
        });
    };
    let (size, max) = (u32::from_be_bytes(*size), max_block_size(page_size));
    if size as usize > max {
        return Err(Error::FrameTooLarge {
            page: page.get(),
            size: size.into(),
            max: max as u64,
        });
    }
    Ok(size as usize)
}

/// Inflates a whole frame, as a page index locates it, into `out`, which must be one page long. The frame's
/// number is returned for the caller to compare with the index.
pub fn decompress_frame(frame: &[u8], page_size: PageSize, out: &mut [u8]) -> Result<PageNo> {
    check_buffer(page_size, out)?;
    let FramePrefix { page, encoding } = frame_encoding(frame)?;
    let actual = match encoding {
        FrameEncoding::Block => BLOCK_PREFIX + block_size(page, frame, page_size)?,
        FrameEncoding::Lz4Frame => {
            let data = &frame[PAGE_HEADER_SIZE..];
            match lz4frame::extent(data).map_err(|reason| lz4_error(page, reason))? {
                lz4frame::Extent::Whole(len) | lz4frame::Extent::AtLeast(len) => {
                    PAGE_HEADER_SIZE + len
                }
            }
        }
    };
    if actual != frame.len() {
        return Err(Error::FrameLength {
            page: page.get(),
            given: frame.len(),
            actual,
        });
    }
    inflate(page, encoding, &frame[encoding.prefix_len()..], out)?;
    Ok(page)
}

/// Inflates a frame's data into a buffer of one page.
pub(crate) fn inflate(
    page: PageNo,
    encoding: FrameEncoding,
    data: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let actual = match encoding {
        FrameEncoding::Block => {
            decompress_into(data, out).map_err(|error| lz4_error(page, &error.to_string()))?
        }
        FrameEncoding::Lz4Frame => {
            lz4frame::inflate(data, out).map_err(|reason| lz4_error(page, &reason))?
        }
    };
    if actual != out.len() {
        return Err(Error::PageLength {
            page: page.get(),
            expected: out.len(),
            actual,
        });
    }
    Ok(())
}

pub(crate) fn lz4_error(page: PageNo, reason: &str) -> Error {
    Error::Lz4 {
        page: page.get(),
        reason: reason.to_owned(),
    }
}

/// Whether a caller's buffer holds exactly one page.
pub(crate) fn check_buffer(page_size: PageSize, buffer: &[u8]) -> Result<()> {
    let (expected, actual) = (page_size.bytes(), buffer.len());
    if expected == actual {
        Ok(())
    } else {
        Err(Error::PageBuffer { expected, actual })
    }
}

/// Compresses pages to LZ4 blocks; keeps its tables and its buffer from page to page.
pub struct Compressor {
    table: CompressTable,
    scratch: Vec<u8>,
}

impl Compressor {
    /// Ready for pages of any size.
    pub fn new() -> Self {
        Self {
            table: CompressTable::small(),
            scratch: Vec::new(),
        }
    }

    /// Appends `page`, compressed to one LZ4 block, to `out`.
    pub fn compress(&mut self, page: &[u8], out: &mut Vec<u8>) {
        let room = get_maximum_output_size(page.len());
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        match compress_into_with_table(page, &mut self.scratch, &mut self.table) {
            Ok(len) => out.extend_from_slice(&self.scratch[..len]),
            // Only too little room makes it fail, and there is more than the worst case needs.
            Err(_) => store(page, out),
        }
    }
}

/// Appends `page` as an LZ4 block of literals only.
fn store(page: &[u8], out: &mut Vec<u8>) {
    match page.len().checked_sub(15) {
        None => out.push((page.len() as u8) << 4),
        Some(mut more) => {
            out.push(0xf0);
            while more >= 255 {
                out.push(255);
                more -= 255;
            }
            out.push(more as u8);
        }
    }
    out.extend_from_slice(page);
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stay_within_the_bound_and_inflate_again() {
        let mut compressor = Compressor::new();
        let mut state = 1u32;
        for shift in 9..=16 {
            let size = PageSize::new(1 << shift).unwrap();
            let mut noise = vec![0u8; size.bytes()];
            for byte in &mut noise {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
            for page in [noise, vec![0; size.bytes()], vec![7; size.bytes()]] {
                for packed in [true, false] {
                    let mut block = vec![9];
                    if packed {
                        compressor.compress(&page, &mut block);
                    } else {
                        store(&page, &mut block);
                    }
                    assert!(block.len() - 1 <= max_block_size(size));
                    let mut out = vec![1; size.bytes()];
                    inflate(PageNo::FIRST, FrameEncoding::Block, &block[1..], &mut out).unwrap();
                    assert_eq!(out, page);
                }
            }
        }
    }

    #[test]
    fn an_oversized_block_is_refused_from_its_size_alone() {
        let size = PageSize::new(512).unwrap();
        let mut frame = vec![0, 0, 0, 3, 0, 1];
        frame.extend_from_slice(&u32::MAX.to_be_bytes());
        let error = decompress_frame(&frame, size, &mut [0; 512]).unwrap_err();
        assert!(
            matches!(error, Error::FrameTooLarge { page: 3, .. }),
            "{error}"
        );
    }

    #[test]
    fn ranges_that_are_not_one_frame_are_refused() {
        let size = PageSize::new(512).unwrap();
        let mut frame = vec![0, 0, 0, 3, 0, 1, 0, 0, 0, 0];
        Compressor::new().compress(&[5; 512], &mut frame);
        frame[9] = (frame.len() - 10) as u8;
        let mut out = [0; 512];
        assert_eq!(decompress_frame(&frame, size, &mut out).unwrap().get(), 3);
        assert_eq!(out, [5; 512]);
        assert_eq!(frame_prefix(&frame).unwrap(), (PageNo::new(3).unwrap(), 10));
        for len in 0..frame.len() {
            assert!(decompress_frame(&frame[..len], size, &mut out).is_err());
        }
        frame.push(0);
        assert!(matches!(
            decompress_frame(&frame, size, &mut out),
            Err(Error::FrameLength { .. })
        ));
        assert!(matches!(
            decompress_frame(&frame, size, &mut out[1..]),
            Err(Error::PageBuffer { .. })
        ));
        assert!(frame_prefix(&[0; 10]).is_err());
    }
}
