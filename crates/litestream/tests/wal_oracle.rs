//! The WAL reader against SQLite: the same bytes, opened by SQLite, hold the same committed pages.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

mod common;
mod probe;

use std::path::Path;

use common::{ALL_PAGE_SIZES, Bench, app, assert_same, fill};
use litestream::wal::{
    ByteOrder, Cursor, Evidence, FRAME_HEADER_SIZE, FrameHeader, Salts, ScanEnd, WAL_HEADER_SIZE,
    WalHeader, frame_offset, frame_size, recover, restart_evidence, scan,
};
use ltx::{PageNo, PageSize};
use probe::{live_image, side};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;

/// A database file and a WAL beside it, as a crash would leave them.
#[derive(Clone)]
struct Pair {
    page_size: PageSize,
    base: Vec<u8>,
    wal: Vec<u8>,
}

fn execute(conn: &Connection, sql: &str) {
    conn.execute_batch(sql)
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
}

fn checkpoint(conn: &Connection, mode: &str) {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
        .unwrap();
}

/// What an application leaves: several transactions, some undone after they spilled into the WAL, restarts with older frames
/// behind the newer ones.
fn written_by_sqlite(rng: &mut StdRng, page_size: u32) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let conn = app(&path, page_size);
    execute(
        &conn,
        "PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 2;
         CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)",
    );
    let insert = |n: usize| {
        let sql = "INSERT INTO t(b) VALUES(randomblob(?1))";
        for _ in 0..n {
            conn.execute(sql, [i64::from(page_size / 3)]).unwrap();
        }
    };
    insert(6);
    checkpoint(&conn, "TRUNCATE");
    for generation in 0..rng.random_range(1..4) {
        if generation > 0 {
            checkpoint(&conn, "PASSIVE");
        }
        for _ in 0..rng.random_range(1..5) {
            execute(&conn, "BEGIN");
            match rng.random_range(0..6) {
                0 => execute(&conn, "DELETE FROM t WHERE id % 2 = 0"),
                1 => execute(&conn, "UPDATE t SET b = randomblob(length(b))"),
                _ => insert(rng.random_range(1..6)),
            }
            let end = if rng.random_bool(0.2) {
                "ROLLBACK"
            } else {
                "COMMIT"
            };
            execute(&conn, end);
        }
        if rng.random_bool(0.15) {
            execute(&conn, "VACUUM");
        }
    }
    if rng.random_bool(0.3) {
        execute(&conn, "BEGIN");
        insert(6); // uncommitted frames at the end
    }
    Pair {
        page_size: PageSize::new(page_size).unwrap(),
        base: std::fs::read(&path).unwrap(),
        wal: std::fs::read(side(&path, "-wal")).unwrap(),
    }
}

impl Pair {
    fn step(&self) -> usize {
        frame_size(self.page_size) as usize
    }

    fn frames(&self) -> usize {
        self.wal.len().saturating_sub(WAL_HEADER_SIZE) / self.step()
    }

    fn range(&self, frame: usize) -> std::ops::Range<usize> {
        let at = WAL_HEADER_SIZE + frame * self.step();
        at..at + self.step()
    }

