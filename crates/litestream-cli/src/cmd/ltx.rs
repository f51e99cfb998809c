//! `litestream ltx`: the LTX files in a replica.

use litestream_replica::env::Env;
use litestream_replica::retry::Patience;
use litestream_replica::{FileInfo, SharedReplica};
use serde::Serialize;

use super::runtime;
use super::source::Source;
use crate::args::Parsed;
use crate::failure::{Failure, Result};
use crate::log::{self, Options, Target};
use crate::{out, time};

#[derive(Serialize)]
struct Row {
    level: u8,
    min_txid: String,
    max_txid: String,
    size: u64,
    timestamp: String,
}

impl From<&FileInfo> for Row {
    fn from(file: &FileInfo) -> Row {
        Row {
            level: file.level.get(),
            min_txid: file.name.min.to_string(),
            max_txid: file.name.max.to_string(),
            size: file.size,
            timestamp: time::utc_seconds(file.created),
        }
    }
}

/// Lists the files of the levels asked for.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let arg = match parsed.positionals.as_slice() {
        [arg] if !arg.is_empty() => arg,
        [_, _, ..] => return Err(Failure::new("too many arguments")),
        _ => return Err(missing()),
    };
    let source = Source::of(parsed, arg, Patience::COMMAND, env)?;
    log::init(
        Options::plain(Target::Stderr, &log::level_word("", "")),
        env,
    );
    let rows = runtime()?.block_on(list(parsed, source.first()))?;
    if parsed.bool("json") {
        return out::print(&out::json(&rows)?);
    }
    let cells = |r: &Row| {
        vec![
            r.level.to_string(),
            r.min_txid.clone(),
            r.max_txid.clone(),
            r.size.to_string(),
            r.timestamp.clone(),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    out::print(&out::table(
        &["level", "min_txid", "max_txid", "size", "created"],
        &rows,
    ))
}

fn missing() -> Failure {
    Failure::with_try(
        "database path or replica URL required",
        "litestream ltx /path/to/db",
    )
}

async fn list(parsed: &Parsed, replica: &SharedReplica) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for level in parsed.levels("level") {
        let files = replica
            .list(level, None, false)
            .await
            .map_err(Failure::new)?;
        rows.extend(files.iter().map(Row::from));
    }
    Ok(rows)
}
