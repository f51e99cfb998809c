//! A place with a configuration, the daemon that runs it, and questions to that daemon.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use crate::common::{Done, LITESTREAM, Place, Running, wait_until};
use crate::oracle;

/// The longest wait for an answer.
const ANSWER: Duration = Duration::from_mins(1);

/// Nothing else takes longer; less than the time between looks at a folder of which nothing is heard.
const PATIENCE: Duration = Duration::from_secs(20);

/// A place with a configuration.
pub struct World {
    pub place: Place,
}

/// A running daemon.
pub struct Daemon<'a> {
    pub world: &'a World,
    pub running: Running,
}

/// The top of each configuration: a socket to ask.
const TOP: &str = "socket: {enabled: true, path: DIR/s}\n";

impl World {
    /// With this configuration; `DIR` is the place. A socket is added.
    pub fn new(config: &str) -> World {
        let world = World {
            place: Place::new(),
        };
        world.configure(config);
        world
    }

    /// Another configuration in the same file.
    pub fn configure(&self, config: &str) {
        let dir = self.place.path("");
        let dir = dir.to_str().unwrap().trim_end_matches('/');
        let text = format!("{TOP}{config}").replace("DIR", dir);
        fs::write(self.place.path("c.yml"), text).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn folder(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// A database with some pages, kept open.
    pub fn database(&self, name: &str) -> Connection {
        let conn = oracle::app(&self.path(name), 4096, "NONE");
        oracle::fill(&conn, 20, 500);
        conn
    }

    /// Starts the daemon and waits until it listens.
    pub fn start(&self) -> Daemon<'_> {
        self.start_with(&[])
    }

    /// The same with more arguments.
    pub fn start_with(&self, args: &[&str]) -> Daemon<'_> {
        let args = [&["replicate", "-config", "c.yml"], args].concat();
        self.start_command(self.place.command(LITESTREAM, &args))
    }

    /// The same without a terminal that could close: a hangup means to read the configuration again.
    pub fn start_detached(&self) -> Daemon<'_> {
        let args = [LITESTREAM, "replicate", "-config", "c.yml"];
        self.start_command(self.place.command("setsid", &args))
    }

    pub fn start_command(&self, command: Command) -> Daemon<'_> {
        let daemon = Daemon {
            world: self,
            running: self.place.start_command(command),
        };
        wait_until("the socket", || UnixStream::connect(self.path("s")).is_ok());
        daemon
    }

    /// What restoring gives is what the database is.
    pub fn assert_restored(&self, name: &str, replica: &str) {
        self.assert_restored_by(Path::new(LITESTREAM), name, replica);
    }

    /// The same with another program.
    pub fn assert_restored_by(&self, program: &Path, name: &str, replica: &str) {
        let expected = oracle::image(&self.path(name));
        let actual = self.restored_by(program, replica);
        oracle::assert_same(&format!("{name} from {replica}"), &expected, &actual);
    }

    /// What a replica holds.
    pub fn restored(&self, replica: &str) -> Vec<u8> {
        self.restored_by(Path::new(LITESTREAM), replica)
    }

    fn restored_by(&self, program: &Path, replica: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}", self.text(replica));
        oracle::restore(program, &url, dir.path())
    }

    /// Removes a database as an application does.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
        for suffix in ["-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(oracle::side(&self.path(name), suffix));
        }
    }

    /// Removes a folder in which the daemon may be making files.
    pub fn remove_folder(&self, name: &str) {
        wait_for(
            || match fs::remove_dir_all(self.path(name)) {
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
            |removed| removed.is_ok() && !self.place.exists(name),
        )
        .unwrap();
    }

    /// A database that was made elsewhere, and is all in one file.
    pub fn ready_made(&self, name: &str, rows: usize) {
        let path = self.path(name);
        let conn = oracle::app(&path, 4096, "NONE");
        oracle::fill(&conn, rows, 300);
        conn.close().unwrap();
        assert!(!oracle::side(&path, "-wal").exists());
    }
}