    /// The frames that were valid, written again with the other checksums, other salts and, if `invent`, with commit marks and
    /// page numbers that SQLite would never write but must accept.
    fn encoded_again(&self, rng: &mut StdRng, order: ByteOrder, invent: bool) -> Vec<u8> {
        let salts = Salts(rng.random(), rng.random());
        let mut wal = WalHeader::encode(order, self.page_size, rng.random(), salts).to_vec();
        let Some(old) = WalHeader::parse(&self.wal) else {
            return wal;
        };
        let mut sum = WalHeader::parse(&wal).unwrap().checksum;
        let mut cursor = Cursor::start(&old);
        let mut source = Vec::new();
        scan(&mut cursor, &self.wal[WAL_HEADER_SIZE..], |h, _, data| {
            source.push((h.page, h.commit, data.to_vec()));
            true
        });
        let base_pages = (self.base.len() / self.page_size.bytes()) as u32;
        for (index, (mut page, mut commit, mut data)) in source.into_iter().enumerate() {
            if invent {
                if rng.random_bool(0.2) {
                    // A larger one can't be, and SQLite refuses to checkpoint it.
                    commit = rng.random_range(0..=base_pages + index as u32 + 1);
                }
                // Page 1 stays what it is, or SQLite has no database to open.
                if page.get() != 1 && rng.random_bool(0.2) {
                    page = PageNo::new(rng.random_range(2..20)).unwrap();
                    rng.fill(&mut data[..]);
                }
            }
            let (frame, after) = FrameHeader::encode(page, commit, salts, sum, order, &data);
            sum = after;
            wal.extend_from_slice(&frame);
        }
        // What an earlier, longer generation may have left behind.
        if rng.random_bool(0.5) {
            let tail = self.wal.len().min(wal.len());
            wal.extend_from_slice(&self.wal[tail..]);
        }
        wal
    }

    fn mutate(&mut self, rng: &mut StdRng) -> &'static str {
        let (len, frames) = (self.wal.len(), self.frames());
        if len == 0 {
            return "empty";
        }
        match rng.random_range(0..13) {
            0 => {
                self.wal[rng.random_range(0..len)] ^= 1 << rng.random_range(0..8);
                "bit flip"
            }
            1 => {
                self.wal.truncate(rng.random_range(0..=len));
                "cut anywhere"
            }
            2 => {
                let at = self.range(rng.random_range(0..=frames)).start;
                let at = (at + rng.random_range(0..3)).saturating_sub(1);
                self.wal.truncate(at);
                "cut near a frame's border"
            }
            3 => {
                let n = len.min(WAL_HEADER_SIZE);
                self.wal[..n].fill(0);
                "zero header"
            }
            4 if len >= 24 => {
                let salts: [u8; 8] = self.wal[16..24].try_into().unwrap();
                self.wal[16..20].copy_from_slice(&salts[4..]);
                self.wal[20..24].copy_from_slice(&salts[..4]);
                "salts swapped"
            }
            5 if len >= WAL_HEADER_SIZE => {
                if let Some(h) = WalHeader::parse(&self.wal) {
                    let salts = Salts(h.salts.1, h.salts.0);
                    let new = WalHeader::encode(h.order, h.page_size, h.sequence, salts);
                    self.wal[..WAL_HEADER_SIZE].copy_from_slice(&new);
                }
                "salts swapped, header valid"
            }
            6 if len > WAL_HEADER_SIZE => {
                let from = rng.random_range(WAL_HEADER_SIZE..len);
                let to = (from + rng.random_range(1..2 * self.step())).min(len);
                self.wal.drain(from..to);
                "bytes cut out"
            }
            7 if frames > 0 => {
                let range = self.range(rng.random_range(0..frames));
                let copy = self.wal[range.clone()].to_vec();
                self.wal.splice(range.end..range.end, copy);
                "frame doubled"
            }
            8 if frames > 1 => {
                let (from, to) = (rng.random_range(0..frames), rng.random_range(0..frames));
                let copy = self.wal[self.range(from)].to_vec();
                let to = self.range(to);
                self.wal[to].copy_from_slice(&copy);
                "frame over another"
            }
            9 => {
                let from = rng.random_range(0..len);
                let to = (from + rng.random_range(1..2 * self.step())).min(len);
                self.wal[from..to].fill(0);
                "zeros"
            }
            10 => {
                let mut more = vec![0; rng.random_range(1..2 * self.step())];
                rng.fill(&mut more[..]);
                self.wal.extend_from_slice(&more);
                "garbage at the end"
            }
            11 => {
                self.wal = self.encoded_again(rng, ByteOrder::Big, true);
                "invented, big-endian checksums"
            }
            12 => {
                self.wal = self.encoded_again(rng, ByteOrder::Little, true);
                "invented, little-endian checksums"
            }
            _ => "nothing",
        }
    }

    /// What the reader says.
    fn ours(&self) -> Vec<u8> {
        let mut image = self.base.clone();
        if let Some((pages, commit)) = recover(&self.wal) {
            let size = self.page_size.bytes();
            image.resize(commit as usize * size, 0);
            for (page, data) in pages {
                let at = page.offset(self.page_size) as usize;
                image[at..at + size].copy_from_slice(&data);
            }
        }
        image
    }

    /// What SQLite says.
    fn sqlites(&self, dir: &Path) -> Vec<u8> {
        let path = dir.join("copy.db");
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(side(&path, suffix));
        }
        std::fs::write(&path, &self.base).unwrap();
        std::fs::write(side(&path, "-wal"), &self.wal).unwrap();
        let conn = Connection::open(&path).unwrap();
        // A page count that contradicts page 1 is no matter here.
        execute(&conn, "PRAGMA writable_schema = ON");
        execute(&conn, "PRAGMA synchronous = OFF");
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            .unwrap();
        checkpoint(&conn, "TRUNCATE");
        std::fs::read(&path).unwrap()
    }

    fn check(&self, dir: &Path, what: &str) {
        let (sqlites, ours) = (self.sqlites(dir), self.ours());
        if sqlites != ours {
            eprintln!(
                "{what}, page size {}, wal of {} bytes",
                self.page_size.get(),
                self.wal.len()
            );
            assert_same(&sqlites, &ours);
        }
    }
}

