//! From one position to the next: pages that a file holds, and the checksum of the database that comes of it.
//!
//! Promise: up to [`LIST_MAX`] pages nothing is written before [`Update::apply`], so that a file which is given up leaves the ledger
//! as it was. With more, the ledger counts as lost from then on until the update is applied.

use std::io;

use ltx::{Checksum, PageNo, Txid};

use super::{ENTRY_BYTES, Entry, Head, Ledger, Whole, entry_at};

/// Pages remembered: 6 MiB.
const LIST_MAX: usize = 1 << 18;
/// Entries so near to each other are read together.
const SPAN_ENTRIES: u32 = 512;

/// See the module.
pub struct Update<'a> {
    ledger: &'a mut Ledger,
    /// Ascending.
    list: Vec<(PageNo, Entry)>,
    whole: Whole,
    /// Size of the database before.
    old: u32,
    list_max: usize,
    scratch: Vec<u8>,
}

impl Ledger {
    /// Begins the step to another position.
    pub fn update(&mut self) -> Update<'_> {
        self.update_within(LIST_MAX)
    }

    pub(super) fn update_within(&mut self, list_max: usize) -> Update<'_> {
        Update {
            whole: self.head.whole,
            old: self.head.commit,
            list: Vec::new(),
            list_max,
            scratch: Vec::new(),
            ledger: self,
        }
    }
}

impl Update<'_> {
    /// The database before.
    pub fn before(&self) -> Checksum {
        self.ledger.head.whole.sum.value()
    }

    /// A page of the file, in ascending order.
    pub fn push(&mut self, page: PageNo, entry: Entry) -> io::Result<()> {
        self.list.push((page, entry));
        if self.list.len() < self.list_max {
            return Ok(());
        }
        self.ledger.invalidate()?;
        self.toggle()?;
        self.write()
    }

    /// The database after a file with these pages, which leaves it this large. To be asked once, at the end.
    pub fn after(&mut self, commit: u32) -> io::Result<Checksum> {
        self.toggle()?;
        let mut gone = commit.saturating_add(1);
        while commit < self.old && gone <= self.old {
            let entries = (self.old - gone + 1).min(SPAN_ENTRIES);
            self.scratch
                .resize(entries as usize * ENTRY_BYTES as usize, 0);
            self.ledger.read(gone, &mut self.scratch)?;
            for at in (0..self.scratch.len()).step_by(ENTRY_BYTES as usize) {
                if let Some(old) = entry_at(&self.scratch, at) {
                    self.whole.remove(old);
                }
            }
            gone += entries;
        }
        Ok(self.whole.sum.value())
    }

    /// The file is there under its name: so much the ledger stands for now.
    pub fn apply(mut self, txid: Txid, commit: u32, boot: Option<u128>) -> io::Result<()> {
        self.write()?;
        if commit < self.old {
            // What lies beyond must not pass for entries when the database grows again.
            self.ledger.file.set_len(Ledger::offset(commit + 1))?;
        }
        let head = Head {
            commit,
            txid,
            whole: self.whole,
            boot,
            ..self.ledger.head
        };
        self.ledger.write_head(head)
    }

    /// Takes the old entries of the listed pages out of the sum and the new ones in.
    fn toggle(&mut self) -> io::Result<()> {
        let mut rest = &self.list[..];
        while let Some(((first, _), _)) = rest.split_first() {
            let near = |page: PageNo| page.get() - first.get() < SPAN_ENTRIES;
            let (span, others) = rest.split_at(rest.partition_point(|(page, _)| near(*page)));
            let entries = span
                .last()
                .map_or(1, |(last, _)| last.get() - first.get() + 1);
            self.scratch
                .resize(entries as usize * ENTRY_BYTES as usize, 0);
            if first.get() <= self.old {
                self.ledger.read(first.get(), &mut self.scratch)?;
            }
            for (page, entry) in span {
                let at = (page.get() - first.get()) as usize * ENTRY_BYTES as usize;
                if let Some(old) = entry_at(&self.scratch, at).filter(|_| page.get() <= self.old) {
                    self.whole.remove(old);
                }
                self.whole.add(*entry);
            }
            rest = others;
        }
        Ok(())
    }

    /// Writes the listed entries, neighbours together.
    fn write(&mut self) -> io::Result<()> {
        let follows = |a: &(PageNo, Entry), b: &(PageNo, Entry)| a.0.next() == b.0;
        for run in self.list.chunk_by(follows) {
            self.scratch.clear();
            for (_, entry) in run {
                self.scratch.extend_from_slice(&entry.encode());
            }
            let at = Ledger::offset(run[0].0.get());
            self.ledger.file.write_at(&self.scratch, at)?;
        }
        self.list.clear();
        Ok(())
    }
}
