//! The folder that every command line starts with, made once with the original and copied for each.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::Connection;

use crate::case::Case;
use crate::common::{LITESTREAM, code, send};
use crate::oracle;
use crate::outcome::Outcome;

/// Longer than any line takes; whoever is still there then is killed, and the case fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Databases as they come from applications, configurations that are right and wrong, replicas that are whole and damaged.
pub struct Stage {
    root: tempfile::TempDir,
    original: PathBuf,
    /// A time between TXID 2 and TXID 3.
    between: String,
}

const MAIN: &str = "dbs:
  - path: app.db
    replica: {path: backup}
  - path: gone.db
    replica: {path: nothing}
  - path: plain.db
    replica: {url: 's3://bucket/prefix?region=us-east-1'}
";

const CONFIGS: &[(&str, &str)] = &[
    ("c.yml", MAIN),
    ("empty.yml", ""),
    ("no-replica.yml", "dbs: [{path: app.db}]\n"),
    (
        "meta.yml",
        "dbs: [{path: app.db, meta-path: m, replica: {path: backup}}]\n",
    ),
    (
        "dir.yml",
        "dbs: [{dir: d, pattern: '*.db', replica: {path: r}}]\n",
    ),
    (
        "env.yml",
        "dbs: [{path: $NAME.db, replica: {path: backup}}]\n",
    ),
    (
        "exec.yml",
        "exec: 'true'\ndbs: [{path: app.db, replica: {path: backup}}]\n",
    ),
    (
        "one.yml",
        "dbs: [{path: app.db, replica: {path: backup}}]\n",
    ),
    (
        "two.yml",
        "dbs: [{path: app.db, replica: {path: backup}}, {path: plain.db, replica: {path: new}}]\n",
    ),
    (
        "json.yml",
        "logging: {type: json, stderr: true}\ndbs: [{path: app.db, replica: {path: backup}}]\n",
    ),
    (
        "debug.yml",
        "logging: {level: debug}\ndbs: [{path: app.db, replica: {path: backup}}]\n",
    ),
    (
        "fresh.yml",
        "dbs: [{path: fresh.db, restore-if-db-not-exists: true, replica: {path: backup}}]\n",
    ),
    ("bad-yaml.yml", "dbs: [\n"),
    ("bad-type.yml", "dbs: 5\n"),
    ("bad-value.yml", "snapshot: {interval: 0s}\n"),
    (
        "bad-kind.yml",
        "dbs: [{path: app.db, replica: {type: nope, path: x}}]\n",
    ),
    (
        "bad-dir.yml",
        "dbs: [{dir: nowhere, pattern: '*.db', replica: {path: r}}]\n",
    ),
    (
        "bad-addr.yml",
        "addr: '9090'\ndbs: [{path: app.db, replica: {path: backup}}]\n",
    ),
];

impl Stage {
    pub fn new() -> Stage {
        let mut stage = Stage {
            root: tempfile::tempdir().unwrap(),
            original: oracle::program(),
            between: String::new(),
        };
        let at = stage.root.path().join("stage");
        fs::create_dir(&at).unwrap();
        for (name, text) in CONFIGS {
            fs::write(at.join(name), text).unwrap();
        }
        stage.databases(&at);
        damaged_replicas(&at);
        stage
    }

