//! Exact comparison of two databases, by bytes and by rows.

use std::path::Path;

use litestream_replica::env::{Disk, Env};
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::{BUSY_TIMEOUT, beside, open, quoted, remove_database};

/// Bytes compared or copied at once.
const CHUNK: usize = 1 << 20;

/// What differs, or why it could not be found out.
pub type Verdict = Result<(), String>;

/// Both files are the same, byte for byte. A WAL of the source that is not empty is applied to a copy first.
pub fn bytes(source: &Path, restored: &Path, env: &Env) -> Verdict {
    let disk = &*env.disk;
    let has_wal = disk
        .metadata(&beside(source, "-wal"))
        .is_ok_and(|m| m.len > 0);
    if !has_wal {
        return same_bytes(source, restored, disk);
    }
    let copy = beside(restored, ".source-copy");
    let result =
        checkpointed_copy(source, &copy, env).and_then(|()| same_bytes(&copy, restored, disk));
    remove_database(&copy, env).map_err(|f| f.message)?;
    result
}

fn checkpointed_copy(source: &Path, copy: &Path, env: &Env) -> Verdict {
    remove_database(copy, env).map_err(|f| f.message)?;
    for suffix in ["", "-wal"] {
        copy_file(&beside(source, suffix), &beside(copy, suffix), &*env.disk)
            .map_err(|e| format!("copy {}{suffix}: {e}", source.display()))?;
    }
    let db = open(copy).map_err(|f| f.message)?;
    let checkpoint = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, i64>(0)
    });
    checkpoint
        .map_err(|e| format!("checkpoint {}: {e}", copy.display()))
        .map(drop)
}

fn copy_file(from: &Path, to: &Path, disk: &dyn Disk) -> std::io::Result<()> {
    let (from, to) = (disk.open(from)?, disk.create_new(to, 0o600)?);
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        let n = from.read_at(&mut buffer, offset)?;
        if n == 0 {
            return Ok(());
        }
        to.write_at(&buffer[..n], offset)?;
        offset += n as u64;
    }
}

fn same_bytes(a: &Path, b: &Path, disk: &dyn Disk) -> Verdict {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| format!("read {path}: {e}")
    };
    let (file_a, file_b) = (
        disk.open(a).map_err(failed(a))?,
        disk.open(b).map_err(failed(b))?,
    );
    let (len_a, len_b) = (
        file_a.metadata().map_err(failed(a))?.len,
        file_b.metadata().map_err(failed(b))?.len,
    );
    if len_a != len_b {
        return Err(format!(
            "sizes differ: {} has {len_a} bytes, {} has {len_b}",
            a.display(),
            b.display()
        ));
    }
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut offset = 0;
    while offset < len_a {
        let n = (len_a - offset).min(CHUNK as u64) as usize;
        file_a
            .read_exact_at(&mut left[..n], offset)
            .map_err(failed(a))?;
        file_b
            .read_exact_at(&mut right[..n], offset)
            .map_err(failed(b))?;
        if let Some(at) = left[..n].iter().zip(&right[..n]).position(|(x, y)| x != y) {
            return Err(format!("files differ at byte {}", offset + at as u64));
        }
        offset += n as u64;
    }
    Ok(())
}

/// Schema, settings and all rows are the same.
pub fn rows(source: &Path, restored: &Path) -> Verdict {
    let open =
        |path: &Path| open_untouched(path).map_err(|e| format!("open {}: {e}", path.display()));
    let (a, b) = (open(source)?, open(restored)?);
    for pragma in [
        "page_size",
        "page_count",
        "encoding",
        "user_version",
        "application_id",
        "auto_vacuum",
    ] {
        same_query(
            &a,
            &b,
            &format!("PRAGMA {pragma}"),
            &format!("PRAGMA {pragma}"),
        )?;
    }
    same_query(
        &a,
        &b,
        "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema ORDER BY rowid",
        "the schema",
    )?;
    for table in tables(&a).map_err(|e| format!("list tables: {e}"))? {
        let key = key(&a, &table).map_err(|e| format!("look at table {table}: {e}"))?;
        let name = quoted(&table);
        same_query(
            &a,
            &b,
            &format!("SELECT {key}, * FROM {name} ORDER BY {key}"),
            &format!("table {table}"),
        )?;
    }
    Ok(())
}

/// A connection whose end does not checkpoint: that would restart the WAL of a source that is being replicated.
fn open_untouched(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    Ok(db)
}

