//! Where in the storage a file lies: the only place that builds names.
//!
//! Promise: a name built here is found by Litestream 0.5.17, and the other way round.

use std::path::{Path, PathBuf};

use ltx::FileName;

use crate::Level;

/// The folder of a level below the root of a local replica: `<root>/ltx/<level>`.
pub fn level_dir(root: &Path, level: Level) -> PathBuf {
    root.join("ltx").join(level.to_string())
}

/// A file below the root of a local replica: `<root>/ltx/<level>/<min>-<max>.ltx`.
pub fn file_path(root: &Path, level: Level, name: FileName) -> PathBuf {
    level_dir(root, level).join(name.to_string())
}

/// The level as S3 and OSS name it, below the prefix as it is written, down to the slash: `<prefix>/0000/`.
#[cfg(any(feature = "s3", feature = "oss"))]
pub(crate) fn verbatim_level(prefix: &str, level: Level) -> String {
    format!("{prefix}/{:04x}/", level.get())
}

/// A file in S3 or OSS. The prefix is taken as it is: without one the key begins with a slash.
#[cfg(any(feature = "s3", feature = "oss"))]
pub(crate) fn verbatim(prefix: &str, level: Level, name: FileName) -> String {
    format!("{}{name}", verbatim_level(prefix, level))
}

/// Something else in S3 or OSS, beside the levels: `<prefix>/<name>`, or `<name>` alone.
#[cfg(any(feature = "s3", feature = "oss"))]
pub(crate) fn verbatim_beside(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}/{name}")
    }
}

/// What stands before the paths of Litestream 0.3 in object storage: the prefix cleaned, with its slash, or nothing.
#[cfg(feature = "http")]
pub(crate) fn before_v3(prefix: &str) -> String {
    let clean = crate::url::clean_path(prefix);
    match clean.as_str() {
        "." => String::new(),
        "/" => clean,
        _ => clean + "/",
    }
}

/// The name of a file while it is being written, beside its final name:
/// `<final name>.<when, ms, 12 hex>-<random, 16 hex>.tmp`.
pub(crate) fn temp_name(name: FileName, now_ms: i64, random: u64) -> String {
    format!("{name}.{:012x}-{random:016x}.tmp", now_ms.max(0))
}

/// When a file of exactly the form of [`temp_name`] was begun; `None` for any other name.
pub(crate) fn temp_begun_ms(file_name: &str) -> Option<i64> {
    let (name, rest) = file_name.strip_suffix(".tmp")?.rsplit_once('.')?;
    FileName::parse(name)?;
    let (begun, random) = rest.split_once('-')?;
    let hex = |s: &str| {
        s.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if begun.len() != 12 || random.len() != 16 || !hex(begun) || !hex(random) {
        return None;
    }
    i64::from_str_radix(begun, 16).ok()
}

/// The names of a replica's objects in storage that has no folders.
#[cfg(any(feature = "gs", feature = "abs", feature = "oss"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// `<prefix>/ltx/<level>/<file>`, all of it cleaned.
    #[cfg(any(feature = "gs", feature = "abs"))]
    Cleaned(String),
    /// As [`verbatim`] has it.
    #[cfg(feature = "oss")]
    Verbatim(String),
}

#[cfg(any(feature = "gs", feature = "abs", feature = "oss"))]
impl Names {
    /// What the names of a level's files begin with, to its last slash.
    pub(crate) fn level(&self, level: Level) -> String {
        match self {
            #[cfg(any(feature = "gs", feature = "abs"))]
            Names::Cleaned(prefix) => format!("{}ltx/{level}/", before_v3(prefix)),
            #[cfg(feature = "oss")]
            Names::Verbatim(prefix) => verbatim_level(prefix, level),
        }
    }

    /// A file's name.
    pub(crate) fn file(&self, level: Level, name: FileName) -> String {
        format!("{}{name}", self.level(level))
    }

    /// The name of something else below the root, which is cleaned.
    pub(crate) fn other(&self, path: &str) -> String {
        let before = match self {
            #[cfg(any(feature = "gs", feature = "abs"))]
            Names::Cleaned(prefix) => before_v3(prefix),
            #[cfg(feature = "oss")]
            Names::Verbatim(prefix) => before_v3(prefix),
        };
        before + path
    }
}

