//! What is in the databases. Everything comes from fixed seeds, so that both programs get the same bytes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rusqlite::{Connection, params};

/// What a database is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// JSON documents of about 450 bytes, and with every 20th a random blob of 2 KiB: one fifth is incompressible.
    Mixed,
    /// Random blobs of 16 KiB.
    Random,
}

const WORDS: &[&str] = &[
    "invoice",
    "delivery",
    "customer",
    "returned",
    "shipping",
    "address",
    "pending",
    "confirmed",
    "the",
    "order",
    "was",
    "placed",
    "by",
    "phone",
    "and",
    "should",
    "arrive",
    "before",
    "friday",
    "please",
    "leave",
    "at",
    "the",
    "door",
    "gift",
    "wrapping",
    "discount",
    "applied",
    "twice",
    "refund",
    "requested",
    "after",
    "inspection",
    "warehouse",
    "north",
    "south",
    "carrier",
    "express",
    "standard",
    "delayed",
    "weather",
    "storage",
    "fragile",
    "heavy",
    "insured",
    "tax",
    "included",
    "excluded",
    "currency",
    "converted",
    "notified",
    "reminder",
    "sent",
    "archived",
];

/// A source of rows.
pub struct Rows {
    rng: SmallRng,
    count: u64,
}

impl Rows {
    /// The rows of this seed.
    pub fn new(seed: u64) -> Rows {
        Rows {
            rng: SmallRng::seed_from_u64(seed),
            count: 0,
        }
    }

    /// A JSON document of about 450 bytes.
    pub fn document(&mut self) -> String {
        self.count += 1;
        let (id, amount) = (self.rng.next_u64(), self.rng.random_range(100..1_000_000));
        let mut note = String::new();
        for _ in 0..self.rng.random_range(20..70) {
            note.push_str(WORDS[self.rng.random_range(0..WORDS.len())]);
            note.push(' ');
        }
        format!(
            r#"{{"number":{},"id":"{id:016x}","status":"{}","amount_cents":{amount},"note":"{note}"}}"#,
            self.count,
            WORDS[(id % 8) as usize]
        )
    }

    /// Random bytes.
    pub fn blob(&mut self, size: usize) -> Vec<u8> {
        let mut blob = vec![0; size];
        self.rng.fill_bytes(&mut blob);
        blob
    }

    /// A number from 0 to below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.rng.random_range(0..end)
    }
}

/// A database of this size, made once and kept in `dir` for the next time. It is in WAL mode and at rest.
pub fn template(dir: &Path, content: Content, size_mb: u64) -> Result<PathBuf> {
    let path = dir.join(format!("template-{content:?}-{size_mb}mb.db").to_lowercase());
    if path.exists() {
        return Ok(path);
    }
    eprintln!("   making {}", path.display());
    let unfinished = path.with_extension("new");
    if unfinished.exists() {
        std::fs::remove_file(&unfinished)?;
    }
    let conn = Connection::open(&unfinished)?;
    conn.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         CREATE TABLE docs (id INTEGER PRIMARY KEY, body TEXT, attachment BLOB); BEGIN",
    )?;
    let mut rows = Rows::new(1);
    {
        let mut insert = conn.prepare("INSERT INTO docs (body, attachment) VALUES (?1, ?2)")?;
        let mut bytes = 0;
        let mut count = 0u64;
        while bytes < size_mb << 20 {
            count += 1;
            let (body, blob) = match content {
                Content::Mixed if count.is_multiple_of(20) => (rows.document(), rows.blob(2048)),
                Content::Mixed => (rows.document(), Vec::new()),
                Content::Random => (String::new(), rows.blob(16 << 10)),
            };
            bytes += (body.len() + blob.len() + 12) as u64;
            insert.execute(params![body, blob])?;
        }
    }
    conn.execute_batch("COMMIT; PRAGMA journal_mode = WAL")?;
    conn.close().map_err(|(_, error)| error)?;
    std::fs::rename(&unfinished, &path)?;
    rustix::fs::sync();
    Ok(path)
}
