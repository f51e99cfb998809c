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
    Doubts::new(&real::env()).note(meta.path(), Txid::new(2));
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
