//! Scalars as Litestream's YAML library reads them: booleans, numbers, durations, sizes.
//!
//! What differs: a duration needs a unit unless it is zero. Litestream takes a bare number for nanoseconds, which nobody means.

use crate::args::duration;

/// A boolean without quotes.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

/// A whole number without quotes; fractions are cut off.
pub fn integer(text: &str) -> Option<i128> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain.as_str()),
    };
    let radix = |prefixes: [&str; 2], radix| {
        let rest = prefixes.iter().find_map(|p| digits.strip_prefix(p))?;
        unsigned(rest, radix)
    };
    let value = radix(["0x", "0X"], 16)
        .or_else(|| radix(["0b", "0B"], 2))
        .or_else(|| radix(["0o", "0O"], 8))
        .or_else(|| unsigned(digits.strip_prefix('0')?, 8))
        .or_else(|| unsigned(digits, 10))
        .or_else(|| fraction(digits))?;
    Some(if negative { -value } else { value })
}

fn unsigned(digits: &str, radix: u32) -> Option<i128> {
    let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    valid
        .then(|| i128::from_str_radix(digits, radix).ok())
        .flatten()
}

fn fraction(digits: &str) -> Option<i128> {
    let letters = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    let begins = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !begins || !digits.bytes().all(letters) {
        return None;
    }
    let value: f64 = digits.parse().ok()?;
    (value.abs() < 1e30).then_some(value as i128)
}

/// Nanoseconds, or why not.
pub fn nanoseconds(text: &str, plain: bool) -> Result<i64, String> {
    if let Some(nanos) = duration::parse(text) {
        return Ok(nanos);
    }
    if plain && let Some(number) = integer(text) {
        if number == 0 {
            return Ok(0);
        }
        return Err(format!(
            "{text} has no unit (Litestream takes it for nanoseconds); write {text}s for seconds, {text}m or {text}h"
        ));
    }
    let days = text
        .strip_suffix('d')
        .and_then(|days| days.parse::<u64>().ok());
    Err(match days.and_then(|days| days.checked_mul(24)) {
        Some(hours) => format!(
            "cannot read {} as a duration; there are no days, write {hours}h",
            shown(text)
        ),
        None => format!(
            "cannot read {} as a duration, such as 300ms, 1.5s or 1h30m",
            shown(text)
        ),
    })
}

/// Bytes of a size with a unit: `5MB`, `5 MiB`, `1,000`. The errors are Litestream's.
pub fn size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err("empty size string".into());
    }
    let end = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let number = number.replace(',', "");
    let value: f64 = number.parse().map_err(|_| {
        format!("invalid size format: strconv.ParseFloat: parsing {number:?}: invalid syntax")
    })?;
    let unit = unit.trim().to_ascii_lowercase();
    let scale =
        scale(&unit).ok_or_else(|| format!("invalid size format: unhandled size name: {unit}"))?;
    let bytes = value * scale;
    if bytes >= 18_446_744_073_709_551_615.0 {
        return Err(format!("invalid size format: too large: {text}"));
    }
    let bytes = bytes as u64;
    if bytes > i64::MAX as u64 {
        return Err(format!(
            "size {bytes} exceeds maximum allowed value ({})",
            i64::MAX
        ));
    }
    Ok(bytes)
}

fn scale(unit: &str) -> Option<f64> {
    let letters = unit.strip_suffix('b').unwrap_or(unit);
    let (letter, base) = match letters.strip_suffix('i') {
        Some(letter) => (letter, 1024.0_f64),
        None => (letters, 1000.0),
    };
    let power = match (letter, base > 1000.0) {
        ("", false) => 0,
        (letter, _) if letter.len() == 1 => 1 + "kmgtpe".find(letter)? as i32,
        _ => return None,
    };
    Some(base.powi(power))
}

/// A value in an error: long ones are cut.
pub fn shown(text: &str) -> String {
    if text.chars().count() > 10 {
        let begin: String = text.chars().take(7).collect();
        return format!("`{begin}...`");
    }
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in [
            ("0600", Some(384)),
            ("0o600", Some(384)),
            ("08", Some(8)),
            ("0x1F", Some(31)),
            ("-0b11", Some(-3)),
            ("1_000", Some(1000)),
            ("1.9", Some(1)),
            ("1e6", Some(1_000_000)),
            ("-1.5", Some(-1)),
            ("x", None),
            ("", None),
            ("-", None),
            ("1x", None),
            ("e5", None),
            ("inf", None),
            ("0x", None),
        ] {
            assert_eq!(integer(text), value, "{text}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(nanoseconds("1.5s", true), Ok(1_500_000_000));
        assert_eq!(nanoseconds("0.0", true), Ok(0));
        for (text, part) in [
            ("1", "write 1s"),
            ("1.5", "no unit"),
            ("7d", "write 168h"),
            ("", "cannot"),
            ("x", "cannot"),
        ] {
            let error = nanoseconds(text, true).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(
            nanoseconds("5", false)
                .unwrap_err()
                .contains("cannot read `5`")
        );
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("5M", 5_000_000),
            (" 5 mb ", 5_000_000),
            ("5MiB", 5 << 20),
            ("1,000", 1000),
            ("1.5k", 1500),
            ("7", 7),
            ("7B", 7),
            ("2Ei", 2 << 60),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (text, error) in [
            ("", "empty size string"),
            (
                "-5MB",
                "invalid size format: strconv.ParseFloat: parsing \"\": invalid syntax",
            ),
            ("5XB", "invalid size format: unhandled size name: xb"),
            ("5i", "invalid size format: unhandled size name: i"),
            ("20EB", "invalid size format: too large: 20EB"),
            (
                "8EiB",
                "size 9223372036854775808 exceeds maximum allowed value (9223372036854775807)",
            ),
        ] {
            assert_eq!(size(text), Err(error.to_owned()), "{text}");
        }
    }
}
