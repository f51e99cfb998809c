//! What is written is read again, whichever way it is read.

use std::io::{ErrorKind, Read};

use ltx::{
    Chain, Checksum, Crc64, Encoder, FrameEncoding, HEADER_SIZE, IndexReader, PageNo, Txid, crc64,
    crc64_combine, decompress_frame, frame_prefix, index_location,
};
use proptest::prelude::*;

use crate::common::{Content, Pages, decode, decode_from, header, size, texture};

/// Gives bytes in pieces of odd sizes, with interruptions between.
struct Drip<'a> {
    rest: &'a [u8],
    step: usize,
    interrupted: bool,
}

impl Read for Drip<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(ErrorKind::Interrupted.into());
        }
        let len = self.rest.len().min(out.len()).min(self.step);
        out[..len].copy_from_slice(&self.rest[..len]);
        self.rest = &self.rest[len..];
        Ok(len)
    }
}

fn content() -> impl Strategy<Value = Content> {
    let pages = prop::collection::btree_map(1u32..40, any::<u32>(), 0..12);
    (
        9u32..=16,
        any::<bool>(),
        pages,
        0u32..50,
        any::<(i64, u64, u32, u32)>(),
        any::<bool>(),
    )
        .prop_map(
            |(shift, snapshot, seeds, extra, (timestamp_ms, node_id, salt1, salt2), tracked)| {
                let page_size = 1 << shift;
                let mut pages: Pages = seeds
                    .iter()
                    .map(|(n, seed)| (*n, texture(page_size, *seed)))
                    .collect();
                let mut commit = pages.last_key_value().map_or(0, |(n, _)| *n) + extra;
                if snapshot {
                    pages = pages
                        .into_values()
                        .enumerate()
                        .map(|(i, page)| (i as u32 + 1, page))
                        .collect();
                    commit = pages.len() as u32;
                }
                let mut header = header(page_size, commit, if snapshot { 1 } else { 5 }, 9);
                header.timestamp_ms = timestamp_ms;
                header.node_id = node_id;
                (header.wal_offset, header.wal_size) = (32 + i64::from(salt2), i64::from(salt1));
                (header.wal_salt1, header.wal_salt2) = (salt1, salt2);
                let content = Content::new(header, pages);
                if tracked { content.tracked() } else { content }
            },
        )
}

