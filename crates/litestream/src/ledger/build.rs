//! A ledger that is made from the database, a slice at a time, while captures go on.
//!
//! Promise: when all pages were scanned, the ledger stands for the position of that moment: what was captured meanwhile is in it,
//! whether its pages were scanned before or after.

use std::io;

use ltx::{PageNo, Txid};

use super::{ENTRY_BYTES, Entry, Head, Ledger};

/// See the module.
pub struct Build {
    ledger: Ledger,
    /// Pages below it are done.
    next: u32,
}

impl Build {
    /// Begins with an empty ledger.
    pub fn new(ledger: Ledger) -> Build {
        Build { ledger, next: 1 }
    }

    /// The first page that is still to be scanned.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The next pages, as they are now. The lock page has none.
    pub fn scanned(&mut self, pages: &[Option<Entry>]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(pages.len() * ENTRY_BYTES as usize);
        for page in pages {
            bytes.extend_from_slice(&page.map_or([0; ENTRY_BYTES as usize], Entry::encode));
        }
        self.ledger
            .file
            .write_at(&bytes, Ledger::offset(self.next))?;
        self.next += pages.len() as u32;
        Ok(())
    }

    /// A capture wrote these pages, and the database is this large now.
    pub fn captured(&mut self, pages: &[(PageNo, Entry)], commit: u32) -> io::Result<()> {
        for (page, entry) in pages {
            if page.get() < self.next {
                let bytes = entry.encode();
                self.ledger
                    .file
                    .write_at(&bytes, Ledger::offset(page.get()))?;
            }
        }
        if commit.saturating_add(1) < self.next {
            self.next = commit.saturating_add(1);
            self.ledger.file.set_len(Ledger::offset(self.next))?;
        }
        Ok(())
    }

    /// All pages of the database, which is this large after `txid`, were scanned.
    pub fn finish(mut self, txid: Txid, commit: u32, boot: Option<u128>) -> io::Result<Ledger> {
        self.ledger.head.commit = commit;
        let whole = self.ledger.computed()?.ok_or_else(incomplete)?;
        let head = Head {
            commit,
            txid,
            whole,
            boot,
            ..self.ledger.head
        };
        self.ledger.write_head(head)?;
        Ok(self.ledger)
    }
}

fn incomplete() -> io::Error {
    io::Error::other("an entry that was written is not there")
}
