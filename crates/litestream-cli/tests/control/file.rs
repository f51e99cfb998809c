//! The socket's file.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use crate::served::Served;

fn start_error(served: &Served) -> String {
    served.listen().err().expect("it must not listen")
}

#[test]
fn a_socket_that_somebody_listens_on_is_left_alone() {
    let served = Served::new();
    let before = std::fs::symlink_metadata(&served.socket).unwrap();
    let error = start_error(&served);
    assert!(
        error.starts_with(&format!(
            "control socket {} is in use",
            served.socket.display()
        )),
        "{error}"
    );
    assert_eq!(served.get("/list").status, 200);
    assert_eq!(
        std::fs::symlink_metadata(&served.socket).unwrap().ino(),
        before.ino()
    );
    assert_eq!(served.place.names(), ["s"], "nothing is left over");
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let mut served = Served::new();
    let server = served.server.take().unwrap();
    served.runtime.block_on(server.stop());
    assert!(!served.place.exists("s"));
    drop(UnixListener::bind(&served.socket).unwrap());
    assert!(served.place.exists("s"));
    served.server = Some(served.listen().unwrap());
    assert_eq!(served.get("/list").status, 200);
    assert_eq!(served.place.names(), ["s"]);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let mut served = Served::new();
    let server = served.server.take().unwrap();
    served.runtime.block_on(server.stop());
    let other = UnixListener::bind(served.place.path("other")).unwrap();
    std::fs::write(&served.socket, "text").unwrap();
    let text = format!(
        "socket path exists but is not a socket: {}",
        served.socket.display()
    );
    assert_eq!(start_error(&served), text);
    assert_eq!(std::fs::read(&served.socket).unwrap(), b"text");
    std::fs::remove_file(&served.socket).unwrap();
    symlink(served.place.path("other"), &served.socket).unwrap();
    assert_eq!(start_error(&served), text);
    drop(other);
    std::fs::remove_file(&served.socket).unwrap();
    std::fs::create_dir(&served.socket).unwrap();
    assert_eq!(start_error(&served), text);
    assert_eq!(served.place.names(), ["other", "s"]);
}

#[test]
fn bad_places_are_named() {
    let mut served = Served::new();
    for (path, starts) in [
        (String::new(), "socket path required"),
        ("/nope/s".into(), "listen on unix socket: /nope/s: "),
        (
            format!("/tmp/{}", "x".repeat(120)),
            "listen on unix socket: /tmp/xxx",
        ),
    ] {
        served.socket = path.into();
        let error = start_error(&served);
        assert!(error.starts_with(starts), "{error}");
    }
}

#[test]
fn only_its_own_socket_is_removed() {
    let mut served = Served::new();
    std::fs::remove_file(&served.socket).unwrap();
    let other = UnixListener::bind(&served.socket).unwrap();
    let server = served.server.take().unwrap();
    served.runtime.block_on(server.stop());
    assert!(served.place.exists("s"));
    drop(other);
}

/// From the first moment on at which there is something at the path, it has its mode.
#[test]
fn the_mode_is_never_wider() {
    let mut served = Served::new();
    for mode in [0o600, 0o660, 0o7777] {
        let server = served.server.take().unwrap();
        served.runtime.block_on(server.stop());
        let path = served.socket.clone();
        let watch = std::thread::spawn(move || {
            let mut seen = Vec::new();
            let start = std::time::Instant::now();
            while seen.len() < 50 && start.elapsed() < Duration::from_secs(10) {
                if let Ok(found) = std::fs::symlink_metadata(&path) {
                    assert!(found.file_type().is_socket());
                    seen.push(found.permissions().mode() & 0o7777);
                }
            }
            seen
        });
        let operations = served.daemon.clone();
        let started = litestream_cli::control::Server::start(
            &served.socket,
            mode,
            operations,
            &served.daemon.env,
        );
        served.server = Some(served.runtime.block_on(started).unwrap());
        let seen = watch.join().unwrap();
        assert!(
            seen.len() == 50 && seen.iter().all(|m| *m == mode & 0o777),
            "{seen:?}"
        );
    }
}

#[test]
fn two_that_come_at_once_do_not_both_listen() {
    let mut served = Served::new();
    for _ in 0..20 {
        let server = served.server.take().unwrap();
        served.runtime.block_on(server.stop());
        drop(UnixListener::bind(&served.socket).unwrap());
        let both: Vec<_> = std::thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(|| served.listen()));
            threads.map(|thread| thread.join().unwrap()).into()
        });
        let mut listening: Vec<_> = both.into_iter().filter_map(Result::ok).collect();
        assert_eq!(listening.len(), 1);
        served.server = listening.pop();
        assert!(UnixStream::connect(&served.socket).is_ok());
        assert_eq!(served.place.names(), ["s"]);
    }
}