/// Reads a file as ranged reads do: from its end, by its index.
fn read_by_index(file: &[u8], content: &Content) {
    let page_size = content.header.page_size;
    let tail: &[u8; 24] = file.last_chunk().unwrap();
    let range = index_location(file.len() as u64, tail).unwrap();
    let index = &file[range.start as usize..range.end as usize];
    for pieces in [1, 3, index.len()] {
        let mut entries = Vec::new();
        let mut reader = IndexReader::with_header(&content.header);
        for piece in index.chunks(pieces) {
            reader.push(piece, |entry| entries.push(entry)).unwrap();
        }
        reader.finish().unwrap();
        assert_eq!(reader.expected_start(), range.start);
        assert_eq!(entries.len(), content.pages.len());

        let mut page = vec![0; page_size.bytes()];
        let mut crc = crc64(&file[..HEADER_SIZE]);
        for (entry, (number, expected)) in entries.iter().zip(&content.pages) {
            let frame = &file[entry.offset as usize..(entry.offset + entry.size) as usize];
            assert_eq!(
                decompress_frame(frame, page_size, &mut page).unwrap(),
                entry.page
            );
            assert_eq!((entry.page.get(), &page), (*number, expected));
            let (_, prefix) = frame_prefix(frame).unwrap();
            let mut frame_crc = Crc64::new();
            frame_crc.update(&frame[..prefix]);
            frame_crc.update(&page);
            crc = crc64_combine(crc, frame_crc.value(), (prefix + page.len()) as u64);
        }
        let rest = &file[range.start as usize - 6..file.len() - 8];
        crc = crc64_combine(crc, crc64(rest), rest.len() as u64);
        let stored = u64::from_be_bytes(*file.last_chunk().unwrap());
        assert_eq!(crc | Checksum::FLAG, stored, "checksum from parts");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(content in content(), step in 1usize..9000, old in any::<u64>()) {
        let (file, written) = content.try_encode().unwrap();
        prop_assert_eq!(written.size, file.len() as u64);
        prop_assert_eq!(written.page_count as usize, content.pages.len());
        let (read, trailer) = decode_from(Drip { rest: &file, step, interrupted: false }).unwrap();
        prop_assert_eq!(&read, &content);
        prop_assert_eq!(trailer.file_checksum, written.file_checksum);
        read_by_index(&file, &content);

        let by_hand = content.encode_by_hand(|_| FrameEncoding::Block);
        prop_assert!(by_hand == file, "two writers, one format");

        let older = content.encode_by_hand(|n| if old >> (n % 64) & 1 == 1 { FrameEncoding::Lz4Frame } else { FrameEncoding::Block });
        prop_assert_eq!(&decode_from(Drip { rest: &older, step, interrupted: true }).unwrap().0, &content);
        read_by_index(&older, &content);
    }
}

#[test]
fn every_page_size_in_both_encodings() {
    for shift in 9..=16 {
        let pages: Pages = (1..=9).map(|n| (n, texture(1 << shift, n))).collect();
        let content = Content::new(header(1 << shift, 9, 1, 1), pages);
        let file = content.encode();
        assert_eq!(decode(&file).unwrap(), content);
        read_by_index(&file, &content);
        let older = content.encode_by_hand(|_| FrameEncoding::Lz4Frame);
        assert_eq!(decode(&older).unwrap(), content);
        read_by_index(&older, &content);
    }
}

#[test]
fn a_deleted_database_is_an_empty_file() {
    for min in [1, 4] {
        let content = Content::new(header(4096, 0, min, 4), Pages::new());
        for content in [content.clone(), content.tracked()] {
            let file = content.encode();
            assert_eq!(file.len(), 100 + 6 + 1 + 8 + 16);
            assert_eq!(decode(&file).unwrap(), content);
        }
    }
}

#[test]
fn reserved_bytes_are_ignored_but_hashed() {
    let mut content = Content::new(header(512, 1, 1, 1), [(1, texture(512, 1))].into());
    let clean = content.encode();
    content.header.reserved = [7; 20];
    assert_eq!(content.encode(), clean, "the writer writes zeros");
    let file = content.encode_by_hand(|_| FrameEncoding::Block);
    assert_eq!(decode(&file).unwrap(), content);
}

#[test]
fn a_chain_known_only_at_the_end_gives_the_file_that_one_known_before_gives() {
    let chain = Chain {
        before: Some(Checksum::from_crc(1)),
        after: Some(Checksum::from_crc(2)),
    };
    for pages in [0, 1, 40] {
        let pages: Pages = (1..=pages).map(|n| (n, texture(4096, n))).collect();
        let late = header(4096, 40, 2, 2);
        let early = Content::new(late.with_chain(chain), pages.clone()).encode();
        let mut encoder = Encoder::new(Vec::new(), late).unwrap();
        for (number, data) in &pages {
            let number = PageNo::new(*number).unwrap();
            encoder.write_page(number, data).unwrap();
        }
        let (mut file, written, header) = encoder.finish_chained(chain).unwrap();
        assert_eq!(written.size, file.len() as u64);
        assert!(decode(&file).is_err(), "the header is not the final one");
        file[..header.len()].copy_from_slice(&header);
        assert_eq!(file, early);
        assert_eq!(decode(&file).unwrap().header.chain(), chain);
    }
}

#[test]
fn large_files_are_flushed_in_pieces_and_stay_right() {
    let pages: Pages = (1..=300).map(|n| (n, texture(4096, n * 4 + 1))).collect();
    let content = Content::new(header(4096, 300, 1, 1), pages);
    let file = content.encode();
    assert!(file.len() > 1_000_000);
    assert_eq!(decode(&file).unwrap(), content);
    read_by_index(&file, &content);
}

#[test]
fn headers_at_their_limits() {
    let mut header = header(65536, u32::MAX, u64::MAX, u64::MAX);
    header.timestamp_ms = i64::MIN;
    (header.wal_offset, header.wal_size, header.wal_salt1) = (i64::MAX, i64::MAX, u32::MAX);
    let content = Content::new(header, [(u32::MAX, texture(65536, 3))].into());
    assert_eq!(decode(&content.encode()).unwrap(), content);
    assert_eq!(header.file_name().min, Txid::new(u64::MAX));
    assert_eq!(header.page_size, size(65536));
}
