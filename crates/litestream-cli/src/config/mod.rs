//! The configuration file: what `litestream.yml` says, with everything inherited and checked.
//!
//! Reading goes through rooms that each do one thing: `expand` replaces variables, `yaml` makes a tree with places,
//! `document`, `entry` and `replica` take keys out of it, `check` checks, `build` inherits. Promise: what works with
//! Litestream 0.5.17 means the same here; what is silently ignored there is a warning with its place; no secret is in any message.

mod build;
mod check;
pub mod dir;
mod document;
mod engine;
mod entry;
mod expand;
mod findings;
mod known;
pub mod pattern;
mod reader;
mod removed;
mod replica;
mod scalar;
pub mod show;
#[cfg(test)]
mod tests;
mod types;
mod values;
mod yaml;

use std::ffi::OsStr;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use litestream_replica::env::{Disk, Env, Kind};

pub use dir::scan;
pub use engine::{Clients, open};
pub use types::*;

use self::findings::{At, Findings};
use crate::args::Parsed;
use crate::failure::{Failure, Result};
use crate::place;

/// Where a configuration is looked for if nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/litestream.yml";

const FILE_BYTES_MAX: u64 = 64 << 20;
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Gives the value of a variable that is set.
pub type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// What reading a configuration takes from outside.
pub struct Context<'a> {
    /// The name of the file, for messages.
    pub file: &'a str,
    /// The value of a variable that is set; `None` for all: variables are not replaced.
    pub variable: Option<&'a Variables<'a>>,
    /// Reads a file that a secret lies in.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Mistakes are errors.
    pub strict: bool,
}

impl Context<'_> {
    /// A failure with its place.
    pub(crate) fn failure(&self, at: At, text: impl Display) -> Failure {
        if at.line == 0 {
            return self.failure_of_file(text);
        }
        Failure::new(format!("{text} ({}:{}:{})", self.file, at.line, at.column))
    }

    /// A failure that has no single place.
    pub(crate) fn failure_of_file(&self, text: impl Display) -> Failure {
        Failure::new(format!("{text} ({})", self.file))
    }

    /// A value that may not be.
    pub(crate) fn value(&self, at: At, field: &str, text: &str, got: impl Display) -> Failure {
        self.failure(at, format_args!("{field}: {text} (got {got})"))
    }
}

/// Reads a configuration.
pub fn parse(text: &str, context: &Context) -> Result<Loaded> {
    let mut findings = Findings::default();
    let expanded = match context.variable {
        Some(variable) => expand::expand(text, variable),
        None => expand::Expanded {
            text: text.to_owned(),
            doubts: Vec::new(),
        },
    };
    for (at, doubt) in expanded.doubts {
        findings.mistake(at, "", doubt);
    }
    let node = yaml::read(&expanded.text).map_err(|(at, error)| {
        Failure::new(format!(
            "yaml: line {}: {error} ({}:{}:{})",
            at.line, context.file, at.line, at.column
        ))
    })?;
    let raw = node
        .map(|node| document::Raw::read(&node, &mut findings))
        .unwrap_or_default();
    if let Some(failure) = findings.failure(context.file) {
        return Err(failure);
    }
    let config = build::build(raw, context, &mut findings)?;
    if context.strict
        && let Some(failure) = findings.strict_failure(context.file)
    {
        return Err(failure);
    }
    let mut warnings = findings.warnings;
    warnings.sort_by_key(|w| (w.line, w.column));
    Ok(Loaded { config, warnings })
}

