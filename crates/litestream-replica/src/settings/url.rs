//! URLs as Go's `net/url` reads them: scheme, user, host, path, query.
//!
//! Promise: no error shows a password that the URL holds.

use std::fmt::Write as _;

use crate::url::bad_escape;
use crate::{Error, Result};

/// What follows `parse "URL": ` in an error.
type Read<T> = std::result::Result<T, String>;

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// In lower case.
    pub scheme: String,
    /// User and password, decoded.
    pub user: Option<User>,
    /// With its port, decoded.
    pub host: String,
    /// Decoded; empty or with its leading slash.
    pub path: String,
    /// Decoded names and values, in their order.
    pub query: Vec<(String, String)>,
}

impl Url {
    /// Reads a URL that has a scheme.
    pub fn parse(text: &str) -> Result<Url> {
        Url::read(text)
            .map_err(|what| Error::invalid(format_args!("parse {}: {what}", quoted(&shown(text)))))
    }

    fn read(text: &str) -> Read<Url> {
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err("net/url: invalid control character in URL".into());
        }
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        let (scheme, rest) = text.split_once("://").ok_or("missing protocol scheme")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user_info(user)?), host),
            None => (None, authority),
        };
        Ok(Url {
            scheme: scheme.to_ascii_lowercase(),
            user,
            host: host_name(host)?,
            path: decoded(path, false)?,
            query: query_pairs(query),
        })
    }

    /// The value of a query parameter under any of its names, and the name it has.
    pub fn parameter<'a>(&'a self, names: &[&str]) -> Option<(&'a str, &'a str)> {
        let mut found = self.query.iter().filter(|(_, value)| !value.is_empty());
        found
            .find(|(name, _)| names.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The path as a key in object storage: cleaned, without its leading slash. No path at all is `.`, which Litestream uses
    /// as a prefix, and so do its replicas.
    pub fn key(&self) -> String {
        let clean = crate::url::clean_path(&self.path);
        clean.strip_prefix('/').map_or(clean.clone(), str::to_owned)
    }
}

/// User and password.
pub type User = (String, Option<super::Secret>);

/// A URL without its user, and that user. One that can't be read stays in place.
pub fn without_user(text: &str) -> (String, Option<User>) {
    let split = || {
        let (scheme, rest) = text.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, host) = authority.rsplit_once('@')?;
        Some((
            format!("{scheme}://{host}{path}"),
            Some(user_info(user).ok()?),
        ))
    };
    split().unwrap_or_else(|| (text.to_owned(), None))
}

/// A URL that may be printed: without user and password, and without the values of its query.
pub fn shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (authority, rest) = rest.split_at(authority_len(rest));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{name}:{}@{host}", super::REDACTED)
        }
        _ => authority.to_owned(),
    };
    let (path, query) = rest
        .split_once('?')
        .map_or((rest, None), |(p, q)| (p, Some(q)));
    let hide = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("key") => {
            format!("{name}={}", super::REDACTED)
        }
        _ => pair.to_owned(),
    };
    let query = query.map(|q| format!("?{}", q.split('&').map(hide).collect::<Vec<_>>().join("&")));
    format!("{scheme}://{authority}{path}{}", query.unwrap_or_default())
}

/// Where the path begins. A password with a slash in it is a mistake, which makes it no less secret.
fn authority_len(rest: &str) -> usize {
    let ends = |from: usize| {
        let end = rest[from..].find(['/', '?', '#']);
        end.map_or(rest.len(), |end| from + end)
    };
    let end = ends(0);
    let is_port = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let authority = &rest[..end];
    let is_cut = !authority.contains('@')
        // Colons that are no password's.
        && !authority.starts_with("arn:")
        && !authority.starts_with('[')
        && authority.split_once(':').is_some_and(|(_, port)| !is_port(port));
    match rest.rfind('@') {
        Some(at) if is_cut => ends(at),
        _ => end,
    }
}

/// In Go's quotes, as far as URLs need them.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if u32::from(c) < 0x20 || c == '\x7f' => {
                {
                    // Writing to a string can't fail.
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
            }
            c => out.push(c),
        }
    }
    out + "\""
}

fn user_info(text: &str) -> Read<(String, Option<super::Secret>)> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
    if !text.bytes().all(valid) {
        return Err("net/url: invalid userinfo".into());
    }
    Ok(match text.split_once(':') {
        Some((name, password)) => {
            let password = super::Secret::new(decoded(password, false)?);
            (decoded(name, false)?, Some(password))
        }
        None => (decoded(text, false)?, None),
    })
}

