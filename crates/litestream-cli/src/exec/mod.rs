//! The child process of `replicate -exec`.

mod words;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};

pub use words::split;

use crate::failure::{Failure, Result};
use crate::quote::go_quote;
use crate::signals;

/// Starts the command. stdin is the null device; the rest is inherited, with `extra` variables added.
pub fn start(words: &[String], extra: &[(&str, OsString)]) -> Result<Child> {
    let fail = |text: String| Failure::new(format!("cannot start exec command: {text}"));
    let Some((program, args)) = words
        .split_first()
        .filter(|(program, _)| !program.is_empty())
    else {
        return Err(fail("exec: no command".into()));
    };
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .envs(extra.iter().map(|(k, v)| (k, v)));
    command.spawn().map_err(|e| {
        fail(match (program.contains('/'), e.kind()) {
            (false, io::ErrorKind::NotFound) => format!(
                "exec: {}: executable file not found in $PATH",
                go_quote(program)
            ),
            _ => format!("fork/exec {program}: {}", reason(&e)),
        })
    })
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

/// Variables that litestream sets for its child: the log level it was given, and the credentials under the names that
/// other programs know.
pub fn child_environment(log_level: &str) -> Vec<(&'static str, OsString)> {
    let mut extra = Vec::new();
    if !log_level.is_empty() {
        extra.push(("LOG_LEVEL", log_level.into()));
    }
    for (ours, theirs) in [
        ("LITESTREAM_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
        ("LITESTREAM_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
    ] {
        if let (Some(value), None) = (std::env::var_os(ours), std::env::var_os(theirs)) {
            extra.push((theirs, value));
        }
    }
    extra
}

/// The child's end as our own: `None` if it ended well, else its exit code (128 + n for signals).
pub fn failure(status: ExitStatus) -> Option<Failure> {
    if status.success() {
        return None;
    }
    Some(match (status.code(), status.signal()) {
        (Some(code), _) => {
            Failure::new(format!("exit status {code}")).code(u8::try_from(code).unwrap_or(1))
        }
        (None, Some(n)) => {
            Failure::new(format!("signal: {}", signals::name(n))).code(128 + (n & 0x7f) as u8)
        }
        (None, None) => Failure::new(status),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_child_is_passed_on() {
        assert_eq!(failure(ExitStatus::from_raw(0)), None);
        assert_eq!(
            failure(ExitStatus::from_raw(7 << 8)),
            Some(Failure::new("exit status 7").code(7))
        );
        assert_eq!(
            failure(ExitStatus::from_raw(9)),
            Some(Failure::new("signal: killed").code(137))
        );
    }
}
