//! What the names of LTX files say: which to restore from, how far they reach, which may go, which to merge.
//!
//! Promise: all but [`listing`] and [`before`] is pure: values in, values out.

pub mod before;
pub mod compact;
pub mod listing;
pub mod moment;
pub mod plan;
pub mod points;
pub mod position;
pub mod retain;
pub mod schedule;
