//! Percent-encoding in addresses, as Go reads it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

/// The first value of `key` in a query that is not malformed; empty if there is none.
pub fn value(query: &str, key: &str) -> OsString {
    let pairs = query.split('&').filter(|pair| !pair.contains(';'));
    let found = pairs
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name, true)?, decode(value, true)?))
        })
        .find(|(name, _)| name == key.as_bytes());
    OsString::from_vec(found.map(|(_, value)| value).unwrap_or_default())
}

/// Bytes that the text stands for; `None` if a percent sign is not followed by two digits. In a query a plus is a blank.
pub fn decode(text: &str, is_query: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            b'+' if is_query => b' ',
            byte => byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_decoded() {
        for (query, found) in [
            ("path=/a%20b+c", "/a b c"),
            ("x=1&path=a&path=b", "a"),
            ("path", ""),
            ("", ""),
            ("Path=a", ""),
            ("p%61th=a", "a"),
            ("path=%zz&path=b", "b"),
            ("path=a;b&path=c", "c"),
            ("path=a=b", "a=b"),
            ("path=%", ""),
        ] {
            assert_eq!(value(query, "path"), found, "{query}");
        }
    }
}
