//! Go's quoting of text, as its error messages and log lines use it.

use std::fmt::Write as _;

/// `text` in double quotes with Go's escapes.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x80 => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if (c as u32) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
        }
    }
    out.push('"');
    out
}

/// Whether a log line shows `c` as it is. A blank counts as printable.
pub fn is_printable(c: char) -> bool {
    if c == ' ' {
        return true;
    }
    let invisible = matches!(c as u32,
        0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xe000..=0xf8ff | 0xfeff | 0xfff0..=0xfffb
        | 0xfffe..=0xffff | 0xe_0000..=0xe_0fff | 0xf_0000..=0x10_ffff);
    !(c.is_control() || c.is_whitespace() || invisible)
}

/// `text` bare if that is unambiguous in a `key=value` line, else quoted.
pub fn log_value(text: &str) -> String {
    let bare = !text.is_empty()
        && text
            .chars()
            .all(|c| c != '"' && c != '=' && c != ' ' && is_printable(c));
    if bare && !text.contains('\u{fffd}') {
        text.to_owned()
    } else {
        go_quote(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_values_are_quoted_only_where_needed() {
        for (text, shown) in [
            ("a.db", "a.db"),
            ("/tmp/a\\b", "/tmp/a\\b"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a=b", "\"a=b\""),
            ("say \"x\"", "\"say \\\"x\\\"\""),
            ("two\nlines", "\"two\\nlines\""),
            ("bell\x07\x1b", "\"bell\\a\\x1b\""),
            ("zażółć", "zażółć"),
            ("no\u{a0}break", "\"no\\u00a0break\""),
            ("𝄞", "𝄞"),
            ("{a}", "{a}"),
        ] {
            assert_eq!(log_value(text), shown);
        }
    }
}
