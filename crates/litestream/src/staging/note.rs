//! The note beside the staged files: where in the WAL the newest of them ended.

use litestream_replica::env::UnixMillis;
use ltx::Txid;

use crate::wal::{ByteOrder, Cursor, Salts, WalChecksum};

/// How the database file looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseStamp {
    /// Device and inode.
    pub id: (u64, u64),
    /// Length in bytes.
    pub len: u64,
    /// Modification time; zero if it could not be relied on.
    pub modified: UnixMillis,
}

/// What is noted beside the staged files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedCursor {
    /// Where in the WAL the newest file ended.
    pub cursor: Cursor,
    /// SQLite's change counter there.
    pub change: u32,
    /// How the database file looked then.
    pub database: DatabaseStamp,
    /// The start of the machine in which it was noted.
    pub boot: Option<u128>,
}

/// What the note of the position says.
pub enum Noted {
    /// There is none: what is staged was written by another program, or nothing is.
    Nothing,
    /// Damaged, as a power failure may leave it.
    Unreadable,
    /// The position after this TXID.
    At(Txid, SavedCursor),
    /// Nothing was staged, and what comes must have higher numbers than this; with the start of the machine in which it was noted.
    Number(Txid, Option<u128>),
}

impl Noted {
    /// What a line says.
    pub fn parse(line: &str) -> Noted {
        if let Some((txid, saved)) = SavedCursor::parse(line) {
            return Noted::At(txid, saved);
        }
        let number = || {
            let (txid, boot) = line.strip_suffix('\n')?.split_once(' ')?;
            Some(Noted::Number(txid.parse().ok()?, known(parse_boot(boot)?)))
        };
        number().unwrap_or(Noted::Unreadable)
    }
}

/// The line that notes a number, and the start of the machine.
pub fn encode_number(number: Txid, boot: Option<u128>) -> String {
    format!("{number} {:032x}\n", boot.unwrap_or_default())
}

/// Zero if it was not known.
fn parse_boot(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok()
}

fn known(boot: u128) -> Option<u128> {
    Some(boot).filter(|boot| *boot != 0)
}

impl SavedCursor {
    /// The line that notes it for `txid`.
    pub fn encode(&self, txid: Txid) -> String {
        let (c, d) = (&self.cursor, &self.database);
        let order = if c.order == ByteOrder::Big {
            "big"
        } else {
            "little"
        };
        format!(
            "{txid} {order} {} {:08x} {:08x} {} {:08x} {:08x} {} {} {} {} {} {:032x}\n",
            c.page_size.get(),
            c.salts.0,
            c.salts.1,
            c.frames,
            c.checksum.0,
            c.checksum.1,
            self.change,
            d.id.0,
            d.id.1,
            d.len,
            d.modified.0,
            self.boot.unwrap_or_default()
        )
    }

    /// Reads such a line, and for which TXID it was written; `None` if it is none.
    pub fn parse(text: &str) -> Option<(Txid, SavedCursor)> {
        let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
        let [
            saved,
            order,
            page_size,
            salt1,
            salt2,
            frames,
            sum1,
            sum2,
            change,
            device,
            inode,
            len,
            modified,
            boot,
        ] = words[..]
        else {
            return None;
        };
        let hex = |s| u32::from_str_radix(s, 16).ok();
        let txid = saved.parse::<Txid>().ok()?;
        let cursor = Cursor {
            salts: Salts(hex(salt1)?, hex(salt2)?),
            order: match order {
                "big" => ByteOrder::Big,
                "little" => ByteOrder::Little,
                _ => return None,
            },
            page_size: ltx::PageSize::new(page_size.parse().ok()?)?,
            frames: frames.parse().ok()?,
            checksum: WalChecksum(hex(sum1)?, hex(sum2)?),
        };
        let database = DatabaseStamp {
            id: (device.parse().ok()?, inode.parse().ok()?),
            len: len.parse().ok()?,
            modified: UnixMillis(modified.parse().ok()?),
        };
        let saved = SavedCursor {
            cursor,
            change: change.parse().ok()?,
            database,
            boot: known(parse_boot(boot)?),
        };
        Some((txid, saved))
    }
}
