//! `litestream-test shrink`: deletes rows.

use litestream_replica::env::Env;
use rusqlite::Connection;
use tracing::info;

use super::{doing, existing_database, open, quoted, size};
use crate::args::Parsed;
use crate::failure::{Failure, Result};

/// Deletes, then checkpoints and vacuums as asked.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let percent = parsed.float("delete-percentage");
    let path = existing_database(parsed, env)?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(Failure::new("delete percentage must be between 0 and 100"));
    }
    let mode = parsed.utf8("checkpoint-mode");
    if !matches!(mode.as_str(), "PASSIVE" | "FULL" | "RESTART" | "TRUNCATE") {
        return Err(Failure::new(format!(
            "invalid checkpoint mode: {mode}, must be PASSIVE, FULL, RESTART or TRUNCATE"
        )));
    }
    let db = open(&path)?;
    let megabytes = || format!("{:.2}", size(&path, env) as f64 / (1 << 20) as f64);
    info!(db = %path.display(), size_mb = megabytes(), delete_percentage = percent, "Starting database shrink");
    for table in tables(&db).map_err(doing("list tables"))? {
        let deleted = delete(&db, &table, percent).map_err(doing("delete rows"))?;
        info!(table, deleted, size_mb = megabytes(), "Deleted rows");
    }
    if parsed.bool("checkpoint") {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let row = |row: &rusqlite::Row<'_>| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?,
            ))
        };
        let (busy, log, checkpointed) = db.query_row(&sql, [], row).map_err(doing("checkpoint"))?;
        info!(
            mode,
            busy,
            log,
            checkpointed,
            size_mb = megabytes(),
            "Checkpoint complete"
        );
    }
    if parsed.bool("vacuum") {
        db.execute_batch("VACUUM").map_err(doing("vacuum"))?;
        info!(size_mb = megabytes(), "Vacuum complete");
    }
    info!(size_mb = megabytes(), "Shrink operation complete");
    Ok(())
}

/// Tables of the application; Litestream's own and those of SQLite are not ours to shrink.
fn tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
        AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_litestream\\_%' ESCAPE '\\'
        AND name <> 'load_test' ORDER BY name";
    db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

fn delete(db: &Connection, table: &str, percent: f64) -> rusqlite::Result<usize> {
    let key = key(db, table)?;
    let table = quoted(table);
    let rows: i64 = db.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| {
        row.get(0)
    })?;
    let doomed = (rows as f64 * percent / 100.0) as i64;
    db.execute(
        &format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} ORDER BY random() LIMIT ?)"),
        [doomed],
    )
}

/// The columns that tell the rows of a table apart.
fn key(db: &Connection, table: &str) -> rusqlite::Result<String> {
    if db
        .prepare(&format!("SELECT rowid FROM {} LIMIT 0", quoted(table)))
        .is_ok()
    {
        return Ok("rowid".into());
    }
    let mut statement =
        db.prepare("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk")?;
    let columns: Vec<String> = statement
        .query_map([table], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(columns
        .iter()
        .map(|c| quoted(c))
        .collect::<Vec<_>>()
        .join(", "))
}
