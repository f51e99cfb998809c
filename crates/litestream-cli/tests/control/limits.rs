//! Requests that are too long, too slow, too many.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::served::{Served, parse, raw};

#[test]
fn too_long_a_body_and_too_long_a_header() {
    let served = Served::new();
    let body = format!("{{\"path\":\"{}\"}}", "x".repeat(70_000));
    let answer = served.post("/sync", &body);
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (413, "request body is larger than 65536 bytes")
    );
    // One that does not say how long it is.
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096)).repeat(20);
    let answer = raw(
        &served.socket,
        &format!(
            "POST /sync HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
        ),
    );
    assert_eq!(answer.status, 413, "{answer:?}");
    let header = format!(
        "GET /list HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    assert_eq!(raw(&served.socket, &header).status, 431);
    assert_eq!(raw(&served.socket, "nonsense\r\n\r\n").status, 400);
    let deep = format!("{{\"path\":{}", "[".repeat(60_000));
    assert_eq!(served.post("/sync", &deep).status, 400);
    assert_eq!(served.get("/list").status, 200);
}

/// A client that never finishes its request, one that never sends a body, and one that says nothing.
#[test]
fn slow_clients_are_let_go() {
    let served = Served::new();
    let start = Instant::now();
    let connect = |text: &str| {
        let mut stream = UnixStream::connect(&served.socket).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let mut silent = [
        connect("GET /list HTTP/1.1\r\n"),
        connect("POST /sync HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{"),
        connect(""),
    ];
    let mut answers = Vec::new();
    for stream in &mut silent {
        stream
            .set_read_timeout(Some(Duration::from_secs(40)))
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        answers.push(parse(&text, start.elapsed()).status);
    }
    assert_eq!(answers, [0, 408, 0]);
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}

/// It asks again and again, and the answers pile up.
#[test]
fn clients_that_do_not_read_are_let_go() {
    let served = Served::new();
    let mut stream = UnixStream::connect(&served.socket).unwrap();
    let wait = Some(Duration::from_secs(1));
    stream.set_write_timeout(wait).unwrap();
    let start = Instant::now();
    let end = loop {
        match stream.write(b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n") {
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => break e.kind(),
            _ => assert!(
                start.elapsed() < Duration::from_secs(40),
                "it is still open"
            ),
        }
    };
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    assert!(matches!(end, BrokenPipe | ConnectionReset), "{end}");
    assert_eq!(served.get("/list").status, 200);
}

#[test]
fn more_connections_wait_for_their_turn() {
    let served = Served::new();
    let idle: Vec<UnixStream> = (0..128)
        .map(|_| UnixStream::connect(&served.socket).unwrap())
        .collect();
    // Accepted one after the other.
    std::thread::sleep(Duration::from_millis(300));
    let waiting = std::thread::scope(|scope| {
        let thread = scope.spawn(|| served.get("/list"));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!thread.is_finished(), "it waits");
        drop(idle);
        thread.join().unwrap()
    });
    assert_eq!(waiting.status, 200);
    assert!(waiting.took > Duration::from_millis(200) && waiting.took < Duration::from_secs(5));
}

#[test]
fn more_actions_are_refused_and_looks_still_answered() {
    let served = Served::new();
    served.daemon.reload.lock().0 = Duration::from_secs(4);
    let head = "POST /reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let mut waiting: Vec<UnixStream> = (0..64)
        .map(|_| {
            let mut stream = UnixStream::connect(&served.socket).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(served.post("/reload", "").status, 503);
    assert_eq!(served.get("/list").status, 200);
    for stream in &mut waiting {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
    served.daemon.reload.lock().0 = Duration::ZERO;
    assert_eq!(served.post("/reload", "").status, 200);
}

#[test]
fn requests_under_way_are_waited_for_at_the_end() {
    for (takes, status) in [(1, 200), (20, 0)] {
        let mut served = Served::new();
        served.daemon.reload.lock().0 = Duration::from_secs(takes);
        let server = served.server.take().unwrap();
        let idle = UnixStream::connect(&served.socket).unwrap();
        let start = Instant::now();
        let answer = std::thread::scope(|scope| {
            let thread = scope.spawn(|| served.post("/reload", ""));
            std::thread::sleep(Duration::from_millis(300));
            served.runtime.block_on(server.stop());
            thread.join().unwrap()
        });
        assert_eq!(answer.status, status);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(7), "{took:?}");
        assert!(UnixStream::connect(&served.socket).is_err());
        drop(idle);
    }
}

fn counted(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}"))
        .unwrap()
        .count()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// `CONTROL_ROUNDS` sets another number, such as 10000. Alone in its process, as nextest runs it.
#[test]
fn databases_that_come_and_go_leave_nothing() {
    let rounds: usize = std::env::var("CONTROL_ROUNDS").map_or(300, |n| n.parse().unwrap());
    let served = Served::new();
    let db = served.place.database("a.db");
    let round = || {
        served.register("a.db");
        let answer = served.ask("/unregister", "a.db", "");
        assert_eq!(answer.field("status"), "unregistered", "{answer:?}");
    };
    // The first rounds fill pools.
    (0..50).for_each(|_| round());
    let settle = || std::thread::sleep(Duration::from_millis(200));
    settle();
    let before = (counted("fd"), counted("task"), resident_kib());
    (0..rounds).for_each(|_| round());
    settle();
    let after = (counted("fd"), counted("task"), resident_kib());
    assert!(
        after.0 <= before.0,
        "descriptors: {before:?}, then {after:?}"
    );
    // Threads for blocking work come and go.
    assert!(
        after.1 <= before.1 + 4,
        "threads: {before:?}, then {after:?}"
    );
    assert!(
        after.2 < before.2 + 8 * 1024,
        "memory: {before:?}, then {after:?}"
    );
    drop(db);
}
