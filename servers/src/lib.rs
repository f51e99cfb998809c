//! Real storage servers for tests: installed from ordinary package managers, started on the loopback interface, each with
//! data of its own, and killed with the test.
//!
//! [`Server::start`] installs what the server needs (once), starts it and returns when it answers. [`Server::new_place`]
//! then gives a replica of its own on it: keys for a configuration, a URL where there is one, and the environment.
//! What can't be installed or started is an error, never a skipped test.

#![allow(
    clippy::disallowed_methods,
    reason = "installs and drives processes for tests; nothing here is part of the product"
)]

mod http;
mod install;
mod jetstream;
mod kind;
mod place;
mod port;
mod process;
pub mod proxy;
mod recipes;
mod server;

pub use install::{Set, home, install};
pub use kind::Kind;
pub use place::Place;
pub use server::Server;
