//! How a command ends when it does not end well.

use std::fmt::Display;

/// Exit code, error line, and what to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code, 1 to 255.
    pub code: u8,
    /// What follows `Error: `; nothing is printed if empty.
    pub message: String,
    /// What follows `Try: `.
    pub attempt: Option<String>,
}

/// How commands end.
pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// Exit code 1 and an error line.
    pub fn new(message: impl Display) -> Failure {
        Failure {
            code: 1,
            message: message.to_string(),
            attempt: None,
        }
    }

    /// The same with something to try.
    pub fn with_try(message: impl Display, attempt: impl Display) -> Failure {
        Failure {
            attempt: Some(attempt.to_string()),
            ..Failure::new(message)
        }
    }

    /// The same with another exit code.
    pub fn code(self, code: u8) -> Failure {
        Failure { code, ..self }
    }

    /// Exit code 1 and nothing printed: everything was said already.
    pub fn silent() -> Failure {
        Failure::new("")
    }
}
