//! Times as they are printed and read.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use litestream_replica::env::UnixMillis;

/// RFC 3339 in UTC with whole seconds.
pub fn utc_seconds(time: UnixMillis) -> String {
    let time = Timestamp::from_millisecond(time.0).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// RFC 3339 in `zone` with three fractional digits.
pub fn log_time(time: UnixMillis, zone: &TimeZone) -> String {
    let time = Timestamp::from_millisecond(time.0)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_zoned(zone.clone());
    let clock = time.strftime("%Y-%m-%dT%H:%M:%S.%3f");
    if time.offset().is_zero() {
        format!("{clock}Z")
    } else {
        format!("{clock}{}", time.strftime("%:z"))
    }
}

/// Reads RFC 3339. As files are dated in milliseconds, a finer time is rounded up to the next one: a file is
/// before the rounded time exactly if it is before the time itself.
pub fn parse(text: &str) -> Option<UnixMillis> {
    // jiff accepts more than RFC 3339: a blank or nothing between date and time, time zone names in brackets.
    let bytes = text.as_bytes();
    let strict = bytes.len() >= 20 && matches!(bytes[10], b'T' | b't') && !text.contains('[');
    let time: Timestamp = text.parse().ok().filter(|_| strict)?;
    let rest = i64::from(time.as_nanosecond().rem_euclid(1_000_000) != 0);
    Some(UnixMillis(
        time.as_nanosecond().div_euclid(1_000_000) as i64 + rest,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_litestream_does() {
        let time = UnixMillis(1_795_168_789_967);
        assert_eq!(utc_seconds(time), "2026-11-20T09:59:49Z");
        assert_eq!(log_time(time, &TimeZone::UTC), "2026-11-20T09:59:49.967Z");
        let west = TimeZone::fixed(jiff::tz::offset(-5));
        assert_eq!(log_time(time, &west), "2026-11-20T04:59:49.967-05:00");
    }

    #[test]
    fn only_rfc_3339_is_read() {
        assert_eq!(
            parse("2026-11-20T09:59:49.967Z"),
            Some(UnixMillis(1_795_168_789_967))
        );
        assert_eq!(
            parse("2026-11-20T04:59:49.967-05:00"),
            Some(UnixMillis(1_795_168_789_967))
        );
        assert_eq!(
            parse("2026-11-20T09:59:49.967000001Z"),
            Some(UnixMillis(1_795_168_789_968))
        );
        assert_eq!(parse("1969-12-31T23:59:59.9999Z"), Some(UnixMillis(0)));
        for text in [
            "",
            "x",
            "2026-11-20",
            "2026-11-20 09:59:49Z",
            "2026-11-20T09:59:49",
            "2026-13-20T09:59:49Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
