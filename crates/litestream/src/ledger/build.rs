//! A ledger that is made from the database, a slice at a time, while captures go on.
//!
//! Promise: when all pages were scanned, the ledger stands for the position of that moment: what was captured meanwhile is in it,
//! whether its pages were scanned before or after.

use std::io;

use ltx::{Checksum, PageNo, Txid};

use super::{ENTRY_BYTES, Head, Ledger};

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

    /// The checksums of the next pages, as they are now. The lock page has none.
    pub fn scanned(&mut self, sums: &[Option<Checksum>]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(sums.len() * ENTRY_BYTES as usize);
        for sum in sums {
            bytes.extend_from_slice(&sum.map_or(0, Checksum::get).to_le_bytes());
        }
        self.ledger
            .file
            .write_at(&bytes, Ledger::offset(self.next))?;
        self.next += sums.len() as u32;
        Ok(())
    }

    /// A capture wrote these pages, and the database is this large now.
    pub fn captured(&mut self, pages: &[(PageNo, Checksum)], commit: u32) -> io::Result<()> {
        for (page, sum) in pages {
            if page.get() < self.next {
                let bytes = sum.get().to_le_bytes();
                self.ledger
                    .file
                    .write_at(&bytes, Ledger::offset(page.get()))?;
            }
        }
        if commit + 1 < self.next {
            self.next = commit + 1;
            self.ledger.file.set_len(Ledger::offset(self.next))?;
        }
        Ok(())
    }

    /// All pages of the database, which is this large after `txid`, were scanned.
    pub fn finish(mut self, txid: Txid, commit: u32) -> io::Result<Ledger> {
        self.ledger.head.commit = commit;
        let sum = self.ledger.computed()?.ok_or_else(incomplete)?;
        let head = Head {
            commit,
            txid,
            sum,
            ..self.ledger.head
        };
        self.ledger.write_head(head)?;
        Ok(self.ledger)
    }
}

fn incomplete() -> io::Error {
    io::Error::other("an entry that was written is not there")
}
