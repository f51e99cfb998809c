//! Where in the storage a file lies: the only place that builds names.
//!
//! Promise: a name built here is found by Litestream 0.5.17, and the other way round.

use std::path::{Path, PathBuf};

use ltx::FileName;

use crate::Level;
#[cfg(any(feature = "sftp", feature = "nats", feature = "webdav"))]
use crate::{Error, ErrorKind, Result, v3};

/// The folder of a level below the root of a local replica: `<root>/ltx/<level>`.
pub fn level_dir(root: &Path, level: Level) -> PathBuf {
    root.join("ltx").join(level.to_string())
}

/// A file below the root of a local replica: `<root>/ltx/<level>/<min>-<max>.ltx`.
pub fn file_path(root: &Path, level: Level, name: FileName) -> PathBuf {
    level_dir(root, level).join(name.to_string())
}

/// The folder of a level where names are slash-separated text: `<prefix>/ltx/<level>`, the prefix cleaned; no prefix, no slash.
#[cfg(any(feature = "sftp", feature = "nats", feature = "webdav"))]
pub(crate) fn ltx_folder(prefix: &str, level: Level) -> String {
    below(prefix, &format!("ltx/{level}"))
}

/// A file where names are slash-separated text: `<prefix>/ltx/<level>/<min>-<max>.ltx`.
#[cfg(any(feature = "sftp", feature = "nats", feature = "webdav"))]
pub(crate) fn ltx_object(prefix: &str, level: Level, name: FileName) -> String {
    format!("{}/{name}", ltx_folder(prefix, level))
}

/// Something that lies `rest` below the cleaned prefix.
#[cfg(any(feature = "sftp", feature = "nats", feature = "webdav"))]
pub(crate) fn below(prefix: &str, rest: &str) -> String {
    match prefix {
        "" => rest.to_owned(),
        prefix => crate::url::clean_path(&format!("{prefix}/{rest}")),
    }
}

/// An object of Litestream 0.3 by its path from the root; nothing outside of its folder is named.
#[cfg(any(feature = "sftp", feature = "nats", feature = "webdav"))]
pub(crate) fn v3_object(prefix: &str, path: &str) -> Result<String> {
    let mut parts = path.split('/');
    let inside = parts.next() == Some(v3::FOLDER) && parts.all(|p| !matches!(p, "" | "." | ".."));
    if inside && path != v3::FOLDER {
        return Ok(below(prefix, path));
    }
    let text = "not a path of Litestream 0.3";
    Err(Error::new(ErrorKind::Invalid, "read", path, text))
}

/// The name of a file while it is being written, beside its final name:
/// `<final name>.<when, ms, 12 hex>-<random, 16 hex>.tmp`.
pub(crate) fn temp_name(name: FileName, now_ms: i64, random: u64) -> String {
    format!("{name}.{:012x}-{random:016x}.tmp", now_ms.max(0))
}

/// The path of a file that is taken aside for another one: in the form of [`temp_name`], so that it is removed some day if it is forgotten.
#[cfg(feature = "sftp")]
pub(crate) fn aside(path: &str, now_ms: i64, random: u64) -> String {
    format!("{path}.{:012x}-{random:016x}.tmp", now_ms.max(0))
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
#[cfg(feature = "http")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// `<prefix>/ltx/<level>/<file>`, all of it cleaned.
    #[allow(dead_code, reason = "not every storage has its names like that")]
    Cleaned(String),
    /// `<prefix>/<level as 4 hex digits>/<file>`, the prefix as it was given.
    #[allow(dead_code, reason = "not every storage has its names like that")]
    Verbatim(String),
}

#[cfg(feature = "http")]
impl Names {
    /// What the names of a level's files begin with, to its last slash.
    pub(crate) fn level(&self, level: Level) -> String {
        match self {
            Names::Cleaned(prefix) => {
                crate::url::clean_path(&joined(prefix, &format!("ltx/{level}"))) + "/"
            }
            Names::Verbatim(prefix) => format!("{prefix}/{:04x}/", level.get()),
        }
    }

    /// A file's name.
    pub(crate) fn file(&self, level: Level, name: FileName) -> String {
        format!("{}{name}", self.level(level))
    }

