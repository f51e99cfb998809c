//! Looks at a live database from outside: never through a descriptor of this process, which would drop its locks.
#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used)] // tests stand outside of the seam

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

pub fn side(path: &Path, suffix: &str) -> PathBuf {
    format!("{}{suffix}", path.display()).into()
}

/// The committed state of a database that may be in use: copied by another process, then checkpointed there.
pub fn live_image(path: &Path) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let from = side(path, suffix);
        if from.exists() {
            let to = side(&copy, suffix);
            let done = Command::new("cp").arg(&from).arg(&to).status().unwrap();
            assert!(done.success());
        }
    }
    let conn = rusqlite::Connection::open(&copy).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    std::fs::read(&copy).unwrap()
}

/// Every file below a folder: length and time of last change.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut out = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(m) = entry.metadata() else { continue };
            if m.is_dir() {
                folders.push(entry.path());
            } else {
                out.insert(entry.path(), (m.len(), m.modified().unwrap()));
            }
        }
    }
    out
}

/// Temporary files below a folder.
pub fn leftovers(root: &Path) -> Vec<PathBuf> {
    let names = tree(root).into_keys();
    names
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| n.to_string_lossy().contains(".tmp"))
        })
        .collect()
}
