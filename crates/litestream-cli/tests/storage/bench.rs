//! One database, its replica on a server, and both programs with one configuration.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use litestream_replica::settings::{ValueKind, lookup};
use litestream_servers::Place;

use crate::oracle;

/// Our program: that of this build, unless `LITESTREAM_BIN_DIR` names a folder with another, as a run of all tests does.
pub fn ours() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_litestream").into();
    std::env::var_os("LITESTREAM_BIN_DIR")
        .map_or_else(built, |dir| PathBuf::from(dir).join("litestream"))
}

/// No program takes longer for what a test asks of it.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the programs must not see of this process's environment.
const HIDDEN: &[&str] = &[
    "AWS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "LITESTREAM_CONFIG",
    "LOG_LEVEL",
];

pub struct Bench {
    dir: tempfile::TempDir,
    what: String,
    place: Place,
}

/// A program that was started; killed if the test ends before it.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_no_secret_in(&self.whole_log());
        }
    }
}

impl Bench {
    /// A replica at a place, with more lines at the top of the configuration.
    pub fn new(what: &str, place: Place, top: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("{top}\n{}", place.config(&dir.path().join("app.db")));
        fs::write(dir.path().join("c.yml"), config).unwrap();
        Bench {
            dir,
            what: what.to_owned(),
            place,
        }
    }

    /// The login stands in the configuration and the environment, and nowhere else.
    fn assert_no_secret_in(&self, said: &str) {
        let is_secret = |key: &str| lookup(key).is_some_and(|key| key.kind == ValueKind::Secret);
        let secrets = self.place.keys.iter().filter(|(key, _)| is_secret(key));
        for (key, secret) in secrets {
            let line = said.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{}: {key} was told", self.what);
        }
    }

    pub fn db(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    /// One of the programs, in the bench's folder.
    pub fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path());
        for name in HIDDEN {
            command.env_remove(name);
        }
        command.envs(self.place.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null());
        command
    }

    fn replicate(&self, program: &Path, args: &[&str]) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let mut command = self.command(program, &["replicate", "-config", "c.yml"]);
        command.args(args).stderr(log.try_clone().unwrap());
        command.stdout(log);
        command
    }

    pub fn start(&self, program: &Path) -> Running {
        Running(self.replicate(program, &[]).spawn().unwrap())
    }

    /// Ends it with SIGTERM; it must say that all is well.
    pub fn stop(&self, running: Running) {
        let code = self.end(running);
        assert_eq!(code, Some(0), "{}\n{}", self.what, self.log());
    }

    /// Ends it with SIGTERM; gives its exit code.
    pub fn end(&self, mut running: Running) -> Option<i32> {
        let pid = running.0.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let start = Instant::now();
        loop {
            if let Some(status) = running.0.try_wait().unwrap() {
                return status.code();
            }
            let waits = start.elapsed() < PATIENCE;
            assert!(waits, "{} does not end\n{}", self.what, self.log());
            sleep(Duration::from_millis(10));
        }
    }

    /// Replicates what there is and ends.
    pub fn once(&self, program: &Path) {
        let status = self.replicate(program, &["-once"]).status().unwrap();
        assert!(status.success(), "{}: {status}\n{}", self.what, self.log());
    }

    /// What the daemons printed last.
    pub fn log(&self) -> String {
        let log = self.whole_log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn whole_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Until a daemon has printed that.
    pub fn wait_for_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            let waits = start.elapsed() < PATIENCE;
            assert!(waits, "{}: nothing of {text:?}\n{}", self.what, self.log());
            sleep(Duration::from_millis(50));
        }
    }

    /// What is restored by the configuration; `None` if that fails.
    pub fn try_restored(&self, program: &Path) -> Option<Vec<u8>> {
        let out = tempfile::tempdir().unwrap();
        let file = out.path().join("restored.db");
        let db = self.db().display().to_string();
        let args = [
            "restore",
            "-o",
            file.to_str().unwrap(),
            "-config",
            "c.yml",
            &db,
        ];
        let done = self.command(program, &args).output().unwrap();
        done.status.success().then(|| fs::read(&file).unwrap())
    }

    /// Restores to a new file, by the configuration or from a URL.
    pub fn restored(&self, program: &Path, url: Option<&str>) -> Vec<u8> {
        let out = tempfile::tempdir().unwrap();
        let file = out.path().join("restored.db");
        let db = self.db().display().to_string();
        let mut args = vec!["restore", "-o", file.to_str().unwrap()];
        match url {
            Some(url) => args.push(url),
            None => args.extend(["-config", "c.yml", &db]),
        }
        let done = self.command(program, &args).output().unwrap();
        assert!(
            done.status.success(),
            "{}: {} {args:?}: {}{}\n{}",
            self.what,
            program.display(),
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
            self.log()
        );
        if program == ours() {
            self.assert_no_secret_in(&String::from_utf8_lossy(&done.stdout));
            self.assert_no_secret_in(&String::from_utf8_lossy(&done.stderr));
        }
        fs::read(&file).unwrap()
    }

    /// Both programs give the source back, by every way that leads to the replica.
    pub fn check(&self, when: &str) {
        let expected = oracle::image(&self.db());
        for program in [&ours(), &oracle::program()] {
            for url in [None, self.place.url.as_deref()] {
                let what = format!("{}, {when}, {} from {url:?}", self.what, program.display());
                let restored = self.restored(program, url);
                oracle::assert_same(&what, &expected, &restored);
                if self.place.url.is_none() {
                    break;
                }
            }
        }
    }

    /// Our program proves the replica's files, all of them, and that they give what the database is.
    pub fn verify(&self, when: &str) {
        let db = self.db().display().to_string();
        let args = ["verify", "-deep", "-config", "c.yml", &db];
        let done = self.command(&ours(), &args).output().unwrap();
        assert!(
            done.status.success(),
            "{}, {when}: {}{}\n{}",
            self.what,
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr),
            self.log()
        );
    }
}
