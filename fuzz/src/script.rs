//! Bytes as a script of transactions: any input makes valid files, so that a fuzzer need not find checksums.

use std::collections::BTreeMap;

use ltx::{Checksum, DatabaseChecksum, Header, PageNo, PageSize, Txid};

use crate::decode::{Content, read, write};

/// Databases stay small: a mutation per microsecond is worth more than a large file.
const PAGES_MAX: u32 = 24;

/// Reads numbers from the input; zeros after its end.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn number(&mut self) -> u64 {
        (0..8).fold(0, |value, _| value << 8 | u64::from(self.byte()))
    }

    pub(crate) fn page_size(&mut self) -> PageSize {
        PageSize::new(512 << (self.byte() % 8)).unwrap()
    }

    /// A page: a constant, then some bytes of the script, then a run of noise.
    fn page(&mut self, page_size: PageSize) -> Vec<u8> {
        let (fill, literal, noise) = (self.byte(), self.byte() % 16, usize::from(self.byte()) * 8);
        let mut page = vec![fill; page_size.bytes()];
        for byte in page.iter_mut().take(literal.into()) {
            *byte = self.byte();
        }
        let mut state = u32::from(fill) << 8 | u32::from(literal) | 1;
        for byte in page.iter_mut().skip(literal.into()).take(noise) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        page
    }

    /// The next transaction after a database of `before` pages; growth stores every new page.
    pub(crate) fn transaction(&mut self, page_size: PageSize, txid: Txid, before: u32) -> Content {
        let commit = u32::from(self.byte()) % PAGES_MAX;
        let first_new = if txid.get() == 1 { 1 } else { before + 1 };
        let mut numbers: Vec<u32> = (first_new..=commit).collect();
        for _ in 0..self.byte() % 6 {
            numbers.push(u32::from(self.byte()) % PAGES_MAX);
        }
        let mut pages = BTreeMap::new();
        for number in numbers
            .into_iter()
            .filter(|&n| n <= commit)
            .filter_map(PageNo::new)
        {
            pages.insert(number, self.page(page_size));
        }
        let header = Header::new(page_size, commit, txid, txid, self.number() as i64);
        Content {
            header,
            pages,
            post_apply: 0,
        }
    }
}

/// Whatever is written is read again, the same, with and without database checksums.
pub fn ltx_roundtrip(data: &[u8]) {
    let mut script = Script::new(data);
    let page_size = script.page_size();
    let txid = Txid::new(script.number().max(1));
    let before = u32::from(script.byte());
    let mut content = script.transaction(page_size, txid, before);
    content.header.max_txid = Txid::new(txid.get().saturating_add(script.number()));
    content.header.node_id = script.number();
    content.header.wal_size = i64::from(script.byte());
    content.header.wal_offset = 32 + i64::from(script.byte());
    content.header.wal_salt1 = u32::from(script.byte());
    if script.byte() & 1 == 1 {
        content.header.flags = 0;
        let pre = Checksum::FLAG | script.number();
        content.header.pre_apply_checksum = if content.header.is_snapshot() { 0 } else { pre };
        let mut sum = DatabaseChecksum::new();
        content
            .pages
            .iter()
            .for_each(|(number, page)| sum.toggle(Checksum::page(*number, page)));
        content.post_apply = sum.value().get();
    }
    let file = write(&content).unwrap();
    let again = read(&file).unwrap();
    assert!(again.header == content.header && again.post_apply == content.post_apply);
    assert!(
        again.pages == content.pages,
        "other pages were read than written"
    );
    crate::ltx_decode(&file);
}