fn agree(order: Option<ByteOrder>, seeds: std::ops::Range<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let mut committed = 0;
    for seed in seeds {
        let rng = &mut StdRng::seed_from_u64(seed);
        let page_size = ALL_PAGE_SIZES[seed as usize % ALL_PAGE_SIZES.len()];
        let mut original = written_by_sqlite(rng, page_size);
        if let Some(order) = order {
            original.wal = original.encoded_again(rng, order, false);
        }
        original.check(dir.path(), &format!("seed {seed}, unchanged"));
        for round in 0..12 {
            let mut pair = original.clone();
            let changes: Vec<&str> = (0..rng.random_range(1..3))
                .map(|_| pair.mutate(rng))
                .collect();
            pair.check(dir.path(), &format!("seed {seed}.{round}, {changes:?}"));
            committed += usize::from(recover(&pair.wal).is_some());
        }
    }
    assert!(
        committed > 20,
        "only {committed} cases had anything committed"
    );
}

/// `LITESTREAM_WAL_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("LITESTREAM_WAL_SEEDS").map_or(150, |s| s.parse().expect("a number"))
}

#[test]
fn sqlite_agrees_on_any_bytes() {
    agree(None, 0..seeds());
}

#[test]
fn sqlite_agrees_on_big_endian_checksums() {
    agree(Some(ByteOrder::Big), 10_000..10_000 + seeds());
}

#[test]
fn sqlite_agrees_on_little_endian_checksums() {
    agree(Some(ByteOrder::Little), 20_000..20_000 + seeds() / 2);
}

#[test]
fn sqlite_agrees_on_every_length_of_a_small_wal() {
    let dir = tempfile::tempdir().unwrap();
    let rng = &mut StdRng::seed_from_u64(5);
    let mut original = written_by_sqlite(rng, 512);
    let borders: Vec<usize> = (0..=original.frames())
        .map(|i| original.range(i).start)
        .collect();
    let whole = std::mem::take(&mut original.wal);
    for border in borders {
        for len in [border.saturating_sub(1), border, border + 1, border + 23] {
            original.wal = whole[..len.min(whole.len())].to_vec();
            original.check(dir.path(), &format!("{len} bytes"));
        }
    }
}