    /// `app.db` with four transactions replicated, a snapshot after the second; `plain.db`; what lies in the way of a restore.
    fn databases(&mut self, at: &Path) {
        let app = oracle::app(&at.join("app.db"), 4096, "NONE");
        for round in 1..=4 {
            oracle::fill(&app, 3, 50);
            let snapshot: &[&str] = if round == 2 {
                &["-force-snapshot"]
            } else {
                &[]
            };
            let mut replicate = Command::new(&self.original);
            replicate.args(["replicate", "-once"]).args(snapshot);
            let url = format!("file://{}", at.join("backup").display());
            let done = replicate.args(["app.db", &url]).current_dir(at).output();
            assert!(done.unwrap().status.success());
            if round == 2 {
                // Times of files have milliseconds.
                std::thread::sleep(Duration::from_millis(20));
                self.between = Timestamp::now().to_string();
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        drop(app);
        for (name, statement) in [
            ("plain.db", "CREATE TABLE t(x)"),
            ("in-the-way.db", "CREATE TABLE x(y)"),
            ("d/x.db", "CREATE TABLE t(x)"),
            ("d/y.db", "CREATE TABLE t(x)"),
        ] {
            let path = at.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            Connection::open(path)
                .unwrap()
                .execute_batch(statement)
                .unwrap();
        }
        for name in ["zero.db", "sides.db", "sides.db-wal", "d/note.db"] {
            fs::write(at.join(name), if name == "sides.db-wal" { "x" } else { "" }).unwrap();
        }
        fs::write(at.join("key"), "AAAA\n").unwrap();
        fs::create_dir(at.join("nothing")).unwrap();
        fs::create_dir(at.join("folder")).unwrap();
        // Whether a daemon that is stopped at once has made it is a matter of time.
        fs::create_dir(at.join("r")).unwrap();
    }

    /// Runs both programs on copies of the stage whose paths have the same length.
    pub fn run_both(&self, case: &Case, number: usize) -> (Outcome, Outcome) {
        let ours = self.run(case, Path::new(LITESTREAM), &format!("o{number:04}"));
        let theirs = self.run(case, &self.original, &format!("t{number:04}"));
        (ours, theirs)
    }

    fn run(&self, case: &Case, program: &Path, name: &str) -> Outcome {
        let stage = self.root.path().join("stage");
        // The others only look.
        let changes = ["replicate", "reset", "restore"];
        let is_copy = case
            .args
            .first()
            .is_some_and(|name| changes.contains(&name.as_str()));
        let folder = if is_copy {
            self.root.path().join(name)
        } else {
            stage.clone()
        };
        if is_copy {
            copy(&stage, &folder);
        }
        let fill = |text: &String| {
            text.replace("DIR", &folder.display().to_string())
                .replace("BETWEEN", &self.between)
        };
        let (out, err) = (
            self.root.path().join(format!("{name}.out")),
            self.root.path().join(format!("{name}.err")),
        );
        let mut command = Command::new(program);
        command
            .args(case.args.iter().map(fill))
            .current_dir(&folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            // The original asks the system's list of users for the home directory, whatever HOME says; so it is left as it is.
            .env("HOME", std::env::var_os("HOME").unwrap())
            .envs(case.env.iter().map(|(name, value)| (name, fill(value))))
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        let (start, mut told) = (Instant::now(), false);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if start.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            if let Some(text) = case.until.as_ref().filter(|_| !told) {
                let printed = [&out, &err].map(|path| fs::read_to_string(path).unwrap());
                if printed.iter().any(|p| p.contains(text.as_str())) || folder.join(text).exists() {
                    told = true;
                    send(child.id(), "TERM");
                }
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        let printed = [&out, &err].map(|path| fs::read(path).unwrap());
        let outcome = Outcome::new(status.map(code), &printed, &folder);
        if is_copy {
            fs::remove_dir_all(&folder).unwrap();
        }
        outcome
    }
}

/// Copies of the replica with something wrong in each.
fn damaged_replicas(at: &Path) {
    let name = |txid: u64| format!("ltx/0/{txid:016x}-{txid:016x}.ltx");
    let copied = |to: &str| {
        copy(&at.join("backup"), &at.join(to));
        at.join(to)
    };
    // Without TXID 3.
    fs::remove_file(copied("gap").join(name(3))).unwrap();
    // The newest file is empty, shorter than a header, or of other bytes.
    let replace = |path: PathBuf, bytes: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    replace(copied("hollow").join(name(4)), &[]);
    replace(copied("short").join(name(4)), &[0; 50]);
    let path = copied("damaged").join(name(4));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    replace(path, &bytes);
    // Only the snapshot; names that are none of a replica's.
    let snapshot = copied("snapshot");
    fs::remove_dir_all(snapshot.join("ltx/0")).unwrap();
    let strange = copied("strange");
    for name in [
        "ltx/0/note.txt",
        "ltx/0/0000000000000009-0000000000000009.ltx.tmp",
        "ltx/x",
    ] {
        fs::write(strange.join(name), "x").unwrap();
    }
}

/// With the times of files: listings show them.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if target.extension().is_some_and(|ext| ext == "ltx") {
            // Never changed by anyone, only replaced.
            fs::hard_link(entry.path(), &target).unwrap();
        } else {
            fs::copy(entry.path(), &target).unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            let file = File::options().write(true).open(&target).unwrap();
            file.set_modified(modified).unwrap();
        }
    }
}
