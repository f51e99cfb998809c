//! A merge has the effect of its inputs, one after the other.

use ltx::{Chain, Checksum, Decoder, Error, FrameEncoding, Header, Result, merge};
use proptest::prelude::*;

use crate::common::{Content, Pages, apply, decode, header, texture};

const PAGE_SIZE: u32 = 512;

fn try_merge(files: &[&[u8]]) -> Result<(Vec<u8>, Header)> {
    let inputs = files
        .iter()
        .map(|file| Decoder::new(*file))
        .collect::<Result<_>>()?;
    let (out, header, written) = merge(inputs, Vec::new())?;
    assert_eq!(written.size, out.len() as u64);
    Ok((out, header))
}

/// One transaction of the model: the database's new size, pages written, and the seed of their content.
#[derive(Clone, Debug)]
struct Step {
    commit: u32,
    writes: Vec<u32>,
    seed: u32,
    old_encoding: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = prop_oneof![1 => Just(0u32), 9 => 1u32..24];
    let step = (
        commit,
        prop::collection::vec(1u32..24, 0..6),
        any::<u32>(),
        any::<bool>(),
    )
        .prop_map(|(commit, writes, seed, old_encoding)| Step {
            commit,
            writes,
            seed,
            old_encoding,
        });
    prop::collection::vec(step, 1..14)
}

/// Writes each step as a file, obeying the rule that growth stores every page between the sizes.
fn files(first_txid: u64, first_commit: u32, steps: &[Step]) -> Vec<Vec<u8>> {
    let mut size = first_commit;
    let mut out = Vec::new();
    for (step, txid) in steps.iter().zip(first_txid..) {
        let grown = if txid == 1 {
            1..=step.commit
        } else {
            size + 1..=step.commit
        };
        let numbers = grown.chain(step.writes.iter().copied().filter(|&n| n <= step.commit));
        let pages: Pages = numbers
            .map(|n| (n, texture(PAGE_SIZE, step.seed.wrapping_add(n))))
            .collect();
        let mut header = header(PAGE_SIZE, step.commit, txid, txid);
        header.timestamp_ms = i64::from(step.seed);
        (header.wal_offset, header.wal_salt1, header.node_id) = (32, 5, 6);
        let encoding = if step.old_encoding {
            FrameEncoding::Lz4Frame
        } else {
            FrameEncoding::Block
        };
        out.push(Content::new(header, pages).encode_by_hand(|_| encoding));
        size = step.commit;
    }
    out
}

/// The image after each file, beginning with the image before the first.
fn images(start: Vec<u8>, files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut all = vec![start];
    for file in files {
        let mut image = all[all.len() - 1].clone();
        apply(&mut image, file);
        all.push(image);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_applying_one_by_one(steps in steps(), snapshot in any::<bool>(), start in 0u32..24, cuts in any::<(u8, u8, u8)>()) {
        let first = if snapshot { 1 } else { 7 };
        let start = if snapshot { 0 } else { start };
        let files = files(first, start, &steps);
        let image: Vec<u8> = (1..=start).flat_map(|n| texture(PAGE_SIZE, n)).collect();
        let images = images(image, &files);
        let refs: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        let (whole, header) = try_merge(&refs).unwrap();
        prop_assert_eq!((header.min_txid.get(), header.max_txid.get()), (first, first + files.len() as u64 - 1));
        prop_assert_eq!(header.timestamp_ms, i64::from(steps[steps.len() - 1].seed));
        prop_assert_eq!((header.wal_offset, header.wal_salt1, header.node_id, header.flags), (0, 0, 0, ltx::NO_CHECKSUM));
        prop_assert_eq!(decode(&whole).unwrap().header, header);
        let mut image = images[0].clone();
        apply(&mut image, &whole);
        prop_assert!(image == images[images.len() - 1]);

        // Merging in parts, even overlapping ones, makes no difference.
        let n = files.len();
        let end_of_first = 1 + cuts.0 as usize % n;
        let begin_of_second = cuts.1 as usize % (end_of_first + 1);
        if end_of_first < n && begin_of_second < n {
            let (one, _) = try_merge(&refs[..end_of_first]).unwrap();
            let (two, _) = try_merge(&refs[begin_of_second..]).unwrap();
            let (both, header) = try_merge(&[&one, &two]).unwrap();
            prop_assert_eq!(header.max_txid.get(), first + n as u64 - 1);
            let mut image = images[0].clone();
            apply(&mut image, &both);
            prop_assert!(image == images[images.len() - 1]);
            if begin_of_second == end_of_first {
                prop_assert!(decode(&both).unwrap() == decode(&whole).unwrap());
            }
        }
    }

    #[test]
    fn a_damaged_input_never_becomes_a_merge(steps in steps(), which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), mask in 1u8..) {
        let mut files = files(1, 0, &steps);
        let damaged = which.index(files.len());
        let good = decode(&files[damaged]).unwrap();
        let position = at.index(files[damaged].len());
        files[damaged][position] ^= mask;
        let refs: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        // A flip inside compressed data may inflate to the same page; nothing else may pass.
        if try_merge(&refs).is_ok() {
            prop_assert!(decode(&files[damaged]).unwrap() == good);
        }
    }
}

