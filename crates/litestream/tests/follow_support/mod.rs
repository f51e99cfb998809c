//! What the follow tests share: real databases as histories, a follower in a task, the exact oracle.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "each test uses a part of it, and looks at the real file system"
)]

#[path = "../restore_support/mod.rs"]
pub mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use litestream::follow::{self, Ended, FollowError, Request};
use litestream::restore::IntegrityCheck;
use litestream_replica::SharedReplica;
use ltx::{Header, PageSize, Txid};
use rusqlite::Connection;
use support::{History, Pages, encode, env, time};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A transaction of the made-up application: what `a` gains `b` loses, and blobs come and go.
pub fn work(conn: &Connection, round: usize) {
    let tx = conn.unchecked_transaction().unwrap();
    for i in 0..5 {
        let (id, amount) = ((round * 31 + i * 17) % 97, (round * 7 + i) % 100);
        for (table, sign) in [("a", 1), ("b", -1)] {
            let sql = format!("UPDATE {table} SET n = n + ?1 WHERE id = ?2");
            tx.execute(&sql, (sign * amount as i64, id as i64)).unwrap();
        }
    }
    match round % 7 {
        0..4 => tx.execute("INSERT INTO blobs VALUES(randomblob(3000))", []),
        4 => tx.execute("DELETE FROM blobs WHERE rowid % 3 = 0", []),
        5 => tx.execute("PRAGMA incremental_vacuum(3)", []).or(Ok(0)),
        _ => Ok(0),
    }
    .unwrap();
    tx.commit().unwrap();
    match round % 11 {
        9 => conn.execute_batch("VACUUM").unwrap(),
        10 => conn
            .execute_batch("DELETE FROM blobs WHERE rowid > 2; PRAGMA incremental_vacuum")
            .unwrap(),
        _ => {}
    }
}

pub fn schema(conn: &Connection, page_size: u32) {
    conn.execute_batch(&format!(
        "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = INCREMENTAL; VACUUM;
         CREATE TABLE a(id INTEGER PRIMARY KEY, n INT, pad); CREATE TABLE b(id INTEGER PRIMARY KEY, n INT, pad);
         CREATE TABLE blobs(x);
         WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c LIMIT 97) INSERT INTO a SELECT i, 0, randomblob(99) FROM c;
         INSERT INTO b SELECT id, 0, randomblob(99) FROM a;"
    ))
    .unwrap();
}

/// The history of a real database. `page_size` says the size from each TXID on.
pub fn history(page_sizes: &[(usize, u32)], txids: usize) -> History {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA synchronous = OFF").unwrap();
    let mut history = History {
        page_size: PageSize::new(page_sizes[0].1).unwrap(),
        images: Vec::new(),
        l0: Vec::new(),
    };
    for txid in 1..=txids {
        match page_sizes.iter().find(|(from, _)| *from == txid) {
            Some((1, size)) => schema(&conn, *size),
            Some((_, size)) => conn
                .execute_batch(&format!("PRAGMA page_size = {size}; VACUUM"))
                .unwrap(),
            None => work(&conn, txid),
        }
        let mut image = std::fs::read(&path).unwrap();
        image[18..20].fill(2); // as a database in WAL mode
        push(&mut history, image);
    }
    history
}

pub fn page_size(image: &[u8]) -> PageSize {
    let size = match u16::from_be_bytes([image[16], image[17]]) {
        1 => 65536,
        n => u32::from(n),
    };
    PageSize::new(size).unwrap()
}

/// Adds the next state: what differs from the one before.
fn push(history: &mut History, image: Vec<u8>) {
    let (size, txid) = (page_size(&image), Txid::new(history.last() + 1));
    let before = match history.images.last() {
        Some(before) if page_size(before) == size => &before[..],
        _ => &[],
    };
    let mut pages = Pages::new();
    let mut old = before.chunks(size.bytes());
    for (page, number) in image.chunks(size.bytes()).zip(1..) {
        if old.next() != Some(page) {
            pages.insert(number, page.to_vec());
        }
    }
    let commit = (image.len() / size.bytes()) as u32;
    let header = Header::new(size, commit, txid, txid, time(txid.get()).0);
    history.l0.push(encode(header, &pages, 0));
    history.images.push(image);
}

/// A followed database equals a state but for what must differ.
pub fn assert_is(what: &str, followed: &[u8], state: &[u8]) {
    assert_eq!(followed[18..20], [1, 1], "{what}: rollback mode");
    let mask = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[18..20].fill(0);
        bytes[24..28].fill(0);
        bytes
    };
    let (a, b, size) = (mask(followed), mask(state), page_size(state).bytes());
    let differing: Vec<usize> = a
        .chunks(size)
        .zip(b.chunks(size))
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(i, _)| i + 1)
        .collect();
    assert!(
        a.len() == b.len() && differing.is_empty(),
        "{what}: {} bytes, expected {}; pages that differ: {differing:?}",
        a.len(),
        b.len()
    );
}

pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn db(&self) -> PathBuf {
        self.dir.path().join("followed.db")
    }

    pub fn txid_file(&self) -> PathBuf {
        self.dir.path().join("followed.db-txid")
    }

    /// The position, once there is a database: it is written first.
    pub fn position(&self) -> u64 {
        if !self.db().exists() {
            return 0;
        }
        let text = std::fs::read_to_string(self.txid_file()).unwrap_or_default();
        text.trim_end().parse::<Txid>().map_or(0, Txid::get)
    }

    /// The followed database; no follower of this process may be at work, since its locks would go.
    pub fn read(&self) -> Vec<u8> {
        std::fs::read(self.db()).unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn start(&self, replica: &SharedReplica) -> Follower {
        let request = Request {
            output: self.db(),
            interval: Duration::from_millis(10),
            parallelism: 2,
            integrity_check: IntegrityCheck::None,
            vfs: None,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let replica = replica.clone();
        let task = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            follow::run(&request, replica, &env(), &|_| {}, stopped).await
        });
        Follower { task, stop }
    }

    /// Runs a follower until the position file says `txid`, and stops it once it has found its position.
    pub async fn follow_to(&self, replica: &SharedReplica, txid: u64) {
        loop {
            let follower = self.start(replica);
            self.reaches(txid).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            match follower.stop().await.unwrap() {
                Ended::Resuming => {}
                ended => return assert_eq!(ended, Ended::Following(Txid::new(txid))),
            }
        }
    }

    pub async fn reaches(&self, txid: u64) {
        let start = Instant::now();
        while self.position() != txid {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "at {}, not {txid}; {:?}",
                self.position(),
                self.names()
            );
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// The error with which a start ends.
    pub async fn refused(&self, replica: &SharedReplica) -> FollowError {
        let follower = self.start(replica);
        let ended = tokio::time::timeout(Duration::from_secs(20), follower.task).await;
        ended.expect("it ends").unwrap().unwrap_err()
    }
}

pub struct Follower {
    pub task: JoinHandle<Result<Ended, FollowError>>,
    stop: oneshot::Sender<()>,
}

impl Follower {
    pub async fn stop(self) -> Result<Ended, FollowError> {
        let _ = self.stop.send(());
        self.task.await.unwrap()
    }
}

/// The sums of both tables in one transaction; whether they agree.
pub fn sums_agree(path: &Path) -> bool {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    conn.query_row(
        "SELECT (SELECT sum(n) FROM a) + (SELECT sum(n) FROM b) = 0",
        [],
        |r| r.get(0),
    )
    .unwrap()
}
