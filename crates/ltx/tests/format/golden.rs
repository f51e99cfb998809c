//! Files that the original Litestream 0.5.17 wrote; see `testdata/ltx/README.md`.

use std::fs;
use std::path::{Path, PathBuf};

use ltx::{Decoder, FileName, NO_CHECKSUM, merge};

use crate::common::{Content, apply, decode};

fn folder(page_size: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/ltx")
        .join(page_size.to_string())
}

/// The files of a level, in order.
fn level(page_size: u32, level: &str) -> Vec<(FileName, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder(page_size).join(level))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = FileName::parse(path.file_name().unwrap().to_str().unwrap()).unwrap();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// The databases that the original restored: TXID, size, CRC-32.
fn images(page_size: u32) -> Vec<(u64, usize, u32)> {
    let text = fs::read_to_string(folder(page_size).join("images.txt")).unwrap();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let (txid, crc) = (
            u64::from_str_radix(fields[0], 16),
            u32::from_str_radix(fields[2], 16),
        );
        (txid.unwrap(), fields[1].parse().unwrap(), crc.unwrap())
    };
    text.lines().map(line).collect()
}

fn fingerprint(image: &[u8]) -> (usize, u32) {
    (
        image.len(),
        crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(image),
    )
}

const PAGE_SIZES: [u32; 3] = [512, 4096, 65536];

#[test]
fn increments_restore_every_transaction_as_the_original_did() {
    for page_size in PAGE_SIZES {
        let (files, images) = (level(page_size, "0"), images(page_size));
        assert_eq!((files.len(), images.len()), (5, 5));
        let mut image = Vec::new();
        for ((name, file), (txid, size, crc)) in files.iter().zip(images) {
            let header = *Decoder::new(&file[..]).unwrap().header();
            assert_eq!((header.file_name(), header.max_txid.get()), (*name, txid));
            assert_eq!(
                (header.page_size.get(), header.flags),
                (page_size, NO_CHECKSUM)
            );
            apply(&mut image, file);
            assert_eq!(
                fingerprint(&image),
                (size, crc),
                "page size {page_size}, TXID {txid}"
            );
        }
        let last = folder(page_size).join("image.db");
        assert_eq!(last.exists(), page_size < 65536);
        if last.exists() {
            assert!(image == fs::read(last).unwrap());
        }
    }
}

#[test]
fn snapshots_hold_the_last_database() {
    for page_size in PAGE_SIZES {
        let [(name, file)] = &level(page_size, "9")[..] else {
            panic!("one snapshot")
        };
        assert_eq!((name.min.get(), name.max.get()), (1, 5));
        let mut image = Vec::new();
        apply(&mut image, file);
        let (_, size, crc) = images(page_size)[4];
        assert_eq!(fingerprint(&image), (size, crc));
    }
}

#[test]
fn merged_increments_equal_the_originals_snapshot() {
    for page_size in PAGE_SIZES {
        let files = level(page_size, "0");
        let inputs = files
            .iter()
            .map(|(_, file)| Decoder::new(&file[..]).unwrap())
            .collect();
        let (merged, header, _) = merge(inputs, Vec::new()).unwrap();
        let snapshot = decode(&level(page_size, "9")[0].1).unwrap();
        assert_eq!(header.file_name(), snapshot.header.file_name());
        assert!(decode(&merged).unwrap().pages == snapshot.pages);

        // And a merge of the increments alone moves the first image to the last.
        let inputs = files[1..]
            .iter()
            .map(|(_, file)| Decoder::new(&file[..]).unwrap())
            .collect();
        let (merged, ..) = merge(inputs, Vec::new()).unwrap();
        let mut image = Vec::new();
        apply(&mut image, &files[0].1);
        apply(&mut image, &merged);
        let (_, size, crc) = images(page_size)[4];
        assert_eq!(fingerprint(&image), (size, crc));
    }
}

#[test]
fn written_again_they_say_the_same() {
    for page_size in PAGE_SIZES {
        for (_, file) in level(page_size, "0")
            .into_iter()
            .chain(level(page_size, "9"))
        {
            let content: Content = decode(&file).unwrap();
            assert_eq!(content.header.reserved, [0; 20]);
            assert!(decode(&content.encode()).unwrap() == content);

            // With the original's compressed blocks, the very same file comes out.
            let mut decoder = Decoder::new(&file[..]).unwrap();
            let mut encoder = ltx::Encoder::new(Vec::new(), content.header).unwrap();
            let (mut frame, mut page) = (Vec::new(), vec![0; page_size as usize]);
            while let Some(number) = decoder.next_frame(&mut frame, &mut page).unwrap() {
                encoder
                    .write_compressed(number, &frame[10..], &page)
                    .unwrap();
            }
            decoder.finish().unwrap();
            assert!(encoder.finish(0).unwrap().0 == file);
        }
    }
}
