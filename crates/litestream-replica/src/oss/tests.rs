//! The replica against a server that answers by script, and against one that checks signatures.

use std::cell::Cell;

use litestream_servers::{Kind, Server as Real};

use super::*;
use crate::env::real;
use crate::net::Head;
use crate::net::scripted::{Asked, Reply, Server};
use crate::settings::{Keys, Secret, Storage, Value};
use crate::{ErrorKind, SharedReplica, suite};

fn settings(endpoint: &str, path: &str) -> Oss {
    let mut keys = Keys::new();
    for (name, value) in [
        ("type", "oss"),
        ("endpoint", endpoint),
        ("region", "cn-hangzhou"),
        ("bucket", "testb"),
        ("path", path),
    ] {
        keys.set(name, Value::Text(value.to_owned()));
    }
    keys.set("access-key-id", Value::Secret(Secret::new("AKID")));
    keys.set(
        "secret-access-key",
        Value::Secret(Secret::new("zqx7f-oss-secret")),
    );
    let Ok(Storage::Oss(settings)) = Storage::read(&keys, &Keys::new()) else {
        panic!("another storage")
    };
    settings
}

fn at(endpoint: &str, path: &str) -> OssReplica {
    let env = real::env();
    OssReplica::new(&settings(endpoint, path), &Opening::command(&env)).unwrap()
}

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

fn refused(status: u16, code: &str) -> Reply {
    let body = format!(
        "<Error><Code>{code}</Code><Message>No.</Message><RequestId>R7</RequestId></Error>"
    );
    Reply::text(status, &body)
}

async fn write(replica: &OssReplica, bytes: Bytes) -> Result<FileInfo> {
    let created = UnixMillis(1_700_000_000_123);
    let source = Source::Bytes(bytes);
    replica.write(Level::L0, name(1), source, created).await
}

