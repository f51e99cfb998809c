//! A live SQLite database being captured, shipped and restored: the library behind `litestream`.
//!
//! [`Replicator`] runs one database with its replica; [`restore`] gives a database back, and
//! [`follow`] keeps a copy of it up to date. The database is never
//! written, and writers are never held up for longer than a moment; see `ARCHITECTURE.md`.

mod base;
mod capture;
mod catalogue;
mod checkpoint_policy;
mod database;
mod depot;
mod error;
pub mod fleet;
pub mod follow;
#[doc(hidden)]
pub mod fuzzing;
mod guardian;
mod ledger;
mod link;
mod policy;
mod replicator;
pub mod restore;
mod settings;
mod shared;
pub mod sqlite;
mod staging;
mod stop;
mod tidy;
mod upkeep;
mod upload;
pub mod verify;
pub mod wal;
mod worker;

pub use error::{Error, Result};
pub use link::{Level0, ReplicaStatus, Verified};
pub use litestream_replica::env;
pub use policy::Policy;
pub use replicator::Replicator;
pub use settings::Settings;
pub use shared::{Counters, Lag, Operation, Seen, Status};
pub use sqlite::sqlite_version;
