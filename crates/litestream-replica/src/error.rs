//! What can go wrong in a replica, told apart by what the caller should do about it.
//!
//! Promise: the message names the operation and the file or key it concerned, and never holds a secret.

use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The file, bucket or folder does not exist.
    NotFound,
    /// Credentials are missing, wrong, or not allowed to do this.
    Forbidden,
    /// The service does not answer, or answers that it is broken.
    Unreachable,
    /// The service asks to be called less often.
    Throttled,
    /// What was read is not what was written.
    Corrupt,
    /// The storage is full or a quota is used up.
    NoSpace,
    /// The configuration or the request makes no sense; trying again is no use.
    Invalid,
    /// Another writer has the replica's lease.
    Held,
    /// Stopped from outside, by shutdown or by a signal.
    Interrupted,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// The name that metrics have for it.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "not_found",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::Throttled => "throttled",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::NoSpace => "no_space",
            ErrorKind::Invalid => "invalid",
            ErrorKind::Held => "held",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::Other => "other",
        }
    }

    /// What the user can do about it.
    fn hint(self) -> Option<&'static str> {
        match self {
            ErrorKind::Forbidden => Some("check the credentials and permissions"),
            ErrorKind::Held => Some("stop the other writer, or wait until its lease ends"),
            ErrorKind::NoSpace => Some("free some space or raise the quota"),
            ErrorKind::Corrupt => {
                Some("the file is damaged: restore an earlier point or write a new snapshot")
            }
            _ => None,
        }
    }

    fn of_io(error: &io::Error) -> ErrorKind {
        use io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Forbidden,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::NoSpace,
            Io::Interrupted => ErrorKind::Interrupted,
            Io::InvalidData | Io::UnexpectedEof => ErrorKind::Corrupt,
            Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::NotConnected
            | Io::BrokenPipe
            | Io::HostUnreachable
            | Io::NetworkUnreachable
            | Io::NetworkDown
            | Io::AddrNotAvailable
            | Io::StaleNetworkFileHandle
            | Io::TimedOut => ErrorKind::Unreachable,
            Io::InvalidInput | Io::NotADirectory | Io::IsADirectory => ErrorKind::Invalid,
            _ => ErrorKind::Other,
        }
    }
}

/// A failure in a replica. Displayed as `<operation> <file or key>: <what happened> (<what to do>)`.
#[derive(Clone)]
pub struct Error(Box<Details>);

