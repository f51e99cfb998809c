//! The page ledger: what every page of the database was as of one staged file.
//!
//! Owns `META/ledger`: a head of 64 bytes (page size, size of the database, TXID, checksum of the database, sum of all hashes, boot), then
//! from byte 4096 on an entry of 16 bytes a page: its LTX checksum, of which files' checksums of the database are made, and a hash.
//! CRC-64/ISO is linear and its polynomial sparse, so that changes of two bytes can cancel out: whether a page is the same is
//! for the hash to say.
//!
//! Promises: it is a cache. Nothing of it is synced, and no failure of it is anybody's: it is proved before it is used after a start
//! or to find what differs (checksum and hashes of its entries must make what its head says), and what is doubtful is dropped and
//! built anew. Plain reads and writes instead of a mapping: a full disk or an unreadable block is an error, not a
//! signal, and the simulator sees each of them.

mod build;
mod complete;
mod fill;
mod update;

use std::io;
use std::path::Path;

use litestream_replica::env::{Disk, File};
use ltx::{Checksum, DatabaseChecksum, PageNo, PageSize, Txid};

pub use build::Build;
pub use update::Update;

/// Its name in the state folder.
pub const NAME: &str = "ledger";
/// Identifies the format.
const MAGIC: [u8; 8] = *b"LSLEDG02";
/// Bytes of the head.
const HEAD_BYTES: usize = 64;
/// Where entries begin.
const ENTRIES_AT: u64 = 4096;
/// Bytes of an entry.
const ENTRY_BYTES: u64 = 16;
/// Entries read at once.
const BLOCK_ENTRIES: usize = 4096;

/// What is known of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its LTX checksum.
    pub sum: Checksum,
    /// Tells it from any other content.
    pub hash: u64,
}

impl Entry {
    /// Of a page.
    pub fn of(page: PageNo, content: &[u8]) -> Entry {
        Entry {
            sum: Checksum::page(page, content),
            hash: xxhash_rust::xxh3::xxh3_64_with_seed(content, u64::from(page.get())),
        }
    }

    fn encode(self) -> [u8; ENTRY_BYTES as usize] {
        let mut out = [0; ENTRY_BYTES as usize];
        out[..8].copy_from_slice(&self.sum.get().to_le_bytes());
        out[8..].copy_from_slice(&self.hash.to_le_bytes());
        out
    }
}

/// All entries of a database together. Pages can be added and taken out again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// LTX's checksum of the database.
    pub sum: DatabaseChecksum,
    /// All hashes, added up modulo 2^64.
    pub hashes: u64,
}

impl Whole {
    /// A page comes.
    pub fn add(&mut self, entry: Entry) {
        self.sum.toggle(entry.sum);
        self.hashes = self.hashes.wrapping_add(entry.hash);
    }

    /// A page goes.
    pub fn remove(&mut self, entry: Entry) {
        self.sum.toggle(entry.sum);
        self.hashes = self.hashes.wrapping_sub(entry.hash);
    }
}

/// What the head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the database.
    pub page_size: PageSize,
    /// Pages of the database.
    pub commit: u32,
    /// The file after which the database looked like that.
    pub txid: Txid,
    /// The whole database then.
    pub whole: Whole,
    /// The start of the machine in which it was written.
    pub boot: Option<u128>,
}

impl Head {
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.page_size.get().to_le_bytes());
        out[12..16].copy_from_slice(&self.commit.to_le_bytes());
        out[16..24].copy_from_slice(&self.txid.get().to_le_bytes());
        out[24..32].copy_from_slice(&self.whole.sum.value().get().to_le_bytes());
        out[32..40].copy_from_slice(&self.whole.hashes.to_le_bytes());
        out[40..56].copy_from_slice(&self.boot.unwrap_or_default().to_le_bytes());
        let crc = ltx::crc64(&out[..HEAD_BYTES - 8]);
        out[HEAD_BYTES - 8..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; HEAD_BYTES]) -> Option<Head> {
        let u32_at = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let u64_at = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        if bytes[..8] != MAGIC || u64_at(HEAD_BYTES - 8)? != ltx::crc64(&bytes[..HEAD_BYTES - 8]) {
            return None;
        }
        Some(Head {
            page_size: PageSize::new(u32_at(8)?)?,
            commit: u32_at(12)?,
            txid: Txid::new(u64_at(16)?),
            whole: Whole {
                sum: DatabaseChecksum::from_value(Checksum::from_stored(u64_at(24)?)?),
                hashes: u64_at(32)?,
            },
            boot: Some(u128::from_le_bytes(bytes[40..56].try_into().ok()?)).filter(|b| *b != 0),
        })
    }
}

/// The ledger of an open database.
#[derive(Default)]
pub enum State {
    /// There is none that could be trusted.
    #[default]
    Lost,
    /// It is being made.
    Building(Build),
    /// It stands for the newest staged file.
    Ready(Ledger),
}

impl State {
    /// Lost, if an update was begun and given up.
    pub fn filter_usable(self) -> State {
        match self {
            State::Ready(ledger) if !ledger.valid => State::Lost,
            other => other,
        }
    }

    /// The ledger, if it stands for this file.
    pub fn at(&mut self, txid: Txid) -> Option<&mut Ledger> {
        match self {
            State::Ready(ledger) if ledger.head.txid == txid && !txid.is_zero() => Some(ledger),
            _ => None,
        }
    }
}