impl Daemon<'_> {
    /// The databases of the daemon, as `/list` shows them.
    pub fn list(&self) -> Vec<Value> {
        let answer = self.ask("GET", "/list", "");
        answer["databases"].as_array().unwrap().clone()
    }

    /// Their names relative to the place, sorted.
    pub fn names(&self) -> Vec<String> {
        let listed = self.list();
        let paths = listed.iter().map(|d| d["path"].as_str().unwrap());
        let root = self.world.path("");
        let mut names: Vec<String> = paths
            .map(|p| Path::new(p).strip_prefix(&root).unwrap())
            .map(|p| p.to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// Waits until the daemon has exactly these databases. A folder that is only looked at from time to time would be too late.
    pub fn wait_for_names(&self, expected: &[&str]) {
        wait_for(|| self.names(), |names| names == expected);
        // One is listed a moment before it is started.
        wait_for(
            || self.list(),
            |list| list.iter().all(|d| d["status"] == "replicating"),
        );
    }

    pub fn listed(&self, name: &str) -> Value {
        let path = self.world.text(name);
        let mut all = self.list().into_iter();
        all.find(|d| d["path"] == path.as_str())
            .unwrap_or_else(|| panic!("{name} is not listed"))
    }

    /// Asks over the socket; anything but success fails.
    pub fn ask(&self, method: &str, target: &str, body: &str) -> Value {
        let (status, text) = self.try_ask(method, target, body);
        assert_eq!(status, 200, "{method} {target}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub fn try_ask(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let stream = UnixStream::connect(self.world.path("s")).unwrap();
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        exchange(stream, method, target, body)
    }

    fn sync_request(&self, name: &str) -> (u16, String) {
        let path = self.world.text(name);
        let body = format!(r#"{{"path":"{path}","wait":true,"timeout":30}}"#);
        self.try_ask("POST", "/sync", &body)
    }

    /// Everything committed by now is in the replicas.
    pub fn sync(&self, name: &str) {
        let (status, text) = self.sync_request(name);
        assert_eq!(status, 200, "sync {name}: {text}");
    }

    /// Synced and restored exactly; nobody writes meanwhile.
    pub fn assert_follows(&self, name: &str, replica: &str) {
        self.sync(name);
        self.world.assert_restored(name, replica);
    }

    /// Asks over HTTP at the address of the configuration, whose port is 0.
    pub fn http(&self, target: &str) -> (u16, String) {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        exchange(stream, "GET", target, "")
    }

    /// The TCP port that the process listens on.
    fn port(&self) -> u16 {
        let sockets: HashSet<String> = self.descriptors().into_iter().collect();
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let ports = table.lines().filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
            let is_ours = *state == "0A" && sockets.contains(&format!("socket:[{inode}]"));
            let port = local.rsplit_once(':')?.1;
            is_ours.then(|| u16::from_str_radix(port, 16).unwrap())
        });
        let ports: Vec<u16> = ports.collect();
        assert_eq!(ports.len(), 1, "{ports:?}");
        ports[0]
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.running.child.id()))
    }

    /// What its descriptors are.
    pub fn descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(self.proc("fd")).unwrap();
        entries
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .map(|target| target.to_string_lossy().into_owned())
            .collect()
    }

    pub fn threads(&self) -> usize {
        fs::read_dir(self.proc("task")).unwrap().count()
    }

    /// How many files and folders it watches.
    pub fn watches(&self) -> usize {
        let entries = fs::read_dir(self.proc("fdinfo")).unwrap();
        let texts = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        texts
            .map(|text| text.lines().filter(|l| l.starts_with("inotify ")).count())
            .sum()
    }

    /// Asks it to end and waits for that.
    pub fn end(self) -> Done {
        self.running.signal("TERM");
        self.running.finish()
    }

    /// The same; everything must have gone well.
    pub fn end_well(self) -> Done {
        let done = self.end();
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
        done
    }
}

/// Waits until what is seen is what it should be, and gives it; otherwise shows it.
pub fn wait_for<T: std::fmt::Debug>(mut see: impl FnMut() -> T, is: impl Fn(&T) -> bool) -> T {
    let start = Instant::now();
    loop {
        let seen = see();
        if is(&seen) {
            return seen;
        }
        assert!(start.elapsed() < PATIENCE, "waited too long at {seen:#?}");
        sleep(Duration::from_millis(20));
    }
}

/// One request, one answer: its status and its body.
fn exchange(
    mut stream: impl std::io::Read + std::io::Write,
    method: &str,
    target: &str,
    body: &str,
) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// How many lines contain all of these.
pub fn count(log: &str, texts: &[&str]) -> usize {
    log.lines()
        .filter(|line| texts.iter().all(|text| line.contains(text)))
        .count()
}

pub fn is_ltx(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|e| e == "ltx")
}

/// Files below a folder, relative to it, sorted.
pub fn tree(root: &Path) -> Vec<String> {
    let (mut out, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap();
                out.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    out.sort();
    out
}
