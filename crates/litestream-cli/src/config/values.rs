//! Built-in defaults, and durations between nanoseconds and Go's form.

use std::time::Duration;

use crate::args::duration;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// Defaults, in nanoseconds.
pub const SYNC_INTERVAL: i64 = SECOND;
/// See above; the same for all that follow.
pub const SNAPSHOT_INTERVAL: i64 = 24 * HOUR;
#[allow(missing_docs, reason = "named after the keys")]
pub const SNAPSHOT_RETENTION: i64 = 24 * HOUR;
#[allow(missing_docs, reason = "named after the keys")]
pub const L0_RETENTION: i64 = 5 * MINUTE;
#[allow(missing_docs, reason = "named after the keys")]
pub const L0_CHECK_INTERVAL: i64 = 15 * SECOND;
#[allow(missing_docs, reason = "named after the keys")]
pub const HEARTBEAT_INTERVAL: i64 = 5 * MINUTE;
#[allow(missing_docs, reason = "named after the keys")]
pub const HEARTBEAT_INTERVAL_MIN: i64 = MINUTE;
#[allow(missing_docs, reason = "named after the keys")]
pub const SHUTDOWN_TIMEOUT: i64 = 30 * SECOND;
#[allow(missing_docs, reason = "named after the keys")]
pub const SHUTDOWN_INTERVAL: i64 = SECOND / 2;
#[allow(missing_docs, reason = "named after the keys")]
pub const MONITOR_INTERVAL: i64 = SECOND;
#[allow(missing_docs, reason = "named after the keys")]
pub const CHECKPOINT_INTERVAL: i64 = MINUTE;
#[allow(missing_docs, reason = "named after the keys")]
pub const BUSY_TIMEOUT: i64 = SECOND;
#[allow(missing_docs, reason = "named after the keys")]
pub const MAX_LAG: i64 = 5 * MINUTE;
/// Pages.
pub const MIN_CHECKPOINT_PAGE_COUNT: u32 = 1000;
/// Pages.
pub const TRUNCATE_PAGE_N: i64 = 121_359;
/// Bytes.
pub const MAX_SYNC_WAL_BYTES: i64 = 64 << 20;
/// Files of level 0 in one upload.
pub const FILES_MAX: i64 = 256;
/// Levels 1, 2, 3.
pub const LEVELS: [i64; 3] = [30 * SECOND, 5 * MINUTE, HOUR];

/// A duration; zero if negative.
pub fn positive(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.max(0) as u64)
}

/// As Go prints it: `-1h0m0s`.
pub fn shown(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!(
        "{sign}{}",
        duration::format(Duration::from_nanos(nanos.unsigned_abs()))
    )
}
