//! `LITESTREAM_S3_DEBUG`: what is said to the service and what it answers, in the log, for the support of a service that refuses it.
//!
//! Promise: nothing that would let a reader of the log in: signatures, session tokens and keys are left out.

use std::fmt::Write;

use http::HeaderMap;
use http::request::Parts;

use crate::net::{Answer, Payload};
use crate::settings::REDACTED;

/// Longer bodies are cut.
const BODY_BYTES_MAX: usize = 4096;
/// Headers whose values are shown: what has no place here may be a key or a token, of this service or of one that gives credentials.
const SHOWN: [&str; 34] = [
    "accept",
    "accept-ranges",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "connection",
    "content-encoding",
    "content-length",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "host",
    "if-match",
    "if-none-match",
    "last-modified",
    "range",
    "retry-after",
    "server",
    "transfer-encoding",
    "x-amz-bucket-region",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-mode",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-id-2",
    "x-amz-meta-litestream-timestamp",
    "x-amz-request-id",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-tigris-consistent",
];

/// What is told, by the words that Litestream has for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Talk {
    requests: bool,
    /// Texts, not files.
    request_bodies: bool,
    answers: bool,
    /// What the signature covers.
    signing: bool,
}

impl Talk {
    /// From a list with commas.
    pub(super) fn read(text: &str) -> Talk {
        let words: Vec<String> = text
            .split(',')
            .map(|word| word.trim().to_ascii_lowercase())
            .collect();
        let any = |names: &[&str]| {
            words
                .iter()
                .any(|w| w == "all" || names.contains(&w.as_str()))
        };
        Talk {
            requests: any(&["request", "request-with-body"]),
            request_bodies: any(&["request-with-body"]),
            answers: any(&["response", "response-with-body"]),
            signing: any(&["signing"]),
        }
    }

    /// Tells of a request.
    pub(super) fn request(self, head: &Parts, payload: &Payload) {
        if let Some(text) = self.request_text(head, payload) {
            tracing::info!(request = text, "s3");
        }
    }

    /// Tells of an answer.
    pub(super) fn answer(self, answer: &Answer) {
        if self.answers {
            let text = format!("{}{}", answer.status(), listed(answer.headers()));
            tracing::info!(response = text, "s3");
        }
    }

    fn request_text(self, head: &Parts, payload: &Payload) -> Option<String> {
        let mut text = String::new();
        if self.requests {
            let _ = write!(
                text,
                "{} {}{}",
                head.method,
                head.uri,
                listed(&head.headers)
            );
        }
        if self.signing {
            let authorization = head.headers.get("authorization");
            let authorization = authorization.and_then(|value| value.to_str().ok());
            // Scope and names of headers; what follows is the signature.
            let shown = authorization.and_then(|value| value.rsplit_once("Signature="));
            let _ = write!(
                text,
                " [{}]",
                shown.map_or("not signed", |(shown, _)| shown.trim())
            );
        }
        if let Payload::Bytes(bytes) = payload
            && self.request_bodies
            && bytes.starts_with(b"<")
        {
            let shown = &bytes[..bytes.len().min(BODY_BYTES_MAX)];
            let _ = write!(text, " {}", String::from_utf8_lossy(shown));
        }
        (!text.is_empty()).then_some(text)
    }
}

fn listed(headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        let shown = if SHOWN.contains(&name.as_str()) {
            value.to_str().unwrap_or("?")
        } else {
            REDACTED
        };
        // Writing to a string can't fail.
        let _ = write!(text, " {name}={shown:?}");
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn nothing_secret_is_told() {
        let request = http::Request::post("http://x/b?delete")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AK/s3, SignedHeaders=host;x, Signature=abcdef",
            )
            .header("x-amz-security-token", "TOKEN")
            .header("x-amz-server-side-encryption-customer-key", "KEY")
            .header("x-amz-sso_bearer_token", "BEARER")
            .header("x-aws-ec2-metadata-token", "METADATA")
            .header("x-amz-date", "now");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let payload = Payload::Bytes(Bytes::from_static(b"<Delete/>"));
        let text = Talk::read("all").request_text(&head, &payload).unwrap();
        assert_eq!(
            text,
            "POST http://x/b?delete authorization=\"<redacted>\" x-amz-security-token=\"<redacted>\" \
             x-amz-server-side-encryption-customer-key=\"<redacted>\" x-amz-sso_bearer_token=\"<redacted>\" \
             x-aws-ec2-metadata-token=\"<redacted>\" x-amz-date=\"now\" \
             [AWS4-HMAC-SHA256 Credential=AK/s3, SignedHeaders=host;x,] <Delete/>"
        );
        let quiet = Talk::read("response, retries");
        assert_eq!(quiet.request_text(&head, &payload), None);
        assert!(quiet.answers && !Talk::read("signing").answers);
        assert_eq!(Talk::read(""), Talk::default());
    }
}
