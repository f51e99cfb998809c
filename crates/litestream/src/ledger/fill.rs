//! A ledger that is made from pages in any order, by several threads.
//!
//! Promise: pages that nobody put are those that hold nothing but zeros, which a restore does not write.

use std::io;

use ltx::{PageNo, Txid};
use parking_lot::Mutex;

use super::{Entry, Head, Ledger};

/// See the module.
pub struct Fill {
    ledger: Mutex<Option<Ledger>>,
    commit: u32,
}

impl Ledger {
    /// Begins with an empty ledger, for a database of so many pages.
    pub fn fill(self, commit: u32) -> Fill {
        Fill {
            ledger: Mutex::new(Some(self)),
            commit,
        }
    }
}

impl Fill {
    /// Consecutive pages.
    pub fn put(&self, first: u32, pages: impl Iterator<Item = Entry>) -> io::Result<()> {
        let bytes: Vec<u8> = pages.flat_map(Entry::encode).collect();
        match &*self.ledger.lock() {
            Some(ledger) => ledger.file.write_at(&bytes, Ledger::offset(first)),
            None => Err(io::Error::other("the ledger is finished")),
        }
    }

    /// All pages were put: the ledger as of `txid`.
    pub fn finish(&self, txid: Txid, boot: Option<u128>) -> io::Result<Ledger> {
        let taken = self.ledger.lock().take();
        let mut ledger = taken.ok_or_else(|| io::Error::other("the ledger is finished"))?;
        ledger.head = Head {
            commit: self.commit,
            txid,
            ..ledger.head
        };
        let size = ledger.head.page_size;
        let zeros = vec![0; size.bytes()];
        let mut empty: Vec<PageNo> = Vec::new();
        let mut entries = ledger.entries();
        while let Some((page, entry)) = entries.next()? {
            if entry.is_none() && page != size.lock_page() {
                empty.push(page);
            }
        }
        for page in empty {
            let bytes = Entry::of(page, &zeros).encode();
            ledger.file.write_at(&bytes, Ledger::offset(page.get()))?;
        }
        let whole = ledger.computed()?;
        let whole =
            whole.ok_or_else(|| io::Error::other("an entry that was written is not there"))?;
        let head = Head {
            whole,
            boot,
            ..ledger.head
        };
        ledger.write_head(head)?;
        Ok(ledger)
    }
}
