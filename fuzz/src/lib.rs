//! Properties that hold for *any* input, one function per fuzz target.
//!
//! Each takes bytes and panics if the property is broken. The same functions run under `cargo test` (over the
//! corpus and deterministic mutations of it, `tests/replay.rs`) and under cargo-fuzz (`fuzz_targets/`).
// A broken property must panic; that is what these functions are for.
#![allow(clippy::unwrap_used)]

mod args;
mod chain;
mod config;
mod control;
mod decode;
mod index;
mod merge;
mod mutate;
mod names;
mod script;
mod sqlite;
mod text;
mod wal;
mod walscript;

pub use args::args;
pub use chain::{chain_plan, chain_retain};
pub use config::config;
pub use control::control_request;
pub use decode::ltx_decode;
pub use index::ltx_index;
pub use merge::ltx_merge;
pub use mutate::Mutator;
pub use names::{cursor, file_name, url};
pub use script::ltx_roundtrip;
pub use text::{duration, exec_words, timestamp};
pub use wal::{wal_scan, wal_scan_compared};

/// A target: its name, which is also its folder in `corpus/`, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 16] = [
    ("args", args),
    ("chain_plan", chain_plan),
    ("chain_retain", chain_retain),
    ("config", config),
    ("control_request", control_request),
    ("cursor", cursor),
    ("duration", duration),
    ("exec_words", exec_words),
    ("file_name", file_name),
    ("ltx_decode", ltx_decode),
    ("ltx_index", ltx_index),
    ("ltx_merge", ltx_merge),
    ("ltx_roundtrip", ltx_roundtrip),
    ("timestamp", timestamp),
    ("url", url),
    ("wal_scan", wal_scan),
];
