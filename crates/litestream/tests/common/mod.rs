//! What the engine's tests share: a database in a folder, a replica beside it, and the exact oracle.
#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use litestream::env::Env;
use litestream::{Policy, Replicator, Settings, restore};
use litestream_replica::file::FileReplica;
use litestream_replica::{Level, SharedReplica};
use ltx::Txid;
use rusqlite::Connection;

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub env: Env,
    pub replica: SharedReplica,
}

pub const ALL_PAGE_SIZES: [u32; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

impl Bench {
    pub fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let env = litestream::env::real::env();
        let replica: SharedReplica = Arc::new(FileReplica::new(
            dir.path().join("replica"),
            env.clone(),
            None,
        ));
        Bench { dir, env, replica }
    }

    pub fn db(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    /// An application's connection; creates the database.
    pub fn app(&self, page_size: u32) -> Connection {
        app(&self.db(), page_size)
    }

    pub fn settings(&self) -> Settings {
        Settings {
            sync_interval: Duration::from_millis(20),
            // Tests of capture look at what it stages, alone.
            policy: Policy::uploads_only(),
            ..Settings::for_database(self.db())
        }
    }

    pub fn start(&self) -> Replicator {
        self.start_with(self.settings())
    }

    pub fn start_with(&self, settings: Settings) -> Replicator {
        Replicator::start(settings, vec![Arc::clone(&self.replica)], self.env.clone()).unwrap()
    }

    pub async fn restore(&self, target: restore::Target) -> Vec<u8> {
        let output = self
            .dir
            .path()
            .join(format!("restored-{:016x}.db", self.env.entropy.next_u64()));
        let request = restore::Request {
            output: output.clone(),
            target,
            ..restore_request()
        };
        restore::run(&request, Arc::clone(&self.replica), &self.env, &|_| {})
            .await
            .unwrap();
        let bytes = std::fs::read(&output).unwrap();
        std::fs::remove_file(&output).unwrap();
        bytes
    }

    pub async fn restore_latest(&self) -> Vec<u8> {
        self.restore(restore::Target::Latest).await
    }

    /// The committed state of the source: the file after everything in the WAL was brought into it.
    pub fn source_image(&self) -> Vec<u8> {
        image(&self.db())
    }

    /// Replicator gone: the newest restore equals the source, page for page.
    pub async fn assert_restores(&self) {
        let restored = self.restore_latest().await;
        assert_same(&self.source_image(), &restored);
    }

    pub async fn level0(&self) -> Vec<Txid> {
        let files = self.replica.list(Level::L0, None, false).await.unwrap();
        assert!(files.iter().all(|f| f.name.min == f.name.max));
        files.iter().map(|f| f.name.max).collect()
    }

    /// TXIDs 1, 2, … without a gap; how many.
    pub async fn assert_contiguous(&self) -> u64 {
        let txids = self.level0().await;
        for (i, txid) in txids.iter().enumerate() {
            assert_eq!(txid.get(), i as u64 + 1, "hole in {txids:?}");
        }
        txids.len() as u64
    }

    /// TXIDs of level-0 files that hold every page.
    pub async fn full_files(&self) -> Vec<Txid> {
        let mut full = Vec::new();
        for file in self.replica.list(Level::L0, None, false).await.unwrap() {
            let bytes = self
                .replica
                .read(Level::L0, file.name, 0, None)
                .await
                .unwrap();
            let mut decoder = ltx::Decoder::new(&bytes[..]).unwrap();
            let mut page = vec![0; decoder.header().page_size.bytes()];
            let mut count = 0;
            while decoder.next_page(&mut page).unwrap().is_some() {
                count += 1;
            }
            if count >= decoder.header().commit.saturating_sub(1).max(1) {
                full.push(file.name.max);
            }
        }
        full
    }
}

pub fn restore_request() -> restore::Request {
    restore::Request {
        output: PathBuf::new(),
        target: restore::Target::Latest,
        parallelism: 8,
        force: false,
        integrity_check: restore::IntegrityCheck::None,
        vfs: None,
    }
}

pub fn app(path: &Path, page_size: u32) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    conn.pragma_update(None, "page_size", page_size).unwrap();
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
        .unwrap();
    conn.pragma_update(None, "synchronous", "NORMAL").unwrap();
    conn
}

pub fn fill(conn: &Connection, rows: usize, bytes: usize) {
    conn.execute_batch("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, b BLOB, n INT); CREATE INDEX IF NOT EXISTS tn ON t(n)").unwrap();
    let tx = conn.unchecked_transaction().unwrap();
    for i in 0..rows {
        tx.execute(
            "INSERT INTO t(b,n) VALUES(randomblob(?1),?2)",
            (bytes as i64, i as i64 * 7919 % 1000),
        )
        .unwrap();
    }
    tx.commit().unwrap();
}

pub fn image(path: &Path) -> Vec<u8> {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    let busy: i64 = conn
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0))
        .unwrap();
    assert_eq!(busy, 0, "the source can be checkpointed");
    std::fs::read(path).unwrap()
}

/// Byte equality that names the first page that differs.
pub fn assert_same(expected: &[u8], actual: &[u8]) {
    if expected == actual {
        return;
    }
    let size = match u16::from_be_bytes([expected[16], expected[17]]) {
        1 => 65536,
        n => n as usize,
    };
    let differing: Vec<usize> = expected
        .chunks(size)
        .zip(actual.chunks(size))
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(i, _)| i + 1)
        .collect();
    panic!(
        "{} bytes expected, {} found; pages that differ: {:?} of {}",
        expected.len(),
        actual.len(),
        &differing[..differing.len().min(20)],
        expected.len() / size
    );
}
