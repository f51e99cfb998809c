//! `litestream ltx`: the LTX files in a replica.

use litestream_replica::env::Env;
use litestream_replica::{FileInfo, SharedReplica, url};
use serde::Serialize;

use super::runtime;
use crate::args::{Parsed, table};
use crate::failure::{Failure, Result};
use crate::log::{self, Options, Target};
use crate::{dispatch, out, place, time};

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
    let replica = match parsed.positionals.as_slice() {
        [arg, ..] if arg.is_empty() => return Err(missing()),
        [] => return Err(missing()),
        [_, _, ..] => return Err(Failure::new("too many arguments")),
        [arg] if place::is_replica(arg) => {
            if parsed.is_given("config") {
                return Err(Failure::new(
                    "cannot specify a replica URL and the -config flag",
                ));
            }
            dispatch::check_available(parsed)?;
            url::open(place::utf8(arg)?, env, None).map_err(Failure::new)?
        }
        [arg] => {
            return Err(Failure::with_try(
                format!(
                    "cannot look up the replica of {}: {}",
                    arg.display(),
                    table::NO_CONFIG
                ),
                "litestream ltx file:///path/to/backup",
            ));
        }
    };
    log::init(Options::plain(Target::Stderr, &log::level_word("")), env);
    let rows = runtime()?.block_on(list(parsed, &replica))?;
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
        "litestream ltx file:///path/to/backup",
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
