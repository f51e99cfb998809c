//! Files and requests that are wrong by intent, each with the error it must give.

use ltx::{
    Checksum, Decoder, Encoder, Error, FrameEncoding, Header, IndexReader, index_location,
    write_image,
};

use crate::common::{Content, Pages, decode, header, page_no, texture};

fn pages(numbers: &[u32]) -> Pages {
    numbers.iter().map(|&n| (n, texture(512, n))).collect()
}

/// The error that both the writer and, with the same content written by hand, the reader give.
fn both_refuse(content: &Content) -> Error {
    let written = content.try_encode().unwrap_err();
    let read = decode(&content.encode_by_hand(|_| FrameEncoding::Block)).unwrap_err();
    assert_eq!(
        std::mem::discriminant(&written),
        std::mem::discriminant(&read),
        "{written} / {read}"
    );
    read
}

#[test]
fn snapshots_must_be_whole() {
    let gap = Content::new(header(512, 4, 1, 1), pages(&[1, 2, 4]));
    assert!(matches!(
        both_refuse(&gap),
        Error::SnapshotGap {
            expected: 3,
            found: 4
        }
    ));
    let short = Content::new(header(512, 4, 1, 1), pages(&[1, 2, 3]));
    assert!(matches!(
        both_refuse(&short),
        Error::SnapshotEnd { last: 3, commit: 4 }
    ));
    let empty = Content::new(header(512, 4, 1, 1), pages(&[]));
    assert!(matches!(
        both_refuse(&empty),
        Error::SnapshotEnd { last: 0, commit: 4 }
    ));
    let late = Content::new(header(512, 4, 1, 1), pages(&[2, 3, 4]));
    assert!(matches!(
        both_refuse(&late),
        Error::SnapshotGap {
            expected: 1,
            found: 2
        }
    ));
}

#[test]
fn pages_beyond_the_end_are_refused() {
    let content = Content::new(header(512, 4, 2, 2), pages(&[3, 5]));
    assert!(matches!(
        both_refuse(&content),
        Error::PageBeyondCommit { page: 5, commit: 4 }
    ));
    let deleted = Content::new(header(512, 0, 2, 2), pages(&[1]));
    assert!(matches!(
        both_refuse(&deleted),
        Error::PageBeyondCommit { page: 1, commit: 0 }
    ));
}

#[test]
fn the_writer_refuses_disorder_and_wrong_sizes_and_goes_on() {
    let mut encoder = Encoder::new(Vec::new(), header(512, 9, 2, 2)).unwrap();
    let page = texture(512, 1);
    encoder.write_page(page_no(4), &page).unwrap();
    assert!(matches!(
        encoder.write_page(page_no(4), &page),
        Err(Error::PageOrder {
            page: 4,
            previous: 4
        })
    ));
    assert!(matches!(
        encoder.write_page(page_no(3), &page),
        Err(Error::PageOrder { .. })
    ));
    assert!(matches!(
        encoder.write_page(page_no(5), &page[1..]),
        Err(Error::PageLength { page: 5, .. })
    ));
    assert!(matches!(
        encoder.write_compressed(page_no(5), &[0; 531], &page),
        Err(Error::FrameTooLarge { .. })
    ));
    encoder.write_page(page_no(5), &page).unwrap();
    let (file, _) = encoder.finish(0).unwrap();
    assert_eq!(decode(&file).unwrap().pages.len(), 2);
}

#[test]
fn the_reader_refuses_disorder_and_impossible_frames() {
    let file = Content::new(header(512, 9, 2, 2), pages(&[5, 6])).encode();
    let change = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        decode(&file).unwrap_err()
    };
    let second = 100 + 10 + u32::from_be_bytes(*file[106..].first_chunk().unwrap()) as usize;
    assert!(matches!(
        change(second, &[0, 0, 0, 5]),
        Error::PageOrder {
            page: 5,
            previous: 5
        }
    ));
    assert!(matches!(
        change(second, &[0, 0, 0, 0]),
        Error::PageFlags { page: 0, flags: 1 }
    ));
    assert!(matches!(
        change(second + 4, &[0, 2]),
        Error::PageFlags { page: 6, flags: 2 }
    ));
    assert!(matches!(
        change(second + 4, &[0, 3]),
        Error::PageFlags { page: 6, flags: 3 }
    ));
    assert!(matches!(
        change(second + 6, &[255; 4]),
        Error::FrameTooLarge {
            page: 6,
            max: 530,
            ..
        }
    ));
    assert!(matches!(
        change(second + 4, &[0, 0]),
        Error::Lz4 { page: 6, .. }
    ));
    assert!(matches!(
        change(second + 10, &[0x10]),
        Error::Lz4 { .. } | Error::PageLength { .. }
    ));
}