#[test]
fn w23_every_offset_and_salt_at_the_boundaries() {
    let rng = &mut StdRng::seed_from_u64(23);
    for page_size in ALL_PAGE_SIZES {
        let pair = written_by_sqlite(rng, page_size);
        let header = WalHeader::parse(&pair.wal).unwrap();
        let start = Cursor::start(&header);
        assert_eq!(start.offset(), WAL_HEADER_SIZE as u64);
        assert_eq!(
            Cursor::before_any(pair.page_size).offset(),
            WAL_HEADER_SIZE as u64
        );
        let mut end = start;
        scan(&mut end, &pair.wal[WAL_HEADER_SIZE..], |_, _, _| true);
        for frames in [0, 1, end.frames] {
            let mut cursor = start;
            while cursor.frames < frames {
                let at = cursor.offset() as usize;
                let one = &pair.wal[at..at + pair.step()];
                assert_eq!(
                    scan(&mut cursor, one, |_, _, _| true),
                    ScanEnd::Consumed,
                    "frame at {at}"
                );
            }
            assert_eq!(cursor.offset(), frame_offset(frames, pair.page_size));
            // From there on the end is the same; with other salts nothing is read at all.
            let mut rest = cursor;
            scan(
                &mut rest,
                &pair.wal[cursor.offset() as usize..],
                |_, _, _| true,
            );
            assert_eq!(rest, end);
            let mut other = Cursor {
                salts: Salts(header.salts.0.wrapping_add(1), header.salts.1),
                ..cursor
            };
            let expected = if frames == end.frames && pair.frames() == frames as usize {
                ScanEnd::Consumed
            } else {
                ScanEnd::Invalid
            };
            let seen = scan(
                &mut other,
                &pair.wal[cursor.offset() as usize..],
                |_, _, _| panic!("a frame of other salts was read"),
            );
            assert_eq!((seen, other.frames), (expected, frames));
        }
    }
}

/// One restart, and the frame at the place of the last one read holds the very same page: only the salts tell.
#[test]
fn w24_an_identical_last_page_is_no_evidence() {
    let page_size = PageSize::new(512).unwrap();
    let page = |n: u8| vec![n; 512];
    let build = |salts: Salts, contents: &[u8]| {
        let mut wal = WalHeader::encode(ByteOrder::Little, page_size, 1, salts).to_vec();
        let header = WalHeader::parse(&wal).unwrap();
        let (mut sum, mut cursor) = (header.checksum, Cursor::start(&header));
        for (i, &n) in contents.iter().enumerate() {
            let number = PageNo::new(i as u32 + 2).unwrap();
            let (frame, after) =
                FrameHeader::encode(number, 9, salts, sum, ByteOrder::Little, &page(n));
            sum = after;
            wal.extend_from_slice(&frame);
        }
        scan(&mut cursor, &wal[WAL_HEADER_SIZE..], |_, _, _| true);
        (wal, cursor)
    };
    let (old, last) = build(Salts(7, 1), &[1, 2, 3]);
    let (new, _) = build(Salts(8, 2), &[9, 8, 3, 4]);
    let step = frame_size(page_size) as usize;
    let tail = |wal: &[u8]| wal[WAL_HEADER_SIZE + 2 * step..].to_vec();
    assert_eq!(
        tail(&old)[FRAME_HEADER_SIZE..],
        tail(&new)[FRAME_HEADER_SIZE..step]
    );
    let judge =
        |overwritten, tail: &[u8]| restart_evidence(&last, Salts(8, 2), overwritten, tail, true);
    assert_eq!(judge(4, &tail(&new)), Evidence::None);
    // The same when the count is wrong or not known: the frame is of the other generation.
    assert_eq!(judge(1, &tail(&new)), Evidence::None);
    // The old frame itself, and behind it one of a generation before: nothing was missed.
    let (older, _) = build(Salts(6, 9), &[5, 5, 5, 5]);
    let mut proof = tail(&old);
    proof.extend_from_slice(&older[older.len() - step..]);
    assert_eq!(judge(2, &proof), Evidence::NothingMissed);
    // Nothing behind it: more may have been there before the file was cut.
    assert_ne!(judge(2, &tail(&old)), Evidence::NothingMissed);
    // A commit of the old generation behind it was missed.
    let (longer, _) = build(Salts(7, 1), &[1, 2, 3, 4]);
    assert_eq!(judge(2, &tail(&longer)), Evidence::None);
    // Two restarts prove nothing.
    assert_eq!(
        restart_evidence(&last, Salts(9, 2), 2, &tail(&old), true),
        Evidence::None
    );
}

