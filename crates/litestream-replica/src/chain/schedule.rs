//! When a level is due.
//!
//! Promise: the slots are Litestream's: multiples of the interval since the first of January of the year 1 (as Go truncates
//! times), whenever a program was started. So two programs that take turns at a replica compact at the same moments, and a
//! restart doesn't compact again.

use std::time::Duration;

use crate::env::UnixMillis;

const NANOS_PER_MILLI: i128 = 1_000_000;
/// From the first of January of the year 1 to that of 1970.
const ZERO_TIME_MILLIS: i128 = 62_135_596_800_000;

/// The beginning of the slot that `now` lies in; `now` itself if the interval is zero. Rounded down where a slot begins
/// within a millisecond.
pub fn slot(now: UnixMillis, interval: Duration) -> UnixMillis {
    if interval.is_zero() {
        return now;
    }
    millis(slot_nanos(now, interval) / NANOS_PER_MILLI - ZERO_TIME_MILLIS)
}

/// The first millisecond of the slot after the one that `now` lies in; always later than `now`.
pub fn next_slot(now: UnixMillis, interval: Duration) -> UnixMillis {
    let nanos = slot_nanos(now, interval) + as_nanos(interval);
    let next = -(-nanos).div_euclid(NANOS_PER_MILLI) - ZERO_TIME_MILLIS;
    millis(next.max(i128::from(now.0) + 1))
}

/// Nanoseconds from the zero time to the beginning of the slot.
fn slot_nanos(now: UnixMillis, interval: Duration) -> i128 {
    let now = (i128::from(now.0) + ZERO_TIME_MILLIS) * NANOS_PER_MILLI;
    now - now.rem_euclid(as_nanos(interval).max(1))
}

fn as_nanos(interval: Duration) -> i128 {
    i128::try_from(interval.as_nanos()).unwrap_or(i128::MAX / 4)
}

fn millis(value: i128) -> UnixMillis {
    UnixMillis(i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20T19:17:37.123Z, a Friday.
    const NOW: UnixMillis = UnixMillis(1_795_202_257_123);
    const HOUR: Duration = Duration::from_hours(1);

    fn since_day(millis: i64) -> i64 {
        millis.rem_euclid(86_400_000)
    }

    #[test]
    fn intervals_that_divide_the_day_are_aligned_to_it() {
        let second = Duration::from_secs;
        assert_eq!(slot(NOW, second(30)), UnixMillis(NOW.0 - 7_123));
        assert_eq!(since_day(slot(NOW, HOUR).0), 19 * 3_600_000);
        assert_eq!(since_day(slot(NOW, 24 * HOUR).0), 0);
        assert_eq!(slot(NOW, Duration::from_millis(1)), NOW);
    }

    /// Values that Go's `time.Truncate` gives: day 1 of year 1 was a Monday, and the epoch a Thursday.
    #[test]
    fn others_count_from_the_year_one_not_from_1970() {
        let week = slot(NOW, 24 * 7 * HOUR);
        assert_eq!(
            week.0,
            1_795_202_257_123 - 4 * 86_400_000 - since_day(NOW.0),
            "Monday 2026-11-16"
        );
        let seven = Duration::from_hours(7);
        let hours_since_year_one = 62_135_596_800_000 / 3_600_000 + slot(NOW, seven).0 / 3_600_000;
        assert_eq!(hours_since_year_one % 7, 0);
        assert_ne!(slot(NOW, seven).0 % 25_200_000, 0);
    }

    #[test]
    fn parts_of_a_millisecond() {
        let third = Duration::from_nanos(333_333);
        assert_eq!(slot(NOW, third), UnixMillis(NOW.0 - 1));
        assert_eq!(next_slot(NOW, third), UnixMillis(NOW.0 + 1));
        assert_eq!(slot(NOW, Duration::ZERO), NOW);
    }

    #[test]
    fn the_next_slot_follows_the_present_one() {
        for interval in [Duration::from_secs(30), Duration::from_hours(7), 24 * HOUR] {
            let next = next_slot(NOW, interval);
            assert_eq!(next.0 - slot(NOW, interval).0, interval.as_millis() as i64);
            assert_eq!(slot(next, interval), next);
            assert_eq!(slot(UnixMillis(next.0 - 1), interval), slot(NOW, interval));
        }
    }

    #[test]
    fn extremes_do_not_panic() {
        for now in [UnixMillis(i64::MIN), UnixMillis(i64::MAX), UnixMillis(0)] {
            for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
                assert!(slot(now, interval) <= now);
                assert!(next_slot(now, interval) > now || now.0 == i64::MAX);
            }
        }
        assert!(slot(UnixMillis(-1), HOUR).0 == -3_600_000);
    }
}
