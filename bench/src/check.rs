//! Is what came back what went in? Page by page, or table by table.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read;
use std::path::Path;

use anyhow::{Result, bail};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

const PAGE: usize = 512;

/// Checkpoints `source`, then compares the files byte for byte.
pub fn same_bytes(source: &Path, restored: &Path) -> Result<()> {
    let conn = Connection::open(source)?;
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    drop(conn);
    if busy != 0 {
        bail!("the source can't be checkpointed");
    }
    let (mut a, mut b) = (File::open(source)?, File::open(restored)?);
    let (size_a, size_b) = (a.metadata()?.len(), b.metadata()?.len());
    if size_a != size_b {
        bail!("{size_b} bytes restored, the source has {size_a}");
    }
    let (mut buffer_a, mut buffer_b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let (mut offset, mut first, mut differing) = (0, None, 0u64);
    while offset < size_a {
        let n = (size_a - offset).min(1 << 20) as usize;
        a.read_exact(&mut buffer_a[..n])?;
        b.read_exact(&mut buffer_b[..n])?;
        if buffer_a[..n] != buffer_b[..n] {
            let chunks = buffer_a[..n].chunks(PAGE).zip(buffer_b[..n].chunks(PAGE));
            for (i, _) in chunks.enumerate().filter(|(_, (x, y))| x != y) {
                first.get_or_insert(offset + (i * PAGE) as u64);
                differing += 1;
            }
        }
        offset += n as u64;
    }
    if let Some(first) = first {
        bail!("{differing} blocks of {PAGE} bytes differ, the first at offset {first}");
    }
    Ok(())
}

/// Compares all tables of the application row by row.
pub fn same_tables(source: &Path, restored: &Path) -> Result<()> {
    let (a, b) = (
        Connection::open(source)?,
        Connection::open_with_flags(restored, OpenFlags::SQLITE_OPEN_READ_WRITE)?,
    );
    let integrity: String = b.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if integrity != "ok" {
        bail!(
            "integrity: {}",
            integrity.lines().take(2).collect::<Vec<_>>().join(" ")
        );
    }
    let (names_a, names_b) = (tables(&a)?, tables(&b)?);
    if names_a != names_b {
        bail!("tables {names_b:?} restored, the source has {names_a:?}");
    }
    for name in names_a {
        let (rows_a, rows_b) = (rows(&a, &name)?, rows(&b, &name)?);
        if rows_a.len() != rows_b.len() {
            bail!("{name}: {} rows restored of {}", rows_b.len(), rows_a.len());
        }
        let differing = rows_a.iter().zip(&rows_b).filter(|(x, y)| x != y).count();
        if differing != 0 {
            bail!("{name}: {differing} rows differ");
        }
    }
    Ok(())
}

/// Without the bookkeeping that the original puts into databases.
fn tables(conn: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_litestream%' ESCAPE '\\' ORDER BY 1";
    let mut statement = conn.prepare(sql)?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// A hash of every row, in order.
fn rows(conn: &Connection, table: &str) -> Result<Vec<u64>> {
    let mut statement = conn.prepare(&format!("SELECT * FROM \"{table}\" ORDER BY rowid"))?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut hashes = Vec::new();
    while let Some(row) = rows.next()? {
        let mut hasher = DefaultHasher::new();
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Null => 0u8.hash(&mut hasher),
                ValueRef::Integer(i) => (1u8, i).hash(&mut hasher),
                ValueRef::Real(r) => (2u8, r.to_bits()).hash(&mut hasher),
                ValueRef::Text(t) => (3u8, t).hash(&mut hasher),
                ValueRef::Blob(b) => (4u8, b).hash(&mut hasher),
            }
        }
        hashes.push(hasher.finish());
    }
    Ok(hashes)
}
