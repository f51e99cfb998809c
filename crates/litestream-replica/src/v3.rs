//! What Litestream 0.3 left in a replica, below `generations/`: objects and the meaning of their names.
//!
//! Pure. Promise: a name that looks like one of 0.3 and cannot be read is told apart from one that is none of 0.3's
//! business, so that nothing which belongs to a backup is passed over in silence.

use std::fmt;

use crate::env::UnixMillis;

/// The folder below the root that holds all of it.
pub const FOLDER: &str = "generations";

/// An object below [`FOLDER`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its path from the root, beginning with `generations/`.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The storage's modification time: 0.3 kept no other.
    pub created: UnixMillis,
}

/// A history of its own; 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A place in a generation: which WAL since its beginning, and how many bytes into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Counts restarts of the WAL.
    pub index: u64,
    /// Bytes from the start of that WAL, which may exceed 4 GiB.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{:08x}", self.index, self.offset)
    }
}

/// What a path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The database file before any frame of the WAL `index`.
    Snapshot {
        /// Whose.
        generation: Generation,
        /// The WAL that goes on from there.
        index: u64,
    },
    /// Bytes of a WAL from a position on.
    Wal {
        /// Whose.
        generation: Generation,
        /// Where its first byte belongs.
        start: Position,
    },
    /// Something that was still being written when its writer ended.
    Unfinished,
    /// It lies where 0.3 puts its objects or is named like one, but can't be read.
    Unreadable,
    /// Not of 0.3.
    Foreign,
}

/// The path of a snapshot.
pub fn snapshot_path(generation: Generation, index: u64) -> String {
    format!("{FOLDER}/{generation}/snapshots/{index:08x}.snapshot.lz4")
}

/// The path of a part of a WAL.
pub fn wal_path(generation: Generation, start: Position) -> String {
    let Position { index, offset } = start;
    format!("{FOLDER}/{generation}/wal/{index:08x}_{offset:08x}.wal.lz4")
}

/// Reads a path.
pub fn meaning(path: &str) -> Meaning {
    let parts: Vec<&str> = path.split('/').collect();
    let (whole, unfinished) = match path.strip_suffix(".tmp") {
        Some(whole) => (whole, true),
        None => (path, false),
    };
    match known(whole) {
        Some(_) if unfinished => return Meaning::Unfinished,
        Some(meaning) => return meaning,
        None => {}
    }
    let in_place = parts.len() > 3 && matches!(parts[2], "snapshots" | "wal");
    if in_place || whole.strip_suffix(".lz4").is_some() {
        Meaning::Unreadable
    } else {
        Meaning::Foreign
    }
}

/// Only what 0.3 itself would print.
fn known(path: &str) -> Option<Meaning> {
    let rest = path.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let (generation, rest) = rest.split_once('/')?;
    let generation = Generation(hex(generation, 16..=16)?);
    let (folder, name) = rest.split_once('/')?;
    let (meaning, canonical) = match folder {
        "snapshots" => {
            let index = hex(name.strip_suffix(".snapshot.lz4")?, 8..=16)?;
            let meaning = Meaning::Snapshot { generation, index };
            (meaning, snapshot_path(generation, index))
        }
        "wal" => {
            let (index, offset) = name.strip_suffix(".wal.lz4")?.split_once('_')?;
            let start = Position {
                index: hex(index, 8..=16)?,
                offset: hex(offset, 8..=16)?,
            };
            (
                Meaning::Wal { generation, start },
                wal_path(generation, start),
            )
        }
        _ => return None,
    };
    // Two names for one place would be two truths.
    (canonical == path).then_some(meaning)
}

fn hex(text: &str, len: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let digits = text
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !digits || !len.contains(&text.len()) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const G: Generation = Generation(0x0123_4567_89ab_cdef);

    #[test]
    fn paths_of_0_3() {
        let start = Position {
            index: 0x1f,
            offset: 0xabc,
        };
        assert_eq!(
            snapshot_path(G, 2),
            "generations/0123456789abcdef/snapshots/00000002.snapshot.lz4"
        );
        assert_eq!(
            wal_path(G, start),
            "generations/0123456789abcdef/wal/0000001f_00000abc.wal.lz4"
        );
        assert_eq!(start.to_string(), "0000001f:00000abc");
    }

    #[test]
    fn r12_an_offset_beyond_4_gib_has_more_digits() {
        assert_eq!(
            meaning("generations/0123456789abcdef/wal/00000000_123456789.wal.lz4"),
            Meaning::Wal {
                generation: G,
                start: Position {
                    index: 0,
                    offset: 0x1_2345_6789
                }
            }
        );
    }

    #[test]
    fn r12_what_looks_like_0_3_is_never_foreign() {
        for (name, expected) in [
            ("wal/00000000_00000000.wal.lz4.tmp", Meaning::Unfinished),
            ("snapshots/00000000.snapshot.lz4.tmp", Meaning::Unfinished),
            ("wal/00000000_0000000.wal.lz4", Meaning::Unreadable),
            ("wal/00000000_000000000.wal.lz4", Meaning::Unreadable),
            (
                "wal/00000000_10000000000000000.wal.lz4",
                Meaning::Unreadable,
            ),
            ("wal/00000000_0000000G.wal.lz4", Meaning::Unreadable),
            ("wal/00000000_0000000A.wal.lz4", Meaning::Unreadable),
            ("wal/00000000.wal.lz4", Meaning::Unreadable),
            ("wal/00000000_00000000.wal", Meaning::Unreadable),
            ("wal/old/00000000_00000000.wal.lz4", Meaning::Unreadable),
            ("snapshots/0.snapshot.lz4", Meaning::Unreadable),
            ("00000000.snapshot.lz4", Meaning::Unreadable),
            ("notes.txt", Meaning::Foreign),
        ] {
            let path = format!("generations/0123456789abcdef/{name}");
            assert_eq!(meaning(&path), expected, "{path}");
        }
        assert_eq!(
            meaning("generations/0123456789ABCDEF/wal/00000000_00000000.wal.lz4"),
            Meaning::Unreadable
        );
        assert_eq!(meaning("generations/.DS_Store"), Meaning::Foreign);
    }

    proptest! {
        #[test]
        fn names_are_read_as_written(generation: u64, index: u32, offset: u64, other in "\\PC{0,60}") {
            let (generation, index) = (Generation(generation), u64::from(index));
            let start = Position { index, offset };
            prop_assert_eq!(meaning(&snapshot_path(generation, index)), Meaning::Snapshot { generation, index });
            prop_assert_eq!(meaning(&wal_path(generation, start)), Meaning::Wal { generation, start });
            meaning(&other);
            meaning(&format!("generations/{generation}/wal/{other}"));
        }
    }
}