/// See the module.
pub struct Ledger {
    file: Box<dyn File>,
    head: Head,
    /// The head stands in the file, too, or nothing was written yet.
    valid: bool,
}

impl Ledger {
    /// The one in a state folder, if there is one with a readable head. Nothing is proved yet.
    pub fn open(disk: &dyn Disk, meta: &Path) -> io::Result<Option<Ledger>> {
        let path = meta.join(NAME);
        let file = match disk.open_rw(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut head = [0; HEAD_BYTES];
        match file.read_exact_at(&mut head, 0) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e),
        }
        let head = Head::decode(&head);
        Ok(head.map(|head| Ledger {
            file,
            head,
            valid: true,
        }))
    }

    /// One of an empty database, in the place of what was there.
    pub fn create(
        disk: &dyn Disk,
        meta: &Path,
        mode: u32,
        page_size: PageSize,
    ) -> io::Result<Ledger> {
        Ledger::create_as(disk, &meta.join(NAME), mode, page_size)
    }

    /// Where one lies that is to take the place of the real one.
    pub const BESIDE: &str = "ledger-base";

    /// One of an empty database, beside the real one.
    pub fn create_beside(disk: &dyn Disk, meta: &Path, page_size: PageSize) -> io::Result<Ledger> {
        Ledger::create_as(disk, &meta.join(Ledger::BESIDE), 0o600, page_size)
    }

    /// Puts the one beside the real one in its place.
    pub fn adopt(disk: &dyn Disk, meta: &Path) -> io::Result<()> {
        disk.rename(&meta.join(Ledger::BESIDE), &meta.join(NAME))
    }

    fn create_as(
        disk: &dyn Disk,
        path: &Path,
        mode: u32,
        page_size: PageSize,
    ) -> io::Result<Ledger> {
        match disk.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = disk.create_new(path, mode)?;
        let head = Head {
            page_size,
            commit: 0,
            txid: Txid::ZERO,
            whole: Whole::default(),
            boot: None,
        };
        Ok(Ledger {
            file,
            head,
            valid: true,
        })
    }

    /// What it stands for.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What its entries make together; `None` if one is missing.
    pub fn computed(&self) -> io::Result<Option<Whole>> {
        let lock_page = self.head.page_size.lock_page();
        let mut whole = Whole::default();
        let mut entries = self.entries();
        while let Some((page, entry)) = entries.next()? {
            match entry {
                Some(entry) => whole.add(entry),
                None if page == lock_page => {}
                None => return Ok(None),
            }
        }
        Ok(Some(whole))
    }

    /// Whether the entries make what the head says.
    pub fn is_proved(&self) -> io::Result<bool> {
        Ok(self.computed()? == Some(self.head.whole))
    }

    /// All entries, in the order of pages.
    pub fn entries(&self) -> Entries<'_> {
        Entries {
            ledger: self,
            next: 1,
            block: Vec::new(),
            block_first: 1,
        }
    }

    fn offset(page: u32) -> u64 {
        ENTRIES_AT + u64::from(page - 1) * ENTRY_BYTES
    }

    /// Reads entries from page `first` on; what was never written is zero.
    fn read(&self, first: u32, out: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            match self
                .file
                .read_at(&mut out[filled..], Ledger::offset(first) + filled as u64)
            {
                Ok(0) => {
                    out[filled..].fill(0);
                    break;
                }
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn write_head(&mut self, head: Head) -> io::Result<()> {
        self.file.write_at(&head.encode(), 0)?;
        self.head = head;
        self.valid = true;
        Ok(())
    }

    /// Until the next head is written, a start finds nothing here.
    fn invalidate(&mut self) -> io::Result<()> {
        self.valid = false;
        self.file.write_at(&[0; HEAD_BYTES], 0)
    }
}

/// See [`Ledger::entries`].
pub struct Entries<'a> {
    ledger: &'a Ledger,
    next: u32,
    block: Vec<u8>,
    block_first: u32,
}

impl Entries<'_> {
    /// The next page and its checksum, if it has one; `None` after the last.
    pub fn next(&mut self) -> io::Result<Option<(PageNo, Option<Entry>)>> {
        let commit = self.ledger.head.commit;
        let Some(page) = PageNo::new(self.next).filter(|_| self.next <= commit) else {
            return Ok(None);
        };
        let held = (self.block.len() / ENTRY_BYTES as usize) as u32;
        if self.next >= self.block_first + held {
            let left = (commit - self.next + 1) as usize;
            self.block
                .resize(left.min(BLOCK_ENTRIES) * ENTRY_BYTES as usize, 0);
            self.ledger.read(self.next, &mut self.block)?;
            self.block_first = self.next;
        }
        let at = (self.next - self.block_first) as usize * ENTRY_BYTES as usize;
        self.next = self.next.saturating_add(1);
        Ok(Some((page, entry_at(&self.block, at))))
    }
}

fn entry_at(bytes: &[u8], at: usize) -> Option<Entry> {
    let u64_at = |at: usize| {
        bytes
            .get(at..at + 8)?
            .try_into()
            .ok()
            .map(u64::from_le_bytes)
    };
    Some(Entry {
        sum: Checksum::from_stored(u64_at(at)?)?,
        hash: u64_at(at + 8)?,
    })
}

#[cfg(test)]
mod tests;
