//! Transaction numbers and the file names made of them.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A transaction number. Zero means "before the first transaction".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Txid(u64);

impl Txid {
    /// Before the first transaction.
    pub const ZERO: Self = Self(0);

    /// The transaction with this number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The transaction after this one; the last possible one stays itself.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Whether this is [`Txid::ZERO`].
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Txid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::TxidText(text.to_owned());
        // from_str_radix alone would take a sign.
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| wrong())
    }
}

/// The name of an LTX file: the transactions it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// First transaction.
    pub min: Txid,
    /// Last transaction.
    pub max: Txid,
}

impl FileName {
    /// The name of a file that covers `min` to `max`.
    pub const fn new(min: Txid, max: Txid) -> Self {
        Self { min, max }
    }

    /// The name of a file with one transaction.
    pub const fn single(txid: Txid) -> Self {
        Self {
            min: txid,
            max: txid,
        }
    }

    /// Reads a name as it is displayed, lower case only; anything else is not an LTX file's name.
    pub fn parse(name: &str) -> Option<Self> {
        let (min, max) = name.strip_suffix(".ltx")?.split_once('-')?;
        let (min, max) = (parse_lower(min)?, parse_lower(max)?);
        (!min.is_zero() && max >= min).then_some(Self { min, max })
    }
}

fn parse_lower(text: &str) -> Option<Txid> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    text.parse().ok()
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.ltx", self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn txid_text_is_sixteen_hex_digits_in_either_case() {
        assert_eq!(Txid::new(0xabc).to_string(), "0000000000000abc");
        assert_eq!(
            "0000000000000ABC".parse::<Txid>().unwrap(),
            Txid::new(0xabc)
        );
        for bad in [
            "",
            "abc",
            "+00000000000000a",
            "0000000000000abcd",
            "000000000000 abc",
            "000000000000000g",
            "00000000000000é",
        ] {
            assert!(bad.parse::<Txid>().is_err(), "{bad}");
        }
        assert_eq!(Txid::new(u64::MAX).next(), Txid::new(u64::MAX));
    }

    #[test]
    fn file_names_are_strict() {
        let name = FileName::new(Txid::new(1), Txid::new(0xff));
        assert_eq!(name.to_string(), "0000000000000001-00000000000000ff.ltx");
        assert_eq!(FileName::parse(&name.to_string()), Some(name));
        for bad in [
            "0000000000000001-00000000000000FF.ltx",
            "0000000000000000-0000000000000001.ltx",
            "0000000000000002-0000000000000001.ltx",
            "0000000000000001-0000000000000001.ltx.tmp",
            "0000000000000001-0000000000000001",
            "0000000000000001_0000000000000001.ltx",
            "000000000000001-00000000000000001.ltx",
            "",
        ] {
            assert_eq!(FileName::parse(bad), None, "{bad}");
        }
    }
}