/// Kept apart, so that results stay small.
#[derive(Clone, Debug)]
struct Details {
    kind: ErrorKind,
    op: &'static str,
    subject: String,
    text: String,
    hint: Option<String>,
}

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `op` is a verb such as `write`; `subject` the path or key it was about, empty if there is none.
    pub fn new(
        kind: ErrorKind,
        op: &'static str,
        subject: impl Into<String>,
        text: impl fmt::Display,
    ) -> Error {
        Error(Box::new(Details {
            kind,
            op,
            subject: subject.into(),
            text: text.to_string(),
            hint: None,
        }))
    }

    /// Says what to do about it, better than the kind alone can.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// It was not the first attempt that failed.
    pub(crate) fn at_attempt(mut self, attempt: u32) -> Error {
        if attempt > 1 {
            let _ = write!(self.0.text, " [attempt {attempt}]");
        }
        self
    }

    /// The same failure, as that of another operation: where what failed did not know what it was for.
    #[cfg(feature = "s3")]
    pub(crate) fn of(mut self, op: &'static str, subject: impl Into<String>) -> Error {
        self.0.op = op;
        self.0.subject = subject.into();
        self
    }

    /// The same failure, as why another operation had no credentials. A file that is missing there is none that is missing here.
    #[cfg(any(feature = "abs", feature = "oss"))]
    pub(crate) fn no_credentials(&self, op: &'static str, subject: &str) -> Error {
        let kind = match self.0.kind {
            kind @ (ErrorKind::Unreachable
            | ErrorKind::Throttled
            | ErrorKind::Interrupted
            | ErrorKind::Invalid) => kind,
            _ => ErrorKind::Forbidden,
        };
        let place = [self.0.op, &self.0.subject].join(" ");
        let text = format_args!("no credentials: {}: {}", place.trim(), self.0.text);
        let error = Error::new(kind, op, subject, text);
        match &self.0.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// A failed operation on a local file.
    pub fn io(op: &'static str, path: &Path, error: &io::Error) -> Error {
        Error::new(
            ErrorKind::of_io(error),
            op,
            path.display().to_string(),
            error,
        )
    }

    /// A configuration that makes no sense. The message is `text` alone.
    pub fn invalid(text: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Invalid, "", "", text)
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed, as a verb; empty for errors in the configuration.
    pub fn op(&self) -> &'static str {
        self.0.op
    }

    /// The path or key concerned; may be empty.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The file does not exist, although everything above it could be reached.
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    /// Credentials or permissions are missing.
    pub fn is_forbidden(&self) -> bool {
        self.0.kind == ErrorKind::Forbidden
    }

    /// What was read is not what was written.
    pub fn is_corrupt(&self) -> bool {
        self.0.kind == ErrorKind::Corrupt
    }

    /// Another writer has the replica's lease.
    pub fn is_held(&self) -> bool {
        self.0.kind == ErrorKind::Held
    }

    /// The storage is full.
    pub fn is_no_space(&self) -> bool {
        self.0.kind == ErrorKind::NoSpace
    }

    /// The same request may succeed a little later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unreachable | ErrorKind::Throttled)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.op, self.0.subject.as_str()) {
            ("", "") => {}
            (op, "") => write!(f, "{op}: ")?,
            ("", subject) => write!(f, "{subject}: ")?,
            (op, subject) => write!(f, "{op} {subject}: ")?,
        }
        f.write_str(&self.0.text)?;
        match self.0.hint.as_deref().or(self.0.kind.hint()) {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_operation_subject_and_way_out() {
        let denied = Error::io(
            "list",
            Path::new("/r/ltx/0"),
            &io::ErrorKind::PermissionDenied.into(),
        );
        assert!(denied.is_forbidden() && !denied.is_not_found() && !denied.is_retryable());
        assert_eq!(
            denied.to_string(),
            "list /r/ltx/0: permission denied (check the credentials and permissions)"
        );
        assert_eq!(
            Error::invalid("bucket required").to_string(),
            "bucket required"
        );
        assert_eq!(
            Error::new(ErrorKind::Throttled, "put", "", "slow down").to_string(),
            "put: slow down"
        );
    }

    #[cfg(any(feature = "abs", feature = "oss"))]
    #[test]
    fn a_missing_file_of_credentials_is_no_missing_file() {
        let missing = Error::io("read", Path::new("/token"), &io::ErrorKind::NotFound.into());
        let error = missing.no_credentials("list", "p/");
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert_eq!(
            error.to_string(),
            "list p/: no credentials: read /token: entity not found (check the credentials and permissions)"
        );
        let passing = Error::new(ErrorKind::Unreachable, "ask", "", "down").with_hint("wait");
        let error = passing.no_credentials("list", "p/");
        assert!(error.is_retryable());
        assert_eq!(
            error.to_string(),
            "list p/: no credentials: ask: down (wait)"
        );
    }

    #[test]
    fn kinds_of_io_errors_are_told_apart() {
        let kind = |io: io::ErrorKind| Error::io("read", Path::new("x"), &io.into()).kind();
        assert_eq!(kind(io::ErrorKind::NotFound), ErrorKind::NotFound);
        assert_eq!(kind(io::ErrorKind::StorageFull), ErrorKind::NoSpace);
        assert_eq!(kind(io::ErrorKind::TimedOut), ErrorKind::Unreachable);
        assert_eq!(kind(io::ErrorKind::NotADirectory), ErrorKind::Invalid);
        assert_eq!(kind(io::ErrorKind::Other), ErrorKind::Other);
        assert!(
            Error::io(
                "read",
                Path::new("x"),
                &io::ErrorKind::ConnectionReset.into()
            )
            .is_retryable()
        );
    }
}