#[tokio::test]
async fn a_small_file_is_one_request_under_the_key_as_given() {
    for (path, key) in [
        ("db1", "db1/0000"),
        ("", "/0000"),
        (".", "./0000"),
        ("a//b", "a//b/0000"),
    ] {
        let server = Server::start(vec![
            Reply::text(200, "").header("ETag", "\"E\""),
            Reply::text(200, ""),
        ]);
        let replica = at(&server.url(), path);
        write(&replica, Bytes::from_static(b"abc")).await.unwrap();
        let error = write(&replica, Bytes::from_static(b"abc"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no ETag"), "{error}");
        let asked = &server.seen()[0];
        assert_eq!(
            asked.line(),
            format!("PUT /testb/{key}/0000000000000001-0000000000000001.ltx")
        );
        for (name, value) in [
            (
                "x-oss-meta-litestream-timestamp",
                "2023-11-14T22:13:20.123Z",
            ),
            ("content-type", "application/octet-stream"),
            ("content-md5", "kAFQmDzST7DWlj99KOF/cg=="),
        ] {
            assert_eq!(asked.header(name), Some(value), "{}", asked.head);
        }
    }
}

#[tokio::test]
async fn a_failed_upload_is_aborted_and_a_lost_answer_is_no_failure() {
    let script = |mut fails: bool| {
        let mut lost = false;
        move |asked: &Asked| {
            let line = asked.line();
            Some(if line.contains("?uploads") {
                Reply::text(200, "<R><UploadId>U/1</UploadId></R>")
            } else if line.contains("partNumber=2") && fails {
                fails = false;
                refused(403, "AccessDenied")
            } else if line.starts_with("PUT") {
                Reply::text(200, "").header("ETag", "\"E\"")
            } else if line.starts_with("DELETE") {
                Reply::text(204, "")
            } else if line.starts_with("HEAD") {
                let reply = Reply::bytes(200, &vec![0; 13 << 20]).cut(0);
                reply.header(
                    "X-Oss-Meta-Litestream-Timestamp",
                    "2023-11-14T22:13:20.123Z",
                )
            } else if lost {
                refused(404, "NoSuchUpload")
            } else {
                lost = true;
                return None;
            })
        }
    };
    let bytes = Bytes::from(vec![0; 13 << 20]);
    let server = Server::with(script(true));
    let error = write(&at(&server.url(), "p"), bytes.clone())
        .await
        .unwrap_err();
    assert!(error.is_forbidden());
    let lines = |server: &Server| -> Vec<String> {
        server.seen().iter().map(|a| a.line().to_owned()).collect()
    };
    let last = lines(&server).pop().unwrap();
    assert!(
        last.starts_with("DELETE /testb/p/0000/") && last.ends_with("?uploadId=U%2F1"),
        "{last}"
    );
    let server = Server::with(script(false));
    write(&at(&server.url(), "p"), bytes).await.unwrap();
    let seen = lines(&server);
    assert_eq!(
        seen.iter()
            .filter(|line| line.contains("partNumber="))
            .count(),
        3
    );
    assert_eq!(
        seen.iter()
            .filter(|line| line.starts_with("DELETE"))
            .count(),
        0
    );
}

#[tokio::test]
async fn s22_what_the_service_does_not_name_is_not_deleted() {
    let server = Server::start(vec![
        Reply::text(
            200,
            "<DeleteResult><Deleted><Key>p/0000/0000000000000001-0000000000000001.ltx</Key></Deleted></DeleteResult>",
        ),
        refused(404, "NoSuchBucket"),
    ]);
    let replica = at(&server.url(), "p");
    let both = [(Level::L0, name(1)), (Level::L0, name(2))];
    let error = replica.delete(&both).await.unwrap_err();
    assert!(
        error.to_string().contains("1 of 2 objects") && error.subject().contains("0002.ltx"),
        "{error}"
    );
    assert!(server.seen()[0].header("content-md5").is_some());
    let error = replica.delete(&both).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    replica.delete(&[]).await.unwrap();
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn r21_what_is_missing_or_forbidden_is_no_empty_level() {
    for (status, code, kind, hint) in [
        (404, "NoSuchBucket", ErrorKind::Invalid, "create it"),
        (
            403,
            "SignatureDoesNotMatch",
            ErrorKind::Forbidden,
            "the secret key does not belong",
        ),
        (403, "AccessDenied", ErrorKind::Forbidden, "allow listing"),
        (
            503,
            "ServiceUnavailable",
            ErrorKind::Unreachable,
            "ServiceUnavailable",
        ),
    ] {
        let reply = refused(status, code);
        let server = Server::with(move |_| Some(reply.clone()));
        let replica = at(&server.url(), "p");
        for error in [
            replica.list(Level::L0, None, false).await.unwrap_err(),
            replica.read(Level::L0, name(1), 0, None).await.unwrap_err(),
            write(&replica, Bytes::new()).await.unwrap_err(),
            replica.delete(&[(Level::L0, name(1))]).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(
                error.to_string().contains(hint) && error.to_string().contains("R7"),
                "{error}"
            );
        }
    }
    let server = Server::with(|_| Some(refused(404, "NoSuchKey")));
    let error = at(&server.url(), "p")
        .read(Level::L0, name(1), 0, None)
        .await
        .unwrap_err();
    assert!(error.is_not_found());
    // Of something between, not of the service.
    let server = Server::with(|_| Some(Reply::text(404, "<html>lost</html>")));
    let read = at(&server.url(), "p");
    let read = read.read(Level::L0, name(1), 0, None).await;
    assert!(read.unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_broken_read_goes_on_where_it_broke_on_the_same_version() {
    let server = Server::start(vec![
        Reply::bytes(206, b"12345678")
            .header("etag", "\"v1\"")
            .header("content-range", "bytes 1-8/10")
            .cut(3),
        Reply::bytes(206, b"45678").header("content-range", "bytes 4-8/10"),
    ]);
    let read = at(&server.url(), "p")
        .read(Level::L0, name(1), 1, Some(8))
        .await;
    assert_eq!(read.unwrap(), "12345678");
    let seen = server.seen();
    assert_eq!(seen[0].header("x-oss-range-behavior"), Some("standard"));
    assert_eq!(seen[1].header("range"), Some("bytes=4-8"));
    assert_eq!(seen[1].header("if-match"), Some("\"v1\""));
}

#[tokio::test]
async fn old_uploads_are_aborted_and_no_others() {
    let upload = |key: &str, id: &str, begun: &str| {
        format!(
            "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{begun}</Initiated></Upload>"
        )
    };
    let ours = "p/0009/0000000000000001-0000000000000009.ltx";
    let page = [
        upload(ours, "old", "2020-01-01T00:00:00.000Z"),
        upload(ours, "new", "2999-01-01T00:00:00.000Z"),
        upload("p/0009/notes", "other", "2020-01-01T00:00:00.000Z"),
        upload(
            "p/db/0009/0000000000000001-0000000000000009.ltx",
            "other",
            "2020-01-01T00:00:00.000Z",
        ),
    ];
    let page = format!("<L><IsTruncated>false</IsTruncated>{}</L>", page.concat());
    let server = Server::with(move |asked| {
        let listing = asked.line().starts_with("GET");
        Some(if listing {
            Reply::text(200, &page)
        } else {
            Reply::text(204, "")
        })
    });
    at(&server.url(), "p").tidy().await.unwrap();
    let lines: Vec<String> = server.seen().iter().map(|a| a.line().to_owned()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("?uploads&prefix=p%2F&"), "{}", lines[0]);
    assert_eq!(lines[1], format!("DELETE /testb/{ours}?uploadId=old"));
}

/// The objects of 0.3 come here by the way that files do.
#[tokio::test]
async fn objects_of_0_3_are_read() {
    let server = Real::start(Kind::Oss).unwrap();
    let count = Cell::new(0);
    suite::run_v3(async |objects| {
        count.set(count.get() + 1);
        let place = server.new_place(&format!("v3-{}", count.get())).unwrap();
        let replica = at(place.key("endpoint").unwrap(), place.key("path").unwrap());
        for (path, bytes) in objects {
            let key = replica.names.other(path);
            let head = Head::new(http::Method::PUT, replica.service.object(&key));
            let payload = Payload::Bytes(bytes.clone());
            upload::put(&replica.service, &key, head, &payload)
                .await
                .unwrap();
        }
        Arc::new(replica) as SharedReplica
    })
    .await;
}
