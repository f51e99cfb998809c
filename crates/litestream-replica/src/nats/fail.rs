//! What NATS refuses, in words that say what to do.

use std::error::Error as StdError;
use std::fmt::Write;

use serde::Deserialize;

use crate::{Error, ErrorKind};

/// No message under that subject, or at that place.
pub(super) const NO_MESSAGE: u64 = 10037;
const NO_STREAM: u64 = 10059;
const NO_CONSUMER: u64 = 10014;

/// A refusal of JetStream.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiError {
    pub(super) code: u16,
    pub(super) err_code: u64,
    pub(super) description: String,
}

impl ApiError {
    /// As an error. A bucket that is missing is no missing file.
    pub(super) fn error(&self, op: &'static str, subject: &str, bucket: &str) -> Error {
        let description = &self.description;
        if self.err_code == NO_STREAM {
            let text = format!(
                "failed to access object store bucket \"{bucket}\" (bucket must be created beforehand): nats: bucket not found"
            );
            return Error::new(ErrorKind::Invalid, op, subject, text)
                .with_hint(format!("create it: nats object add {bucket}"));
        }
        let error = |kind| {
            let text = format!("{description} [code {}]", self.err_code);
            Error::new(kind, op, subject, text)
        };
        if is_full(description) {
            return error(ErrorKind::NoSpace)
                .with_hint("the bucket's or the account's limit is reached: raise it");
        }
        match (self.code, self.err_code) {
            (_, 10039 | 10076) => error(ErrorKind::Invalid)
                .with_hint("the server must have JetStream enabled for this account"),
            // It went away with its connection, or with a leader.
            (408 | 429 | 500..600, _) | (_, NO_CONSUMER) => error(ErrorKind::Unreachable),
            (401 | 403, _) => error(ErrorKind::Forbidden),
            (400..500, _) => error(ErrorKind::Invalid),
            _ => error(ErrorKind::Other),
        }
    }
}

/// Whether a refusal says that there is no room.
pub(super) fn is_full(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    [
        "maximum bytes",
        "maximum messages",
        "insufficient",
        "resource limits",
        "storage resources",
    ]
    .iter()
    .any(|word| text.contains(word))
}

/// An error and its causes, each once.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, err_code: u64, description: &str) -> Error {
        let refused = ApiError {
            code,
            err_code,
            description: description.into(),
        };
        refused.error("list", "", "b")
    }

    #[test]
    fn refusals_are_told_apart() {
        let missing = error(404, NO_STREAM, "stream not found");
        assert_eq!(missing.kind(), ErrorKind::Invalid);
        assert_eq!(
            missing.to_string(),
            "list: failed to access object store bucket \"b\" (bucket must be created beforehand): nats: bucket not found \
             (create it: nats object add b)"
        );
        for (code, err_code, description, kind) in [
            (
                503,
                10008,
                "JetStream system temporarily unavailable",
                ErrorKind::Unreachable,
            ),
            (
                404,
                NO_CONSUMER,
                "consumer not found",
                ErrorKind::Unreachable,
            ),
            (
                503,
                10039,
                "JetStream not enabled for account",
                ErrorKind::Invalid,
            ),
            (400, 10077, "maximum bytes exceeded", ErrorKind::NoSpace),
            (503, 10023, "insufficient resources", ErrorKind::NoSpace),
            (400, 10003, "bad request", ErrorKind::Invalid),
        ] {
            assert_eq!(
                error(code, err_code, description).kind(),
                kind,
                "{description}"
            );
        }
    }
}
