//! Damaged files: R29, R30. Every flip and every cut is noticed, nothing panics, no wrong page is accepted.

use ltx::{FrameEncoding, IndexReader, decompress_frame, index_location};

use crate::common::{Content, Pages, decode, header, texture};

/// Small files of every kind.
fn samples() -> Vec<(Content, Vec<u8>)> {
    let pages =
        |numbers: &[u32]| -> Pages { numbers.iter().map(|&n| (n, texture(512, n))).collect() };
    let increment = Content::new(header(512, 300, 5, 9), pages(&[2, 3, 200]));
    let snapshot = Content::new(header(512, 4, 1, 3), pages(&[1, 2, 3, 4]));
    let deleted = Content::new(header(512, 0, 1, 3), Pages::new());
    let mut with_wal = Content::new(header(1024, 8, 2, 2), [(7, texture(1024, 3))].into());
    (
        with_wal.header.wal_offset,
        with_wal.header.wal_size,
        with_wal.header.wal_salt2,
    ) = (32, 1048, 9);
    let mut all = Vec::new();
    for content in [
        increment.clone(),
        increment.tracked(),
        snapshot.clone(),
        snapshot.tracked(),
        deleted,
        with_wal,
    ] {
        let file = content.encode();
        all.push((content.clone(), file));
        let file = content.encode_by_hand(|n| {
            if n % 2 == 0 {
                FrameEncoding::Lz4Frame
            } else {
                FrameEncoding::Block
            }
        });
        all.push((content, file));
    }
    all
}

/// Reads a file by its index, which must not panic whatever the bytes are.
fn try_by_index(file: &[u8], content: &Content) {
    let Some(tail) = file.last_chunk::<24>() else {
        return;
    };
    let Ok(range) = index_location(file.len() as u64, tail) else {
        return;
    };
    let mut entries = Vec::new();
    let mut reader = IndexReader::with_header(&content.header);
    let pushed = reader.push(&file[range.start as usize..range.end as usize], |entry| {
        entries.push(entry);
    });
    let _ = pushed.and_then(|()| reader.finish());
    let mut page = vec![0; content.header.page_size.bytes()];
    for entry in entries {
        if let Some(frame) = file.get(entry.offset as usize..(entry.offset + entry.size) as usize) {
            let _ = decompress_frame(frame, content.header.page_size, &mut page);
        }
    }
}

#[test]
fn r29_every_flipped_byte_is_noticed() {
    let mut accepted = 0;
    for (content, file) in samples() {
        assert_eq!(decode(&file).unwrap(), content);
        let page_block = 100..file.len() - 24;
        for at in 0..file.len() {
            for mask in [1, 2, 4, 8, 16, 32, 64, 128, 0xff, 0x55] {
                let mut damaged = file.clone();
                damaged[at] ^= mask;
                if let Ok(read) = decode(&damaged) {
                    assert!(
                        read == content,
                        "flip {mask:#x} at {at} changed the content unnoticed"
                    );
                    assert!(
                        page_block.contains(&at),
                        "flip {mask:#x} at {at} was accepted"
                    );
                    accepted += 1;
                }
                try_by_index(&damaged, &content);
            }
        }
    }
    // Equivalent encodings of the same page exist (a match may point to another copy of the same bytes).
    assert!(accepted < 2000, "{accepted}");
}

#[test]
fn r29_r30_every_cut_is_noticed() {
    for (content, file) in samples() {
        for len in 0..file.len() {
            let error = decode(&file[..len]).unwrap_err();
            assert!(error.is_corrupt());
            assert!(error.to_string().contains("cut short"), "{len}: {error}");
            try_by_index(&file[..len], &content);
        }
        for more in [1, 6, 24, 100_000] {
            let mut longer = file.clone();
            longer.resize(file.len() + more, 0);
            assert!(
                decode(&longer)
                    .unwrap_err()
                    .to_string()
                    .contains("goes on after")
            );
        }
        let twice = [&file[..], &file[..]].concat();
        assert!(decode(&twice).is_err());
    }
}

#[test]
fn every_removed_and_doubled_range_is_noticed() {
    for (content, file) in samples() {
        for at in 0..file.len() {
            for len in [1, 2, 6, 16] {
                let end = (at + len).min(file.len());
                let removed = [&file[..at], &file[end..]].concat();
                let doubled = [&file[..end], &file[at..]].concat();
                for damaged in [removed, doubled] {
                    if let Ok(read) = decode(&damaged) {
                        assert!(read == content && damaged == file, "{at} {len}");
                    }
                }
            }
        }
    }
}