    /// The name of something beside the levels, the prefix as it was given.
    #[allow(dead_code, reason = "not every storage has such")]
    pub(crate) fn beside(&self, name: &str) -> String {
        let (Names::Cleaned(prefix) | Names::Verbatim(prefix)) = self;
        joined(prefix, name)
    }

    /// What stands before the paths of Litestream 0.3: the prefix cleaned, with its slash, or nothing.
    #[allow(dead_code, reason = "not every storage asks for it")]
    pub(crate) fn before_v3(&self) -> String {
        let (Names::Cleaned(prefix) | Names::Verbatim(prefix)) = self;
        let clean = crate::url::clean_path(prefix);
        match clean.as_str() {
            "." => String::new(),
            "/" => clean,
            _ => clean + "/",
        }
    }

    /// The name of something else below the root, which is cleaned.
    pub(crate) fn other(&self, path: &str) -> String {
        let (Names::Cleaned(prefix) | Names::Verbatim(prefix)) = self;
        crate::url::clean_path(&joined(prefix, path))
    }
}

/// Without a slash before it if there is no prefix.
#[cfg(feature = "http")]
fn joined(prefix: &str, path: &str) -> String {
    if prefix.is_empty() {
        path.to_owned()
    } else {
        format!("{prefix}/{path}")
    }
}

/// What the chunks of one object in an object store are told apart by: `ls<when, ms, 12 hex><random, 16 hex>`.
#[cfg(feature = "nats")]
pub(crate) fn chunks_id(now_ms: i64, random: u64) -> String {
    format!("ls{:012x}{random:016x}", now_ms.max(0))
}

/// When chunks with an id of exactly the form of [`chunks_id`] were begun; `None` for any other id.
#[cfg(feature = "nats")]
pub(crate) fn chunks_begun_ms(id: &str) -> Option<i64> {
    let hex = id.strip_prefix("ls")?;
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if hex.len() != 28 || !hex.bytes().all(is_hex) {
        return None;
    }
    i64::from_str_radix(&hex[..12], 16).ok()
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

    #[cfg(feature = "http")]
    #[test]
    fn what_stands_beside_the_levels() {
        let names = |prefix: &str| Names::Verbatim(prefix.to_owned());
        assert_eq!(names("").beside("lock.json"), "lock.json");
        assert_eq!(names("a/").beside("lock.json"), "a//lock.json");
        for (prefix, before) in [
            ("", ""),
            (".", ""),
            ("/", "/"),
            ("/lead", "/lead/"),
            ("a//b/", "a/b/"),
            ("./x", "x/"),
        ] {
            assert_eq!(names(prefix).before_v3(), before, "{prefix}");
        }
    }

    #[cfg(feature = "http")]
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

    #[cfg(any(feature = "sftp", feature = "nats", feature = "webdav"))]
    #[test]
    fn layout_where_names_are_text() {
        let name = FileName::single(Txid::new(1));
        let file = "0000000000000001-0000000000000001.ltx";
        for (prefix, folder) in [
            ("", "ltx/9"),
            ("/", "/ltx/9"),
            ("db", "db/ltx/9"),
            ("/a//b/../c/", "/a/c/ltx/9"),
            (".", "ltx/9"),
        ] {
            assert_eq!(ltx_folder(prefix, Level::SNAPSHOT), folder);
            let object = ltx_object(prefix, Level::SNAPSHOT, name);
            assert_eq!(object, format!("{folder}/{file}"));
        }
        let v3 = |path: &str| v3_object("p", path).ok();
        assert_eq!(v3("generations/x").as_deref(), Some("p/generations/x"));
        for path in [
            "",
            "generations",
            "generations/",
            "generations/../x",
            "/etc",
            "ltx/0",
        ] {
            assert_eq!(v3(path), None, "{path}");
        }
    }

    #[cfg(feature = "nats")]
    #[test]
    fn ids_of_chunks() {
        let id = chunks_id(0x018b_cfe5_6800, 0xabc);
        assert_eq!(id, "ls018bcfe568000000000000000abc");
        assert_eq!(chunks_begun_ms(&id), Some(0x018b_cfe5_6800));
        for other in [
            "PZ6QJGYVYQVIYJBTZNNJZ9",
            "ls018bcfe56800",
            "",
            "lsé18bcfe568000000000000000abc",
        ] {
            assert_eq!(chunks_begun_ms(other), None, "{other}");
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