fn increment(commit: u32, txid: u64, pages: &[u32]) -> Vec<u8> {
    let pages = pages
        .iter()
        .map(|&n| (n, texture(PAGE_SIZE, n + 100 * txid as u32)))
        .collect();
    Content::new(header(PAGE_SIZE, commit, txid, txid), pages).encode()
}

#[test]
fn pages_above_the_final_size_are_dropped_and_the_newest_wins() {
    let (a, b) = (increment(20, 5, &[1, 2, 18, 20]), increment(10, 6, &[2, 9]));
    let merged = decode(&try_merge(&[&a, &b]).unwrap().0).unwrap();
    assert_eq!(merged.pages.keys().copied().collect::<Vec<_>>(), [1, 2, 9]);
    assert_eq!(merged.pages[&1], texture(PAGE_SIZE, 501));
    assert_eq!(merged.pages[&2], texture(PAGE_SIZE, 602));
    assert_eq!(merged.header.commit, 10);
}

#[test]
fn one_input_is_copied() {
    let a = increment(20, 5, &[1, 2, 18, 20]);
    assert_eq!(try_merge(&[&a]).unwrap().0, a);
}

#[test]
fn k02_whole_databases_as_increments_merge_like_any_other() {
    let all: Vec<u32> = (1..=8).collect();
    let (a, b) = (increment(8, 5, &all), increment(8, 6, &all));
    let merged = decode(&try_merge(&[&a, &b]).unwrap().0).unwrap();
    assert_eq!(merged.pages, decode(&b).unwrap().pages);
}

#[test]
fn database_checksums_are_not_carried_over() {
    let pages: Pages = [(1, texture(PAGE_SIZE, 1))].into();
    let a = Content::new(header(PAGE_SIZE, 1, 1, 1), pages.clone()).tracked();
    let b = Content::new(header(PAGE_SIZE, 1, 2, 2), pages).tracked();
    let merged = decode(&try_merge(&[&a.encode(), &b.encode()]).unwrap().0).unwrap();
    assert_eq!(merged.header.flags, ltx::NO_CHECKSUM);
    assert_eq!(
        (merged.header.pre_apply_checksum, merged.post_apply),
        (0, 0)
    );
}

#[test]
fn r14_gaps_and_wrong_order_are_refused_by_name() {
    let (a, c) = (increment(8, 5, &[1]), increment(8, 7, &[2]));
    let error = try_merge(&[&a, &c]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("0000000000000007-0000000000000007.ltx: "),
        "{error}"
    );
    assert!(error.is_corrupt());
    assert!(try_merge(&[&c, &a]).is_err());
    assert!(try_merge(&[&a, &a]).is_err());
    assert!(matches!(try_merge(&[]), Err(Error::NoInputs)));
    let other = Content::new(header(1024, 8, 6, 6), Pages::new()).encode();
    assert!(try_merge(&[&a, &other]).is_err());
}

#[test]
fn superseded_and_dropped_pages_are_verified_too() {
    // Noise is stored as literals, so that a flip in it keeps the LZ4 data valid.
    let page = texture(PAGE_SIZE, 1);
    let old = Content::new(
        header(PAGE_SIZE, 9, 5, 5),
        [(2, page.clone()), (9, page)].into(),
    )
    .encode();
    let new = increment(3, 6, &[2]);
    assert!(try_merge(&[&old, &new]).is_ok());
    for at in [100 + 10 + 300, 100 + 10 + 520 + 300] {
        let mut damaged = old.clone();
        damaged[at] ^= 1;
        let error = try_merge(&[&damaged, &new]).unwrap_err();
        let Error::Input { name, source } = error else {
            panic!("{error}")
        };
        assert_eq!(name.min.get(), 5);
        assert!(matches!(*source, Error::FileChecksum { .. }), "{source}");
    }
}

#[test]
fn the_ends_of_the_chain_are_kept_and_a_break_in_it_is_refused() {
    let file = |txid, before, after| {
        let sum = |n| (n != 0).then(|| Checksum::from_crc(n));
        let chain = Chain {
            before: sum(before),
            after: sum(after),
        };
        let header = header(PAGE_SIZE, 4, txid, txid).with_chain(chain);
        Content::new(header, [(1, texture(PAGE_SIZE, txid as u32))].into()).encode()
    };
    let (a, b, c) = (file(2, 1, 2), file(3, 2, 3), file(4, 3, 4));
    let (_, merged) = try_merge(&[&a, &b, &c]).unwrap();
    assert_eq!(merged.chain().before, Some(Checksum::from_crc(1)));
    assert_eq!(merged.chain().after, Some(Checksum::from_crc(4)));
    let unknown = file(3, 0, 0);
    let (_, merged) = try_merge(&[&a, &unknown, &c]).unwrap();
    assert_eq!(merged.chain().after, Some(Checksum::from_crc(4)));
    let error = try_merge(&[&a, &file(3, 7, 3)]).unwrap_err();
    assert!(
        matches!(&error, Error::Input { source, .. } if matches!(**source, Error::ChainBroken)),
        "{error}"
    );
}
