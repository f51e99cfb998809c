//! The replica against a server that answers by script.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::ErrorKind;
use crate::conditional::{Outcome, Tag, When};
use crate::env::real;
use crate::net::scripted::{Asked, Reply, Server};

const KEY: &str = "bm90IGEga2V5";

fn replica(server: &Server, sas: Option<&str>) -> AbsReplica {
    let mut keys = settings::Keys::new();
    let text = |text: &str| settings::Value::Text(text.to_owned());
    keys.set("type", text("abs"));
    keys.set("endpoint", text(&format!("{}/acc/", server.url())));
    keys.set("account-name", text("acc"));
    keys.set("bucket", text("box"));
    keys.set("path", text("db1"));
    let secret = |text: &str| settings::Value::Secret(settings::Secret::new(text));
    match sas {
        Some(sas) => keys.set("sas-token", secret(sas)),
        None => keys.set("account-key", secret(KEY)),
    }
    let settings = settings::Storage::read(&keys, &settings::Keys::new()).unwrap();
    let settings::Storage::Abs(settings) = settings else {
        panic!("another storage")
    };
    let env = real::env();
    AbsReplica::new(&settings, &settings::Opening::command(&env)).unwrap()
}

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

fn refused(status: u16, code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No.\nTime</Message></Error>"
    );
    Reply::text(status, &body).header("x-ms-error-code", code)
}

async fn write(replica: &AbsReplica, bytes: Bytes) -> Result<FileInfo> {
    let created = UnixMillis(1_700_000_000_123);
    replica
        .write(Level::L0, name(1), Source::Bytes(bytes), created)
        .await
}

#[tokio::test]
async fn a_small_file_is_one_signed_request() {
    let server = Server::start(vec![Reply::text(201, "")]);
    write(&replica(&server, None), Bytes::from_static(b"abc"))
        .await
        .unwrap();
    let seen = server.seen();
    assert_eq!(
        seen[0].line(),
        "PUT /acc/box/db1%2Fltx%2F0%2F0000000000000001-0000000000000001.ltx"
    );
    assert_eq!(seen[0].body, b"abc");
    for (name, value) in [
        ("x-ms-blob-type", "BlockBlob"),
        ("x-ms-meta-litestreamtimestamp", "2023-11-14T22:13:20.123Z"),
        ("x-ms-access-tier", "Hot"),
        ("content-type", "application/octet-stream"),
        ("content-md5", "kAFQmDzST7DWlj99KOF/cg=="),
        ("content-length", "3"),
    ] {
        assert_eq!(seen[0].header(name), Some(value), "{}", seen[0].head);
    }
    assert!(
        seen[0]
            .header("authorization")
            .unwrap()
            .starts_with("SharedKey acc:")
    );
}

#[tokio::test]
async fn s24_a_token_is_on_every_url_and_in_no_error() {
    let server = Server::with(|_| Some(refused(403, "AuthenticationFailed")));
    let replica = replica(&server, Some("?sv=1&sig=s3cret"));
    let error = write(&replica, Bytes::from_static(b"abc"))
        .await
        .unwrap_err();
    assert!(error.is_forbidden());
    assert!(
        !error.to_string().contains("s3cret") && error.to_string().contains("AuthenticationFailed"),
        "{error}"
    );
    replica.list(Level::L0, None, false).await.unwrap_err();
    for asked in server.seen() {
        assert!(asked.line().contains("sv=1&sig=s3cret"), "{}", asked.line());
        assert_eq!(asked.header("authorization"), None);
    }
}

#[tokio::test]
async fn an_account_without_tiers_is_asked_once() {
    let script = |asked: &Asked| {
        let tier = asked.header("x-ms-access-tier").is_some();
        Some(if tier {
            refused(400, "UnsupportedHeader")
        } else {
            Reply::text(201, "")
        })
    };
    let server = Server::with(script);
    let replica = replica(&server, None);
    for _ in 0..2 {
        write(&replica, Bytes::from_static(b"abc")).await.unwrap();
    }
    let tiers: Vec<bool> = server
        .seen()
        .iter()
        .map(|a| a.header("x-ms-access-tier").is_some())
        .collect();
    assert_eq!(tiers, [true, false, false]);
}

/// Keeps blocks and makes a blob of them; breaks every third request for a block.
#[derive(Default)]
struct Blocks {
    staged: std::collections::BTreeMap<String, Vec<u8>>,
    blob: Vec<u8>,
    count: usize,
}