/// The same with the whole engine: it was away for one restart and the last frame looks as it was left.
#[tokio::test(flavor = "multi_thread")]
async fn w24_an_identical_last_page_after_a_restart_loses_nothing() {
    let bench = Bench::new();
    let app = bench.app(4096);
    execute(
        &app,
        "PRAGMA wal_autocheckpoint = 0; CREATE TABLE a(v); CREATE TABLE b(v);
         INSERT INTO a VALUES(0); INSERT INTO b VALUES(0); PRAGMA wal_checkpoint(TRUNCATE);
         UPDATE a SET v = 1; UPDATE b SET v = 1",
    );
    let replicator = bench.start();
    replicator.sync().await.unwrap();
    replicator.close().await;
    // Another generation of the same length that ends in the same page with the same content, twice over.
    for v in [2, 3] {
        checkpoint(&app, "RESTART");
        execute(
            &app,
            &format!("UPDATE a SET v = {v}; BEGIN; UPDATE b SET v = 7; UPDATE b SET v = 1; COMMIT"),
        );
        let replicator = bench.start();
        replicator.sync().await.unwrap();
        replicator.close().await;
        bench.assert_contiguous().await;
        assert_same(&live_image(&bench.db()), &bench.restore_latest().await);
    }
}

/// A transaction of which thousands of frames are in the WAL is as if it were not there, also after its writer was killed.
#[tokio::test(flavor = "multi_thread")]
async fn w25_frames_without_their_commit_are_not_replicated() {
    let bench = Bench::new();
    fill(&bench.app(512), 50, 200);
    let replicator = bench.start();
    replicator.sync().await.unwrap();
    let before = bench.restore_latest().await;
    let script = "
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('PRAGMA cache_size = 1')
c.execute('BEGIN')
for i in range(4000): c.execute('INSERT INTO t(b, n) VALUES(randomblob(1000), ?)', (i,))
print('ready', flush=True)
sys.stdin.read()
";
    let mut child = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(bench.db())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    let wal = std::fs::metadata(bench.settings().wal_path())
        .unwrap()
        .len();
    assert!(wal > 4000 * 512, "the transaction spilled: {wal} bytes");
    replicator.sync().await.unwrap();
    assert_same(&before, &bench.restore_latest().await);
    child.kill().unwrap();
    child.wait().unwrap();
    replicator.sync().await.unwrap();
    assert_same(&before, &bench.restore_latest().await);
    // The next writer writes over those frames.
    fill(&bench.app(512), 20, 300);
    replicator.sync().await.unwrap();
    replicator.close().await;
    bench.assert_contiguous().await;
    bench.assert_restores().await;
}

#[test]
fn w37_a_wal_without_a_valid_header_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let original = written_by_sqlite(&mut StdRng::seed_from_u64(37), 1024);
    let garbage: Vec<u8> = (0..4000u32).map(|i| (i * 37 % 251) as u8).collect();
    let one_frame_cut = {
        let h = WalHeader::parse(&original.wal).unwrap();
        let len = frame_offset(1, h.page_size) as usize - 1;
        original.wal[..len].to_vec()
    };
    let wals = [
        vec![],
        vec![0; 1],
        vec![0; 31],
        vec![0; 32],
        vec![0; 4096],
        garbage,
        original.wal[..31].to_vec(),
        original.wal[..32].to_vec(),
        one_frame_cut,
    ];
    for wal in wals {
        assert!(recover(&wal).is_none(), "{} bytes", wal.len());
        let pair = Pair {
            wal,
            ..original.clone()
        };
        pair.check(dir.path(), "no content");
    }
}
