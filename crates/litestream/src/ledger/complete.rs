//! Bringing a ledger up to files that were staged after it was written last.
//!
//! Promise: what comes out has the checksum that the newest of these files names, whatever a kill left of an update. Only for a ledger of the
//! same boot: a power failure can take single entries, and then a checksum alone is too little.

use std::io;

use ltx::{Chain, PageNo, PageSize, Txid};

use super::{Entry, Head, Ledger};

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
            after: Some(self.head.whole.sum.value()),
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
        let fits = chain.before == self.chain.after && txid == head.txid.next();
        if !fits || chain.after.is_none() || commit == u32::MAX {
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
    pub fn page(&mut self, page: PageNo, entry: Entry) -> io::Result<()> {
        self.ledger
            .file
            .write_at(&entry.encode(), Ledger::offset(page.get()))
    }

    /// The ledger as of the last file, if it is proved.
    pub fn finish(mut self) -> io::Result<Option<Ledger>> {
        let whole = self.ledger.computed()?;
        match whole.filter(|whole| Some(whole.sum.value()) == self.chain.after) {
            Some(whole) => {
                let head = Head {
                    whole,
                    ..self.ledger.head
                };
                self.ledger.write_head(head)?;
                Ok(Some(self.ledger))
            }
            None => Ok(None),
        }
    }
}
