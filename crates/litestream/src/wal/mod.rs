//! SQLite's write-ahead log as bytes: header, frames, checksums, and what is committed in them.
//!
//! Pure: no I/O. Fed bytes, it yields pages. Source of every layout rule: SQLite's "WAL-mode File Format".

mod cursor;
mod frame;
mod header;
mod pages;
mod recover;

pub use cursor::{Cursor, ScanEnd, scan};
pub use frame::{FRAME_HEADER_SIZE, FrameHeader, frame_offset, frame_size};
pub use header::{ByteOrder, Salts, WAL_HEADER_SIZE, WalChecksum, WalHeader};
pub use pages::{PageSet, Place};
pub use recover::{Evidence, recover, restart_evidence};
