//! Times as they are printed and read.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use litestream_replica::env::UnixMillis;

/// RFC 3339 in UTC with whole seconds.
pub fn utc_seconds(time: UnixMillis) -> String {
    let time = Timestamp::from_millisecond(time.0).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// RFC 3339 in UTC with the milliseconds, unless they are zero.
pub fn utc_exact(time: UnixMillis) -> String {
    let time = Timestamp::from_millisecond(time.0).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_string()
}

/// RFC 3339 in `zone` with three fractional digits.
pub fn log_time(time: UnixMillis, zone: &TimeZone) -> String {
    zoned(time, zone, "%Y-%m-%dT%H:%M:%S.%3f")
}

/// RFC 3339 in `zone` with as many fractional digits as there are.
pub fn zone_exact(time: UnixMillis, zone: &TimeZone) -> String {
    zoned(time, zone, "%Y-%m-%dT%H:%M:%S%.f")
}

/// RFC 3339 without the fraction of a second.
pub fn without_fraction(rfc3339: &str) -> String {
    let Some((whole, rest)) = rfc3339.split_once('.') else {
        return rfc3339.to_owned();
    };
    let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{whole}{zone}")
}

fn zoned(time: UnixMillis, zone: &TimeZone, clock: &str) -> String {
    let time = Timestamp::from_millisecond(time.0)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_zoned(zone.clone());
    let clock = time.strftime(clock);
    if time.offset().is_zero() {
        format!("{clock}Z")
    } else {
        format!("{clock}{}", time.strftime("%:z"))
    }
}

/// Reads RFC 3339. As files are dated in milliseconds, a finer time is rounded up to the next one: a file is
/// before the rounded time exactly if it is before the time itself.
pub fn parse(text: &str) -> Option<UnixMillis> {
    let (civil, rest) = text.split_at_checked("2026-11-20T09:59:49".len())?;
    // jiff accepts more than RFC 3339 here, and the sixtieth second.
    let shaped = civil.bytes().enumerate().all(|(i, b)| match i {
        4 | 7 => b == b'-',
        10 => b == b'T' || b == b't',
        13 | 16 => b == b':',
        17 => (b'0'..b'6').contains(&b),
        _ => b.is_ascii_digit(),
    });
    let civil: DateTime = civil.parse().ok().filter(|_| shaped)?;
    let (nanos, zone) = fraction(rest)?;
    // Not by way of a moment in UTC, which jiff has none of for the last day of the year 9999.
    let seconds = civil.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    let millis = (seconds.as_secs() - offset(zone)?) * 1000;
    Some(UnixMillis(
        millis + nanos / 1_000_000 + i64::from(nanos % 1_000_000 != 0),
    ))
}

/// The nanoseconds that `text` begins with, if it does, and what follows.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let (digits, rest) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
    let scale = 9_u32.checked_sub(u32::try_from(digits.len()).ok()?)?;
    Some((digits.parse::<i64>().ok()? * 10_i64.pow(scale), rest))
}

/// The seconds that a time zone is ahead of UTC: `Z`, `+05:30`.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let &[sign, h1, h2, b':', m1, m2] = zone.as_bytes() else {
        return None;
    };
    let two = |tens: u8, ones: u8| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        digits.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    };
    let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
    let seconds = (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
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
        for (millis, shown) in [(967, ".967"), (960, ".96"), (0, "")] {
            let time = UnixMillis(time.0 / 1000 * 1000 + millis);
            let exact = zone_exact(time, &west);
            assert_eq!(exact, format!("2026-11-20T04:59:49{shown}-05:00"));
            assert_eq!(without_fraction(&exact), "2026-11-20T04:59:49-05:00");
        }
        let utc = zone_exact(time, &TimeZone::UTC);
        assert_eq!(without_fraction(&utc), "2026-11-20T09:59:49Z");
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
        assert_eq!(
            parse("2026-11-20t15:29:49.9665+05:30"),
            Some(UnixMillis(1_795_168_789_967))
        );
        assert_eq!(
            parse("9999-12-31T23:59:59Z"),
            Some(UnixMillis(253_402_300_799_000))
        );
        for text in [
            "",
            "x",
            "2026-11-20",
            "2026-11-20 09:59:49Z",
            "2026-11-20T09:59:49",
            "2026-13-20T09:59:49Z",
            "2026-11-20T09:59:60Z",
            "2026-11-20T09:59:49.Z",
            "2026-11-20T09:59:49,5Z",
            "2026-11-20T09:59:49.1234567890Z",
            "2026-11-20T09:59:49+0530",
            "2026-11-20T09:59:49+05",
            "2026-11-20T09:59:49+24:00",
            "2026-11-20T09:59:49+05:30:10",
            "2026-11-20T09:59:49Z[UTC]",
            "20261120T095949.0000Z",
            "2026-11-20T09:59:4\u{663}Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
