//! The client against servers that answer by script.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};

use super::*;
use crate::ErrorKind;
use crate::env::real;
use crate::limits::Limits;

/// Answers each connection in turn with the next text, cut off after it; gives back what was sent.
fn serve(
    answers: Vec<&'static [u8]>,
    hold: Duration,
) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[allow(clippy::disallowed_methods, reason = "a server of its own")]
    let server = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let n = stream.read(&mut head).unwrap();
            seen.push(String::from_utf8_lossy(&head[..n]).into_owned());
            stream.write_all(answer).unwrap();
            std::thread::sleep(hold);
        }
        seen
    });
    (url, server)
}

fn client(idle: Duration) -> Client {
    let env = real::env();
    let limits = Limits::none(env.clock.clone());
    let options = Options {
        idle,
        ..Options::new(&env, &limits)
    };
    Client::new(options).unwrap()
}

fn get(url: &str) -> Request<Payload> {
    Request::builder()
        .method(Method::GET)
        .uri(uri(url).unwrap())
        .body(Payload::empty())
        .unwrap()
}

#[tokio::test]
async fn the_target_goes_out_as_it_is_written() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (url, server) = serve(vec![answer, answer], Duration::ZERO);
    for path in ["/b/./0000/x%2Fy", "/b//a/../c?x=%20&y"] {
        let answer = client(IDLE_MAX)
            .succeed("get", "x", get(&format!("{url}{path}")))
            .await
            .unwrap();
        assert_eq!(answer.bytes(10).await.unwrap(), "ok");
    }
    let seen = server.join().unwrap();
    assert!(
        seen[0].starts_with("GET /b/./0000/x%2Fy HTTP/1.1\r\n"),
        "{}",
        seen[0]
    );
    assert!(
        seen[1].starts_with("GET /b//a/../c?x=%20&y HTTP/1.1\r\n"),
        "{}",
        seen[1]
    );
}

#[tokio::test]
async fn a_body_that_ends_early_or_stands_still_is_an_error_that_may_pass() {
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    let (url, server) = serve(vec![short], Duration::ZERO);
    let answer = client(IDLE_MAX).send("get", "x", get(&url)).await.unwrap();
    assert!(answer.bytes(100).await.unwrap_err().is_retryable());
    server.join().unwrap();

    let (url, server) = serve(vec![short, b""], Duration::from_millis(800));
    let client = client(Duration::from_millis(200));
    let answer = client.send("get", "x", get(&url)).await.unwrap();
    let error = answer.bytes(100).await.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("nothing has moved"),
        "{error}"
    );
    let error = client.send("get", "x", get(&url)).await.err().unwrap();
    assert!(
        error.is_retryable() && error.to_string().contains("nothing has moved"),
        "{error}"
    );
    server.join().unwrap();
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let body = b"HTTP/1.1 403 Forbidden\r\nx-amz-request-id: R1\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\nConnection: close\r\n\r\n\
<?xml version=\"1.0\"?><Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large</Message></Error>";
    let json = b"HTTP/1.1 429 Too Many\r\nConnection: close\r\n\r\n{\"error\":{\"message\":\"slow\",\"errors\":[{\"reason\":\"rateLimitExceeded\"}]}}";
    let (url, server) = serve(vec![body, json], Duration::ZERO);
    let error = client(IDLE_MAX)
        .succeed("list", "k", get(&url))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(
        error.to_string(),
        "list k: 403 Forbidden: RequestTimeTooSkewed: The difference is too large [request R1] (the clock of this machine \
         is wrong: set it, for example by NTP; the server's says Mon, 30 Nov 2026 12:00:00 GMT)"
    );
    let error = client(IDLE_MAX)
        .succeed("list", "k", get(&url))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    server.join().unwrap();
}

#[tokio::test]
async fn nothing_that_listens_is_told_apart() {
    let url = "http://127.0.0.1:1/";
    let error = client(IDLE_MAX)
        .send("list", "", get(url))
        .await
        .err()
        .unwrap();
    assert!(error.is_retryable());
    assert!(
        error.to_string().contains("nothing listens there"),
        "{error}"
    );
}

#[tokio::test]
async fn files_are_sent_from_the_disk_in_parts() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (url, server) = serve(vec![answer], Duration::from_millis(50));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    #[allow(clippy::disallowed_methods, reason = "a file of the test")]
    std::fs::write(&path, b"0123456789").unwrap();
    let env = real::env();
    let payload = Payload::of(&crate::Source::File(path), &env).await.unwrap();
    assert_eq!(payload.len(), 10);
    let request = Request::builder()
        .method(Method::PUT)
        .uri(uri(&url).unwrap())
        .body(payload.part(3, 4))
        .unwrap();
    client(IDLE_MAX).succeed("put", "x", request).await.unwrap();
    let seen = server.join().unwrap();
    assert!(
        seen[0].to_ascii_lowercase().contains("content-length: 4"),
        "{}",
        seen[0]
    );
    assert!(Arc::strong_count(&env.clock) > 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_not_the_servers_fault() {
    let (url, server) = serve(vec![b""], Duration::from_millis(200));
    let payload = Payload::File {
        path: "/no/such/file".into(),
        offset: 0,
        len: 10,
    };
    let request = Request::builder()
        .method(Method::PUT)
        .uri(uri(&url).unwrap())
        .body(payload)
        .unwrap();
    let sent = client(IDLE_MAX).send("put", "x", request).await;
    let error = sent.err().unwrap();
    assert!(!error.is_retryable(), "{error}");
    assert!(error.to_string().contains("cannot be read"), "{error}");
    server.join().unwrap();
}

#[test]
fn dates() {
    let millis = date_millis("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    assert_eq!(millis.0, 784_111_777_000);
    assert!(date_millis("yesterday").is_none());
}

#[tokio::test]
async fn payloads_in_a_chain_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    #[allow(clippy::disallowed_methods, reason = "a file of the test")]
    std::fs::write(&path, b"0123456789").unwrap();
    let env = real::env();
    let file = Payload::of(&crate::Source::File(path), &env).await.unwrap();
    let bytes = |text: &'static str| Payload::Bytes(text.into());
    let chain = Payload::Chain(vec![
        bytes("ab"),
        Payload::Chain(vec![Payload::empty(), file.part(2, 5)]),
        bytes("yz"),
    ]);
    assert_eq!(chain.len(), 9);
    assert_eq!(chain.load(&env).await.unwrap(), "ab23456yz");
    assert_eq!(chain.part(1, 3).load(&env).await.unwrap(), "b23");
    let digest = Payload::Bytes("ab23456yz".into()).md5(&env).await.unwrap();
    assert_eq!(chain.md5(&env).await.unwrap(), digest);
    let server = scripted::Server::start(vec![scripted::Reply::text(200, "")]);
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri(&server.url()).unwrap())
        .body(chain)
        .unwrap();
    client(IDLE_MAX).succeed("put", "x", request).await.unwrap();
    assert_eq!(server.seen()[0].body, b"ab23456yz");
}
