//! The control socket: every endpoint and every command, against Litestream 0.5.17 where it has an opinion.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and sockets directly"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../oracle/mod.rs"]
mod oracle;

mod commands;
mod endpoints;
mod file;
mod limits;
mod raw;
mod served;
mod trouble;
