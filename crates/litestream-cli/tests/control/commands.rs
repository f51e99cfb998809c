//! The commands, ours and Litestream's, against both daemons.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;
use serde_json::Value;

use crate::common::{Done, LITESTREAM, Place, wait_until};
use crate::oracle;
use crate::served::Served;

/// Litestream 0.5.17 with one database, ended with the test.
pub struct Original {
    pub place: Place,
    child: Child,
    /// An application has it open.
    _db: Connection,
}

impl Original {
    pub fn new() -> Original {
        let place = Place::new();
        let db = place.database("a.db");
        let config = format!(
            "socket: {{enabled: true, path: {}}}\ndbs:\n  - path: {}\n    replica: {{path: {}}}\n",
            place.path("s").display(),
            place.path("a.db").display(),
            place.path("a.db-replica").display(),
        );
        std::fs::write(place.path("c.yml"), config).unwrap();
        let child = Command::new(oracle::program())
            .args(["replicate", "-config", "c.yml"])
            .current_dir(place.path("."))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let original = Original {
            place,
            child,
            _db: db,
        };
        wait_until("the socket of the original", || original.place.exists("s"));
        original
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Our daemon with one database that an application has open.
pub fn ours() -> (Served, Connection) {
    let served = Served::new();
    let db = served.place.database("a.db");
    served.register("a.db");
    (served, db)
}

/// A configuration of the machine must not say where the socket is: only ours would look there.
fn run(program: &Path, place: &Place, args: &[&str]) -> Done {
    let mut command = place.command(program.to_str().unwrap(), args);
    let done = command
        .env("LITESTREAM_CONFIG", place.path("none.yml"))
        .output();
    done.unwrap().into()
}

/// What differs between two runs, times and processes, or between the engines: when a database is opened again, the original makes a
/// transaction of its own.
const VARIES: &[&str] = &[
    "PID:",
    "Uptime:",
    "Started at:",
    "Litestream ",
    "duration_ms",
    "final_txid",
];

/// With these parts left out.
fn normal(text: &str, place: &Place) -> String {
    let text = text.replace(&place.path("").display().to_string(), "DIR/");
    let lines = text.lines().map(|line| {
        if let Some(key) = VARIES.iter().find(|key| line.contains(*key)) {
            return format!("{}\n", &line[..line.find(key).unwrap() + key.len()]);
        }
        let Some((before, at)) = line.split_once("(last sync: ") else {
            return format!("{line}\n");
        };
        let is_whole = at.ends_with(')') && !at.contains('.');
        assert!(is_whole || at == "never)", "{line}");
        format!("{before}(last sync: AT)\n")
    });
    lines.collect()
}

/// Each way to ask, told by what it leaves behind.
const SESSION: &[&[&str]] = &[
    &["sync", "-wait", "-socket", "s", "DIR/a.db"],
    &["info", "-socket", "s"],
    &["list", "-socket", "s"],
    &["start", "-socket", "s", "DIR/a.db"],
    &["start", "-json", "-socket", "s", "DIR/a.db"],
    &["sync", "-socket", "s", "DIR/a.db"],
    &["sync", "-json", "-socket", "s", "DIR/a.db"],
    &["sync", "-json", "-wait", "-socket", "s", "DIR/a.db"],
    &[
        "register",
        "-socket",
        "s",
        "-replica",
        "file:///x",
        "DIR/a.db",
    ],
    &[
        "register",
        "-json",
        "-socket",
        "s",
        "-replica",
        "file:///x",
        "DIR/a.db",
    ],
    &["register", "-socket", "s", "-replica", "nope", "DIR/b.db"],
    &["stop", "-socket", "s", "DIR/a.db"],
    &["stop", "-socket", "s", "-json", "DIR/a.db"],
    &["list", "-socket", "s"],
    &["sync", "-socket", "s", "DIR/a.db"],
    &["start", "-socket", "s", "-timeout", "5", "DIR/a.db"],
    &["start", "-socket", "s", "/nope"],
    &["stop", "-socket", "s", "/nope"],
    &["sync", "-socket", "s", "/nope"],
    &["unregister", "-socket", "s", "DIR/a.db"],
    &["unregister", "-socket", "s", "DIR/a.db"],
    &["unregister", "-json", "-socket", "s", "DIR/a.db"],
    &["list", "-socket", "s"],
    &["list", "-json", "-socket", "s"],
    &[
        "register",
        "-socket",
        "s",
        "-replica",
        "file://DIR/r",
        "DIR/a.db",
    ],
    &["unregister", "-json", "-socket", "s", "DIR/a.db"],
];

fn session(program: &Path, place: &Place) -> Vec<String> {
    let dir = place.path("").display().to_string();
    let asks = SESSION.iter().map(|args| {
        let args: Vec<String> = args.iter().map(|arg| arg.replace("DIR/", &dir)).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let done = run(program, place, &args);
        let (stdout, stderr) = (normal(&done.stdout, place), normal(&done.stderr, place));
        format!("{args:?}\n{stdout}{stderr}exit {}\n", done.code).replace(&dir, "DIR/")
    });
    asks.collect()
}

/// Four sessions: each client with each daemon prints the same.
#[test]
fn both_clients_print_the_same_with_both_daemons() {
    let (their, our) = (oracle::program(), PathBuf::from(LITESTREAM));
    let expected = session(&their, &Original::new().place);
    let others = [
        (
            "our client, their daemon",
            session(&our, &Original::new().place),
        ),
        ("their client, our daemon", session(&their, &ours().0.place)),
        ("our client, our daemon", session(&our, &ours().0.place)),
    ];
    for (who, found) in others {
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(found, expected, "{who}");
        }
    }
}

/// The documents of `info` and `list`: at least the original's fields, in its order, of the same types.
#[test]
fn documents_have_the_fields_of_the_original() {
    let (original, (served, _db)) = (Original::new(), ours());
    let (their, our) = (oracle::program(), PathBuf::from(LITESTREAM));
    let places = [&original.place, &served.place];
    for (program, place) in [&their, &our]
        .into_iter()
        .flat_map(|p| places.map(|place| (p, place)))
    {
        let path = place.path("a.db").display().to_string();
        let done = run(program, place, &["sync", "-wait", "-socket", "s", &path]);
        assert_eq!(done.code, 0, "{done:?}");
        for (args, fields) in [
            (
                ["info", "-json", "-socket", "s"],
                &[
                    "version",
                    "pid",
                    "uptime_seconds",
                    "started_at",
                    "database_count",
                ][..],
            ),
            (
                ["list", "-json", "-socket", "s"],
                &["databases", "path", "status", "last_sync_at"][..],
            ),
        ] {
            let done = run(program, place, &args);
            assert_eq!((done.code, done.stderr.as_str()), (0, ""));
            let found: Value = serde_json::from_str(&done.stdout).unwrap();
            assert!(found.is_object());
            let mut rest = done.stdout.as_str();
            for field in fields {
                let key = format!("\"{field}\": ");
                let at = rest
                    .find(&key)
                    .unwrap_or_else(|| panic!("{field} in {done:?}"));
                rest = &rest[at + key.len()..];
            }
        }
    }
}

#[test]
fn arguments_are_checked_as_the_original_checks_them() {
    let place = Place::new();
    std::fs::write(place.path("file"), "").unwrap();
    let same: &[&[&str]] = &[
        &["register"],
        &["register", "a", "b"],
        &["register", "-replica", "file:///x"],
        &["register", "/x"],
        &["register", "-timeout", "0", "-replica", "file:///x", "/x"],
        &["start"],
        &["stop"],
        &["sync"],
        &["unregister"],
        &["start", "a", "b"],
        &["sync", "-timeout", "0", "x", "y"],
        &["sync", "-timeout", "0", "/x"],
        &["unregister", "-timeout=-1", "/x"],
        &["unregister", "-dry-run", "-timeout", "0", "/x"],
        &["unregister", "-dry-run", "/x"],
        &[
            "unregister",
            "-dry-run",
            "-socket",
            "/s",
            "-timeout",
            "7",
            "/x",
        ],
        &["list", "x"],
        &["info", "x"],
        &["info", "-timeout", "0"],
        &["list", "-timeout=-5"],
        &["list", "-socket", ""],
        &["list", "-socket", "/nope/s"],
        &["info", "-socket", "file"],
        &["start", "-socket", "/nope/s", "/x"],
        &["sync", "-wait", "-socket", "file", "/x"],
    ];
    for args in same {
        let their = run(&oracle::program(), &place, args);
        let our = run(Path::new(LITESTREAM), &place, args);
        assert_eq!(
            (our.code, &our.stdout, &our.stderr),
            (their.code, &their.stdout, &their.stderr),
            "{args:?}"
        );
    }
    let done = place.run(&["stop", "-timeout=-1", "/x"]);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (1, "Error: timeout must not be negative\n")
    );
    let done = place.run(&["start", "file:///x"]);
    assert_eq!(
        done.stderr,
        "Error: database path expected but this is a URL: file:///x\nTry: litestream start /path/to/db\n"
    );
    let done = place.run(&["start", ""]);
    assert_eq!(
        done.stderr,
        "Error: database path required\nTry: litestream start /path/to/db\n"
    );
    let done = place.run(&["reload", "x"]);
    assert_eq!(done.stderr, "Error: too many arguments\n");
}