#[test]
fn an_lz4_frame_with_huge_blocks_is_refused_before_reading_them() {
    let content = Content::new(header(512, 9, 2, 2), pages(&[5]));
    let mut file = content.encode_by_hand(|_| FrameEncoding::Lz4Frame);
    file[100 + 6 + 7..][..4].copy_from_slice(&(4u32 << 20).to_le_bytes());
    let error = decode(&file).unwrap_err();
    assert!(
        matches!(error, Error::FrameTooLarge { page: 5, .. }),
        "{error}"
    );
}

#[test]
fn a_page_of_another_size_is_refused() {
    for (encoding, other) in [
        (FrameEncoding::Block, 511),
        (FrameEncoding::Lz4Frame, 511),
        (FrameEncoding::Lz4Frame, 513),
    ] {
        let content = Content::new(header(512, 9, 2, 2), [(5, vec![7; other])].into());
        let error = decode(&content.encode_by_hand(|_| encoding)).unwrap_err();
        assert!(
            matches!(
                error,
                Error::PageLength { page: 5, .. } | Error::Lz4 { page: 5, .. }
            ),
            "{error}"
        );
    }
}

fn broken(change: impl Fn(&mut Header)) -> Error {
    let mut header = header(512, 9, 2, 3);
    change(&mut header);
    let written = Encoder::new(Vec::new(), header).unwrap_err();
    let read = Header::decode(&header.encode()).unwrap_err();
    assert_eq!(written.to_string(), read.to_string());
    read
}

#[test]
fn header_rules() {
    use ltx::Txid;
    assert!(matches!(broken(|h| h.flags = 1), Error::HeaderFlags(1)));
    assert!(matches!(broken(|h| h.flags = 6), Error::HeaderFlags(6)));
    assert!(matches!(
        broken(|h| h.min_txid = Txid::ZERO),
        Error::TxidRange { .. }
    ));
    assert!(matches!(
        broken(|h| h.max_txid = Txid::new(1)),
        Error::TxidRange { .. }
    ));
    assert!(matches!(
        broken(|h| h.wal_offset = -1),
        Error::WalPosition { .. }
    ));
    assert!(matches!(
        broken(|h| (h.wal_offset, h.wal_size) = (32, -1)),
        Error::WalPosition { .. }
    ));
    for change in [
        |h: &mut Header| h.wal_size = 1,
        |h: &mut Header| h.wal_salt1 = 1,
        |h: &mut Header| h.wal_salt2 = 1,
    ] {
        assert!(matches!(broken(change), Error::WalPosition { .. }));
    }
    let pre = |h: &mut Header| h.pre_apply_checksum = Checksum::FLAG;
    assert!(matches!(
        broken(pre),
        Error::ApplyChecksum { which: "pre", .. }
    ));
    assert!(matches!(
        broken(|h| h.flags = 0),
        Error::ApplyChecksum { which: "pre", .. }
    ));
    assert!(matches!(
        broken(|h| (h.flags, h.pre_apply_checksum) = (0, 5)),
        Error::ApplyChecksum { .. }
    ));
    let snapshot = |h: &mut Header| {
        (h.flags, h.min_txid, h.pre_apply_checksum) = (0, Txid::new(1), Checksum::FLAG);
    };
    assert!(matches!(broken(snapshot), Error::ApplyChecksum { .. }));

    let good = header(512, 9, 2, 3).encode();
    let mut other = good;
    other[3] = b'2';
    assert!(matches!(Header::decode(&other), Err(Error::Magic { .. })));
    for size in [0u32, 256, 513, 131_072, u32::MAX] {
        let mut other = good;
        other[8..12].copy_from_slice(&size.to_be_bytes());
        assert!(matches!(Header::decode(&other), Err(Error::PageSize(found)) if found == size));
    }
    assert!(matches!(
        Header::decode(&good[..99]),
        Err(Error::Truncated { offset: 99 })
    ));
}

#[test]
fn post_apply_checksums_are_checked() {
    let plain = Content {
        post_apply: Checksum::FLAG | 1,
        ..Content::new(header(512, 9, 2, 2), pages(&[5]))
    };
    assert!(matches!(
        both_refuse(&plain),
        Error::ApplyChecksum { which: "post", .. }
    ));
    let absent = Content {
        post_apply: 0,
        ..plain.tracked()
    };
    assert!(matches!(
        both_refuse(&absent),
        Error::ApplyChecksum { which: "post", .. }
    ));
    let snapshot = Content::new(header(512, 2, 1, 2), pages(&[1, 2])).tracked();
    let wrong = Content {
        post_apply: snapshot.post_apply ^ 1,
        ..snapshot
    };
    assert!(matches!(
        both_refuse(&wrong),
        Error::DatabaseChecksum { .. }
    ));
}