fn host_name(host: &str) -> Read<String> {
    let name = if let Some(inner) = host.strip_prefix('[') {
        let (_, after) = inner.split_once(']').ok_or("missing ']' in host")?;
        port(after)?;
        return Ok(host.to_owned());
    } else if let Some((name, after)) = host.split_once(':').map(|(n, _)| host.split_at(n.len())) {
        // Go looks at what follows the last colon.
        let last = after.rfind(':').map_or(after, |at| &after[at..]);
        port(last)?;
        name
    } else {
        host
    };
    let bad = |c: &char| c.is_ascii() && !is_host_letter(*c);
    if let Some(letter) = name.chars().find(bad) {
        return Err(format!(
            "invalid character {} in host name",
            quoted(&letter.to_string())
        ));
    }
    // A host may only hold escapes of what is not ASCII.
    if let Some((at, _)) = name
        .match_indices('%')
        .find(|(at, _)| !name[at + 1..].starts_with(|c: char| "89aAbBcCdDeEfF".contains(c)))
    {
        let end = name[at..]
            .char_indices()
            .nth(3)
            .map_or(name.len(), |(i, _)| at + i);
        return Err(format!("invalid URL escape {}", quoted(&name[at..end])));
    }
    decoded(host, false)
}

fn is_host_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"%".contains(c)
}

/// `:` and digits, or nothing.
fn port(text: &str) -> Read<()> {
    let digits = text.strip_prefix(':').unwrap_or(text);
    if (text.is_empty() || text.starts_with(':')) && digits.bytes().all(|b| b.is_ascii_digit()) {
        Ok(())
    } else {
        Err(format!("invalid port {} after host", quoted(text)))
    }
}

/// Text without percent-encoding, and with blanks for `+` in a query.
fn decoded(text: &str, query: bool) -> Read<String> {
    if let Some(escape) = bad_escape(text) {
        return Err(format!("invalid URL escape {}", quoted(escape)));
    }
    let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).unwrap_or(0) as u8;
    let (mut out, mut bytes) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => (digit(bytes.next()) << 4) | digit(bytes.next()),
            b'+' if query => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).map_err(|_| "what it encodes is not valid UTF-8".into())
}

/// Pairs that make no sense are left out, as Go does.
fn query_pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.contains(';'));
    pairs
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name, true).ok()?, decoded(value, true).ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let url =
            Url::parse("SFTP://u%40x:p%3Aw@h:22/a%20b/?A=1&b=%20x+y&bad=%zz&c;d=1#f?x").unwrap();
        assert_eq!(url.scheme, "sftp");
        let (name, password) = url.user.clone().unwrap();
        assert_eq!((name.as_str(), password.unwrap().expose()), ("u@x", "p:w"));
        assert_eq!((url.host.as_str(), url.path.as_str()), ("h:22", "/a b/"));
        assert_eq!(
            url.query,
            [("A".into(), "1".into()), ("b".into(), " x y".into())]
        );
        assert_eq!(url.key(), "a b");
        let key = |text: &str| Url::parse(text).unwrap().key();
        assert_eq!(
            [key("s3://b"), key("s3://b/"), key("s3://b//x/../y/")],
            [".", "", "y"]
        );
    }

    #[test]
    fn errors_are_those_of_go_without_passwords() {
        for (url, error) in [
            (
                "s3://b x/zz",
                r#"parse "s3://b x/zz": invalid character " " in host name"#,
            ),
            (
                "s3://b:x/zz",
                r#"parse "s3://b:x/zz": invalid port ":x" after host"#,
            ),
            (
                "s3://b/%zz",
                r#"parse "s3://b/%zz": invalid URL escape "%zz""#,
            ),
            (
                "s3://b%41/",
                r#"parse "s3://b%41/": invalid URL escape "%41""#,
            ),
            (
                "sftp://u:p w@h/",
                r#"parse "sftp://u:<redacted>@h/": net/url: invalid userinfo"#,
            ),
            (
                "s3://b/%?sseCustomerKey=abc",
                r#"parse "s3://b/%?sseCustomerKey=<redacted>": invalid URL escape "%""#,
            ),
        ] {
            assert_eq!(Url::parse(url).unwrap_err().to_string(), error);
        }
    }
}
