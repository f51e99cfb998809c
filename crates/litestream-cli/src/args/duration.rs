//! Go's durations: `1h30m`, `1.5s`, `43.981913ms`.
//!
//! Promise: whatever [`format`] prints, [`parse`] reads back as the same value.

use std::fmt::Write as _;
use std::time::Duration;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5
    ("μs", 1_000), // U+03BC
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration in nanoseconds; `None` if it is malformed or does not fit.
pub fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (nanos, tail) = parse_part(rest)?;
        total = total.checked_add(nanos).filter(|&t| t <= 1 << 63)?;
        rest = tail;
    }
    match (negative, total) {
        (true, _) => Some((total as i64).wrapping_neg()),
        (false, _) => i64::try_from(total).ok(),
    }
}

/// One number and its unit.
fn parse_part(text: &str) -> Option<(u64, &str)> {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let whole_len = digits(text);
    let (whole, mut rest) = text.split_at(whole_len);
    let mut fraction = "";
    let point = rest.starts_with('.');
    if point {
        let (f, tail) = rest[1..].split_at(digits(&rest[1..]));
        (fraction, rest) = (f, tail);
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_len = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_len);
    let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut nanos = whole.checked_mul(scale)?;
    if !fraction.is_empty() {
        // Digits beyond the 18th cannot change a nanosecond of an hour.
        let kept = &fraction[..fraction.len().min(18)];
        let part = u128::from(kept.parse::<u64>().ok()?) * u128::from(scale)
            / 10u128.pow(kept.len() as u32);
        nanos = nanos.checked_add(part as u64)?;
    }
    Some((nanos, rest))
}

/// Prints a duration as Go does: `1h0m0s`, `1.5s`, `150ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    if nanos < 1_000 {
        return format!("{nanos}ns");
    }
    if nanos < 1_000_000 {
        return decimal(nanos, 3) + "µs";
    }
    if nanos < 1_000_000_000 {
        return decimal(nanos, 6) + "ms";
    }
    let minutes = nanos / 60_000_000_000;
    let seconds = decimal(nanos % 60_000_000_000, 9) + "s";
    let mut out = String::new();
    if minutes >= 60 {
        let _ = write!(out, "{}h", minutes / 60);
    }
    if minutes > 0 {
        let _ = write!(out, "{}m", minutes % 60);
    }
    out + &seconds
}

/// `value / 10^places` without trailing zeros.
fn decimal(value: u128, places: usize) -> String {
    let scale = 10u128.pow(places as u32);
    let fraction = format!("{:0places$}", value % scale);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        (value / scale).to_string()
    } else {
        format!("{}.{fraction}", value / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_syntax() {
        for (text, nanos) in [
            ("0", 0),
            ("+0", 0),
            ("1s", 1_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("-1.5h", -5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("100µs", 100_000),
            ("100μs", 100_000),
            ("5us", 5_000),
            ("10ns", 10),
            ("1m0.25s", 60_250_000_000),
            ("-9223372036854775808ns", i64::MIN),
            ("0.3333333333333333333h", 1_199_999_999_999),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "5",
            "-",
            "+",
            ".s",
            "s",
            "1x",
            "1d",
            "1 s",
            "1s ",
            "--1s",
            "9223372036854775808ns",
            "9999999h",
            "1.2.3s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn prints_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (43_981_913, "43.981913ms"),
            (1_000_000_000, "1s"),
            (5_400_000_000_000, "1h30m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (300_000_000_000, "5m0s"),
            (29_999_928_423, "29.999928423s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
            assert_eq!(parse(text), Some(nanos as i64));
        }
    }
}
