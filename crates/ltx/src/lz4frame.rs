//! The LZ4 frame format, as far as the older page encoding needs it: one frame that inflates to one page.
//!
//! A general decoder is not used here because it reserves the frame's block size (4 MiB in the files that
//! exist) for every page and reads from a stream, while here the frame's exact end must be known and memory
//! must follow the page size. Dictionaries, skippable and legacy frames never occur and are refused.

use lz4_flex::block::{decompress_into, decompress_into_with_dict};
use twox_hash::XxHash32;

const MAGIC: [u8; 4] = 0x184D_2204u32.to_le_bytes();
const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
pub(crate) const INDEPENDENT: u8 = 0b0010_0000;
pub(crate) const BLOCK_CHECKSUMS: u8 = 0b0001_0000;
pub(crate) const CONTENT_SIZE: u8 = 0b0000_1000;
pub(crate) const CONTENT_CHECKSUM: u8 = 0b0000_0100;
/// The reserved bit and the dictionary bit.
const UNSUPPORTED: u8 = 0b0000_0011;
pub(crate) const STORED: u32 = 1 << 31;
/// Magic, flags, block size, header checksum.
pub(crate) const DESCRIPTOR_MIN: usize = 7;
/// How much a frame may add to its compressed data: descriptor, end mark, checksum, and 16 blocks' sizes and
/// checksums. Writers make one block of a page.
pub(crate) const OVERHEAD_MAX: usize = DESCRIPTOR_MIN + 8 + 8 + 16 * 8;

/// How far a frame reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The frame is all there and has this many bytes.
    Whole(usize),
    /// At least this many bytes are needed to know more.
    AtLeast(usize),
}

/// Finds the end of the frame that `data` begins with, from its sizes alone.
pub(crate) fn extent(data: &[u8]) -> Result<Extent, &'static str> {
    if data.len() < DESCRIPTOR_MIN {
        return Ok(Extent::AtLeast(DESCRIPTOR_MIN));
    }
    let flags = check_flags(data)?;
    let mut at = DESCRIPTOR_MIN + if flags & CONTENT_SIZE != 0 { 8 } else { 0 };
    loop {
        let Some(size) = read_u32(data, at) else {
            return Ok(Extent::AtLeast(at + 4));
        };
        at += 4;
        if size == 0 {
            at += if flags & CONTENT_CHECKSUM != 0 { 4 } else { 0 };
            return Ok(if at <= data.len() {
                Extent::Whole(at)
            } else {
                Extent::AtLeast(at)
            });
        }
        at += (size & !STORED) as usize + if flags & BLOCK_CHECKSUMS != 0 { 4 } else { 0 };
    }
}

/// The flags of a frame whose first seven bytes are there.
pub(crate) fn check_flags(data: &[u8]) -> Result<u8, &'static str> {
    if data[..4] != MAGIC {
        return Err("an LZ4 frame does not begin with its magic number");
    }
    let flags = data[4];
    if flags & VERSION_MASK != VERSION || flags & UNSUPPORTED != 0 {
        return Err("unsupported LZ4 frame flags");
    }
    Ok(flags)
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

fn read_u64(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..)?
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
}

/// Inflates a whole frame into `out`; returns how many bytes it has, which may be less than there is room for.
pub(crate) fn inflate(data: &[u8], out: &mut [u8]) -> Result<usize, String> {
    const SHORT: &str = "the LZ4 frame is cut short";
    if data.len() < DESCRIPTOR_MIN {
        return Err(SHORT.into());
    }
    let flags = check_flags(data)?;
    let mut at = DESCRIPTOR_MIN + if flags & CONTENT_SIZE != 0 { 8 } else { 0 };
    let descriptor = data.get(4..at - 1).ok_or(SHORT)?;
    if data.get(at - 1) != Some(&((XxHash32::oneshot(0, descriptor) >> 8) as u8)) {
        return Err("LZ4 frame descriptor checksum mismatch".into());
    }
    let mut filled = 0;
    loop {
        let size = read_u32(data, at).ok_or(SHORT)?;
        at += 4;
        if size == 0 {
            break;
        }
        let block = data.get(at..at + (size & !STORED) as usize).ok_or(SHORT)?;
        at += block.len();
        if flags & BLOCK_CHECKSUMS != 0 {
            if read_u32(data, at).ok_or(SHORT)? != XxHash32::oneshot(0, block) {
                return Err("LZ4 block checksum mismatch".into());
            }
            at += 4;
        }
        filled += inflate_block(
            block,
            size & STORED != 0,
            flags & INDEPENDENT == 0,
            out,
            filled,
        )?;
    }
    if flags & CONTENT_SIZE != 0 && read_u64(data, DESCRIPTOR_MIN - 1) != Some(filled as u64) {
        return Err("LZ4 frame content size mismatch".into());
    }
    if flags & CONTENT_CHECKSUM != 0
        && read_u32(data, at).ok_or(SHORT)? != XxHash32::oneshot(0, &out[..filled])
    {
        return Err("LZ4 frame content checksum mismatch".into());
    }
    Ok(filled)
}

