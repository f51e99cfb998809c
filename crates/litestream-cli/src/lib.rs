//! The programs `litestream` and `litestream-test`: arguments, commands, logs.
//!
//! What is replicated and how is in the crate `litestream`; here is only what a user types and reads.

pub mod args;
pub mod client;
pub mod cmd;
pub mod config;
#[doc(hidden)]
pub mod control;
mod daemon;
pub mod dispatch;
mod exec;
pub mod failure;
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
pub mod heartbeat;
pub mod hooks;
pub mod http;
pub mod log;
pub mod metrics;
pub mod monitor;
mod out;
mod place;
mod progress;
mod quote;
mod services;
mod signals;
pub mod systemd;
#[cfg(test)]
mod testing;
pub mod testtool;
mod time;
pub mod view;
