//! `litestream config check` and `litestream config show`.

use litestream_replica::env::Env;
use serde::Serialize;

use crate::args::Parsed;
use crate::config::{self, Loaded, Warning, dir, show};
use crate::failure::{Failure, Result};
use crate::out;

#[derive(Serialize)]
struct Report {
    file: String,
    ok: bool,
    error: Option<String>,
    databases: usize,
    warnings: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    line: usize,
    column: usize,
    key: String,
    text: String,
    /// Refused by `-strict`; else a hint.
    mistake: bool,
}

impl From<&Warning> for Shown {
    fn from(warning: &Warning) -> Shown {
        Shown {
            line: warning.line,
            column: warning.column,
            key: warning.key.clone(),
            text: warning.text.clone(),
            mistake: warning.mistake,
        }
    }
}

/// Reads a configuration, scans its folders, and says what is wrong; contacts no storage.
pub fn check(parsed: &Parsed, env: &Env) -> Result {
    no_positionals(parsed)?;
    let path = config::path(parsed)?;
    let file = path.display().to_string();
    let expand = !parsed.bool("no-expand-env");
    let loaded = config::load(&path, expand, parsed.bool("strict"), env);
    let (databases, warnings, failure) = match loaded {
        Ok(loaded) => match count(&loaded, env) {
            Ok(count) => (count, loaded.warnings, None),
            Err(failure) => (0, loaded.warnings, Some(failure)),
        },
        Err(failure) => (0, Vec::new(), Some(failure)),
    };
    if parsed.bool("json") {
        out::print(&out::json(&Report {
            ok: failure.is_none(),
            error: failure.as_ref().map(|f| f.message.clone()),
            databases,
            warnings: warnings.iter().map(Shown::from).collect(),
            file,
        })?)?;
    } else {
        let lines = warnings.iter().map(|w| {
            let word = if w.mistake { "warning" } else { "hint" };
            format!("{word}: {}\n", w.shown(&file))
        });
        let mut text = lines.collect::<String>();
        if failure.is_none() {
            let s = if databases == 1 { "" } else { "s" };
            text.extend([format!("{file}: ok, {databases} database{s}\n")]);
        }
        out::print(&text)?;
    }
    failure.map_or(Ok(()), Err)
}

/// The databases, after what only fails when replicas are opened.
fn count(loaded: &Loaded, env: &Env) -> Result<usize> {
    let databases = loaded.config.expanded(env, dir::scan)?;
    for (path, entry) in &databases {
        for replica in &entry.replicas {
            let checked = replica.storage.check();
            checked.map_err(|e| Failure::new(format!("replica of {}: {e}", path.display())))?;
        }
    }
    Ok(databases.len())
}

/// Prints what is in force, without secrets.
pub fn show(parsed: &Parsed, env: &Env) -> Result {
    no_positionals(parsed)?;
    let config = config::for_command(parsed, env)?;
    let document = show::document(&config);
    if parsed.bool("json") {
        out::print(&out::json(&document)?)
    } else {
        out::print(&show::yaml(&document))
    }
}

fn no_positionals(parsed: &Parsed) -> Result {
    match parsed.positionals.first() {
        None => Ok(()),
        Some(_) => Err(Failure::new("too many arguments")),
    }
}
