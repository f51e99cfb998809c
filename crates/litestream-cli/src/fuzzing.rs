//! Parsers that are private otherwise, for the fuzz targets alone. No part of the library's promise.

use std::ffi::OsStr;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use litestream_replica::env::UnixMillis;

use crate::args::Command;
use crate::control::{Fields, Route, find};

/// Reads a time as `restore -timestamp` does.
pub fn timestamp(text: &str) -> Option<UnixMillis> {
    crate::time::parse(text)
}

/// A time as listings and as log lines show it.
pub fn shown_times(time: UnixMillis) -> [String; 2] {
    [
        crate::time::utc_seconds(time),
        crate::time::log_time(time, &TimeZone::UTC),
    ]
}

/// The words of a command as `replicate -exec` takes them; the error is the line that is shown.
pub fn exec_words(command: &str) -> Result<Vec<String>, String> {
    crate::exec::split(command).map_err(|failure| failure.message)
}

/// Reads a size as `litestream-test` does.
pub fn size(text: &str) -> Option<u64> {
    crate::testtool::parse_size(text)
}

/// The commands of `litestream-test`.
pub fn test_commands() -> &'static [Command] {
    crate::testtool::COMMANDS
}

/// Where a database that is named on the command line lies; `None` if it names a replica or nothing.
pub fn database_path(arg: &OsStr) -> Option<PathBuf> {
    if crate::place::is_replica(arg) {
        return None;
    }
    crate::place::expand(arg).ok()
}

/// Text in quotes as errors show it, and as a log line shows it.
pub fn quoted(text: &str) -> [String; 2] {
    [crate::quote::go_quote(text), crate::quote::log_value(text)]
}

/// Reads a configuration without touching anything outside, and gives it as `config show` prints it; the error is the line that is
/// shown.
pub fn configuration(text: &str) -> Result<String, String> {
    let variable = |name: &str| (name == "SET").then(|| "$SET".to_owned());
    let read = |_: &std::path::Path| Ok("secret".to_owned());
    let context = crate::config::Context {
        file: "c.yml",
        variable: Some(&variable),
        read: &read,
        strict: false,
    };
    let loaded = crate::config::parse(text, &context).map_err(|failure| failure.message)?;
    Ok(crate::config::show::yaml(&crate::config::show::document(
        &loaded.config,
    )))
}

/// What a request to the control socket says: path, whether to wait, time-out; the error is what is answered.
pub fn control_request(body: &[u8]) -> Result<(String, bool, i64), String> {
    let fields = Fields::parse(body)?;
    Ok((
        fields.text("path")?,
        fields.truth("wait")?,
        fields.number("timeout")?,
    ))
}

/// Where the control socket redirects a request for this path and query to, if it does.
pub fn control_redirect(path: &str, query: Option<&str>) -> Option<String> {
    match find(&hyper::Method::GET, path, query) {
        Route::Moved(location) => Some(location),
        _ => None,
    }
}
