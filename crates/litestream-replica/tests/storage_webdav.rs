//! WebDAV on real servers.

#![cfg(feature = "webdav")]
#![allow(clippy::unwrap_used, reason = "what fails is said by the panic")]

mod storage_common;

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use litestream_replica::env::UnixMillis;
use litestream_replica::settings::{Keys, Storage};
use litestream_replica::{ErrorKind, Level, SharedReplica, Source, suite};
use litestream_servers::{Kind, Place, Server};
use ltx::{FileName, Txid};
use storage_common::{conforms, keys, open, place, start, storage};

const TIME: UnixMillis = UnixMillis(1_700_000_000_123);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx() {
    conforms(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_basic() {
    conforms(Kind::ApacheBasic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apache_digest() {
    conforms(Kind::ApacheDigest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rclone() {
    conforms(Kind::RcloneWebdav).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wsgidav() {
    conforms(Kind::Wsgidav).await;
}

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

fn with(place: &Place, name: &'static str, value: &str) -> Storage {
    let mut pairs = place.keys.clone();
    pairs.retain(|(key, _)| *key != name);
    pairs.push((name, value.to_owned()));
    Storage::read(&keys(&pairs), &Keys::new()).unwrap()
}

async fn write(replica: &SharedReplica, txid: u64, bytes: &Bytes) {
    let source = Source::Bytes(bytes.clone());
    replica
        .write(Level::L0, name(txid), source, TIME)
        .await
        .unwrap();
}

/// Puts a file onto a server without a password that makes folders by itself.
fn put(server: &Server, path: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v3_nginx() {
    let server = start(Kind::Nginx);
    let count = std::cell::Cell::new(0);
    suite::run_v3(async |objects| {
        count.set(count.get() + 1);
        let path = format!("/v3-{}", count.get());
        for (object, bytes) in objects {
            put(&server, &format!("{path}/{object}"), bytes);
        }
        open(&with(&place(&server, "v3"), "path", &path))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_restarted_is_reached_again() {
    for kind in [Kind::Nginx, Kind::RcloneWebdav] {
        let mut server = start(kind);
        let replica = open(&storage(&place(&server, "again")));
        let bytes = Bytes::from(vec![7; 100_000]);
        write(&replica, 1, &bytes).await;
        server.restart().unwrap();
        write(&replica, 2, &bytes).await;
        server.kill();
        let later = {
            let (replica, bytes) = (replica.clone(), bytes.clone());
            tokio::spawn(async move { write(&replica, 3, &bytes).await })
        };
        server.restart().unwrap();
        later.await.unwrap();
        for txid in 1..=3 {
            let read = replica.read(Level::L0, name(txid), 0, None).await;
            assert!(read.unwrap() == bytes);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused() {
    for kind in [Kind::ApacheBasic, Kind::ApacheDigest, Kind::RcloneWebdav] {
        let server = start(kind);
        let replica = open(&with(
            &place(&server, "login"),
            "webdav-password",
            "hunter2",
        ));
        let source = Source::Bytes(Bytes::from_static(b"x"));
        for error in [
            replica.list(Level::L0, None, false).await.unwrap_err(),
            replica
                .write(Level::L0, name(1), source, TIME)
                .await
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_url_with_a_path_is_where_the_replica_begins() {
    for kind in [Kind::Nginx, Kind::ApacheBasic, Kind::Wsgidav] {
        let server = start(kind);
        let outer = place(&server, "base");
        let path = outer.key("path").unwrap().trim_matches('/').to_owned();
        let replica = open(&storage(&outer));
        let bytes = Bytes::from_static(b"bytes");
        write(&replica, 1, &bytes).await;
        let base = format!(
            "{}/{path}/ltx",
            outer.key("webdav-url").unwrap().trim_end_matches('/')
        );
        let mut pairs = outer.keys.clone();
        pairs.retain(|(key, _)| !matches!(*key, "webdav-url" | "path"));
        pairs.extend([("webdav-url", base), ("path", "a b/%41&é".to_owned())]);
        let inner = open(&Storage::read(&keys(&pairs), &Keys::new()).unwrap());
        assert!(inner.list(Level::L0, None, false).await.unwrap().is_empty());
        write(&inner, 2, &bytes).await;
        assert_eq!(inner.list(Level::L0, None, false).await.unwrap().len(), 1);
        assert_eq!(
            inner.read(Level::L0, name(2), 1, Some(2)).await.unwrap(),
            "yt"
        );
        assert_eq!(replica.list(Level::L0, None, false).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s20_what_killed_writers_left_is_removed() {
    let server = start(Kind::Nginx);
    let replica = open(&with(&place(&server, "tidy"), "path", "/tidy"));
    write(&replica, 1, &Bytes::from_static(b"x")).await;
    let left = format!("{}.018bcfe56800-0000000000000abc.tmp", name(9));
    let foreign = format!("{}.123.456.tmp", name(9));
    for file in [&left, &foreign] {
        put(&server, &format!("/tidy/ltx/0/{file}"), b"x");
    }
    assert_eq!(replica.list(Level::L0, None, false).await.unwrap().len(), 1);
    replica.tidy().await.unwrap();
    let get = |file: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        let head =
            format!("GET /tidy/ltx/0/{file} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer[9..12].to_owned()
    };
    assert_eq!(
        (get(&left).as_str(), get(&foreign).as_str()),
        ("404", "200")
    );
}