/// Inflates one block behind the `filled` bytes that are there; returns how many bytes it added.
pub(crate) fn inflate_block(
    block: &[u8],
    stored: bool,
    linked: bool,
    out: &mut [u8],
    filled: usize,
) -> Result<usize, String> {
    let (before, room) = out.split_at_mut(filled);
    if stored {
        let target = room
            .get_mut(..block.len())
            .ok_or("the LZ4 block is larger than there is room for")?;
        target.copy_from_slice(block);
        return Ok(block.len());
    }
    // Never more than LZ4's window came before, so all of it serves linked blocks.
    let result = if linked && !before.is_empty() {
        decompress_into_with_dict(block, room, before)
    } else {
        decompress_into(block, room)
    };
    result.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    fn encode(info: FrameInfo, pieces: &[&[u8]]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        for piece in pieces {
            encoder.write_all(piece).unwrap();
            // Ends the block.
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap()
    }

    fn infos() -> Vec<FrameInfo> {
        let mut all = Vec::new();
        for bits in 0..16 {
            let mode = if bits & 1 == 0 {
                BlockMode::Independent
            } else {
                BlockMode::Linked
            };
            let size = if bits & 2 == 0 {
                BlockSize::Max64KB
            } else {
                BlockSize::Max4MB
            };
            all.push(
                FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(bits & 4 != 0)
                    .content_checksum(bits & 8 != 0)
                    .content_size((bits & 8 != 0).then_some(4096)),
            );
        }
        all
    }

    fn sample() -> Vec<u8> {
        (0..4096u32)
            .map(|i| {
                if i % 1024 < 700 {
                    (i / 7) as u8
                } else {
                    (i.wrapping_mul(i) >> 3) as u8
                }
            })
            .collect()
    }

    #[test]
    fn all_frame_options_inflate_and_end_exactly() {
        let page = sample();
        for info in infos() {
            for pieces in [
                vec![&page[..]],
                vec![&page[..1000], &page[1000..1010], &page[1010..]],
            ] {
                let mut data = encode(info.clone(), &pieces);
                let len = data.len();
                for cut in 0..len {
                    match extent(&data[..cut]).unwrap() {
                        Extent::AtLeast(n) => assert!(n > cut && n <= len, "{n} {cut} {len}"),
                        Extent::Whole(n) => panic!("whole at {cut}: {n}"),
                    }
                    assert!(inflate(&data[..cut], &mut [0; 4096]).is_err());
                }
                data.extend_from_slice(&[0xaa; 20]);
                assert_eq!(extent(&data).unwrap(), Extent::Whole(len));
                let mut out = vec![0; 4096];
                assert_eq!(inflate(&data[..len], &mut out).unwrap(), 4096);
                assert_eq!(out, page);
                assert!(inflate(&data[..len], &mut [0; 4095]).is_err());
            }
        }
    }

    #[test]
    fn foreign_frames_are_refused() {
        let good = encode(FrameInfo::new(), &[b"page"]);
        for (at, value) in [
            (0, 0x50),
            (4, good[4] | 1),
            (4, good[4] | 2),
            (4, good[4] ^ 0x80),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(extent(&bad).is_err());
            assert!(inflate(&bad, &mut [0; 4]).is_err());
        }
        let mut bad = good;
        bad[6] ^= 1;
        assert!(
            inflate(&bad, &mut [0; 4])
                .unwrap_err()
                .contains("descriptor")
        );
    }
}
