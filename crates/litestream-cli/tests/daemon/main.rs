//! `replicate` with many databases: the real program, a configuration, and folders as replicas.
//!
//! What was restored must equal its source, byte for byte; Litestream 0.5.17 says where files belong.
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../oracle/mod.rs"]
mod oracle;

mod churn;
mod ending;
mod folder;
mod locks;
mod once;
mod places;
mod reload;
mod served;
mod trouble;
mod world;