#[test]
fn an_index_that_disagrees_is_refused_even_if_it_is_hashed() {
    let content = Content::new(header(512, 9, 2, 2), pages(&[5, 6]));
    let file = content.encode_by_hand(|_| FrameEncoding::Block);
    let size = u64::from_be_bytes(*file[file.len() - 24..].first_chunk().unwrap()) as usize;
    let index = file.len() - 24 - size..file.len() - 24;
    let with_index = |index_bytes: &[u8], claimed: u64| {
        let mut hashed = file[..100].to_vec();
        let mut at = 100;
        for page in content.pages.values() {
            let block = u32::from_be_bytes(*file[at + 6..].first_chunk().unwrap()) as usize;
            hashed.extend(&file[at..at + 10]);
            hashed.extend(page);
            at += 10 + block;
        }
        let end = [&[0; 6][..], index_bytes, &claimed.to_be_bytes(), &[0; 8]].concat();
        hashed.extend(&end);
        [
            &file[..at],
            &end,
            &(ltx::crc64(&hashed) | Checksum::FLAG).to_be_bytes(),
        ]
        .concat()
    };
    let good = &file[index];
    assert_eq!(with_index(good, good.len() as u64), file);
    let entry = &good[..good.len() / 2];
    let padded = [&[0x85, 0x00], &good[1..]].concat();
    for bad in [
        &[0][..],
        &[entry, &[0]].concat(),
        &[good, &[0]].concat(),
        &padded,
    ] {
        assert!(decode(&with_index(bad, bad.len() as u64)).is_err());
    }
    for at in 0..good.len() - 1 {
        let mut same_length = good.to_vec();
        same_length[at] ^= 1;
        let error = decode(&with_index(&same_length, good.len() as u64)).unwrap_err();
        assert!(matches!(error, Error::Index(_)), "{error}");
    }
    for claimed in [0, good.len() as u64 - 1, good.len() as u64 + 1, u64::MAX] {
        let error = decode(&with_index(good, claimed)).unwrap_err();
        assert!(matches!(error, Error::Index(_)), "{error}");
    }
}

#[test]
fn index_locations_outside_the_file_are_refused() {
    let tail = |size: u64| {
        let mut tail = [0; 24];
        tail[..8].copy_from_slice(&size.to_be_bytes());
        tail
    };
    assert_eq!(index_location(131, &tail(1)).unwrap(), 106..107);
    for (file_size, size) in [
        (131, 0),
        (131, 2),
        (131, u64::MAX),
        (130, 1),
        (24, 1),
        (0, 1),
    ] {
        assert!(
            index_location(file_size, &tail(size)).is_err(),
            "{file_size} {size}"
        );
    }
}

#[test]
fn index_entries_must_describe_consecutive_frames() {
    let read = |bytes: &[u8]| {
        let mut reader = IndexReader::new();
        reader.push(bytes, |_| {})?;
        reader.finish()
    };
    assert!(read(&[0]).is_ok());
    assert!(read(&[3, 100, 20, 5, 120, 20, 0]).is_ok());
    for bad in [
        &[][..],
        &[3],
        &[3, 100, 20],
        &[0x80],
        &[0, 0],
        &[3, 100, 20, 3, 120, 20, 0],
        &[3, 100, 20, 5, 121, 20, 0],
        &[3, 99, 20, 0],
        &[3, 100, 6, 0],
        &[3, 100, 0xff, 0xff, 0xff, 0x7f, 0],
        &[0xff, 0xff, 0xff, 0xff, 0x7f, 100, 20, 0],
    ] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
    let mut reader = IndexReader::with_header(&header(512, 4, 1, 1));
    assert!(matches!(
        reader.push(&[2], |_| {}),
        Err(Error::SnapshotGap { .. })
    ));
    let mut reader = IndexReader::with_header(&header(512, 4, 1, 1));
    reader.push(&[1, 100, 20, 0], |_| {}).unwrap();
    assert!(matches!(reader.finish(), Err(Error::SnapshotEnd { .. })));
}

#[test]
fn failures_to_read_or_write_are_not_corruption() {
    #[derive(Debug)]
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("connection reset"))
        }
    }
    impl std::io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("disk full"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(!Decoder::new(Broken).unwrap_err().is_corrupt());
    assert!(
        !Encoder::new(Broken, header(512, 0, 2, 2))
            .unwrap()
            .finish(0)
            .unwrap_err()
            .is_corrupt()
    );
    let file = Content::new(header(512, 9, 2, 2), pages(&[5])).encode();
    let put = |_, _: &[u8]| Err(std::io::Error::other("disk full"));
    assert!(
        !write_image(Decoder::new(&file[..]).unwrap(), put)
            .unwrap_err()
            .is_corrupt()
    );
    let mut decoder = Decoder::new(&file[..]).unwrap();
    assert!(matches!(
        decoder.next_page(&mut [0; 511]),
        Err(Error::PageBuffer { .. })
    ));
    assert!(decoder.finish().is_ok(), "finish reads the rest by itself");
}
