//! Bringing a ledger up to files that were staged after it was written last.
//!
//! Promise: what comes out is proved by the checksum in the newest of these files, whatever a kill left of an update.

use std::io;

use ltx::{Chain, Checksum, PageNo, PageSize, Txid};

use super::{Head, Ledger};

/// See the module.
pub struct Completion {
    ledger: Ledger,
    chain: Chain,
}

impl Ledger {
    /// Begins to bring it up to later files. The first must begin with what the ledger stands for.
    pub fn complete(self) -> Completion {
        let chain = Chain {
            before: None,
            after: Some(self.head.sum.value()),
        };
        Completion {
            ledger: self,
            chain,
        }
    }
}

impl Completion {
    /// Of the database.
    pub fn page_size(&self) -> PageSize {
        self.ledger.head.page_size
    }

    /// A file that follows: `false` if it does not, or can't be shown to.
    pub fn follows(&mut self, txid: Txid, commit: u32, chain: Chain) -> io::Result<bool> {
        let head = self.ledger.head;
        if chain.before != self.chain.after || chain.after.is_none() || txid != head.txid.next() {
            return Ok(false);
        }
        if commit < head.commit {
            self.ledger.file.set_len(Ledger::offset(commit + 1))?;
        }
        self.ledger.head = Head {
            commit,
            txid,
            ..head
        };
        self.chain = chain;
        Ok(true)
    }

    /// A page of that file.
    pub fn page(&mut self, page: PageNo, sum: Checksum) -> io::Result<()> {
        let bytes = sum.get().to_le_bytes();
        self.ledger
            .file
            .write_at(&bytes, Ledger::offset(page.get()))
    }

    /// The ledger as of the last file, if it is proved.
    pub fn finish(mut self) -> io::Result<Option<Ledger>> {
        let sum = self.ledger.computed()?;
        match sum.filter(|sum| Some(sum.value()) == self.chain.after) {
            Some(sum) => {
                let head = Head {
                    sum,
                    ..self.ledger.head
                };
                self.ledger.write_head(head)?;
                Ok(Some(self.ledger))
            }
            None => Ok(None),
        }
    }
}
