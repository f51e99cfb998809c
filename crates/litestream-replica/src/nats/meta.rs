//! What an object store keeps of each object beside its chunks: one JSON message under a subject made from the object's name.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::env::UnixMillis;

/// The header that holds the time of an LTX file.
const TIME_HEADER: &str = "Litestream-Timestamp";
const DIGEST_PREFIX: &str = "SHA-256=";

/// An object, as NATS describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) name: String,
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "or_default"
    )]
    pub(super) headers: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) options: Option<Options>,
    pub(super) bucket: String,
    /// What its chunks are told apart by.
    pub(super) nuid: String,
    pub(super) size: u64,
    pub(super) mtime: String,
    pub(super) chunks: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) digest: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) deleted: bool,
}

/// See [`Meta::options`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    pub(super) max_chunk_size: u64,
}

/// `null` is nothing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Meta {
    /// The time of the LTX file, if it was kept.
    pub(super) fn time(&self) -> Option<UnixMillis> {
        let mut headers = self.headers.iter();
        let (_, values) = headers.find(|(name, _)| name.eq_ignore_ascii_case(TIME_HEADER))?;
        parse_time(values.first()?)
    }

    pub(super) fn set_time(&mut self, time: UnixMillis) {
        let text = time_text(time);
        self.headers.insert(TIME_HEADER.to_owned(), vec![text]);
    }
}

/// RFC 3339, in UTC, with as many digits of the second as it needs.
pub(super) fn time_text(time: UnixMillis) -> String {
    let stamp = jiff::Timestamp::from_millisecond(time.0);
    stamp.map(|stamp| stamp.to_string()).unwrap_or_default()
}

pub(super) fn parse_time(text: &str) -> Option<UnixMillis> {
    let stamp: jiff::Timestamp = text.parse().ok()?;
    Some(UnixMillis(stamp.as_millisecond()))
}

/// The subject of an object's description.
pub(super) fn meta_subject(bucket: &str, object: &str) -> String {
    format!("$O.{bucket}.M.{}", URL_SAFE.encode(object))
}

/// The subjects of all descriptions.
pub(super) fn meta_subjects(bucket: &str) -> String {
    format!("$O.{bucket}.M.>")
}

/// The subject of an object's chunks.
pub(super) fn chunk_subject(bucket: &str, nuid: &str) -> String {
    format!("$O.{bucket}.C.{nuid}")
}

/// The subjects of all chunks.
pub(super) fn chunk_subjects(bucket: &str) -> String {
    format!("$O.{bucket}.C.>")
}

/// What distinguishes the chunks of this subject.
pub(super) fn nuid_of<'a>(bucket: &str, subject: &'a str) -> Option<&'a str> {
    subject.strip_prefix(&format!("$O.{bucket}.C."))
}

/// Adds up the digest of an object.
#[derive(Default)]
pub(super) struct Digesting(Sha256);

impl Digesting {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// As a description has it.
    pub(super) fn text(self) -> String {
        format!("{DIGEST_PREFIX}{}", URL_SAFE.encode(self.0.finalize()))
    }
}

/// Whether these bytes have that digest. One of another kind says nothing.
pub(super) fn fits(bytes: &[u8], digest: &str) -> bool {
    let mut digesting = Digesting::default();
    digesting.add(bytes);
    // Some write it without padding.
    !digest.starts_with(DIGEST_PREFIX)
        || digesting.text().trim_end_matches('=') == digest.trim_end_matches('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_of_the_go_client_is_read_and_ours_has_its_form() {
        let go = r#"{"name":"ltx/0/x","description":"","headers":{"Litestream-Timestamp":["2026-11-20T09:59:17.463Z"]},
            "options":{"max_chunk_size":131072},"bucket":"testb","nuid":"N","size":207,"mtime":"0001-01-01T00:00:00Z",
            "chunks":3,"digest":"SHA-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="}"#;
        let meta: Meta = serde_json::from_str(go).unwrap();
        assert_eq!(meta.time(), Some(UnixMillis(1_795_168_757_463)));
        assert_eq!((meta.size, meta.chunks, meta.deleted), (207, 3, false));
        assert!(fits(b"", &meta.digest) && !fits(b"x", &meta.digest));
        let nothing: Meta = serde_json::from_str(r#"{"name":"x","headers":null}"#).unwrap();
        assert_eq!(nothing.time(), None);
        let again: Meta = serde_json::from_str(&serde_json::to_string(&meta).unwrap()).unwrap();
        assert_eq!(again, meta);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(
            time_text(UnixMillis(1_700_000_000_120)),
            "2023-11-14T22:13:20.12Z"
        );
        assert_eq!(
            time_text(UnixMillis(1_700_000_000_000)),
            "2023-11-14T22:13:20Z"
        );
        assert_eq!(
            parse_time("2023-11-14T23:13:20.12+01:00"),
            Some(UnixMillis(1_700_000_000_120))
        );
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn subjects() {
        assert_eq!(meta_subject("b", "ltx/0/a"), "$O.b.M.bHR4LzAvYQ==");
        assert_eq!(nuid_of("b", &chunk_subject("b", "N")), Some("N"));
        assert_eq!(nuid_of("b", "$O.c.C.N"), None);
    }
}
