//! `litestream status`: the local state of the databases of a configuration. Needs no daemon and no network.

use std::io;
use std::path::{Path, PathBuf};

use litestream_replica::env::Env;
use ltx::FileName;
use serde::Serialize;

use crate::args::Parsed;
use crate::config::{self, Config, Entry, dir};
use crate::failure::{Failure, Result};
use crate::{out, place};

const NONE: &str = "-";

#[derive(Serialize)]
struct Row {
    database: String,
    status: &'static str,
    local_txid: String,
    wal_size: String,
}

/// Shows all databases, or the one that is named.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let wanted = match parsed.positionals.as_slice() {
        [] => None,
        // As in a script whose variable is not set: all, as with Litestream.
        [database] if database.is_empty() => None,
        [database] => {
            place::no_url(database, "litestream status /path/to/db")?;
            Some(place::expand(database)?)
        }
        _ => return Err(Failure::new("too many arguments")),
    };
    let config = config::for_command(parsed, env)?;
    let databases = match &wanted {
        None => config.expanded(env, dir::look)?,
        Some(path) => vec![named(&config, path)?],
    };
    let rows: Vec<Row> = databases
        .iter()
        .map(|(path, entry)| row(path, entry, env))
        .collect();
    if parsed.bool("json") {
        return out::print(&out::json(&rows)?);
    }
    let cells = rows
        .into_iter()
        .map(|r| vec![r.database, r.status.to_owned(), r.local_txid, r.wal_size]);
    let header = ["database", "status", "local txid", "wal size"];
    out::print(&out::table(&header, &cells.collect::<Vec<_>>()))
}

fn named(config: &Config, path: &Path) -> Result<(PathBuf, Entry)> {
    let entry = config.find(path).ok_or_else(|| {
        Failure::with_try(
            format!("database not found in config: {}", path.display()),
            "litestream databases",
        )
    })?;
    Ok((path.to_owned(), entry.for_file(path)?))
}

fn row(path: &Path, entry: &Entry, env: &Env) -> Row {
    let mut row = Row {
        database: path.display().to_string(),
        status: "no database",
        local_txid: NONE.to_owned(),
        wal_size: NONE.to_owned(),
    };
    if missing(env.disk.metadata(path)) == Some(true) {
        return row;
    }
    let wal = format!("{}-wal", path.display());
    match env.disk.metadata(Path::new(&wal)) {
        Ok(found) => row.wal_size = human_size(found.len),
        Err(e) if e.kind() == io::ErrorKind::NotFound => row.wal_size = human_size(0),
        Err(_) => {}
    }
    row.status = match env.disk.list(&entry.meta_folder(path).join("ltx/0")) {
        Ok(files) => {
            let names = files
                .iter()
                .filter_map(|f| FileName::parse(f.name.to_str()?));
            match names.map(|name| name.max).max() {
                Some(txid) => {
                    row.local_txid = txid.to_string();
                    "ok"
                }
                None => "not initialized",
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => "not initialized",
        Err(_) => "error",
    };
    row
}

fn missing<T>(found: io::Result<T>) -> Option<bool> {
    Some(found.err()?.kind() == io::ErrorKind::NotFound)
}

/// Powers of 1000; one decimal below ten.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let rounded = (value * 10.0 + 0.5).floor() / 10.0;
    let decimals = usize::from(rounded < 10.0);
    format!("{rounded:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_read_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (82, "82 B"),
            (999, "999 B"),
            (4152, "4.2 kB"),
            (16_512, "16 kB"),
            (140_000, "140 kB"),
            (9_960_000, "10 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(human_size(bytes), text, "{bytes}");
        }
    }
}
