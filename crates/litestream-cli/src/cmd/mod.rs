//! One file per command.

pub mod config;
pub mod databases;
pub mod doctor;
pub mod generate;
pub mod help;
pub mod info;
pub mod list;
pub mod ltx;
pub mod register;
pub mod reload;
pub mod replicate;
pub mod reset;
pub mod restore;
mod source;
pub mod start;
pub mod status;
pub mod stop;
pub mod sync;
pub mod unregister;
pub mod verify;
pub mod version;

use crate::failure::{Failure, Result};

/// The runtime of a command. A failure means that the system is out of threads or file descriptors.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("cannot start the async runtime: {e}")))
}
