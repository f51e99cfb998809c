//! An LZ4 frame of any length as a stream of inflated blocks: what backups of Litestream 0.3 are packed in.
//!
//! Promise: memory depends on the block size that the frame names (at most 4 MiB), never on what it says of its content; a
//! frame that is cut short, altered or followed by anything is an error. A general decoder is not used because it takes a
//! frame that ends between two blocks for a whole one.

use std::hash::Hasher;
use std::io::{self, Read};

use twox_hash::XxHash32;

use super::lz4frame::{
    BLOCK_CHECKSUMS, CONTENT_CHECKSUM, CONTENT_SIZE, DESCRIPTOR_MIN, INDEPENDENT, STORED,
    check_flags, inflate_block,
};

/// How far back a linked block may refer.
const WINDOW: usize = 64 << 10;

/// Inflates one frame, block by block.
pub struct Lz4Reader<R> {
    input: R,
    flags: u8,
    block_max: usize,
    /// What the frame says it inflates to.
    content: Option<u64>,
    inflated: u64,
    hash: XxHash32,
    block: Vec<u8>,
    /// The last bytes inflated before, then the block.
    out: Vec<u8>,
    /// Where in `out` the last block ends.
    filled: usize,
    ended: bool,
}

impl<R: Read> Lz4Reader<R> {
    /// Reads the frame's descriptor.
    pub fn new(mut input: R) -> io::Result<Lz4Reader<R>> {
        let mut descriptor = [0; DESCRIPTOR_MIN + 8];
        fill(&mut input, &mut descriptor[..DESCRIPTOR_MIN])?;
        let flags = check_flags(&descriptor).map_err(bad)?;
        let len = DESCRIPTOR_MIN + if flags & CONTENT_SIZE != 0 { 8 } else { 0 };
        fill(&mut input, &mut descriptor[DESCRIPTOR_MIN..len])?;
        let expected = (XxHash32::oneshot(0, &descriptor[4..len - 1]) >> 8) as u8;
        if descriptor[len - 1] != expected {
            return Err(bad("LZ4 frame descriptor checksum mismatch"));
        }
        let block_max = match descriptor[5] {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            _ => return Err(bad("unsupported LZ4 block size")),
        };
        let mut size = [0; 8];
        size.copy_from_slice(&descriptor[DESCRIPTOR_MIN - 1..DESCRIPTOR_MIN + 7]);
        Ok(Lz4Reader {
            input,
            flags,
            block_max,
            content: (flags & CONTENT_SIZE != 0).then(|| u64::from_le_bytes(size)),
            inflated: 0,
            hash: XxHash32::with_seed(0),
            block: Vec::new(),
            out: vec![0; WINDOW + block_max],
            filled: 0,
            ended: false,
        })
    }

    /// The next block; `None` once the frame has ended, all its checksums held and nothing follows it.
    pub fn next_block(&mut self) -> io::Result<Option<&[u8]>> {
        if self.ended {
            return Ok(None);
        }
        let word = self.word()?;
        let len = (word & !STORED) as usize;
        if word == 0 {
            self.end()?;
            return Ok(None);
        }
        if len > self.block_max {
            return Err(bad("an LZ4 block is larger than its frame allows"));
        }
        self.block.resize(len, 0);
        fill(&mut self.input, &mut self.block)?;
        if self.flags & BLOCK_CHECKSUMS != 0 && self.word()? != XxHash32::oneshot(0, &self.block) {
            return Err(bad("LZ4 block checksum mismatch"));
        }
        let kept = self.keep_window();
        let added = inflate_block(
            &self.block,
            word & STORED != 0,
            self.flags & INDEPENDENT == 0,
            &mut self.out[..kept + self.block_max],
            kept,
        )
        .map_err(bad)?;
        self.filled = kept + added;
        self.inflated += added as u64;
        let block = &self.out[kept..self.filled];
        if self.flags & CONTENT_CHECKSUM != 0 {
            self.hash.write(block);
        }
        Ok(Some(block))
    }

    /// Moves what a linked block may refer to to the front; returns its length.
    fn keep_window(&mut self) -> usize {
        if self.flags & INDEPENDENT != 0 {
            return 0;
        }
        let kept = self.filled.min(WINDOW);
        self.out.copy_within(self.filled - kept..self.filled, 0);
        kept
    }