fn tables(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql =
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow')
        AND name <> 'sqlite_schema' ORDER BY name";
    db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

/// What orders the rows of a table: its hidden row number, else its primary key.
fn key(db: &Connection, table: &str) -> rusqlite::Result<String> {
    let mut statement = db.prepare("SELECT name, pk FROM pragma_table_info(?) ORDER BY pk")?;
    let columns: Vec<(String, i64)> = statement
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let hidden = ["rowid", "_rowid_", "oid"].into_iter().find(|name| {
        !columns
            .iter()
            .any(|(column, _)| column.eq_ignore_ascii_case(name))
    });
    if let Some(hidden) = hidden
        && db
            .prepare(&format!("SELECT {hidden} FROM {} LIMIT 0", quoted(table)))
            .is_ok()
    {
        return Ok(hidden.into());
    }
    let key: Vec<String> = columns
        .iter()
        .filter(|(_, pk)| *pk > 0)
        .map(|(name, _)| quoted(name))
        .collect();
    // A table with all three names taken and no primary key: any order that both share will do.
    if key.is_empty() {
        Ok(columns
            .iter()
            .map(|(name, _)| quoted(name))
            .collect::<Vec<_>>()
            .join(", "))
    } else {
        Ok(key.join(", "))
    }
}

fn same_query(a: &Connection, b: &Connection, sql: &str, what: &str) -> Verdict {
    let compare = || -> rusqlite::Result<Option<String>> {
        let (mut left, mut right) = (a.prepare(sql)?, b.prepare(sql)?);
        if left.column_count() != right.column_count() {
            return Ok(Some("the number of columns differs".into()));
        }
        let columns = left.column_count();
        let (mut left, mut right) = (left.query([])?, right.query([])?);
        for row in 1u64.. {
            match (left.next()?, right.next()?) {
                (None, None) => return Ok(None),
                (Some(x), Some(y)) => {
                    for column in 0..columns {
                        if !same_value(&x.get(column)?, &y.get(column)?) {
                            return Ok(Some(format!("row {row} differs in column {}", column + 1)));
                        }
                    }
                }
                (Some(_), None) => {
                    return Ok(Some(format!("row {row} and those after it are missing")));
                }
                (None, Some(_)) => {
                    return Ok(Some(format!(
                        "row {row} and those after it are not in the source"
                    )));
                }
            }
        }
        Ok(None)
    };
    match compare() {
        Ok(None) => Ok(()),
        Ok(Some(difference)) => Err(format!("{what}: {difference}")),
        Err(e) => Err(format!("{what}: {e}")),
    }
}

/// Bit for bit, also for numbers that compare in odd ways.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Real(x), Value::Real(y)) => x.to_bits() == y.to_bits(),
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use litestream_replica::env::real;

    use super::*;

    fn database(path: &Path, sql: &str) {
        open(path).unwrap().execute_batch(sql).unwrap();
    }

    #[test]
    fn equal_databases_are_equal_and_each_difference_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let sql =
            "CREATE TABLE t (rowid, x); CREATE TABLE w (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
            INSERT INTO t VALUES (1, 2.5), (1, NULL); INSERT INTO w VALUES ('k', x'00');";
        for name in ["a", "b", "row", "missing", "schema"] {
            database(&path(name), sql);
        }
        database(&path("row"), "UPDATE t SET x = 2.25 WHERE x = 2.5");
        database(&path("missing"), "DELETE FROM w");
        database(&path("schema"), "CREATE TABLE more (x)");
        let env = real::env();
        assert_eq!(rows(&path("a"), &path("b")), Ok(()));
        assert_eq!(bytes(&path("a"), &path("b"), &env), Ok(()));
        assert_eq!(
            rows(&path("a"), &path("row")),
            Err("table t: row 1 differs in column 3".into())
        );
        assert_eq!(
            rows(&path("a"), &path("missing")),
            Err("table w: row 1 and those after it are missing".into())
        );
        assert!(rows(&path("a"), &path("schema")).is_err());
        assert!(
            bytes(&path("a"), &path("row"), &env)
                .unwrap_err()
                .starts_with("files differ at byte")
        );
        assert!(bytes(&path("a"), &path("nope"), &env).is_err());
    }

    #[test]
    fn an_unapplied_wal_counts_as_part_of_the_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let db = open(&path("a")).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1);",
        )
        .unwrap();
        let env = real::env();
        checkpointed_copy(&path("a"), &path("b"), &env).unwrap();
        assert_eq!(bytes(&path("a"), &path("b"), &env), Ok(()));
        assert!(!path("b.source-copy").try_exists().unwrap());
    }
}