/// Reads the configuration file at `path`.
pub fn load(path: &Path, expand_env: bool, strict: bool, env: &Env) -> Result<Loaded> {
    match env.disk.metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::new(format!(
                "config file not found: {}",
                path.display()
            )));
        }
        Ok(m) if m.kind == Kind::Dir => {
            return Err(Failure::new(format!(
                "read {}: is a directory",
                path.display()
            )));
        }
        _ => {}
    }
    let text = read(&*env.disk, path, FILE_BYTES_MAX);
    let text = text.map_err(|e| Failure::new(format!("open {}: {e}", path.display())))?;
    let secret = |path: &Path| read(&*env.disk, path, SECRET_BYTES_MAX);
    let name = path.display().to_string();
    let context = Context {
        file: &name,
        variable: expand_env.then_some(&variable),
        read: &secret,
        strict,
    };
    let mut loaded = parse(&text, &context)?;
    loaded.config.path = Some(path.to_owned());
    Ok(loaded)
}

/// A variable as configurations see it.
fn variable(name: &str) -> Option<String> {
    // Neither can be in the name of a variable, and asking for one would be a panic.
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    let value = |name: &str| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned());
    match name {
        "PID" => Some(std::process::id().to_string()),
        // Litestream's own names stand in for those of AWS.
        "AWS_ACCESS_KEY_ID" => value(name).or_else(|| value("LITESTREAM_ACCESS_KEY_ID")),
        "AWS_SECRET_ACCESS_KEY" => value(name).or_else(|| value("LITESTREAM_SECRET_ACCESS_KEY")),
        name => value(name),
    }
}

/// Reads a text file that is not larger than `bytes_max`.
fn read(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<String> {
    let file = disk.open(path)?;
    let bad = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut bytes = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        let count = file.read_at(&mut part, bytes.len() as u64)?;
        bytes.extend_from_slice(&part[..count]);
        if bytes.len() as u64 > bytes_max {
            return Err(bad(format!("the file is larger than {bytes_max} bytes")));
        }
        if count == 0 {
            break;
        }
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = good.split(|b| *b == b'\n').count();
        bad(format!("line {line} is not valid UTF-8"))
    })
}

/// A configuration file, and how it is read: for whoever reads it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    path: PathBuf,
    expand_env: bool,
}

impl Origin {
    /// What a command was told.
    pub fn of(parsed: &Parsed) -> Result<Origin> {
        Ok(Origin {
            path: path(parsed)?,
            expand_env: !parsed.bool("no-expand-env"),
        })
    }

    /// Reads it.
    pub fn load(&self, env: &Env) -> Result<Loaded> {
        load(&self.path, self.expand_env, false, env)
    }
}

impl Loaded {
    /// What is said where there is no configuration file: nothing.
    pub fn empty() -> Result<Loaded> {
        let context = Context {
            file: "",
            variable: None,
            read: &|_| Err(io::ErrorKind::NotFound.into()),
            strict: false,
        };
        parse("", &context)
    }

    /// Writes what may not mean what it seems to into the log.
    pub fn log_warnings(&self) {
        let file = self.config.path.as_ref().map(|p| p.display().to_string());
        for warning in &self.warnings {
            let text = warning.shown(file.as_deref().unwrap_or_default());
            if warning.mistake {
                tracing::warn!("{text}");
            } else {
                tracing::info!("{text}");
            }
        }
    }
}

/// The configuration file that a command is to read: `-config`, else `LITESTREAM_CONFIG`, else the default.
pub fn path(parsed: &Parsed) -> Result<PathBuf> {
    let given = parsed.text("config");
    if !given.is_empty() {
        return place::expand(&given);
    }
    let from_env = std::env::var_os("LITESTREAM_CONFIG").filter(|path| !path.is_empty());
    place::expand(from_env.as_deref().unwrap_or(OsStr::new(DEFAULT_PATH)))
}

/// Reads the configuration file of a command, and says on standard error what is wrong with it but does not prevent that.
pub fn for_command(parsed: &Parsed, env: &Env) -> Result<Config> {
    let path = path(parsed)?;
    let loaded = load(&path, !parsed.bool("no-expand-env"), false, env)?;
    for warning in loaded.warnings.iter().filter(|w| w.mistake) {
        crate::out::complain(&format!(
            "Warning: {}",
            warning.shown(&path.display().to_string())
        ));
    }
    Ok(loaded.config)
}
