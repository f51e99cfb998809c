//! Files as plain values, a second writer that shares no code with the crate's, and a database model.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use ltx::{
    Checksum, DatabaseChecksum, Decoder, Encoder, FrameEncoding, Header, PageNo, PageSize, Result,
    Trailer, Txid, Written, crc64,
};
use lz4_flex::frame::FrameEncoder;

/// Page number to content.
pub type Pages = BTreeMap<u32, Vec<u8>>;

/// All that a file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub header: Header,
    pub pages: Pages,
    pub post_apply: u64,
}

pub fn size(bytes: u32) -> PageSize {
    PageSize::new(bytes).unwrap()
}

pub fn page_no(number: u32) -> PageNo {
    PageNo::new(number).unwrap()
}

pub fn header(page_size: u32, commit: u32, min: u64, max: u64) -> Header {
    Header::new(
        size(page_size),
        commit,
        Txid::new(min),
        Txid::new(max),
        1_700_000_000_123,
    )
}

impl Content {
    pub fn new(header: Header, pages: Pages) -> Self {
        Self {
            header,
            pages,
            post_apply: 0,
        }
    }

    /// The same with database checksums.
    pub fn tracked(mut self) -> Self {
        self.header.flags = 0;
        self.header.pre_apply_checksum = if self.header.is_snapshot() {
            0
        } else {
            Checksum::FLAG | 0x77
        };
        let mut sum = DatabaseChecksum::new();
        for (number, page) in &self.pages {
            sum.toggle(Checksum::page(page_no(*number), page));
        }
        self.post_apply = sum.value().get();
        self
    }

    pub fn encode(&self) -> Vec<u8> {
        self.try_encode().unwrap().0
    }

    pub fn try_encode(&self) -> Result<(Vec<u8>, Written)> {
        let mut encoder = Encoder::new(Vec::new(), self.header)?;
        for (number, page) in &self.pages {
            encoder.write_page(page_no(*number), page)?;
        }
        encoder.finish(self.post_apply)
    }

    /// Written by hand, each page in the encoding that `encoding` says.
    pub fn encode_by_hand(&self, encoding: impl Fn(u32) -> FrameEncoding) -> Vec<u8> {
        let mut file = self.header.encode().to_vec();
        let mut hashed = file.clone();
        let mut index = Vec::new();
        for (number, page) in &self.pages {
            let mut frame = number.to_be_bytes().to_vec();
            if encoding(*number) == FrameEncoding::Block {
                let block = lz4_flex::block::compress(page);
                frame.extend([0, 1]);
                frame.extend((block.len() as u32).to_be_bytes());
                hashed.extend(&frame);
                frame.extend(block);
            } else {
                frame.extend([0, 0]);
                hashed.extend(&frame);
                frame.extend(lz4_frame(page));
            }
            hashed.extend(page);
            for value in [u64::from(*number), file.len() as u64, frame.len() as u64] {
                leb128(&mut index, value);
            }
            file.extend(frame);
        }
        index.push(0);
        for out in [&mut file, &mut hashed] {
            out.extend([0; 6]);
            out.extend(&index);
            out.extend((index.len() as u64).to_be_bytes());
            out.extend(self.post_apply.to_be_bytes());
        }
        file.extend((crc64(&hashed) | 1 << 63).to_be_bytes());
        file
    }
}

fn lz4_frame(page: &[u8]) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max4MB)
        .content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(page).unwrap();
    encoder.finish().unwrap()
}

fn leb128(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let more = value > 127;
        out.push((value & 127) as u8 | if more { 128 } else { 0 });
        value >>= 7;
        if !more {
            return;
        }
    }
}

pub fn decode(file: &[u8]) -> Result<Content> {
    decode_from(file).map(|(content, _)| content)
}

pub fn decode_from(reader: impl Read) -> Result<(Content, Trailer)> {
    let mut decoder = Decoder::new(reader)?;
    let header = *decoder.header();
    let mut page = vec![0; header.page_size.bytes()];
    let mut pages = Pages::new();
    while let Some(number) = decoder.next_page(&mut page)? {
        pages.insert(number.get(), page.clone());
    }
    let trailer = decoder.finish()?;
    let post_apply = trailer.post_apply_checksum;
    Ok((
        Content {
            header,
            pages,
            post_apply,
        },
        trailer,
    ))
}

/// Applies a file to a database image.
pub fn apply(image: &mut Vec<u8>, file: &[u8]) {
    let decoder = Decoder::new(file).unwrap();
    let page_size = decoder.header().page_size;
    image.resize(decoder.header().commit as usize * page_size.bytes(), 0);
    ltx::write_image(decoder, |number, page| {
        let at = number.offset(page_size) as usize;
        image[at..at + page.len()].copy_from_slice(page);
        Ok(())
    })
    .unwrap();
}

/// A page of one of several textures, from constant to incompressible.
pub fn texture(page_size: u32, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) << 1 | 1;
    (0..page_size)
        .map(|i| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match seed % 4 {
                0 => (seed >> 2) as u8,
                1 => state as u8,
                2 => ((i / 9) ^ seed) as u8,
                _ if i % 256 < 40 => state as u8,
                _ => b'a' + (i % 13) as u8,
            }
        })
        .collect()
}
