//! How a server wants to be told who comes: its challenges, and what to answer.
//!
//! Pure. Promise: with Digest the password is in no request.

use std::fmt::Write;

use md5::Md5;
use sha2::{Digest as _, Sha256};

/// What a server asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password.
    Basic,
    /// Proof that one knows the password.
    Digest(Digest),
}

/// See [`Challenge::Digest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Option<String>,
    hash: Hash,
    /// The hash of name and password holds both sides' nonces as well.
    is_session: bool,
    has_qop: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Md5,
    Sha256,
}

impl Challenge {
    /// The best of those in the values of the header `WWW-Authenticate`; `None` if none can be met.
    pub(super) fn best<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
        let all: Vec<(String, Vec<(String, String)>)> = headers.flat_map(challenges).collect();
        let digests = all.iter().filter(|(scheme, _)| scheme == "digest");
        let mut digests: Vec<Digest> = digests
            .filter_map(|(_, params)| Digest::read(params))
            .collect();
        // The strongest that is offered.
        digests.sort_by_key(|digest| digest.hash == Hash::Md5);
        let has_basic = all.iter().any(|(scheme, _)| scheme == "basic");
        digests
            .into_iter()
            .next()
            .map(Challenge::Digest)
            .or_else(|| has_basic.then_some(Challenge::Basic))
    }
}

/// What a request is answered for.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// As it goes out.
    pub(super) target: &'a str,
    pub(super) username: &'a str,
    pub(super) password: &'a str,
    /// Random.
    pub(super) cnonce: u64,
    /// How often the server's nonce was used, from 1.
    pub(super) count: u32,
}

impl Digest {
    fn read(params: &[(String, String)]) -> Option<Digest> {
        let get = |name: &str| {
            params
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.clone())
        };
        let algorithm = get("algorithm");
        let name = algorithm.as_deref().unwrap_or("MD5").to_ascii_uppercase();
        let (plain, is_session) = match name.strip_suffix("-SESS") {
            Some(plain) => (plain, true),
            None => (name.as_str(), false),
        };
        let hash = match plain {
            "MD5" => Hash::Md5,
            "SHA-256" => Hash::Sha256,
            _ => return None,
        };
        let qop = get("qop");
        let offers_auth = |qop: &String| {
            qop.split(',')
                .any(|q| q.trim().eq_ignore_ascii_case("auth"))
        };
        if qop.as_ref().is_some_and(|qop| !offers_auth(qop)) {
            return None;
        }
        Some(Digest {
            realm: get("realm")?,
            nonce: get("nonce")?,
            opaque: get("opaque"),
            algorithm,
            hash,
            is_session,
            has_qop: qop.is_some(),
        })
    }

    /// The value of the header `Authorization`.
    pub(super) fn answer(&self, asked: &Asked<'_>) -> String {
        let cnonce = format!("{:016x}", asked.cnonce);
        let count = format!("{:08x}", asked.count);
        let Digest { realm, nonce, .. } = self;
        let mut who = self
            .hash
            .hex(&format!("{}:{realm}:{}", asked.username, asked.password));
        if self.is_session {
            who = self.hash.hex(&format!("{who}:{nonce}:{cnonce}"));
        }
        let what = self.hash.hex(&format!("{}:{}", asked.method, asked.target));
        let response = if self.has_qop {
            self.hash
                .hex(&format!("{who}:{nonce}:{count}:{cnonce}:auth:{what}"))
        } else {
            self.hash.hex(&format!("{who}:{nonce}:{what}"))
        };
        let mut text = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quoted(asked.username),
            quoted(realm),
            quoted(nonce),
            quoted(asked.target)
        );
        let mut add = |part: String| text.push_str(&part);
        if let Some(algorithm) = &self.algorithm {
            add(format!(", algorithm={algorithm}"));
        }
        if let Some(opaque) = &self.opaque {
            add(format!(", opaque={}", quoted(opaque)));
        }
        if self.has_qop {
            add(format!(", qop=auth, nc={count}"));
        }
        if self.has_qop || self.is_session {
            add(format!(", cnonce=\"{cnonce}\""));
        }
        text
    }
}

