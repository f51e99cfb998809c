//! The way back from backups of Litestream 0.3: a copy of the database file, and its WAL since then in parts.
//!
//! [`plan`] picks the objects by their names, purely; [`run`] fetches them in order with several reads under way
//! ([`feed`]), unpacks the copy into the temporary file ([`fill`]) and brings each WAL into it as a checkpoint of SQLite
//! would ([`log`]), after every frame was verified. Memory follows neither the database nor the WAL, but for 16 bytes for
//! each page that one WAL holds.
//!
//! Promise: what is restored is the state after a commit, made from everything between the snapshot and that commit; a
//! missing, unreadable or damaged object is an error that names it and the last point that can be restored. (One thing
//! the layout can't show: whether objects are missing at the very end of a WAL, behind a commit, when another WAL follows.)

mod error;
mod feed;
mod fill;
mod log;
mod plan;
mod run;
mod when;

pub use error::{Reach, V3Error};
pub(super) use plan::{Catalogue, confirmed};
pub use plan::{Segment, V3Plan};
pub(super) use run::restore;
