//! SQLite as the judge: the same bytes, opened by it.
// The judge stands outside of the seam: it works on real files.
#![allow(clippy::disallowed_methods)]

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ltx::PageSize;
use rusqlite::Connection;
use tempfile::TempDir;

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

static BASES: Mutex<BTreeMap<u32, Vec<u8>>> = Mutex::new(BTreeMap::new());

fn side(path: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", path.display()).into()
}

/// In memory where that is possible: thousands of small files are made and dropped.
fn folder_in_memory() -> TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).unwrap()
}

/// A folder of this thread's own.
fn in_folder<T>(work: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|folder| work(folder.get_or_init(folder_in_memory).path()))
}

/// A small database in WAL mode, the same for each page size every time.
pub(crate) fn base(page_size: PageSize) -> Vec<u8> {
    let mut bases = BASES
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    bases
        .entry(page_size.get())
        .or_insert_with(|| make_base(page_size))
        .clone()
}

fn make_base(page_size: PageSize) -> Vec<u8> {
    in_folder(|folder| {
        let path = folder.join("base.db");
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(side(&path, suffix));
        }
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "page_size", page_size.get())
            .unwrap();
        conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
            .unwrap();
        conn.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
            .unwrap();
        for id in 0..5 {
            let sql = "INSERT INTO t VALUES(?1, zeroblob(?2))";
            conn.execute(sql, [id, i64::from(page_size.get()) / 2])
                .unwrap();
        }
        drop(conn);
        std::fs::read(&path).unwrap()
    })
}

/// The database file after SQLite took all that is committed in the WAL into it. `None` if it refuses to.
pub(crate) fn checkpointed(base: &[u8], wal: &[u8]) -> Option<Vec<u8>> {
    in_folder(|folder| {
        let path = folder.join("copy.db");
        let _ = std::fs::remove_file(side(&path, "-shm"));
        std::fs::write(&path, base).unwrap();
        std::fs::write(side(&path, "-wal"), wal).unwrap();
        let conn = Connection::open(&path).unwrap();
        let done = checkpoint(&conn);
        drop(conn);
        done.ok()?;
        Some(std::fs::read(&path).unwrap())
    })
}

fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    // A page count that contradicts page 1 is no matter here.
    conn.execute_batch("PRAGMA writable_schema = ON; PRAGMA synchronous = OFF")?;
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