impl Hash {
    fn hex(self, text: &str) -> String {
        let bytes = match self {
            Hash::Md5 => Md5::digest(text).to_vec(),
            Hash::Sha256 => Sha256::digest(text).to_vec(),
        };
        bytes.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The schemes in one header, in lower case, with their parameters.
fn challenges(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for part in split_unquoted(header) {
        let part = part.trim();
        let name_end = part.find(['=', ' ', '\t']).unwrap_or(part.len());
        let (word, rest) = part.split_at(name_end);
        let rest = rest.trim_start();
        if word.is_empty() {
            continue;
        }
        // `scheme`, `scheme name=value` or `name=value`.
        let param = if let Some(value) = rest.strip_prefix('=') {
            Some((word, value))
        } else {
            found.push((word.to_ascii_lowercase(), Vec::new()));
            rest.split_once('=')
        };
        if let (Some((name, value)), Some((_, params))) = (param, found.last_mut()) {
            params.push((name.trim().to_ascii_lowercase(), unquoted(value.trim())));
        }
    }
    found
}

/// Parts between commas that are in no quotes.
fn split_unquoted(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut in_quotes, mut escaped) = (Vec::new(), 0, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            ',' if !in_quotes => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        return text.to_owned();
    };
    let (mut out, mut escaped) = (String::new(), false);
    for letter in inner.chars() {
        if letter == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(letter);
            escaped = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(header: &str) -> Digest {
        match Challenge::best([header].into_iter()) {
            Some(Challenge::Digest(digest)) => digest,
            other => panic!("{other:?}"),
        }
    }

    /// The example of RFC 2617, section 3.5.
    #[test]
    fn the_example_of_the_standard() {
        let mut digest = digest(
            r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#,
        );
        let asked = Asked {
            method: "GET",
            target: "/dir/index.html",
            username: "Mufasa",
            password: "Circle Of Life",
            cnonce: 0,
            count: 1,
        };
        let text = digest.answer(&asked);
        assert!(
            text.contains(r#"username="Mufasa", realm="testrealm@host.com""#),
            "{text}"
        );
        assert!(
            text.contains(r#"opaque="5ccc069c403ebaf9f0171e9517f40e41""#),
            "{text}"
        );
        assert!(
            text.ends_with(r#"qop=auth, nc=00000001, cnonce="0000000000000000""#),
            "{text}"
        );
        assert!(!text.contains("Circle"), "{text}");
        // Without qop, as in the older RFC 2069, whose example (corrected) has this response.
        digest.has_qop = false;
        let asked = Asked {
            password: "CircleOfLife",
            ..asked
        };
        assert!(
            digest
                .answer(&asked)
                .contains(r#"response="1949323746fe6a43ef61f9606e7febea""#),
            "{}",
            digest.answer(&asked)
        );
    }

    #[test]
    fn the_strongest_challenge_that_can_be_met_is_taken() {
        let best = |headers: &[&'static str]| Challenge::best(headers.iter().copied());
        assert_eq!(best(&["Basic realm=\"a, b\""]), Some(Challenge::Basic));
        assert_eq!(best(&["Negotiate", "BASIC"]), Some(Challenge::Basic));
        assert_eq!(best(&["Negotiate abc=="]), None);
        assert_eq!(best(&[]), None);
        let both = r#"Basic realm="r", Digest realm="a\"b", nonce="n", algorithm=MD5, qop="auth", Digest realm="r", nonce=m, algorithm=SHA-256"#;
        let digest = digest(both);
        assert_eq!((digest.hash, digest.nonce.as_str()), (Hash::Sha256, "m"));
        let md5 = best(&[r#"Digest realm="a\"b", nonce="n", algorithm="md5-sess""#]);
        let Some(Challenge::Digest(md5)) = md5 else {
            panic!("{md5:?}")
        };
        assert_eq!(
            (md5.realm.as_str(), md5.is_session, md5.hash),
            ("a\"b", true, Hash::Md5)
        );
        assert_eq!(
            best(&[r#"Digest realm="r", nonce="n", algorithm=SHA-512-256"#]),
            None
        );
        assert_eq!(
            best(&[r#"Digest realm="r", nonce="n", qop="auth-int""#]),
            None
        );
    }

    proptest! {
        #[test]
        fn no_header_makes_reading_panic(header in "\\PC{0,80}") {
            Challenge::best([header.as_str()].into_iter());
        }
    }
}
