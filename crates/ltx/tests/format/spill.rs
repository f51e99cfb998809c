//! The page index of a large file lies outside of memory while the file is written.

use std::io;
use std::sync::{Arc, Mutex};

use ltx::{Encoder, Error, Header, PageNo, PageSize, Result, Spill, Txid, Written};

/// So many that their index does not fit into the memory that it may take.
const PAGES: u32 = 600_000;

#[derive(Clone, Default)]
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    fails: bool,
    /// So many bytes are lost.
    loses: usize,
}

impl Spill for Memory {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn replay(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let bytes = &bytes[..bytes.len() - self.loses];
        bytes.chunks(1000).try_for_each(take)
    }
}

fn encode(pages: u32, spill: Option<Memory>) -> Result<(Vec<u8>, Written)> {
    let txid = Txid::new(1);
    let header = Header::new(PageSize::new(512).unwrap(), pages, txid, txid, 0);
    let mut encoder = Encoder::new(Vec::new(), header)?;
    if let Some(spill) = spill {
        encoder.spill_to(Box::new(spill));
    }
    for page in 1..=pages {
        encoder.write_page(PageNo::new(page).unwrap(), &[page as u8; 512])?;
    }
    encoder.finish(0)
}

#[test]
fn a_spilled_index_gives_the_same_file() {
    let spill = Memory::default();
    let (file, written) = encode(PAGES, Some(spill.clone())).unwrap();
    assert!(spill.bytes.lock().unwrap().len() > 4 << 20);
    assert_eq!((file, written), encode(PAGES, None).unwrap());
}

#[test]
fn a_small_file_needs_no_room() {
    let spill = Memory {
        fails: true,
        ..Memory::default()
    };
    assert_eq!(
        encode(1000, Some(spill)).unwrap(),
        encode(1000, None).unwrap()
    );
}

#[test]
fn without_room_or_with_what_is_not_whole_there_is_no_file() {
    let full = Memory {
        fails: true,
        ..Memory::default()
    };
    let lost = Memory {
        loses: 1,
        ..Memory::default()
    };
    for (spill, kind) in [
        (full, io::ErrorKind::StorageFull),
        (lost, io::ErrorKind::InvalidData),
    ] {
        let error = encode(PAGES, Some(spill)).unwrap_err();
        assert!(
            matches!(&error, Error::Io(error) if error.kind() == kind),
            "{error}"
        );
    }
}
