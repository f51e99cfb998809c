//! Runs the real programs in a directory of their own.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "each test file uses its part; tests drive processes and look at files directly"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::Connection;

/// Nothing that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub const LITESTREAM: &str = env!("CARGO_BIN_EXE_litestream");
pub const LITESTREAM_TEST: &str = env!("CARGO_BIN_EXE_litestream-test");

/// A directory that goes with the test.
pub struct Place {
    dir: tempfile::TempDir,
}

/// What a program printed, and its exit code (128 + n if a signal ended it).
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Done {
        Done {
            code: code(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

pub fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

impl Place {
    pub fn new() -> Place {
        Place {
            dir: tempfile::tempdir().expect("temporary directory"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The URL of the replica in the folder `backup`.
    pub fn url(&self) -> String {
        format!("file://{}", self.path("backup").display())
    }

    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
            .env_remove("LOG_LEVEL")
            .env_remove("LITESTREAM_CONFIG");
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        self.command(LITESTREAM, args)
            .output()
            .expect("run litestream")
            .into()
    }

    pub fn run_test(&self, args: &[&str]) -> Done {
        self.command(LITESTREAM_TEST, args)
            .output()
            .expect("run litestream-test")
            .into()
    }

    /// Starts `litestream` with its output in the file `log`.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_command(self.command(LITESTREAM, args))
    }

    /// Starts a command in the same way.
    pub fn start_command(&self, mut command: Command) -> Running {
        let log = std::fs::File::create(self.path("log")).expect("log");
        let errors = std::fs::File::create(self.path("errors")).expect("errors");
        let child = command
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("start litestream");
        Running {
            child,
            log: self.path("log"),
            errors: self.path("errors"),
        }
    }

    /// A database in WAL mode with one row, kept open.
    pub fn database(&self, name: &str) -> Connection {
        let db = Connection::open(self.path(name)).expect("open");
        db.execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1);",
        )
        .expect("set up");
        db
    }

    /// A replica of a database with one row.
    pub fn replicated(&self) -> Connection {
        let db = self.database("app.db");
        let done = self.run(&["replicate", "-once", "app.db", &self.url()]);
        assert_eq!(done.code, 0, "{done:?}");
        db
    }

    pub fn exists(&self, name: &str) -> bool {
        std::fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Names of all files in the directory.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("list");
        let mut names: Vec<String> = entries
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The sum of the column x.
    pub fn sum(&self, name: &str) -> i64 {
        let db = Connection::open(self.path(name)).expect("open");
        db.query_row("SELECT sum(x) FROM t", [], |row| row.get(0))
            .expect("sum")
    }
}

/// A running `litestream`, killed if the test ends before it.
pub struct Running {
    pub child: Child,
    log: PathBuf,
    errors: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// A program whose output goes to these files.
    pub fn new(child: Child, log: PathBuf, errors: PathBuf) -> Running {
        Running { child, log, errors }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("log")
    }

    /// Waits for text in the log.
    pub fn wait_for(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), || {
            self.log().contains(text)
        });
    }

    pub fn signal(&self, name: &str) {
        send(self.child.id(), name);
    }

    /// Waits for its end.
    pub fn finish(self) -> Done {
        self.finish_within(PATIENCE)
    }

    /// The same where more than usual is done before.
    pub fn finish_within(mut self, patience: Duration) -> Done {
        let (start, mut status) = (Instant::now(), None);
        while status.is_none() {
            assert!(start.elapsed() < patience, "litestream does not end");
            sleep(Duration::from_millis(10));
            status = self.child.try_wait().expect("wait");
        }
        Done {
            code: code(status.expect("ended")),
            stdout: self.log(),
            stderr: std::fs::read_to_string(&self.errors).expect("errors"),
        }
    }
}

pub fn send(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(pid.to_string())
        .status()
        .expect("kill");
    assert!(status.success(), "kill -{signal} {pid}");
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        sleep(Duration::from_millis(10));
    }
}

/// The first line of a stream that stays open.
pub fn first_line(stream: impl std::io::Read) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("a line");
    line
}

pub fn fifo(path: &Path) {
    assert!(
        Command::new("mkfifo")
            .arg(path)
            .status()
            .expect("mkfifo")
            .success()
    );
}