#[cfg(test)]
mod tests {
    use ltx::Txid;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn temporary_names_are_read_as_written_and_no_other_text_is(
            min in 1..u64::MAX, more in 0..9_u64, begun in 0..1_i64 << 48, random: u64, other in "\\PC{0,90}", at in 0..90_usize,
        ) {
            let name = FileName::new(Txid::new(min), Txid::new(min.saturating_add(more)));
            let ours = temp_name(name, begun, random);
            prop_assert_eq!(temp_begun_ms(&ours), Some(begun));
            prop_assert_eq!(temp_begun_ms(&other), None);
            let at = at.min(ours.len());
            let spoilt = format!("{}{other}{}", &ours[..at], &ours[at..]);
            prop_assert!(other.is_empty() || temp_begun_ms(&spoilt).is_none());
        }
    }

    #[test]
    fn local_layout() {
        let name = FileName::new(Txid::new(1), Txid::new(0x1f));
        assert_eq!(
            file_path(Path::new("/r"), Level::SNAPSHOT, name),
            Path::new("/r/ltx/9/0000000000000001-000000000000001f.ltx")
        );
    }

    #[cfg(all(feature = "gs", feature = "oss"))]
    #[test]
    fn names_of_objects() {
        let name = FileName::single(Txid::new(0x1f));
        let (zero, nine) = (Level::L0, Level::SNAPSHOT);
        for (prefix, level, v3) in [
            ("", "ltx/0/", "generations"),
            (".", "ltx/0/", "generations"),
            ("u", "u/ltx/0/", "u/generations"),
            ("a//b/", "a/b/ltx/0/", "a/b/generations"),
            ("/lead", "/lead/ltx/0/", "/lead/generations"),
        ] {
            let names = Names::Cleaned(prefix.to_owned());
            assert_eq!(names.level(zero), level);
            assert_eq!(names.other("generations"), v3);
            let file = level.to_owned() + "000000000000001f-000000000000001f.ltx";
            assert_eq!(names.file(zero, name), file);
        }
        for (prefix, level, v3) in [
            ("", "/0009/", "generations"),
            (".", "./0009/", "generations"),
            ("u", "u/0009/", "u/generations"),
            ("tr/", "tr//0009/", "tr/generations"),
            ("a//b", "a//b/0009/", "a/b/generations"),
            ("/lead", "/lead/0009/", "/lead/generations"),
        ] {
            let names = Names::Verbatim(prefix.to_owned());
            assert_eq!(names.level(nine), level);
            assert_eq!(names.other("generations"), v3);
        }
    }

    #[cfg(any(feature = "s3", feature = "oss"))]
    #[test]
    fn prefixes_are_taken_verbatim_where_litestream_does() {
        let name = FileName::single(Txid::new(1));
        for (prefix, begin) in [
            (".", "./0000/"),
            ("", "/0000/"),
            ("u", "u/0000/"),
            ("tr/", "tr//0000/"),
            ("/lead", "/lead/0000/"),
            ("a//b", "a//b/0000/"),
            ("./x", "./x/0000/"),
        ] {
            assert_eq!(
                verbatim(prefix, Level::L0, name),
                format!("{begin}0000000000000001-0000000000000001.ltx")
            );
        }
        assert_eq!(verbatim_level("p", Level::SNAPSHOT), "p/0009/");
        assert_eq!(verbatim_beside("", "lock.json"), "lock.json");
        assert_eq!(verbatim_beside("a/", "lock.json"), "a//lock.json");
        for (prefix, before) in [
            ("", ""),
            (".", ""),
            ("/", "/"),
            ("/lead", "/lead/"),
            ("a//b/", "a/b/"),
            ("./x", "x/"),
        ] {
            assert_eq!(before_v3(prefix), before, "{prefix}");
        }
    }

    #[test]
    fn only_our_own_temporary_names_are_recognised() {
        let ours = temp_name(FileName::single(Txid::new(7)), 0x018b_cfe5_6800, 0xabc);
        assert_eq!(
            ours,
            "0000000000000007-0000000000000007.ltx.018bcfe56800-0000000000000abc.tmp"
        );
        assert_eq!(temp_begun_ms(&ours), Some(0x018b_cfe5_6800));
        for other in [
            "0000000000000007-0000000000000007.ltx.tmp",
            "0000000000000007-0000000000000007.ltx",
            "notes.018bcfe56800-0000000000000abc.tmp",
            "0000000000000007-0000000000000007.ltx.018bcfe56800-000000000000+abc.tmp",
            "0000000000000007-0000000000000007.ltx.18bcfe56800-0000000000000abc.tmp",
            ".tmp",
            "",
        ] {
            assert_eq!(temp_begun_ms(other), None, "{other}");
        }
    }
}
