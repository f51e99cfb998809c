//! The crate as its users see it: files written, read, merged, damaged, and the original's own files.
// The golden files are read from disk, and helpers of tests are not test functions.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;
mod damage;
mod golden;
mod lock_page;
mod merge;
mod refusals;
mod roundtrip;
mod spill;
