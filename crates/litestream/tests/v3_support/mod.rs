//! Makes what Litestream 0.3 would have left of a real database, and the image that each object must give.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "each test uses a part of it; tests look at the real file system"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use litestream::wal::{Cursor, ScanEnd, WAL_HEADER_SIZE, WalHeader, frame_offset, scan};
use litestream_replica::v3::{Generation, Position, snapshot_path, wal_path};
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;

/// An object, and the database that a backup which ends with it gives.
#[derive(Clone)]
pub struct Made {
    pub path: String,
    pub bytes: Vec<u8>,
    pub created_ms: i64,
    pub image: Vec<u8>,
    /// It ends with a commit.
    pub commits: bool,
    /// The last part of a WAL that another follows.
    pub ends_wal: bool,
}

/// Packed as 0.3 packs: blocks of 4 MiB that don't refer to each other, a checksum at the end.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let info = FrameInfo::new()
        .block_size(BlockSize::Max4MB)
        .content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A database at work, backed up in the manner of 0.3.
pub struct Source {
    dir: tempfile::TempDir,
    conn: Connection,
    rng: StdRng,
    round: usize,
    /// The time of the next object; a second passes from one to the next.
    pub clock_ms: i64,
}

impl Source {
    pub fn new(seed: u64, page_size: u32) -> Source {
        let dir = tempfile::tempdir().unwrap();
        let conn = Connection::open(dir.path().join("app.db")).unwrap();
        conn.execute_batch(&format!(
            "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = incremental; PRAGMA journal_mode = WAL;
             PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 10;
             CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB, n INT); CREATE INDEX tn ON t(n);"
        ))
        .unwrap();
        let (rng, round) = (StdRng::seed_from_u64(seed), 0);
        Source {
            dir,
            conn,
            rng,
            round,
            clock_ms: 1_700_000_000_000,
        }
    }

    pub fn conn(&self) -> &Connection {
        &self.conn
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    fn wal_bytes(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("app.db-wal")).unwrap_or_default()
    }

    /// What SQLite gives for the database as it is now.
    pub fn image(&self) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy.db");
        std::fs::copy(self.db(), &copy).unwrap();
        std::fs::write(dir.path().join("copy.db-wal"), self.wal_bytes()).unwrap();
        let conn = Connection::open(&copy).unwrap();
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        std::fs::read(&copy).unwrap()
    }

    /// One transaction.
    pub fn work(&mut self) {
        self.round += 1;
        let rows = self.rng.random_range(1..25);
        let bytes = self.rng.random_range(10..900);
        let insert = format!(
            "BEGIN; WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {rows})
             INSERT INTO t(b, n) SELECT randomblob({bytes}), x * 7919 % 1000 FROM c; COMMIT"
        );
        let sql = match self.round % 6 {
            0 => "BEGIN; DELETE FROM t WHERE id % 3 = 0; PRAGMA incremental_vacuum(9); COMMIT",
            1 => "UPDATE t SET n = n + 1 WHERE id % 5 = 0",
            4 => "VACUUM",
            _ => &insert,
        };
        self.conn.execute_batch(sql).unwrap();
    }

    fn checkpoint(&self) {
        let done: (i64, i64, i64) = self
            .conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?))
            })
            .unwrap();
        assert_eq!((done.0, done.1), (0, done.2));
    }

    fn tick(&mut self) -> i64 {
        self.clock_ms += 1000;
        self.clock_ms
    }

    fn object(&mut self, path: String, content: &[u8], image: Vec<u8>) -> Made {
        let (bytes, created_ms) = (pack(content), self.tick());
        Made {
            path,
            bytes,
            created_ms,
            image,
            commits: true,
            ends_wal: false,
        }
    }

    /// A snapshot, then `wals` WALs of `transactions` transactions each, cut anywhere between frames. Before each WAL after
    /// the first comes another snapshot if `again`.
    pub fn generation(
        &mut self,
        id: u64,
        wals: u64,
        transactions: usize,
        again: bool,
    ) -> Vec<Made> {
        let generation = Generation(id);
        self.checkpoint();
        let mut made = Vec::new();
        for index in 0..wals {
            if index == 0 || again {
                let content = std::fs::read(self.db()).unwrap();
                let path = snapshot_path(generation, index);
                made.push(self.object(path, &content, content.clone()));
            }
            let mut states = vec![(0, self.image())];
            for _ in 0..transactions {
                self.work();
                states.push((committed_len(&self.wal_bytes()), self.image()));
            }
            let len = states[transactions].0;
            let wal = self.wal_bytes()[..len].to_vec();
            let mut parts = self.cut(generation, index, &wal, &states);
            parts.last_mut().unwrap().ends_wal = index + 1 < wals;
            made.append(&mut parts);
            // All of it is in the database file: the next transaction starts the WAL anew.
            self.checkpoint();
        }
        made
    }

    fn cut(
        &mut self,
        of: Generation,
        index: u64,
        wal: &[u8],
        states: &[(usize, Vec<u8>)],
    ) -> Vec<Made> {
        let header = WalHeader::parse(wal).unwrap();
        let frame = |n: u32| frame_offset(n, header.page_size) as usize;
        let frames = ((wal.len() - WAL_HEADER_SIZE) / (frame(1) - frame(0))) as u32;
        let mut cuts: Vec<usize> = (0..4)
            .map(|_| frame(self.rng.random_range(1..=frames)))
            .collect();
        cuts.push(wal.len());
        cuts.sort_unstable();
        cuts.dedup();
        let (mut from, mut made) = (0, Vec::new());
        for to in cuts {
            let path = wal_path(
                of,
                Position {
                    index,
                    offset: from as u64,
                },
            );
            let last = states.iter().rev().find(|(end, _)| *end <= to).unwrap();
            let mut object = self.object(path, &wal[from..to], last.1.clone());
            object.commits = last.0 == to;
            made.push(object);
            from = to;
        }
        made
    }
}

/// How many bytes of a WAL are committed; what follows may be of an older one.
fn committed_len(wal: &[u8]) -> usize {
    let Some(header) = WalHeader::parse(wal) else {
        return 0;
    };
    let mut cursor = Cursor::start(&header);
    let mut committed = 0;
    let end = scan(&mut cursor, &wal[WAL_HEADER_SIZE..], |frame, index, _| {
        if frame.commit != 0 {
            committed = index + 1;
        }
        true
    });
    assert_ne!(end, ScanEnd::Stopped);
    frame_offset(committed, header.page_size) as usize
}

/// Lays objects out in a folder, with their times.
pub fn write(root: &Path, objects: &[Made]) {
    for object in objects {
        let path = root.join(&object.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &object.bytes).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(object.created_ms as u64);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
    }
}