    fn end(&mut self) -> io::Result<()> {
        if self.content.is_some_and(|size| size != self.inflated) {
            return Err(bad("LZ4 frame content size mismatch"));
        }
        if self.flags & CONTENT_CHECKSUM != 0 && self.word()? != self.hash.finish_32() {
            return Err(bad("LZ4 frame content checksum mismatch"));
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(bad("bytes follow the LZ4 frame"));
        }
        self.ended = true;
        Ok(())
    }

    fn word(&mut self) -> io::Result<u32> {
        let mut word = [0; 4];
        fill(&mut self.input, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn fill(input: &mut impl Read, buf: &mut [u8]) -> io::Result<()> {
    input.read_exact(buf).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            bad("the LZ4 frame is cut short")
        } else {
            error
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    /// Half of it repeats what came shortly before, also across blocks.
    fn content(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut out = Vec::with_capacity(len + 64);
        while out.len() < len {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let back = (state >> 40) as usize % 60_000 + 32;
            if state >> 63 == 0 && out.len() > back + 32 {
                let from = out.len() - back;
                out.extend_from_within(from..from + 32);
            } else {
                out.extend_from_slice(&state.to_le_bytes());
            }
        }
        out.truncate(len);
        out
    }

    fn inflate(frame: &[u8]) -> io::Result<Vec<u8>> {
        let mut reader = Lz4Reader::new(frame)?;
        let mut out = Vec::new();
        while let Some(block) = reader.next_block()? {
            out.extend_from_slice(block);
        }
        assert!(reader.next_block()?.is_none());
        Ok(out)
    }

    fn frames(content: &[u8]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for bits in 0..16 {
            let (linked, small) = (bits & 1 != 0, bits & 2 != 0);
            let info = FrameInfo::new()
                .block_mode(if linked {
                    BlockMode::Linked
                } else {
                    BlockMode::Independent
                })
                .block_size(if small {
                    BlockSize::Max64KB
                } else {
                    BlockSize::Max256KB
                })
                .block_checksums(bits & 4 != 0)
                .content_checksum(true)
                .content_size((bits & 8 != 0).then_some(content.len() as u64));
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(content).unwrap();
            frames.push(encoder.finish().unwrap());
        }
        frames
    }

    #[test]
    fn all_frame_options_inflate() {
        for len in [0, 1, 65_535, 65_537, 1_000_000] {
            let content = content(len);
            for (option, frame) in frames(&content).into_iter().enumerate() {
                assert!(
                    inflate(&frame).unwrap() == content,
                    "{len} bytes, option {option}"
                );
            }
        }
    }

    #[test]
    fn cut_altered_and_longer_frames_are_refused() {
        let content = content(700);
        for frame in frames(&content) {
            for cut in 0..frame.len() {
                let error = inflate(&frame[..cut]).unwrap_err();
                assert!(error.to_string().contains("cut short"), "{cut}: {error}");
            }
            for at in 0..frame.len() {
                for bit in 0..8 {
                    let mut bad = frame.clone();
                    bad[at] ^= 1 << bit;
                    // A few bits of LZ4 data have no meaning.
                    if let Ok(out) = inflate(&bad) {
                        assert!(out == content, "byte {at} bit {bit}");
                    }
                }
            }
            let mut longer = frame.clone();
            longer.push(0);
            assert!(inflate(&longer).unwrap_err().to_string().contains("follow"));
        }
    }

    #[test]
    fn memory_does_not_follow_what_a_frame_claims() {
        let mut bomb = vec![0; 40 << 20];
        let info = FrameInfo::new()
            .block_size(BlockSize::Max4MB)
            .content_checksum(true);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&bomb).unwrap();
        let frame = encoder.finish().unwrap();
        bomb.truncate(0);
        let mut reader = Lz4Reader::new(&frame[..]).unwrap();
        let mut total = 0;
        while let Some(block) = reader.next_block().unwrap() {
            total += block.len();
        }
        assert_eq!(total, 40 << 20);
        assert!(reader.out.capacity() + reader.block.capacity() <= WINDOW + (8 << 20));
    }
}
