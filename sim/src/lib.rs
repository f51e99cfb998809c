//! A deterministic world in which the real engine and the real SQLite live: every fault, an exact oracle.

pub mod app;
pub mod chain;
pub mod damage;
pub mod day;
pub mod disk;
pub mod engine;
pub mod enumerate;
pub mod env;
pub mod episode;
pub mod follow;
pub mod history;
pub mod log;
pub mod operator;
pub mod oracle;
pub mod plan;
pub mod race;
pub mod replica;
pub mod restore;
pub mod rng;
pub mod sched;
pub mod shrink;
pub mod vfs;
pub mod witness;
pub mod world;
