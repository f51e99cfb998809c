//! Values of flags and their syntax. Promise: error texts are those of Go's `flag` package.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use litestream_replica::Level;
use ltx::Txid;

use super::{Kind, duration};

/// The value of a flag.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Text`].
    Text(OsString),
    /// Of [`Kind::Int`].
    Int(i64),
    /// Of [`Kind::Float`].
    Float(f64),
    /// Of [`Kind::Duration`], in nanoseconds.
    Duration(i64),
    /// Of [`Kind::Txid`]; `None` for all zeros.
    Txid(Option<Txid>),
    /// Of [`Kind::Level`]; `None` for `all`.
    Level(Option<Level>),
}

impl Value {
    /// Reads a value; the error is what follows `invalid value "…" for flag -x: `.
    pub fn parse(kind: Kind, text: &OsStr) -> Result<Value, &'static str> {
        if kind == Kind::Text {
            return Ok(Value::Text(text.to_owned()));
        }
        let text = text.to_str().ok_or("parse error")?;
        match kind {
            Kind::Bool => bool(text).map(Value::Bool).ok_or("parse error"),
            Kind::Text => Ok(Value::Text(text.into())),
            Kind::Int => int(text).map(Value::Int),
            Kind::Float => text.parse().map(Value::Float).map_err(|_| "parse error"),
            Kind::Duration => duration::parse(text)
                .map(Value::Duration)
                .ok_or("parse error"),
            Kind::Txid => match text.parse::<Txid>() {
                Ok(txid) => Ok(Value::Txid(Some(txid).filter(|t| !t.is_zero()))),
                Err(_) => Err("invalid txid format"),
            },
            Kind::Level => level(text),
        }
    }

    /// What a flag of this kind is when nothing is given and the table names no default.
    pub fn empty(kind: Kind) -> Value {
        match kind {
            Kind::Bool => Value::Bool(false),
            Kind::Text => Value::Text(OsString::new()),
            Kind::Int => Value::Int(0),
            Kind::Float => Value::Float(0.0),
            Kind::Duration => Value::Duration(0),
            Kind::Txid => Value::Txid(None),
            Kind::Level => Value::Level(None),
        }
    }

    /// The length of a [`Value::Duration`]; zero if negative.
    pub fn to_duration(&self) -> Duration {
        match self {
            Value::Duration(nanos) => Duration::from_nanos(u64::try_from(*nanos).unwrap_or(0)),
            _ => Duration::ZERO,
        }
    }
}

fn bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn int(text: &str) -> Result<i64, &'static str> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = body.get(..2).unwrap_or_default().to_ascii_lowercase();
    let (radix, digits) = match prefix.as_str() {
        "0x" => (16, &body[2..]),
        "0o" => (8, &body[2..]),
        "0b" => (2, &body[2..]),
        _ if body.len() > 1 && body.starts_with('0') => (8, &body[1..]),
        _ => (10, body),
    };
    // An underscore may stand after a prefix or a digit, and must be followed by a digit.
    let prefixed = digits.len() < body.len();
    let tail = if prefixed {
        digits.strip_prefix('_').unwrap_or(digits)
    } else {
        digits
    };
    if tail.is_empty()
        || tail
            .split('_')
            .any(|part| part.is_empty() || !part.chars().all(|c| c.is_digit(radix)))
    {
        return Err("parse error");
    }
    let limit = if negative {
        i64::MIN.unsigned_abs()
    } else {
        i64::MAX.unsigned_abs()
    };
    let value = u64::from_str_radix(&tail.replace('_', ""), radix)
        .ok()
        .filter(|&v| v <= limit);
    let value = value.ok_or("value out of range")? as i64;
    Ok(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

fn level(text: &str) -> Result<Value, &'static str> {
    if text == "all" {
        return Ok(Value::Level(None));
    }
    let number: i64 = text
        .parse()
        .map_err(|_| "invalid level: must be 0-9 or \"all\"")?;
    let level = u8::try_from(number).ok().and_then(Level::new);
    level
        .map(|l| Value::Level(Some(l)))
        .ok_or("level must be between 0 and 9")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, text: &str) -> Result<Value, &'static str> {
        Value::parse(kind, OsStr::new(text))
    }

    #[test]
    fn booleans() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(parse(Kind::Bool, text), Ok(Value::Bool(true)));
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(parse(Kind::Bool, text), Ok(Value::Bool(false)));
        }
        assert_eq!(parse(Kind::Bool, "yes"), Err("parse error"));
    }

    #[test]
    fn integers_with_prefixes_and_underscores() {
        for (text, n) in [
            ("10", 10),
            ("-10", -10),
            ("+7", 7),
            ("0x1F", 31),
            ("0X_1f", 31),
            ("0o17", 15),
            ("017", 15),
            ("0_17", 15),
            ("0b101", 5),
            ("1_000", 1000),
            ("0", 0),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse(Kind::Int, text), Ok(Value::Int(n)), "{text}");
        }
        for text in [
            "", "abc", "1__0", "_1", "1_", "0x", "08", "0b2", "1.5", "--1", " 1", "é",
        ] {
            assert_eq!(parse(Kind::Int, text), Err("parse error"), "{text}");
        }
        for text in [
            "9223372036854775808",
            "99999999999999999999",
            "-9223372036854775809",
        ] {
            assert_eq!(parse(Kind::Int, text), Err("value out of range"), "{text}");
        }
    }

    #[test]
    fn txids_and_levels() {
        assert_eq!(
            parse(Kind::Txid, "00000000000000Ff"),
            Ok(Value::Txid(Some(Txid::new(255))))
        );
        assert_eq!(parse(Kind::Txid, "0000000000000000"), Ok(Value::Txid(None)));
        for text in ["zz", "1", "00000000000000001", "+000000000000001"] {
            assert_eq!(
                parse(Kind::Txid, text),
                Err("invalid txid format"),
                "{text}"
            );
        }
        assert_eq!(parse(Kind::Level, "all"), Ok(Value::Level(None)));
        assert_eq!(
            parse(Kind::Level, "9"),
            Ok(Value::Level(Some(Level::SNAPSHOT)))
        );
        assert_eq!(
            parse(Kind::Level, "abc"),
            Err("invalid level: must be 0-9 or \"all\"")
        );
        assert_eq!(
            parse(Kind::Level, "10"),
            Err("level must be between 0 and 9")
        );
        assert_eq!(
            parse(Kind::Level, "-1"),
            Err("level must be between 0 and 9")
        );
    }

    #[test]
    fn durations_and_floats() {
        assert_eq!(
            parse(Kind::Duration, "1h30m"),
            Ok(Value::Duration(5_400_000_000_000))
        );
        assert_eq!(parse(Kind::Duration, "5"), Err("parse error"));
        assert_eq!(parse(Kind::Duration, "99999999h"), Err("parse error"));
        assert_eq!(parse(Kind::Float, "0.2"), Ok(Value::Float(0.2)));
        assert_eq!(parse(Kind::Float, "x"), Err("parse error"));
    }
}
