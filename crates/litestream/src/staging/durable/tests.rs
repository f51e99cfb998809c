#![allow(clippy::disallowed_methods, reason = "tests look at real files")]

use std::os::unix::fs::MetadataExt as _;

use litestream_replica::env::real;
use ltx::{Encoder, Header, PageNo, PageSize};

use super::*;

/// A state folder with one file of one page for each of these TXIDs.
fn folder(txids: &[u64]) -> tempfile::TempDir {
    let meta = tempfile::tempdir().unwrap();
    let dir = meta.path().join("ltx/0");
    std::fs::create_dir_all(&dir).unwrap();
    for &txid in txids {
        let (page_size, txid) = (PageSize::new(512).unwrap(), Txid::new(txid));
        let header = Header::new(page_size, 1, txid, txid, 0);
        let mut encoder = Encoder::new(Vec::new(), header).unwrap();
        let page = PageNo::new(1).unwrap();
        encoder.write_page(page, &[7; 512]).unwrap();
        let (bytes, _) = encoder.finish(0).unwrap();
        std::fs::write(path(meta.path(), txid), bytes).unwrap();
    }
    meta
}

fn path(meta: &Path, txid: Txid) -> PathBuf {
    meta.join("ltx/0").join(FileName::single(txid).to_string())
}

fn note(doubts: &Doubts, meta: &Path, newest: u64) {
    doubts.note(doubts.maker(), meta, Txid::new(newest));
}

/// Whether making it durable puts a copy in its place.
fn is_written_again(doubts: &Doubts, meta: &Path, txid: u64) -> bool {
    let path = path(meta, Txid::new(txid));
    // Held open, so that its inode is not given to the copy.
    let before = std::fs::File::open(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    doubts.make_durable(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    std::fs::metadata(&path).unwrap().ino() != before.metadata().unwrap().ino()
}

#[test]
fn what_an_earlier_process_left_is_written_again_once() {
    let meta = folder(&[1, 2]);
    let doubts = Doubts::new(&real::env());
    doubts.inherit(meta.path()).unwrap();
    assert!(is_written_again(&doubts, meta.path(), 2));
    assert!(!is_written_again(&doubts, meta.path(), 2));
    assert!(is_written_again(&doubts, meta.path(), 1));
}

#[test]
fn what_was_noted_to_be_durable_is_not_written_again() {
    let meta = folder(&[1, 2, 3]);
    note(&Doubts::new(&real::env()), meta.path(), 2);
    let doubts = Doubts::new(&real::env());
    doubts.inherit(meta.path()).unwrap();
    let again = [1, 2, 3].map(|txid| is_written_again(&doubts, meta.path(), txid));
    assert_eq!(again, [false, false, true]);
}

#[test]
fn our_own_files_are_not_written_again() {
    let meta = folder(&[]);
    let doubts = Doubts::new(&real::env());
    doubts.inherit(meta.path()).unwrap();
    let other = folder(&[1]);
    let from = path(other.path(), Txid::new(1));
    std::fs::copy(from, path(meta.path(), Txid::new(1))).unwrap();
    assert!(!is_written_again(&doubts, meta.path(), 1));
}

#[test]
fn a_note_of_another_start_of_the_machine_or_a_damaged_one_says_nothing() {
    for line in [
        encode_number(Txid::new(9), Some(1)),
        String::new(),
        "x".repeat(90),
    ] {
        let meta = folder(&[1]);
        std::fs::write(meta.path().join(NOTE), line).unwrap();
        let doubts = Doubts::new(&real::env());
        doubts.inherit(meta.path()).unwrap();
        assert!(is_written_again(&doubts, meta.path(), 1));
    }
}

#[test]
fn what_could_not_be_written_again_is_not_noted_as_durable() {
    let meta = folder(&[1, 2, 3]);
    let doubts = Doubts::new(&real::env());
    doubts.inherit(meta.path()).unwrap();
    let kept = path(meta.path(), Txid::new(2));
    doubts
        .inherited
        .lock()
        .insert(kept.clone(), Inherited::Kept);
    let again = [1, 2, 3].map(|txid| is_written_again(&doubts, meta.path(), txid));
    assert_eq!(again, [true, false, true]);
    note(&doubts, meta.path(), 3);
    assert_eq!(doubts.noted(meta.path()), Some(Txid::new(1)));
    // Uploaded and removed.
    std::fs::remove_file(kept).unwrap();
    note(&doubts, meta.path(), 3);
    assert_eq!(doubts.noted(meta.path()), Some(Txid::new(3)));
}

#[test]
fn a_damaged_file_of_an_earlier_process_is_in_doubt() {
    let meta = folder(&[1]);
    let doubts = Doubts::new(&real::env());
    doubts.inherit(meta.path()).unwrap();
    let path = path(meta.path(), Txid::new(1));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = doubts.make_durable(&path).unwrap_err();
    assert!(matches!(error, Error::NotDurable { .. }), "{error}");
}

#[test]
fn only_so_much_is_written_again_the_newest_first() {
    let meta = folder(&[1, 2, 3]);
    let old = std::fs::File::options()
        .write(true)
        .open(path(meta.path(), Txid::new(2)))
        .unwrap();
    old.set_len(INHERITED_BYTES_MAX).unwrap();
    let doubts = Doubts::new(&real::env());
    doubts.inherit(meta.path()).unwrap();
    let inherited: Vec<PathBuf> = doubts.inherited.lock().keys().cloned().collect();
    assert_eq!(inherited, [path(meta.path(), Txid::new(3))]);
}
