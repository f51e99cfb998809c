//! The way back: from LTX files in a replica to a database file.
//!
//! Every page is written once: files are looked at newest first, and the first that holds a page supplies it
//! ([`claims`]). Large files are cut into parts along their page index ([`parts`]), and all pieces are fetched, inflated,
//! checked and written by a fixed number of threads ([`worker`]). All bytes of all files are checked, also those of pages
//! that a newer file supersedes. Memory depends on the number of threads, not on the size of anything (the bitmap of
//! pages aside: 4 MiB for a database of 128 GiB).
//!
//! Backups of Litestream 0.3 in the same place are restored where they are newer ([`choose`], [`v3`]).
//!
//! Promise: the output is either what it was, or the database at the target, complete, verified and durable.

pub(crate) mod aside;
mod attempts;
mod blame;
mod choose;
pub(crate) mod claims;
mod error;
pub(crate) mod fetch;
mod flush;
pub(crate) mod fold;
mod held;
mod in_use;
mod integrity;
pub(crate) mod large;
pub(crate) mod layout;
pub(crate) mod pace;
mod paint;
pub(crate) mod parts;
pub(crate) mod plan;
mod request;
pub(crate) mod run;
mod several;
pub(crate) mod sink;
pub(crate) mod tally;
mod target;
mod temp;
pub(crate) mod threads;
pub mod v3;
mod worker;

pub use choose::{Backup, choose};
pub use error::RestoreError;
pub(crate) use fetch::fetch_error;
pub use integrity::IntegrityCheck;
pub use plan::{Plan, Target, plan};
pub use request::{Event, Outcome, Progress, Request};
pub use run::run;
pub(crate) use run::{Prepare, on_thread, run_prepared};
pub use several::{Restored, run_any};
pub(crate) use temp::{Scratch, remove_leftovers};