impl Blocks {
    fn answer(&mut self, asked: &Asked) -> Option<Reply> {
        let line = asked.line().to_owned();
        if let Some((_, id)) = line.split_once("?comp=block&blockid=") {
            self.count += 1;
            if self.count.is_multiple_of(3) {
                return if self.count.is_multiple_of(2) {
                    None
                } else {
                    Some(refused(503, "ServerBusy"))
                };
            }
            let id = id
                .replace("%3D", "=")
                .replace("%2B", "+")
                .replace("%2F", "/");
            self.staged.insert(id, asked.body.clone());
            return Some(Reply::text(201, ""));
        }
        let list = crate::net::Xml::parse(&asked.body).unwrap();
        for id in list.children("Uncommitted") {
            self.blob.extend(self.staged.remove(&id.text).unwrap());
        }
        Some(Reply::text(201, ""))
    }
}

#[tokio::test]
async fn a_large_file_is_sent_in_blocks_and_broken_ones_again() {
    let blocks = Arc::new(parking_lot::Mutex::new(Blocks::default()));
    let service = Arc::clone(&blocks);
    let server = Server::with(move |asked| service.lock().answer(asked));
    let bytes: Bytes = (0..(40 << 20) + 5)
        .map(|i: u32| (i / 7 + i) as u8)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    #[allow(clippy::disallowed_methods, reason = "a file of the test")]
    std::fs::write(&path, &bytes).unwrap();
    let replica = replica(&server, None);
    let written = replica
        .write(Level::L0, name(1), Source::File(path), UnixMillis(1))
        .await;
    assert_eq!(written.unwrap().size, bytes.len() as u64);
    assert!(blocks.lock().blob == bytes && blocks.lock().staged.is_empty());
    let seen = server.seen();
    let last = seen.last().unwrap();
    assert_eq!(
        last.header("x-ms-meta-litestreamtimestamp"),
        Some("1970-01-01T00:00:00.001Z")
    );
    assert_eq!(
        last.header("x-ms-blob-content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(seen.len(), 1 + 6 + 2, "two of eight broke");
}

#[tokio::test]
async fn a_broken_read_goes_on_where_it_broke_on_the_same_version() {
    let server = Server::start(vec![
        Reply::bytes(206, b"12345678")
            .header("etag", "\"v1\"")
            .header("content-range", "bytes 1-8/10")
            .cut(3),
        Reply::bytes(206, b"45678")
            .header("etag", "\"v1\"")
            .header("content-range", "bytes 4-8/10"),
        Reply::bytes(200, b"0123456789")
            .header("etag", "\"v1\"")
            .cut(4),
        refused(412, "ConditionNotMet"),
        refused(412, "ConditionNotMet"),
        refused(412, "ConditionNotMet"),
        refused(412, "ConditionNotMet"),
    ]);
    let replica = replica(&server, None);
    let read = replica.read(Level::L0, name(1), 1, Some(8)).await;
    assert_eq!(read.unwrap(), "12345678");
    let error = replica.read(Level::L0, name(1), 0, None).await.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("replaced"),
        "{error}"
    );
    let seen = server.seen();
    assert_eq!(seen[0].header("range"), Some("bytes=1-8"));
    assert_eq!(seen[1].header("range"), Some("bytes=4-8"));
    assert_eq!(seen[1].header("if-match"), Some("\"v1\""));
    assert_eq!(seen[3].header("range"), Some("bytes=4-"));
}

#[tokio::test]
async fn r21_what_is_missing_or_forbidden_is_no_empty_level() {
    for (status, code, kind, hint) in [
        (404, "ContainerNotFound", ErrorKind::Invalid, "create it"),
        (
            404,
            "ResourceNotFound",
            ErrorKind::Invalid,
            "ResourceNotFound",
        ),
        (
            403,
            "AuthorizationPermissionMismatch",
            ErrorKind::Forbidden,
            "allow listing",
        ),
        (503, "ServerBusy", ErrorKind::Throttled, "ServerBusy"),
        (
            500,
            "InternalError",
            ErrorKind::Unreachable,
            "InternalError",
        ),
    ] {
        let reply = refused(status, code).header("x-ms-request-id", "R7");
        let server = Server::with(move |_| Some(reply.clone()));
        let replica = replica(&server, None);
        let error = replica.list(Level::L0, None, false).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            error.to_string().contains(hint) && error.to_string().contains("R7"),
            "{error}"
        );
        let read = replica.read(Level::L0, name(1), 0, None).await.unwrap_err();
        assert_eq!(read.is_not_found(), code == "ResourceNotFound", "{read}");
        Replica::delete(&replica, &[(Level::L0, name(1))])
            .await
            .unwrap_err();
        write(&replica, Bytes::new()).await.unwrap_err();
    }
    let server = Server::with(|_| Some(refused(404, "BlobNotFound")));
    let replica = replica(&server, None);
    assert!(
        replica
            .read(Level::L0, name(1), 0, None)
            .await
            .unwrap_err()
            .is_not_found()
    );
    Replica::delete(&replica, &[(Level::L0, name(1))])
        .await
        .unwrap();
    // Of something between, not of the service.
    let server = Server::with(|_| Some(Reply::text(404, "<html>lost</html>")));
    let read = self::replica(&server, None);
    let read = read.read(Level::L0, name(1), 0, None).await;
    assert!(read.unwrap_err().is_retryable());
}

