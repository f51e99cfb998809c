//! `restore -f` as a process: signals, kills at any time and at any call, readers in other processes, the original.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod oracle;
mod strace;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oracle::side;
use rusqlite::Connection;
use strace::{CHANGING, counts, points, trace_of};

const OURS: &str = env!("CARGO_BIN_EXE_litestream");

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn copy(&self) -> Place {
        let place = Place::new();
        let mut cp = Command::new("cp");
        cp.arg("-a").arg(self.path(".")).arg(place.dir.path());
        assert!(cp.status().unwrap().success());
        place
    }

    fn url(&self) -> String {
        format!("file://{}", self.path("backup").display())
    }

    /// The application's connection: what table `a` gains `b` loses.
    fn app(&self) -> Connection {
        let conn = oracle::app(&self.path("app.db"), 4096, "INCREMENTAL");
        conn.execute_batch(
            "CREATE TABLE IF NOT EXISTS a(id INTEGER PRIMARY KEY, n INT, pad); CREATE TABLE IF NOT EXISTS b(id INTEGER PRIMARY KEY, n INT, pad);
             WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c LIMIT 300) INSERT OR IGNORE INTO a SELECT i, 0, randomblob(300) FROM c;
             INSERT OR IGNORE INTO b SELECT id, 0, randomblob(300) FROM a",
        )
        .unwrap();
        conn
    }

    fn replicate(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("replicate").args(args);
        command.arg(self.path("app.db")).arg(self.url());
        quiet(&mut command);
        command
    }

    fn once(&self) {
        let done = self.replicate(Path::new(OURS), &["-once"]).status();
        assert!(done.unwrap().success());
    }

    fn follow_command(&self, program: &Path) -> Command {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let mut command = Command::new(program);
        command.args(["restore", "-json", "-f", "-follow-interval", "10ms", "-o"]);
        command.arg(self.path("copy.db")).arg(self.url());
        quiet(&mut command).stderr(log);
        command
    }

    fn follow(&self) -> Child {
        self.follow_command(Path::new(OURS)).spawn().unwrap()
    }

    /// Follows up to a TXID. Before it said that it began, a signal would end it as it ends any process.
    fn follow_to(&self, txid: u64) {
        std::fs::write(self.path("log"), "").unwrap();
        let follower = self.follow();
        wait(&format!("begins: {}", self.log()), || {
            self.log().contains("entering follow mode")
        });
        self.reaches(txid);
        stop(follower);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What the position file says, once there is a database.
    fn position(&self) -> u64 {
        if !self.path("copy.db").exists() {
            return 0;
        }
        let text = std::fs::read_to_string(self.path("copy.db-txid")).unwrap_or_default();
        u64::from_str_radix(text.trim(), 16).unwrap_or(0)
    }

    fn newest(&self) -> u64 {
        let files = oracle::level(&self.path("backup"), 0);
        files.last().map_or(0, |name| name.max.get())
    }

    fn reaches(&self, txid: u64) {
        wait(&format!("TXID {txid}: {}", self.log()), || {
            self.position() >= txid
        });
    }

    /// A plain restore of a TXID.
    fn state(&self, txid: u64) -> Vec<u8> {
        let output = self.path("state.db");
        let mut restore = Command::new(OURS);
        restore.args(["restore", "-force", "-txid", &format!("{txid:016x}"), "-o"]);
        let done = restore.arg(&output).arg(self.url()).output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{text}");
        std::fs::read(output).unwrap()
    }

    /// The followed database; nobody of this process may have it open.
    fn copied(&self) -> Vec<u8> {
        std::fs::read(self.path("copy.db")).unwrap()
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null())
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn signal(pid: u32, name: &str) {
    let mut kill = Command::new("kill");
    kill.args([name, &pid.to_string()]).status().unwrap();
}

/// Ends it with SIGTERM: that is no failure.
fn stop(mut child: Child) {
    signal(child.id(), "-TERM");
    wait("it ends", || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
}

/// Without what differs between a followed database and a plain restore.
fn masked(image: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    image[18..20].fill(0);
    image[24..28].fill(0);
    image
}

fn work(conn: &Connection, round: i64) {
    let tx = conn.unchecked_transaction().unwrap();
    for (table, sign) in [("a", 1), ("b", -1)] {
        let sql = format!("UPDATE {table} SET n = n + ?1 WHERE id % 50 = ?2");
        tx.execute(&sql, (sign * (round % 9), round % 50)).unwrap();
    }
    tx.execute("INSERT INTO t(b, n) VALUES(randomblob(2000), 1)", [])
        .unwrap();
    if round % 20 == 0 {
        tx.execute("DELETE FROM t WHERE id % 2 = 0", []).unwrap();
    }
    tx.commit().unwrap();
    if round % 20 == 1 {
        conn.execute_batch("PRAGMA incremental_vacuum").unwrap();
    }
}

const SUMS: &str = "SELECT (SELECT sum(n) FROM a) + (SELECT sum(n) FROM b)";

/// Another SQLite library, which opens, reads, keeps its cache, and rolls back what a killed follower leaves.
const READER: &str = r#"
import os, sqlite3, sys
db, end, sums = sys.argv[1:]
reads = 0
while not os.path.exists(end):
    c = sqlite3.connect(db, timeout=30)
    for i in range(25):
        found = c.execute(sums).fetchone()[0]
        if found != 0: sys.exit(f"read {reads}: the sums differ by {found}")
        reads += 1
    check = c.execute("PRAGMA integrity_check").fetchone()[0]
    if check != "ok": sys.exit(f"read {reads}: {check}")
    c.close()
print(reads)
"#;

fn reader(place: &Place) -> Child {
    let mut python = Command::new("python3");
    python.args(["-c", READER]);
    python.arg(place.path("copy.db")).arg(place.path("end"));
    python
        .arg(SUMS)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    python.spawn().unwrap()
}

#[test]
fn r32_killed_at_random_times_while_others_read_and_the_source_is_written() {
    let place = Place::new();
    let conn = place.app();
    work(&conn, 1);
    let daemon = place.replicate(Path::new(OURS), &[]).spawn().unwrap();
    wait("a backup", || place.newest() > 0);
    let mut follower = place.follow();
    place.reaches(1);
    let readers = [reader(&place), reader(&place)];
    let mut round = 2;
    for kill in 0..30u64 {
        let until = Instant::now() + Duration::from_millis(10 + kill * 7919 % 190);
        while Instant::now() < until {
            work(&conn, round);
            round += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
        follower.kill().unwrap();
        follower.wait().unwrap();
        follower = place.follow();
    }
    for last in round..round + 5 {
        work(&conn, last);
    }
    stop(daemon);
    place.reaches(place.newest());
    stop(follower);
    std::fs::write(place.path("end"), "").unwrap();
    for reader in readers {
        let done = reader.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{text}");
        let reads = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        assert!(reads.parse::<u64>().unwrap() > 50, "{reads}");
    }
    let (expected, found) = (place.state(place.newest()), place.copied());
    oracle::assert_same("at the end", &masked(&expected), &masked(&found));
    assert!(!place.log().contains("error applying"), "{}", place.log());
    let left = oracle::leftovers(place.dir.path());
    assert!(left.is_empty(), "{left:?}");
}

/// Follows under strace until the newest state is there, or until it is killed.
fn traced(place: &Place, newest: u64, options: &[String]) {
    let plain = place.follow_command(Path::new(OURS));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(place.path("trace"));
    command.args(options).arg(OURS).args(plain.get_args());
    let mut child = quiet(&mut command).spawn().expect("strace");
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let mut told = false;
    wait("it ends", || {
        if !told && place.position() >= newest && !side(&place.path("copy.db"), "-journal").exists()
        {
            let pid = std::fs::read_to_string(&children).unwrap_or_default();
            if let Ok(pid) = pid.trim().parse() {
                signal(pid, "-TERM");
                told = true;
            }
        }
        child.try_wait().unwrap().is_some()
    });
}

fn killed_everywhere(template: &Place, old: Option<u64>, limit: usize) {
    let newest = template.newest();
    let new_state = masked(&template.state(newest));
    let old_state = old.map(|old| masked(&template.state(old)));
    let all: Vec<String> = CHANGING.iter().map(|c| format!("?{c}")).collect();
    let place = template.copy();
    traced(&place, newest, &trace_of(&all.join(",")));
    let trace = std::fs::read_to_string(place.path("trace")).unwrap();
    let counts = counts(&trace);
    assert!(counts.values().sum::<usize>() > 10, "{counts:?}");
    let points = points(&counts, limit);
    let mut killed = 0;
    for (name, number) in &points {
        let what = format!("killed at {name} {number} of {counts:?}");
        let place = template.copy();
        let mut options = trace_of(name);
        let inject = format!("inject={name}:signal=KILL:when={number}");
        options.extend(["-e".into(), inject]);
        traced(&place, newest, &options);
        let trace = std::fs::read_to_string(place.path("trace")).unwrap();
        killed += usize::from(trace.contains("killed by SIGKILL"));
        if place.path("copy.db").exists() {
            let conn = Connection::open(place.path("copy.db")).unwrap();
            let sums: i64 = conn.query_row(SUMS, [], |r| r.get(0)).unwrap();
            drop(conn);
            let found = masked(&place.copied());
            let is_old = old_state.as_ref() == Some(&found);
            assert!(sums == 0 && (is_old || found == new_state), "{what}");
        }
        place.follow_to(newest);
        oracle::assert_same(&what, &new_state, &masked(&place.copied()));
        let left = oracle::leftovers(place.dir.path());
        assert!(left.is_empty(), "{what}: {left:?}");
    }
    println!("{killed} of {} points reached, of {counts:?}", points.len());
    assert!(killed > points.len() / 2, "only {killed} were reached");
}

/// A source with a few syncs; all of it followed but the last ones.
fn template(followed: bool) -> (Place, u64) {
    let place = Place::new();
    let conn = place.app();
    for round in 2..10 {
        work(&conn, round);
        place.once();
    }
    let old = place.newest();
    if followed {
        let follower = place.follow();
        place.reaches(old);
        stop(follower);
    }
    // Grows, changes, and is cut.
    for round in [10, 20, 21, 40, 41] {
        work(&conn, round);
        place.once();
    }
    (place, old)
}

#[test]
fn r32_killed_at_any_call_of_an_apply() {
    let (place, old) = template(true);
    killed_everywhere(&place, Some(old), 70);
}

#[test]
fn r32_killed_at_any_call_of_the_first_restore() {
    let (place, _) = template(false);
    killed_everywhere(&place, None, 40);
}

#[test]
fn a_signal_ends_it_well_and_what_it_says() {
    let place = Place::new();
    let conn = place.app();
    place.once();
    for name in ["-TERM", "-INT", "-HUP"] {
        let mut command = place.follow_command(Path::new(OURS));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        wait("entered", || place.log().contains("entering follow mode"));
        work(&conn, 3);
        place.once();
        place.reaches(place.newest());
        wait("said so", || {
            place.log().contains("follow: applied updates")
        });
        signal(child.id(), name);
        wait("it ends", || child.try_wait().unwrap().is_some());
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{name}");
        let document = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(document.contains("\"txid\": \"\""), "{document}");
        assert!(place.log().contains("follow mode stopped"));
        std::fs::write(place.path("log"), "").unwrap();
    }
}

#[test]
fn the_original_follows_ours() {
    let place = Place::new();
    let conn = place.app();
    place.once();
    let original = oracle::program();
    let follower = place.follow_command(&original).spawn().unwrap();
    place.reaches(1);
    for round in 2..30 {
        work(&conn, round);
        if round % 4 == 0 {
            place.once();
        }
    }
    place.once();
    place.reaches(place.newest());
    stop(follower);
    let (expected, found) = (place.state(place.newest()), place.copied());
    oracle::assert_same("the original", &masked(&expected), &masked(&found));
    // And ours goes on with what it left.
    work(&conn, 31);
    place.once();
    let follower = place.follow();
    place.reaches(place.newest());
    stop(follower);
    let (expected, found) = (place.state(place.newest()), place.copied());
    oracle::assert_same("taken over", &masked(&expected), &masked(&found));
}

#[test]
fn ours_follows_the_original() {
    let place = Place::new();
    let conn = place.app();
    work(&conn, 1);
    let original = oracle::program();
    let daemon = place.replicate(&original, &[]).spawn().unwrap();
    wait("a backup", || place.newest() > 0);
    let follower = place.follow();
    for round in 2..200 {
        work(&conn, round);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(1500));
    stop(daemon);
    place.reaches(place.newest());
    stop(follower);
    let (expected, found) = (place.state(place.newest()), place.copied());
    oracle::assert_same("at the end", &masked(&expected), &masked(&found));
}