#[test]
fn a_preview_is_a_document_if_one_is_wanted() {
    let place = Place::new();
    let done = place.run(&["unregister", "-dry-run", "-json", "-socket", "/s", "/x"]);
    let expected = "{\n  \"status\": \"dry_run\",\n  \"db_path\": \"/x\",\n  \"socket\": \"/s\",\n  \"timeout_seconds\": 30\n}\n";
    assert_eq!((done.code, done.stdout.as_str()), (0, expected));
}

/// The daemon's folder is another one than the client's.
#[test]
fn relative_paths_are_the_clients() {
    let (served, _db) = ours();
    let done = served.place.run(&["sync", "-socket", "s", "x/../a.db"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.starts_with(&format!(
        "db_path: {}\n",
        served.place.path("a.db").display()
    )));
    let done = served.place.run(&["sync", "-socket", "s", "~/nope.db"]);
    let home = std::env::var("HOME").unwrap();
    assert_eq!(
        done.stderr,
        format!("Error: sync failed: database not found: {home}/nope.db\n")
    );
}

/// Whoever accepts and says nothing, says nonsense, or hangs up.
#[test]
fn daemons_that_do_not_answer() {
    use std::io::{Read as _, Write as _};
    let place = Place::new();
    let answers: [&'static [u8]; 4] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\noops\n",
        b"SSH-2.0-x\r\n",
    ];
    let listener = std::os::unix::net::UnixListener::bind(place.path("s")).unwrap();
    let thread = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
        let silent = listener.accept().unwrap();
        std::thread::sleep(std::time::Duration::from_secs(3));
        drop(silent);
    });
    let said = |timeout: &str| {
        place
            .run(&["list", "-socket", "s", "-timeout", timeout])
            .stderr
    };
    let unreachable = "Error: failed to connect to control socket: Get \"http://localhost/list\": ";
    assert_eq!(said("9"), format!("{unreachable}EOF\n"));
    assert!(said("9").starts_with("Error: failed to parse response: "));
    assert_eq!(said("9"), "Error: list failed: oops\n");
    assert!(said("9").starts_with(unreachable));
    let expired = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(said("1"), format!("{unreachable}{expired}\n"));
    thread.join().unwrap();
}
