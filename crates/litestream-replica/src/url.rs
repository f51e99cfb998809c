//! Reading replica URLs and opening what they name.
//!
//! Promise: a URL names the same place as it does for Litestream 0.5.17; what it could not be told from a path there
//! (an unknown scheme) is an error here.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::settings::{self, Opening, Storage};
use crate::{Error, Result, SharedReplica};

/// Whether a command-line argument is taken as a URL: letters, digits or underscores, then `://`.
pub fn is_url(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.split_once("://")
        .is_some_and(|(scheme, _)| !scheme.is_empty() && scheme.bytes().all(word))
}

/// Whether a text lacks what makes a URL of it, so that it could be anything.
pub(crate) fn has_no_scheme(url: &str) -> bool {
    url.split_once("://")
        .is_none_or(|(scheme, _)| scheme.is_empty())
}

/// The folder that a URL with the scheme `file` names: a host is the first part of the path, and only a query is left out.
/// Absolute and cleaned; percent-encoding is kept and made where missing, as Litestream does.
pub(crate) fn file_path(url: &str) -> Result<PathBuf> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    if let Some(escape) = bad_escape(rest) {
        return Err(Error::invalid(format_args!(
            "parse \"file://{rest}\": invalid URL escape \"{escape}\""
        )));
    }
    let (before, fragment) = rest
        .split_once('#')
        .map_or((rest, None), |(b, f)| (b, Some(f)));
    let path = before.split_once('?').map_or(before, |(path, _)| path);
    if path.is_empty() {
        return Err(Error::invalid("file replica path required"));
    }
    let mut all = format!("/{}", as_encoded(path, b""));
    if let Some(fragment) = fragment.filter(|f| !f.is_empty()) {
        all = format!("{all}#{}", as_encoded(fragment, b"?!()*"));
    }
    Ok(clean_path(&all).into())
}

/// A path as it stands in a URL.
pub(crate) fn encoded(path: &str) -> String {
    as_encoded(&path.replace('%', "%25"), b"")
}

/// The text as it is if it is properly encoded, else encoded anew: so Litestream names the folders of file replicas.
/// `more` is what needs no encoding here besides what needs none in a path.
fn as_encoded(text: &str, more: &[u8]) -> String {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&b) || more.contains(&b);
    if text.bytes().all(|b| plain(b) || b"!'()*[]%".contains(&b)) {
        return text.to_owned();
    }
    let mut encoded = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).unwrap_or(0) as u8;
        let byte = if byte == b'%' {
            digit(bytes.next()) << 4 | digit(bytes.next())
        } else {
            byte
        };
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The first percent sign that two hex digits don't follow, with what follows instead.
pub(crate) fn bad_escape(text: &str) -> Option<&str> {
    text.match_indices('%').find_map(|(at, _)| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        if digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
            return None;
        }
        let end = text[at..]
            .char_indices()
            .map(|(i, _)| at + i)
            .nth(3)
            .unwrap_or(text.len());
        Some(&text[at..end])
    })
}

/// Cleans a slash-separated path by its text alone: no `.`, no `name/..`, no double or trailing slash, and no `..` at the
/// root. Empty becomes `.`.
pub fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Opens the replica that a URL names; contacts nothing. `like` is the database whose mode and owner files of a local
/// replica get.
pub fn open(url: &str, env: &Env, like: Option<&Path>) -> Result<SharedReplica> {
    let opening = Opening {
        like,
        ..Opening::command(env)
    };
    settings::open(&Storage::from_url(url)?, &opening)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        for url in ["file:///x", "s3://b/p", "S3://b", "a_1://", "sqlite://x"] {
            assert!(is_url(url), "{url}");
        }
        for path in [
            "", "/x", "x", "://x", "file:/x", "s3:b/p", "s3-x://b", "é://x", "a/b://c",
        ] {
            assert!(!is_url(path), "{path}");
        }
    }

    #[test]
    fn file_urls() {
        for (url, path) in [
            ("file:///abs/path", "/abs/path"),
            ("FILE:///abs", "/abs"),
            ("file://rel/x", "/rel/x"),
            ("file:///a//b/./c/../d/", "/a/b/d"),
            ("file:///a/../../b", "/b"),
            ("file:///", "/"),
            ("file:///a?x=1", "/a"),
            ("file:///a#frag?x", "/a#frag?x"),
            ("file:///a?q#frag", "/a#frag"),
            ("file:///a#", "/a"),
            ("file:///a b", "/a%20b"),
            ("file:///a%20b", "/a%20b"),
            ("file:///ä", "/%C3%A4"),
            ("file:///a%2Fb", "/a%2Fb"),
            ("file:///a%2Fb c", "/a/b%20c"),
            ("file:///a%41 b", "/aA%20b"),
            ("file:///x#frag y", "/x#frag%20y"),
            ("file:///x#fr%41g?z=1", "/x#fr%41g?z=1"),
            ("file:///x!(*)'[]", "/x!(*)'[]"),
            (
                "file:///x;y=!(*)'\"|^[]{}",
                "/x;y=%21%28%2A%29%27%22%7C%5E%5B%5D%7B%7D",
            ),
            ("file:///<>`~-_.$&+,:@", "/%3C%3E%60~-_.$&+,:@"),
        ] {
            assert_eq!(file_path(url).unwrap(), PathBuf::from(path), "{url}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_explained() {
        let text = |url: &str| Storage::from_url(url).unwrap_err().to_string();
        assert_eq!(text("/data/q"), "replica url scheme required: /data/q");
        assert_eq!(text("s3:b/p"), "replica url scheme required: s3:b/p");
        assert_eq!(text(""), "replica url scheme required: ");
        assert_eq!(
            text("azure://x"),
            "unknown replica type in config: \"azure\""
        );
        assert_eq!(text("S3-X://x"), "unknown replica type in config: \"s3-x\"");
        assert_eq!(text("gcs://x"), "unknown replica type in config: \"gcs\"");
        assert_eq!(text("file://"), "file replica path required");
        assert_eq!(text("file://?x"), "file replica path required");
        assert_eq!(
            text("file:///p%zz"),
            "parse \"file:///p%zz\": invalid URL escape \"%zz\""
        );
        assert_eq!(
            text("file:///p%é"),
            "parse \"file:///p%é\": invalid URL escape \"%é\""
        );
        assert_eq!(
            text("file:///p%"),
            "parse \"file:///p%\": invalid URL escape \"%\""
        );
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, clean) in [
            ("", "."),
            (".", "."),
            ("./", "."),
            ("..", ".."),
            ("../..", "../.."),
            ("../../abc", "../../abc"),
            ("/", "/"),
            ("//", "/"),
            ("/..", "/"),
            ("/../abc", "/abc"),
            ("abc", "abc"),
            ("abc/", "abc"),
            ("abc//def//ghi", "abc/def/ghi"),
            ("abc/./def", "abc/def"),
            ("/./abc/def", "/abc/def"),
            ("abc/def/..", "abc"),
            ("abc/def/../..", "."),
            ("/abc/def/../..", "/"),
            ("abc/def/../../..", ".."),
            ("/abc/def/../../..", "/"),
            ("abc/def/../../../ghi/jkl/../../../mno", "../../mno"),
            ("abc/./../def", "def"),
            ("abc//./../def", "def"),
            ("abc/../../././../def", "../../def"),
            ("a/..b/...", "a/..b/..."),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing(path in "[a./]{0,20}") {
            let clean = clean_path(&path);
            prop_assert_eq!(clean_path(&clean), clean);
        }
    }
}
