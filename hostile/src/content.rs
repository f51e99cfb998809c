//! What the application's database holds, as one hash over all rows.
//!
//! Owns the schema. The hash is a sum over the rows, so that the writer can carry it along without asking SQLite, and
//! whoever reads the database can compute it anew.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use rusqlite::Connection;
use xxhash_rust::xxh3::xxh3_128;

pub const SCHEMA: &str =
    "CREATE TABLE meta(one INTEGER PRIMARY KEY CHECK (one = 1), node INT NOT NULL);
    CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB, n INT);
    CREATE INDEX tn ON t(n);
    CREATE TABLE u(k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID;
    INSERT INTO meta VALUES(1, 0)";

/// Hashes of the rows by key, and their sum.
#[derive(Debug, Default)]
pub struct Content {
    pub node: u64,
    pub t: BTreeMap<i64, u128>,
    pub u: BTreeMap<String, u128>,
    sum: u128,
}

impl Content {
    /// Reads every row. A database without any table is the empty state.
    pub fn read(conn: &Connection) -> Result<Content> {
        let mut content = Content::default();
        let count = "SELECT count(*) FROM sqlite_schema WHERE name IN ('meta', 't', 'u', 'tn')";
        match conn.query_row(count, [], |row| row.get(0))? {
            0 => return Ok(content),
            4 => {}
            n => bail!("{n} of 4 tables and indexes"),
        }
        let node: i64 = conn
            .query_row("SELECT node FROM meta", [], |row| row.get(0))
            .context("table meta")?;
        content.node = node as u64;
        let mut statement = conn.prepare("SELECT id, b, n FROM t")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            content.put_t(row.get(0)?, row.get_ref(1)?.as_blob()?, row.get(2)?);
        }
        let mut statement = conn.prepare("SELECT k, v FROM u")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            content.put_u(row.get(0)?, row.get_ref(1)?.as_blob()?);
        }
        Ok(content)
    }

    /// The hash of the state.
    pub fn hash(&self) -> u128 {
        let mut bytes = self.sum.to_le_bytes().to_vec();
        bytes.extend(self.node.to_le_bytes());
        xxh3_128(&bytes)
    }

    pub fn put_t(&mut self, id: i64, b: &[u8], n: i64) {
        let mut bytes = vec![b't'];
        bytes.extend(id.to_le_bytes());
        bytes.extend(n.to_le_bytes());
        bytes.extend(b);
        let hash = xxh3_128(&bytes);
        let old = self.t.insert(id, hash).unwrap_or(0);
        self.sum = self.sum.wrapping_add(hash).wrapping_sub(old);
    }

    pub fn put_u(&mut self, k: String, v: &[u8]) {
        let mut bytes = vec![b'u'];
        bytes.extend((k.len() as u64).to_le_bytes());
        bytes.extend(k.as_bytes());
        bytes.extend(v);
        let hash = xxh3_128(&bytes);
        let old = self.u.insert(k, hash).unwrap_or(0);
        self.sum = self.sum.wrapping_add(hash).wrapping_sub(old);
    }

    pub fn remove_t(&mut self, id: i64) {
        let old = self.t.remove(&id).unwrap_or(0);
        self.sum = self.sum.wrapping_sub(old);
    }

    pub fn remove_u(&mut self, k: &str) {
        let old = self.u.remove(k).unwrap_or(0);
        self.sum = self.sum.wrapping_sub(old);
    }
}
