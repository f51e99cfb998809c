//! The control socket: a running daemon's side ([`server`]) and that of the commands which ask it ([`client`]).
//!
//! Promises: paths, statuses and documents are Litestream's, with fields added; a look at the databases waits for no storage;
//! whoever may use the socket may do what the daemon's owner may, so nobody else can, at any moment.

mod action;
mod answer;
mod body;
pub mod client;
mod conn;
pub mod documents;
mod handle;
mod look;
mod query;
mod route;
pub mod server;
mod socket;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use litestream::fleet::{Ending, Fleet};
use litestream_replica::env::UnixMillis;

pub(crate) use body::Fields;
pub(crate) use route::{Route, find};
pub use server::Server;

/// Where a daemon listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/litestream.sock";

/// What the socket shows and moves: the daemon.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// Its databases.
    fn fleet(&self) -> &Fleet;

    /// Itself.
    fn about(&self) -> About;

    /// Adds a database with a replica. `false`: it was there before, and stays as it is. Nothing that waits for storage.
    async fn register(&self, path: PathBuf, replica_url: String) -> Result<bool, RegisterError>;

    /// How a database is to be given up. `timeout` is the longest that who asks wants to wait; the daemon's own limit holds, too.
    fn ending(&self, timeout: Option<Duration>) -> Ending<'_>;

    /// Reads the configuration again and does what has changed. Goes on to its end when nobody waits for it any more; the error
    /// is one to be shown.
    async fn reload(&self) -> Result<ReloadReport, String>;
}

/// A daemon.
#[derive(Clone, Debug)]
pub struct About {
    /// Of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// By the wall clock.
    pub started_at: UnixMillis,
    /// By the monotonic clock.
    pub uptime: Duration,
}

/// Why a database could not be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// The URL names nothing that could be a replica.
    BadUrl(String),
    /// Anything else.
    Failed(String),
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// Databases that are replicated now and were not before.
    pub added: Vec<PathBuf>,
    /// Those that are not any more.
    pub removed: Vec<PathBuf>,
    /// Those that are replicated in another way.
    pub changed: Vec<PathBuf>,
    /// So many are as they were.
    pub unchanged: usize,
    /// What could not be done, and what only a restart changes.
    pub problems: Vec<String>,
}
