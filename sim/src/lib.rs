//! A deterministic world in which the real engine and the real SQLite live: every fault, an exact oracle.

pub mod disk;
pub mod replica;
pub mod sched;
pub mod vfs;
