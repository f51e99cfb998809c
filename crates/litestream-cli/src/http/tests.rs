//! The server over real connections.

use litestream_replica::env::real;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::health::MAX_LAG;
use crate::metrics::Metrics;
use crate::view::View;
use crate::view::tests::{Shown, well};

async fn server() -> Server {
    let env = real::env();
    let shown = Shown::default();
    shown.0.lock().push(well("/d/a.db"));
    let view: Arc<dyn View> = Arc::new(shown);
    let pages = Pages {
        metrics: Arc::new(Metrics::new(view.clone()).unwrap()),
        view,
        max_lag: MAX_LAG,
        is_alive: Arc::new(|| true),
    };
    let address = Address::parse("127.0.0.1:0").unwrap();
    Server::start(&address, pages, &env).await.unwrap()
}

async fn ask(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port()))
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A refused request may end with a reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn get(server: &Server, target: &str) -> String {
    ask(
        server,
        &format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn metrics_are_served() {
    let server = server().await;
    let answer = get(&server, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(answer.contains("\nlitestream_txid{db=\"/d/a.db\"} 1\n"));
    let post =
        "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert!(ask(&server, post).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let missing = get(&server, "/debug/pprof/cmdline").await;
    assert!(missing.starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(
        missing.ends_with("\r\n\r\n404 page not found\n"),
        "{missing}"
    );
    assert!(
        get(&server, "/healthz?max_lag=x")
            .await
            .starts_with("HTTP/1.1 400 ")
    );
    server.stop().await;
}

#[tokio::test]
async fn requests_are_bounded() {
    let server = server().await;
    let long = format!(
        "GET /livez HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(HEAD_BYTES_MAX)
    );
    let answer = ask(&server, &long).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    let many = format!(
        "GET /livez HTTP/1.1\r\n{}\r\n",
        "X: y\r\n".repeat(HEADERS_MAX + 1)
    );
    let answer = ask(&server, &many).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    assert!(get(&server, "/livez").await.ends_with("\r\n\r\nok\n"));
}

#[tokio::test]
async fn stopping_lets_idle_clients_go() {
    let server = server().await;
    let port = server.port();
    let mut idle = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    server.stop().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_stops_nothing() {
    let first = server().await;
    let env = real::env();
    let address = Address::parse(&format!("127.0.0.1:{}", first.port())).unwrap();
    let view: Arc<dyn View> = Arc::new(Shown::default());
    let pages = Pages {
        metrics: Arc::new(Metrics::new(view.clone()).unwrap()),
        view,
        max_lag: MAX_LAG,
        is_alive: Arc::new(|| true),
    };
    assert!(Server::start(&address, pages, &env).await.is_none());
    assert!(get(&first, "/livez").await.ends_with("ok\n"));
}
