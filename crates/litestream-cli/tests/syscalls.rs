//! Killed at its system calls that change something, one after another; and what it opens and closes.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod oracle;
mod strace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oracle::{app, assert_contiguous, assert_same, fill, image, leftovers, restore};
use rusqlite::Connection;
use strace::{CHANGING, counts, points, trace_of};

const OURS: &str = env!("CARGO_BIN_EXE_litestream");

struct Place {
    dir: tempfile::TempDir,
    conn: Connection,
}

impl Place {
    /// A database with a WAL, and `history` syncs behind it.
    fn new(history: usize) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let conn = app(&dir.path().join("app.db"), 4096, "NONE");
        fill(&conn, 60, 500);
        let place = Place { dir, conn };
        for _ in 0..history {
            place.once();
            fill(&place.conn, 5, 500);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn url(&self) -> String {
        format!("file://{}", self.path("backup").display())
    }

    fn once(&self) {
        let mut command = Command::new(OURS);
        let command = command
            .args(["replicate", "-once"])
            .arg(self.path("app.db"))
            .arg(self.url());
        let done = command.current_dir(self.dir.path()).output().unwrap();
        assert!(
            done.status.success(),
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// `replicate` under strace.
    fn traced(&self, strace: &[String], args: &[&str]) -> Command {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-o"])
            .arg(self.path("trace"))
            .args(strace)
            .arg(OURS)
            .arg("replicate")
            .args(args)
            .arg(self.path("app.db"))
            .arg(self.url())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn trace(&self) -> String {
        let bytes =
            std::fs::read(self.path("trace")).expect("strace is needed: apt-get install strace");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The next start puts everything right.
    fn recovers(&self, what: &str) {
        self.once();
        let expected = image(&self.path("app.db"));
        let restored = restore(Path::new(OURS), &self.url(), self.dir.path());
        assert_same(what, &expected, &restored);
        assert_contiguous(what, &self.path("backup"));
        let left = leftovers(self.dir.path());
        assert!(left.is_empty(), "{what}: {left:?}");
    }
}

/// Something to do for the program; returns when it is done or dead.
type Run = fn(&Place, &[String]);

fn in_one_go(place: &Place, strace: &[String]) {
    let args = ["-once", "-force-snapshot", "-enforce-retention"];
    place.traced(strace, &args).status().expect("strace");
}

/// A live run with small commits and one that makes a checkpoint due.
fn live(place: &Place, strace: &[String]) {
    let mut child = place.traced(strace, &[]).spawn().expect("strace");
    for round in 0..4 {
        std::thread::sleep(Duration::from_millis(70));
        fill(&place.conn, if round == 1 { 1200 } else { 3 }, 3500);
    }
    // The program is strace's child; it ends by a final sync.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let pid = std::fs::read_to_string(children).unwrap_or_default();
    if !pid.trim().is_empty() {
        let mut kill = Command::new("kill");
        kill.args(["-TERM", pid.trim()]).status().unwrap();
    }
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills `run` at each of its points, or at `limit` of them spread over all (`LITESTREAM_POINTS` sets another limit).
fn killed_everywhere(history: usize, limit: usize, run: Run) {
    let place = Place::new(history);
    let all: Vec<String> = CHANGING.iter().map(|c| format!("?{c}")).collect();
    run(&place, &trace_of(&all.join(",")));
    let counts = counts(&place.trace());
    assert!(counts.values().sum::<usize>() > 30, "{counts:?}");
    place.recovers("not killed");
    let limit = std::env::var("LITESTREAM_POINTS").map_or(limit, |s| s.parse().expect("a number"));
    let (points, mut killed) = (points(&counts, limit), 0);
    for (name, number) in &points {
        let what = format!("killed at {name} {number}");
        let place = Place::new(history);
        let mut strace = trace_of(name);
        strace.extend([
            "-e".into(),
            format!("inject={name}:signal=KILL:when={number}"),
        ]);
        run(&place, &strace);
        killed += usize::from(place.trace().contains("killed by SIGKILL"));
        place.recovers(&what);
    }
    let all = points.len();
    println!("{killed} of {all} points reached, of {counts:?}");
    assert!(killed > all / 2, "only {killed} of {all} were reached");
}

#[test]
fn killed_at_any_call_of_the_first_sync() {
    killed_everywhere(0, 80, in_one_go);
}

#[test]
fn killed_at_any_call_of_a_later_sync() {
    killed_everywhere(2, 80, in_one_go);
}

#[test]
fn killed_at_any_call_of_a_live_run() {
    killed_everywhere(1, 30, live);
}

/// W30: nothing but SQLite's own connections opens the database or its WAL-index, and they are closed at the end only.
#[test]
fn w30_the_database_is_opened_by_sqlite_only() {
    for run in [in_one_go as Run, live as Run] {
        let place = Place::new(1);
        let strace = [
            "-y",
            "-s",
            "300",
            "-e",
            "trace=?open,openat,close,dup,?dup2,dup3,write",
        ];
        run(&place, &strace.map(str::to_owned));
        let trace = place.trace();
        let db = place.path("app.db").display().to_string();
        let (mut opened, mut first_close, mut last_open, mut ending) =
            (BTreeMap::<String, usize>::new(), None, 0, None);
        for (i, line) in trace.lines().enumerate() {
            let call = line.split_once(' ').map_or("", |(_, c)| c.trim_start());
            for file in [db.clone(), format!("{db}-shm")] {
                if call.starts_with("open") && call.contains(&format!("\"{file}\"")) {
                    *opened.entry(file.clone()).or_default() += 1;
                    last_open = i;
                }
                if call.starts_with("close") && call.contains(&format!("<{file}>")) {
                    first_close.get_or_insert(i);
                }
                assert!(!call.starts_with("dup") || !call.contains(&file), "{line}");
            }
            if call.starts_with("write(") && call.contains("shutting down") {
                ending.get_or_insert(i);
            }
        }
        // The sentinel, the checkpointer and the reader; the WAL-index is shared by all connections of a process.
        let (dbs, shms) = (opened[&db], opened[&format!("{db}-shm")]);
        assert!((1..=3).contains(&dbs) && shms == 1, "{opened:?}");
        let (first_close, ending) = (first_close.expect("closed"), ending.expect("said so"));
        assert!(
            last_open < first_close && ending < first_close,
            "opened {last_open}, ending {ending}, closed {first_close}\n{trace}"
        );
    }
}
