//! The application: a connection that writes, with SQLite's defaults except `synchronous = NORMAL`.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rusqlite::{Connection, ErrorCode, params};

use crate::rows::Rows;
use crate::stats::percentile;
use crate::wal::WalMeter;

/// A database with a table for the writers, in WAL mode; creates what is missing.
pub fn open(db: &Path, busy_timeout: Duration) -> Result<Connection> {
    let conn = Connection::open(db)?;
    conn.busy_timeout(busy_timeout)?;
    let _: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    conn.execute_batch(
        "PRAGMA synchronous = NORMAL;
         CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body BLOB);
         CREATE TABLE IF NOT EXISTS markers (body BLOB)",
    )?;
    Ok(conn)
}

/// Size of the database in pages.
pub fn pages(conn: &Connection) -> Result<u32> {
    Ok(conn.query_row("PRAGMA page_count", [], |row| row.get(0))?)
}

/// Page size in bytes.
pub fn page_size(conn: &Connection) -> Result<u64> {
    let size: u32 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    Ok(u64::from(size))
}

/// A commit that makes the database larger; returns how many pages it has then.
pub fn marker(conn: &Connection) -> Result<u32> {
    let size = 4 * page_size(conn)?;
    conn.execute("INSERT INTO markers VALUES (zeroblob(?1))", [size as i64])?;
    pages(conn)
}

/// What a writer saw.
#[derive(Debug, Default)]
pub struct Tally {
    /// Seconds of each commit, sorted at the end.
    pub commits: Vec<f64>,
    /// Commits that were refused with SQLITE_BUSY.
    pub busy: u64,
    /// Seconds from the first to the last commit.
    pub wall: f64,
    /// Bytes that went into the log.
    pub wal_bytes: u64,
}

impl Tally {
    /// A percentile of the commits, ms.
    pub fn latency_ms(&self, part: f64) -> f64 {
        percentile(&self.commits, part) * 1e3
    }

    /// Commits per second.
    pub fn rate(&self) -> f64 {
        self.commits.len() as f64 / self.wall
    }
}

/// When to stop writing.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// After this much in the log.
    WalBytes(u64),
}

/// Inserts rows of `row_bytes`, each in a transaction of its own: `rate` per second, or as fast as it can.
pub fn write_rows(
    db: &Path,
    conn: &Connection,
    row_bytes: usize,
    rate: Option<u32>,
    until: Until,
) -> Result<Tally> {
    let mut meter = WalMeter::new(db, page_size(conn)?)?;
    let pool = Rows::new(7).blob((row_bytes * 64).max(1 << 20));
    let mut place = Rows::new(8);
    let mut insert = conn.prepare("INSERT INTO rows (body) VALUES (?1)")?;
    let mut tally = Tally::default();
    let begin = Instant::now();
    let mut due = begin;
    loop {
        let more = match until {
            Until::Time(limit) => begin.elapsed() < limit,
            Until::WalBytes(limit) => meter.bytes() < limit,
        };
        if !more {
            break;
        }
        if let Some(rate) = rate {
            due += Duration::from_secs(1) / rate;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let at = place.below((pool.len() - row_bytes) as u64) as usize;
        let row = &pool[at..at + row_bytes];
        let start = Instant::now();
        match insert.execute(params![row]) {
            Ok(_) => tally.commits.push(start.elapsed().as_secs_f64()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                tally.busy += 1;
            }
            Err(error) => return Err(error.into()),
        }
        meter.after_commit()?;
    }
    tally.wall = begin.elapsed().as_secs_f64();
    tally.commits.sort_by(f64::total_cmp);
    tally.wal_bytes = meter.bytes();
    Ok(tally)
}
