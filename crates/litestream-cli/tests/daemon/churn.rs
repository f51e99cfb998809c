//! Databases that come and go without end in a watched folder: nothing grows, none is missed.
//!
//! `LITESTREAM_CHURN_EVENTS` says how many come, change their names or go; 600 if it does not.

use std::collections::BTreeMap;
use std::fs;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::oracle;
use crate::world::{Daemon, World, wait_for};

const WATCHED: &str = "
dbs:
  - {dir: DIR/d, pattern: '*.db', recursive: true, watch: true, replica: {path: DIR/r}}
";

/// So many databases stay from the beginning to the end.
const STAY: usize = 4;
/// And at most so many more are there at the same time.
const COME: usize = 8;
/// What a replicated database may need: its worker, and its files.
const THREADS_EACH: usize = 4;
const FILES_EACH: usize = 12;
const WATCHES_EACH: usize = 6;

/// What a process has that could leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holds {
    files: usize,
    threads: usize,
    watches: usize,
}

impl Holds {
    fn of(daemon: &Daemon<'_>) -> Holds {
        Holds {
            files: daemon.descriptors().len(),
            threads: daemon.threads(),
            watches: daemon.watches(),
        }
    }

    /// Leaves out what questions over the socket need for a moment, and threads of the pool that come and go.
    fn is_within(&self, least: &Holds, files: usize, threads: usize, watches: usize) -> bool {
        self.files <= least.files + files
            && self.threads <= least.threads + threads
            && self.watches <= least.watches + watches
    }
}

struct Folder<'a> {
    world: &'a World,
    /// Those that may go, and how they were made.
    there: BTreeMap<String, u32>,
    made: u32,
    random: StdRng,
}

impl Folder<'_> {
    /// One event. The program may see it, or only what came of several.
    fn step(&mut self) {
        let choice = self.random.random_range(0..10u32);
        let any = self.random.random_range(0..self.there.len().max(1));
        let picked = self.there.keys().nth(any).cloned();
        match picked {
            Some(name) if choice < 4 || self.there.len() == COME => {
                self.world.remove(&name);
                self.there.remove(&name);
            }
            Some(name) if choice < 6 => {
                let to = self.fresh();
                let (from, into) = (self.world.path(&name), self.world.path(&to));
                let wal = oracle::side(&from, "-wal");
                if wal.exists() {
                    fs::rename(wal, oracle::side(&into, "-wal")).unwrap();
                }
                fs::rename(&from, into).unwrap();
                let _ = fs::remove_file(oracle::side(&from, "-shm"));
                let made = self.there.remove(&name).unwrap();
                self.there.insert(to, made);
            }
            _ => {
                let name = self.fresh();
                self.made += 1;
                let path = self.world.path(&name);
                // Half of them come with one rename.
                let first = if choice.is_multiple_of(2) {
                    path.clone()
                } else {
                    self.world.path("elsewhere.db")
                };
                let conn = rusqlite::Connection::open(&first).unwrap();
                conn.execute_batch(&format!("PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL; CREATE TABLE t AS SELECT {} AS n", self.made)).unwrap();
                drop(conn);
                if first != path {
                    fs::rename(first, path).unwrap();
                }
                self.there.insert(name, self.made);
            }
        }
    }

    /// A name that was never there, or was given up long ago.
    fn fresh(&mut self) -> String {
        loop {
            let folder = self.random.random_range(0..3);
            let number = self.random.random_range(0..100_000);
            let name = format!("d/{folder}/{number}.db");
            if !self.there.contains_key(&name) {
                return name;
            }
        }
    }
}

#[test]
fn databases_that_come_and_go_leave_nothing_behind_and_none_is_missed() {
    let events = std::env::var("LITESTREAM_CHURN_EVENTS").map_or(600, |n| n.parse().unwrap());
    let world = World::new(WATCHED);
    for folder in ["d/0", "d/1", "d/2"] {
        world.folder(folder);
    }
    let stay: Vec<String> = (0..STAY).map(|i| format!("d/stay{i}.db")).collect();
    let open: Vec<_> = stay.iter().map(|name| world.database(name)).collect();
    let daemon = world.start();
    for name in &stay {
        daemon.sync(name);
    }
    let quiet = wait_for(|| Holds::of(&daemon), |holds| holds.watches > STAY);
    let mut folder = Folder {
        world: &world,
        there: BTreeMap::new(),
        made: 0,
        random: StdRng::seed_from_u64(20),
    };
    for event in 0..events {
        folder.step();
        // Now and then there is time for the program to follow.
        if event % 50 == 49 {
            std::thread::sleep(std::time::Duration::from_millis(400));
            oracle::fill(&open[event as usize / 50 % STAY], 3, 200);
        }
        if event % 10 == 0 {
            let holds = Holds::of(&daemon);
            let most = 3 * COME;
            let fits = holds.is_within(
                &quiet,
                most * FILES_EACH,
                most * THREADS_EACH,
                most * WATCHES_EACH,
            );
            assert!(
                fits,
                "after {event} events: {holds:?}, at the beginning {quiet:?}"
            );
        }
    }
    let mut all: Vec<&str> = folder.there.keys().map(String::as_str).collect();
    all.extend(stay.iter().map(String::as_str));
    all.sort_unstable();
    daemon.wait_for_names(&all);
    for name in &all {
        daemon.assert_follows(name, &name.replacen("d/", "r/", 1));
    }
    for (name, made) in &folder.there {
        let dir = tempfile::tempdir().unwrap();
        let bytes = world.restored(&name.replacen("d/", "r/", 1));
        fs::write(dir.path().join("r"), bytes).unwrap();
        let restored = rusqlite::Connection::open(dir.path().join("r")).unwrap();
        let n: u32 = restored
            .query_row("SELECT n FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(n, *made, "{name}");
    }
    // With the databases of the beginning it holds what it held at the beginning.
    for name in folder.there.keys() {
        world.remove(name);
    }
    let names: Vec<&str> = stay.iter().map(String::as_str).collect();
    daemon.wait_for_names(&names);
    wait_for(
        || (quiet, Holds::of(&daemon), daemon.descriptors()),
        // Those that stay have other connections for checkpoints by now; one file for each that went would be far more.
        |(quiet, holds, _)| holds.is_within(quiet, 6 * STAY, 4, 0),
    );
    daemon.end_well();
}
