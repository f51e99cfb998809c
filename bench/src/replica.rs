//! A replica in a folder, as seen from outside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ltx::{HEADER_SIZE, Header};

use crate::process::Running;

/// Folder of a level.
pub fn level(replica: &Path, level: u8) -> PathBuf {
    replica.join("ltx").join(level.to_string())
}

/// Names of the finished files of a level, ascending.
pub fn files(replica: &Path, number: u8) -> Vec<String> {
    // A level that does not exist yet is empty.
    let entries = std::fs::read_dir(level(replica, number))
        .into_iter()
        .flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_finished(name))
        .collect();
    names.sort_unstable();
    names
}

/// Whether a file of this name is complete: temporary files are named otherwise.
pub fn is_finished(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "ltx") && !name.starts_with('.')
}

/// How many files there are below a folder.
pub fn count_files(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_files(&entry.path()),
            _ => 1,
        })
        .sum()
}

/// The finished files of all levels, with their sizes.
pub fn sizes(replica: &Path) -> BTreeMap<PathBuf, u64> {
    let all = (0..=9).flat_map(|number| {
        let names = files(replica, number).into_iter();
        names.map(move |name| level(replica, number).join(name))
    });
    // A file may go meanwhile.
    all.filter_map(|path| Some((path.clone(), path.metadata().ok()?.len())))
        .collect()
}

/// Waits until a level gets a file, in the replica of this scratch folder or among the local files, and until it is finished in the replica; when each was seen.
/// What is finished already does not count.
pub fn wait_made(
    dir: &Path,
    number: u8,
    program: &Running,
    limit: Duration,
) -> Result<(Instant, Instant)> {
    let (replica, state) = (dir.join("replica"), dir.join(".app.db-litestream"));
    let entries = || {
        let folders = [&replica, &state].map(|root| level(root, number));
        let entries = folders.into_iter().flat_map(std::fs::read_dir).flatten();
        entries.flatten().map(|entry| entry.path()).collect()
    };
    let start = Instant::now();
    let (known, finished): (Vec<PathBuf>, _) = loop {
        let (known, finished): (Vec<PathBuf>, _) = (entries(), files(&replica, number));
        // What is being made already began at an unknown time.
        let is_temporary = |path: &PathBuf| path.to_string_lossy().contains(".tmp");
        if !known.iter().any(is_temporary) || start.elapsed() > limit {
            break (known, finished);
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut began = None;
    loop {
        let now: Vec<PathBuf> = entries();
        if began.is_none() && now.iter().any(|path| !known.contains(path)) {
            began = Some(Instant::now());
        }
        let made = files(&replica, number);
        if let Some(began) = began
            && made.iter().any(|name| !finished.contains(name))
        {
            return Ok((began, Instant::now()));
        }
        if start.elapsed() > limit {
            bail!("no file in level {number} after {limit:?}");
        }
        program.check_alive()?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Size in pages of the database after this file; None if the file has gone meanwhile.
pub fn pages_after(path: &Path) -> Option<u32> {
    let mut header = [0; HEADER_SIZE];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    Some(Header::decode(&header).ok()?.commit)
}

/// Waits for the first finished file of any level; the time is taken when it was seen.
pub fn wait_first(replica: &Path, program: &Running, limit: Duration) -> Result<Instant> {
    let begin = Instant::now();
    loop {
        if (0..=9).any(|number| !files(replica, number).is_empty()) {
            return Ok(Instant::now());
        }
        if begin.elapsed() > limit {
            bail!("no file in the replica after {limit:?}");
        }
        program.check_alive()?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for a file of level 0 after which the database has `pages` pages or more: since every marker makes the
/// database larger than it ever was, such a file holds the marker.
pub fn wait_pages(
    replica: &Path,
    pages: u32,
    program: &Running,
    limit: Duration,
) -> Result<Instant> {
    let begin = Instant::now();
    let mut seen = String::new();
    loop {
        for name in files(replica, 0) {
            if name > seen {
                if pages_after(&level(replica, 0).join(&name)).is_some_and(|n| n >= pages) {
                    return Ok(Instant::now());
                }
                seen = name;
            }
        }
        if begin.elapsed() > limit {
            bail!("the replica is not current after {limit:?}");
        }
        program.check_alive()?;
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the program uses next to no processor time for a second, or until `limit`. Whether it came to rest.
pub fn wait_quiet(program: &Running, limit: Duration) -> Result<bool> {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        let before = program.cpu()?;
        std::thread::sleep(Duration::from_secs(1));
        program.check_alive()?;
        if program.cpu()? - before < 0.03 {
            return Ok(true);
        }
    }
    Ok(false)
}
