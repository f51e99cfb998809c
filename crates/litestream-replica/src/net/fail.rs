//! What went wrong, in words that say what to do: the one table of refusals for all storage behind HTTP.

use std::error::Error as StdError;
use std::fmt::Write;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::Xml;
use crate::env::UnixMillis;
use crate::{Error, ErrorKind};

/// Headers in which services name the request, for their support.
const REQUEST_IDS: [&str; 5] = [
    "x-amz-request-id",
    "x-ms-request-id",
    "x-oss-request-id",
    "x-guploader-uploadid",
    "x-request-id",
];

/// A request that was answered with something else than success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) op: &'static str,
    pub(crate) subject: String,
    pub(crate) status: u16,
    /// The service's own word, such as `NoSuchKey`; empty if it gave none.
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) request_id: String,
    /// What the answer's `Date` said, to show a clock that is off.
    pub(crate) date: String,
}

impl Refusal {
    /// From status, headers and body: XML as S3, Azure and OSS write it, JSON as Google does, or plain text.
    pub(super) fn read(
        op: &'static str,
        subject: &str,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Refusal {
        let header = |name: &str| {
            let value = headers.get(name).and_then(|v| v.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let mut refusal = Refusal {
            op,
            subject: subject.to_owned(),
            status: status.as_u16(),
            code: header("x-ms-error-code"),
            message: String::new(),
            request_id: REQUEST_IDS
                .iter()
                .map(|name| header(name))
                .find(|id| !id.is_empty())
                .unwrap_or_default(),
            date: header("date"),
        };
        refusal.read_body(body);
        refusal
    }

    fn read_body(&mut self, body: &[u8]) {
        if let Ok(xml) = Xml::parse(body)
            && xml.child("Code").is_some()
        {
            xml.text_of("Code").clone_into(&mut self.code);
            let message = xml.text_of("Message");
            message
                .lines()
                .next()
                .unwrap_or_default()
                .clone_into(&mut self.message);
            if self.request_id.is_empty() {
                xml.text_of("RequestId").clone_into(&mut self.request_id);
            }
        } else if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body)
            && let Some(error) = json.get("error")
        {
            let text = |v: Option<&serde_json::Value>| {
                v.and_then(|v| v.as_str()).unwrap_or_default().to_owned()
            };
            self.code = text(error.pointer("/errors/0/reason"));
            self.message = text(error.get("message"));
        }
    }

    /// Whether the service's own word is that.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// As an error whose kind follows from [`classify`].
    pub(crate) fn error(&self) -> Error {
        self.error_of(classify(self.status, &self.code))
    }

    /// As the error of a request about an object, of a service that always says by a word of its own what is missing: a bare 404 is one
    /// of something between, and no file is missing because of it.
    pub(crate) fn object_error(&self) -> Error {
        if self.status == 404 && self.code.is_empty() {
            return self.error_of(ErrorKind::Unreachable).with_hint(
                "see whether the endpoint is right, and nothing between answers for it",
            );
        }
        self.error()
    }

    /// As an error of a kind that the caller knows better.
    pub(crate) fn error_of(&self, kind: ErrorKind) -> Error {
        let status = StatusCode::from_u16(self.status).ok();
        let reason = status
            .and_then(|s| s.canonical_reason())
            .unwrap_or_default();
        let mut text = format!("{} {reason}", self.status).trim_end().to_owned();
        for part in [&self.code, &self.message] {
            if !part.is_empty() {
                let _ = write!(text, ": {part}");
            }
        }
        if !self.request_id.is_empty() {
            let _ = write!(text, " [request {}]", self.request_id);
        }
        let error = Error::new(kind, self.op, self.subject.as_str(), text);
        match hint(self.status, &self.code) {
            Some(hint) if hint == CLOCK && !self.date.is_empty() => {
                error.with_hint(format!("{hint}; the server's says {}", self.date))
            }
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

const CLOCK: &str = "the clock of this machine is wrong: set it, for example by NTP";

/// What a status and a service's own word mean for the caller. A missing bucket is no missing file.
pub(crate) fn classify(status: u16, code: &str) -> ErrorKind {
    match code {
        "NoSuchKey" | "BlobNotFound" => return ErrorKind::NotFound,
        "NoSuchBucket"
        | "ContainerNotFound"
        | "PermanentRedirect"
        | "IllegalLocationConstraintException"
        | "AuthorizationHeaderMalformed"
        | "NotImplemented" => return ErrorKind::Invalid,
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "rateLimitExceeded"
        | "userRateLimitExceeded"
        | "ServerBusy" => return ErrorKind::Throttled,
        "RequestTimeout"
        | "RequestCanceled"
        | "InternalError"
        | "ServiceUnavailable"
        | "OperationTimedOut"
        | "OperationAborted"
        | "IncompleteBody"
        | "BadDigest"
        | "XAmzContentSHA256Mismatch" => {
            return ErrorKind::Unreachable;
        }
        // These come with status 400.
        "ExpiredToken"
        | "TokenRefreshRequired"
        | "InvalidToken"
        | "InvalidSecurityToken"
        | "RequestExpired" => return ErrorKind::Forbidden,
        // Of a file that is being written, not of one that is missing.
        "NoSuchUpload" => return ErrorKind::Other,
        "QuotaExceeded" | "AccountBeingCreated" | "QuotaFull" => return ErrorKind::NoSpace,
        _ => {}
    }
    match status {
        401 | 403 | 407 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        408 | 425 | 500 | 502 | 503 | 504 => ErrorKind::Unreachable,
        429 => ErrorKind::Throttled,
        507 => ErrorKind::NoSpace,
        400..500 | 501 => ErrorKind::Invalid,
        500..600 => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    }
}

/// What to do about it.
pub(crate) fn hint(status: u16, code: &str) -> Option<&'static str> {
    Some(match code {
        "SignatureDoesNotMatch" => {
            "the secret key does not belong to the key's name, or something between changes the request: check the secret for \
             blanks and missing characters"
        }
        "InvalidAccessKeyId" | "NotSignedUp" | "InvalidAccessKey" => {
            "the service does not know this access key: check its name, and that it belongs to this service"
        }
        "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" | "InvalidSecurityToken" => {
            "the session token has expired or is wrong: get new credentials"
        }
        "RequestTimeTooSkewed" | "RequestExpired" | "AuthenticationFailedClockSkew" => CLOCK,
        "AccessDenied"
        | "AllAccessDisabled"
        | "AuthorizationPermissionMismatch"
        | "AuthorizationFailure"
        | "forbidden" => {
            "the credentials are valid but may not do this: allow listing, reading, writing and deleting below the replica's path"
        }
        "AuthenticationFailed" => "the account key or token is wrong, or has expired",
        "NoSuchBucket" | "ContainerNotFound" => {
            "create it, or correct its name: buckets are never created here"
        }
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            "the bucket lies in another region: set \"region\""
        }
        "InvalidObjectState" => {
            "the object lies in an archive: bring it back there before it can be read"
        }
        "XAmzContentSHA256Mismatch" | "BadDigest" | "IncompleteBody" => {
            "something between changes or cuts what is sent: try https, or sign-payload: false"
        }
        "NotImplemented" => "the service can't do this",
        "InvalidStorageClass" => {
            "this service has no such storage class: correct \"storage-class\""
        }
        _ => match status {
            301 | 307 | 308 => "the service sends elsewhere: correct \"endpoint\" and \"region\"",
            401 => "check user name and password or token",
            407 => "the proxy wants a user name and password: put them into its URL",
            507 => "free some space or raise the quota",
            _ => return None,
        },
    })
}

/// No answer came.
pub(super) fn transport(
    op: &'static str,
    subject: &str,
    host: Option<&str>,
    error: &hyper_util::client::legacy::Error,
) -> Error {
    if let Some(local) = local(error) {
        let text = format!("what was to be sent cannot be read: {local}");
        return Error::new(ErrorKind::Other, op, subject, text);
    }
    let hint = if error.is_connect() {
        connect_hint(&chain(error))
    } else {
        None
    };
    let error = unreachable(op, subject, host, &chain(error));
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Our own body failed: reading a local file, not the network.
fn local(error: &hyper_util::client::legacy::Error) -> Option<&std::io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_user)
        {
            return error.source()?.downcast_ref();
        }
        cause = error.source();
    }
    None
}

fn connect_hint(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let has = |part: &str| text.contains(part);
    Some(if has("certificate") || has("unknownissuer") {
        "the server's certificate is not trusted: name its CA by \"ca-file\""
    } else if has("dns error") || has("lookup") {
        "no such host name: correct the endpoint, or see whether name resolution works"
    } else if has("refused") {
        "nothing listens there: see whether the server runs, and correct host and port"
    } else if has("corrupt message") || has("invalidcontenttype") {
        "the server does not speak TLS there: write http:// in the endpoint"
    } else {
        return None;
    })
}

/// The answer stopped in the middle.
pub(super) fn broken(
    op: &'static str,
    subject: &str,
    host: Option<&str>,
    error: &hyper::Error,
) -> Error {
    unreachable(op, subject, host, &chain(error))
}

/// Nothing moved.
pub(super) fn silence(
    op: &'static str,
    subject: &str,
    host: Option<&str>,
    idle: Duration,
) -> Error {
    let text = format!("nothing has moved for {} s", idle.as_secs_f32());
    unreachable(op, subject, host, &text)
}

fn unreachable(op: &'static str, subject: &str, host: Option<&str>, text: &str) -> Error {
    let text = match host {
        Some(host) if !host.is_empty() => format!("{host}: {text}"),
        _ => text.to_owned(),
    };
    Error::new(ErrorKind::Unreachable, op, subject, text)
}

/// An error and its causes, each once.
pub(crate) fn chain(error: &dyn StdError) -> String {
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

/// A date as HTTP writes it (RFC 9110, section 5.6.7).
pub(crate) fn date_millis(text: &str) -> Option<UnixMillis> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(UnixMillis(zoned.timestamp().as_millisecond()))
}
