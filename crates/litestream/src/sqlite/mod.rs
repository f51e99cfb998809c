//! The only room that calls SQLite on a live database (restore lets it look at files at rest, through `rusqlite`), and the only
//! one with `unsafe`.
//!
//! Owns every connection and every lock on a database. Promise: no descriptor of the database or of its `-shm` is
//! ever opened or closed by hand (closing one would drop all POSIX locks of the process on that file, an embedding
//! application's too); both are reached through the [`file::DbFile`] of a connection.
#![allow(unsafe_code)] // one of the project's two rooms for it; each block carries its reason

mod conn;
mod exclusive;
mod file;
mod live;
mod look;
mod memory;
mod sentinel;
mod shm;

pub use conn::{Checkpointer, Reader, open_and_prepare};
pub use exclusive::{Exclusive, roll_back};
pub use live::Live;
pub use look::is_database;
pub use memory::give_back_memory;
pub use sentinel::{Sentinel, WalState};

/// Lowest SQLite that may be linked: earlier ones lose commits when a writer restarts the WAL while another connection
/// checkpoints it (SQLite's WAL-reset race, fixed in 3.51.3).
const SQLITE_VERSION_MIN: i32 = 3_051_003;

const _: () = assert!(
    rusqlite::ffi::SQLITE_VERSION_NUMBER >= SQLITE_VERSION_MIN,
    "SQLite below 3.51.3 must not be linked: WAL-reset race"
);

/// The SQLite that this library carries, e.g. `3.54.1`.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}
