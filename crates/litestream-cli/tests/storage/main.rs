//! The program on real storage servers: replication under load, crashes of the server, faults on the way, and turns with
//! Litestream 0.5.17 on one replica. What is restored is compared byte for byte with the database.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

#[path = "../oracle/mod.rs"]
mod oracle;

mod bench;
mod faults;
mod lease;
mod life;
mod load;
mod requests;
