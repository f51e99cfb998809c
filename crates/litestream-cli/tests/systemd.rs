//! What the program tells systemd, over the socket that systemd would open.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, watchdog_pid: Option<&str>) -> (UnixDatagram, Killed) {
    let socket = UnixDatagram::bind(dir.join("notify")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let replica = format!("file://{}", dir.join("replica").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_litestream"));
    command
        .arg("replicate")
        .args([dir.join("a.db").to_str().unwrap(), &replica])
        .env("NOTIFY_SOCKET", dir.join("notify"))
        .env("WATCHDOG_USEC", "300000")
        .envs(watchdog_pid.map(|pid| ("WATCHDOG_PID", pid)))
        .stdout(Stdio::null());
    (socket, Killed(command.spawn().unwrap()))
}

fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let n = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..n].to_vec()).unwrap()
}

fn terminate(child: &Killed) {
    let pid = rustix::process::Pid::from_raw(child.0.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn it_is_told_of_the_start_of_life_and_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let database = rusqlite::Connection::open(dir.path().join("a.db")).unwrap();
    database
        .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (x)")
        .unwrap();
    // Without a process id the watchdog is for whoever reads it: the id is not known before the start.
    let (socket, mut child) = start(dir.path(), None);
    assert_eq!(
        next(&socket).lines().collect::<Vec<_>>(),
        ["READY=1", "STATUS=replicating 1 database"]
    );
    for _ in 0..3 {
        assert_eq!(next(&socket).trim_end(), "WATCHDOG=1");
    }
    terminate(&child);
    let end = std::iter::repeat_with(|| next(&socket)).find(|note| !note.starts_with("WATCHDOG"));
    assert_eq!(
        end.unwrap().lines().collect::<Vec<_>>(),
        ["STOPPING=1", "STATUS=final sync"]
    );
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn the_watchdog_of_another_process_gets_no_sign() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, child) = start(dir.path(), Some("1"));
    assert!(next(&socket).starts_with("READY=1\n"));
    std::thread::park_timeout(Duration::from_millis(500));
    terminate(&child);
    assert!(next(&socket).starts_with("STOPPING=1\n"));
}