#[tokio::test]
async fn s16_listings_go_on_to_the_last_page() {
    let pages = AtomicUsize::new(0);
    let server = Server::with(move |_| {
        let page = pages.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let blob = |i: usize| {
            let name = format!("db1/ltx/0/{i:016x}-{i:016x}.ltx");
            format!(
                "<Blob><Name>{name}</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>"
            )
        };
        let blobs: Vec<String> = (page * 100..(page + 1) * 100).map(blob).collect();
        let blobs = blobs.concat();
        let next = if page < 2 {
            format!("m/{page}")
        } else {
            String::new()
        };
        Some(Reply::text(
            200,
            &format!("<E><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker></E>"),
        ))
    });
    let files = replica(&server, None)
        .list(Level::L0, Some(Txid::new(150)), false)
        .await
        .unwrap();
    assert_eq!((files.len(), files[0].name), (150, name(150)));
    let seen = server.seen();
    assert!(
        seen[1].line().contains("&marker=m%2F0"),
        "{}",
        seen[1].line()
    );
    assert!(
        seen[0].line().contains("include=metadata")
            && seen[0].line().contains("prefix=db1%2Fltx%2F0%2F")
    );
    let endless = Server::with(|_| {
        Some(Reply::text(
            200,
            "<E><Blobs/><NextMarker>m</NextMarker></E>",
        ))
    });
    replica(&endless, None)
        .list(Level::L0, None, false)
        .await
        .unwrap_err();
}

#[tokio::test]
async fn conditions_are_sent_and_their_refusal_is_told() {
    let server = Server::start(vec![
        Reply::text(201, "").header("etag", "\"1\""),
        refused(409, "BlobAlreadyExists"),
        refused(412, "ConditionNotMet"),
        Reply::text(202, ""),
        refused(404, "BlobNotFound"),
        refused(404, "BlobNotFound"),
        refused(404, "ContainerNotFound"),
    ]);
    let replica = replica(&server, None);
    let lock = replica.conditional().unwrap();
    let tag = Tag("\"1\"".into());
    let put = async |when| {
        lock.put("lock.json", Bytes::from_static(b"{}"), when)
            .await
            .unwrap()
    };
    assert_eq!(put(When::Absent).await, Outcome::Done(tag.clone()));
    assert_eq!(put(When::Absent).await, Outcome::Refused);
    assert_eq!(put(When::Same(tag.clone())).await, Outcome::Refused);
    assert_eq!(
        lock.delete("lock.json", &tag).await.unwrap(),
        Outcome::Done(tag.clone())
    );
    assert_eq!(
        lock.delete("lock.json", &tag).await.unwrap(),
        Outcome::Refused
    );
    assert_eq!(lock.get("lock.json").await.unwrap(), None);
    lock.get("lock.json").await.unwrap_err();
    let seen = server.seen();
    assert_eq!(seen[0].line(), "PUT /acc/box/db1%2Flock.json");
    assert_eq!(seen[0].header("if-none-match"), Some("*"));
    assert_eq!(seen[2].header("if-match"), Some("\"1\""));
    assert_eq!(seen[3].header("if-match"), Some("\"1\""));
}
