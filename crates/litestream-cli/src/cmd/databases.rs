//! `litestream databases`: the databases of a configuration.

use litestream_replica::env::Env;
use serde::Serialize;

use crate::args::Parsed;
use crate::config::{self, dir};
use crate::failure::{Failure, Result};
use crate::out;

#[derive(Serialize)]
struct Row {
    path: String,
    replica: String,
}

/// Lists them in the order of the file; folders are scanned. A database with several replicas has a row for each.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    if !parsed.positionals.is_empty() {
        return Err(Failure::new("too many arguments"));
    }
    let config = config::for_command(parsed, env)?;
    let mut rows = Vec::new();
    for (path, entry) in config.expanded(env, dir::look)? {
        rows.extend(entry.replicas.iter().map(|replica| Row {
            path: path.display().to_string(),
            replica: replica.storage.kind().to_owned(),
        }));
    }
    if parsed.bool("json") {
        return out::print(&out::json(&rows)?);
    }
    let cells: Vec<_> = rows
        .into_iter()
        .map(|row| vec![row.path, row.replica])
        .collect();
    out::print(&out::table(&["path", "replica"], &cells))
}
