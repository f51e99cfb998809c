//! The replica against a server that answers by script.

use google_cloud_auth::credentials::mds;
use parking_lot::Mutex;
use serde_json::json;

use super::credentials::Login;
use super::*;
use crate::ErrorKind;
use crate::conditional::{Outcome, Tag, When};
use crate::env::real;
use crate::net::scripted::{Asked, Reply, Server};

fn replica(server: &Server) -> GsReplica {
    let settings = settings::Storage::from_url("gs://box/db1");
    let Ok(settings::Storage::Gs(settings)) = settings else {
        panic!("another storage")
    };
    let env = real::env();
    GsReplica::at(
        &settings,
        Some(&server.url()),
        &settings::Opening::command(&env),
    )
    .unwrap()
}

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

fn refused(status: u16, reason: &str) -> Reply {
    let error =
        json!({"error": {"code": status, "message": "No.", "errors": [{"reason": reason}]}});
    Reply::text(status, &error.to_string())
}

async fn write(replica: &GsReplica, bytes: Bytes) -> Result<FileInfo> {
    let created = UnixMillis(1_700_000_000_123);
    let source = Source::Bytes(bytes);
    replica.write(Level::L0, name(1), source, created).await
}

#[tokio::test]
async fn an_object_that_became_shorter_does_not_end_where_reading_goes_on() {
    let part = || Reply::text(200, "0123456789").cut(4);
    for (then, fine) in [
        (Reply::text(416, ""), false),
        (Reply::text(204, ""), false),
        (Reply::text(200, "01"), false),
        (
            Reply::text(416, "").header("content-range", "bytes */4"),
            true,
        ),
    ] {
        let replies = std::iter::once(part()).chain(std::iter::repeat_n(then, 9));
        let server = Server::start(replies.collect());
        let read = replica(&server).read(Level::L0, name(1), 0, None).await;
        match read {
            Ok(bytes) => assert!(fine && bytes == "0123"),
            Err(error) => assert!(!fine && error.is_retryable(), "{error}"),
        }
        assert_eq!(server.seen()[1].header("range"), Some("bytes=4-"));
    }
    let server = Server::start(vec![Reply::text(416, "")]);
    let beyond = replica(&server).read(Level::L0, name(1), 9, None).await;
    assert_eq!(beyond.unwrap(), "");
}

#[tokio::test]
async fn a_small_file_is_one_request() {
    let server = Server::start(vec![
        Reply::text(200, r#"{"size":"9"}"#),
        Reply::text(200, r#"{"size":"8"}"#),
        refused(400, "invalid"),
    ]);
    let replica = replica(&server);
    write(&replica, Bytes::from_static(b"123456789"))
        .await
        .unwrap();
    let error = write(&replica, Bytes::from_static(b"123456789"))
        .await
        .unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("8 are stored"),
        "{error}"
    );
    write(&replica, Bytes::new()).await.unwrap_err();
    let asked = &server.seen()[0];
    assert_eq!(
        asked.line(),
        "POST /upload/storage/v1/b/box/o?uploadType=multipart&name=db1%2Fltx%2F0%2F0000000000000001-0000000000000001.ltx&prettyPrint=false"
    );
    let boundary = asked
        .header("content-type")
        .unwrap()
        .split_once("boundary=")
        .unwrap()
        .1;
    let body = String::from_utf8(asked.body.clone()).unwrap();
    let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
    assert_eq!((parts.len(), parts[0], parts[3]), (4, "", "--\r\n"));
    let meta: serde_json::Value =
        serde_json::from_str(parts[1].split_once("\r\n\r\n").unwrap().1).unwrap();
    let expected = json!({
        "name": "db1/ltx/0/0000000000000001-0000000000000001.ltx",
        "contentType": "application/octet-stream",
        // The check value of CRC-32C.
        "crc32c": "4waSgw==",
        "metadata": {"litestream-timestamp": "2023-11-14T22:13:20.123Z"},
    });
    assert_eq!(meta, expected);
    assert_eq!(
        parts[2],
        "\r\nContent-Type: application/octet-stream\r\n\r\n123456789\r\n"
    );
}

/// A session of the service: every fourth request breaks after half of its body was taken.
#[derive(Default)]
struct Session {
    taken: Vec<u8>,
    count: usize,
}

impl Session {
    fn answer(&mut self, asked: &Asked, url: &str) -> Option<Reply> {
        if asked.line().starts_with("POST") {
            return Some(
                Reply::text(200, "").header("Location", &format!("{url}/session?upload_id=s3cret")),
            );
        }
        self.count += 1;
        let (range, size) = asked
            .header("content-range")
            .unwrap()
            .split_once('/')
            .unwrap();
        let size: usize = size.parse().unwrap();
        if range != "bytes *" {
            let (from, to) = range.trim_start_matches("bytes ").split_once('-').unwrap();
            let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(
                (from, to - from + 1),
                (self.taken.len(), asked.body.len()),
                "no byte is sent twice"
            );
            assert!(to + 1 == size || asked.body.len().is_multiple_of(256 << 10));
            if self.count.is_multiple_of(4) {
                self.taken.extend(&asked.body[..256 << 10]);
                return None;
            }
            self.taken.extend(&asked.body);
        }
        if self.taken.len() == size {
            return Some(Reply::text(
                200,
                &json!({"size": size.to_string()}).to_string(),
            ));
        }
        let reply = Reply::text(308, "");
        Some(match self.taken.len() {
            0 => reply,
            taken => reply.header("Range", &format!("bytes=0-{}", taken - 1)),
        })
    }
}

#[tokio::test]
async fn a_large_file_goes_on_where_its_session_broke() {
    let session = Arc::new(Mutex::new(Session::default()));
    let service = Arc::clone(&session);
    let address = Arc::new(Mutex::new(String::new()));
    let url = Arc::clone(&address);
    let server = Server::with(move |asked| service.lock().answer(asked, &url.lock()));
    *address.lock() = server.url();
    let bytes: Bytes = (0..(90 << 20) + 5)
        .map(|i: u32| (i / 7 + i) as u8)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    #[allow(clippy::disallowed_methods, reason = "a file of the test")]
    std::fs::write(&path, &bytes).unwrap();
    let replica = replica(&server);
    let written = replica
        .write(Level::L0, name(1), Source::File(path), UnixMillis(1))
        .await;
    assert_eq!(written.unwrap().size, bytes.len() as u64);
    assert!(session.lock().taken == bytes);
    let seen = server.seen();
    assert_eq!(seen[0].header("x-upload-content-length"), Some("94371845"));
    let asked = seen
        .iter()
        .filter(|a| a.header("content-range") == Some("bytes */94371845"));
    assert_eq!(asked.count(), 2, "after each that broke");
}

#[tokio::test]
async fn an_ended_session_fails_at_once_and_shows_in_no_error() {
    for (status, kind) in [
        (410, ErrorKind::Unreachable),
        (404, ErrorKind::Unreachable),
        (403, ErrorKind::Forbidden),
    ] {
        let address = Arc::new(Mutex::new(String::new()));
        let url = Arc::clone(&address);
        let server = Server::with(move |asked| {
            let session = format!("{}/session?upload_id=s3cret", url.lock());
            Some(if asked.line().starts_with("POST") {
                Reply::text(200, "").header("Location", &session)
            } else {
                refused(status, "x")
            })
        });
        *address.lock() = server.url();
        let replica = replica(&server);
        let payload = Payload::Bytes(vec![0; 17 << 20].into());
        let error = replica
            .upload("k", payload, UnixMillis(1))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_broken_read_goes_on_where_it_broke_on_the_same_generation() {
    let server = Server::start(vec![
        Reply::bytes(206, b"12345678")
            .header("x-goog-generation", "7")
            .header("content-range", "bytes 1-8/10")
            .cut(3),
        Reply::bytes(206, b"45678").header("content-range", "bytes 4-8/10"),
        Reply::bytes(206, b"12").header("content-range", "bytes 1-2/10"),
        Reply::bytes(206, b"34").header("content-range", "bytes 3-4/10"),
        Reply::bytes(206, b"zz").header("content-range", "bytes 2-3/10"),
    ]);
    let replica = replica(&server);
    let read = replica.read(Level::L0, name(1), 1, Some(8)).await;
    assert_eq!(read.unwrap(), "12345678");
    let seen = server.seen();
    assert_eq!(seen[0].header("range"), Some("bytes=1-8"));
    assert_eq!(seen[1].header("range"), Some("bytes=4-8"));
    assert!(seen[1].line().ends_with("?alt=media&ifGenerationMatch=7"));
    // Less than was asked for, though there is more.
    assert_eq!(
        replica.read(Level::L0, name(1), 1, Some(4)).await.unwrap(),
        "1234"
    );
    let error = replica
        .read(Level::L0, name(1), 1, Some(4))
        .await
        .unwrap_err();
    assert!(error.is_corrupt(), "{error}");
}

#[tokio::test]
async fn r21_what_is_missing_or_forbidden_is_no_empty_level() {
    for (status, reason, kind, hint) in [
        (
            404,
            "notFound",
            ErrorKind::Invalid,
            "bucket box doesn't exist",
        ),
        (403, "forbidden", ErrorKind::Forbidden, "allow listing"),
        (401, "required", ErrorKind::Forbidden, "required"),
        (
            429,
            "rateLimitExceeded",
            ErrorKind::Throttled,
            "rateLimitExceeded",
        ),
        (503, "backendError", ErrorKind::Unreachable, "backendError"),
    ] {
        let reply = refused(status, reason).header("x-guploader-uploadid", "R7");
        let server = Server::with(move |_| Some(reply.clone()));
        let replica = replica(&server);
        let errors = [
            replica.list(Level::L0, None, false).await.unwrap_err(),
            replica.read(Level::L0, name(1), 0, None).await.unwrap_err(),
            write(&replica, Bytes::new()).await.unwrap_err(),
            Replica::delete(&replica, &[(Level::L0, name(1))])
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(
                error.to_string().contains(hint) && error.to_string().contains("R7"),
                "{error}"
            );
        }
    }
    // The bucket is there.
    let script = |asked: &Asked| {
        let listing = asked.line().contains("/o?");
        Some(if listing {
            Reply::text(200, "{}")
        } else {
            Reply::text(404, "No such object")
        })
    };
    let server = Server::with(script);
    let replica = replica(&server);
    let error = replica.read(Level::L0, name(1), 0, None).await.unwrap_err();
    assert!(error.is_not_found());
    let both = [(Level::L0, name(1)), (Level::L0, name(2))];
    Replica::delete(&replica, &both).await.unwrap();
    assert_eq!(server.seen().len(), 2 + 3, "the bucket is asked for once");
}

#[tokio::test]
async fn s16_listings_go_on_to_the_last_page() {
    let mut page = 0;
    let server = Server::with(move |_| {
        let item =
            |i: u64| json!({"name": format!("db1/ltx/0/{i:016x}-{i:016x}.ltx"), "size": "1"});
        let items: Vec<_> = (page * 100..(page + 1) * 100).map(item).collect();
        page += 1;
        let mut answer = json!({ "items": items });
        if page < 3 {
            answer["nextPageToken"] = format!("t/{page}").into();
        }
        Some(Reply::text(200, &answer.to_string()))
    });
    let files = replica(&server)
        .list(Level::L0, Some(Txid::new(150)), false)
        .await;
    let files = files.unwrap();
    assert_eq!((files.len(), files[0].name), (150, name(150)));
    let seen = server.seen();
    assert!(
        seen[0].line().contains("?prefix=db1%2Fltx%2F0%2F&"),
        "{}",
        seen[0].line()
    );
    assert!(
        seen[1].line().contains("&pageToken=t%2F1"),
        "{}",
        seen[1].line()
    );
    let endless = Server::with(|_| Some(Reply::text(200, r#"{"nextPageToken":"t"}"#)));
    replica(&endless)
        .list(Level::L0, None, false)
        .await
        .unwrap_err();
}

#[tokio::test]
async fn conditions_are_sent_and_their_refusal_is_told() {
    let server = Server::start(vec![
        Reply::text(200, r#"{"generation":"5"}"#),
        refused(412, "conditionNotMet"),
        refused(412, "conditionNotMet"),
        Reply::text(204, ""),
        refused(412, "conditionNotMet"),
        refused(404, "notFound"),
        Reply::text(200, "{}"),
        Reply::text(404, "No such object"),
        Reply::text(200, "{}"),
        Reply::text(200, "{}").header("x-goog-generation", "6"),
    ]);
    let replica = replica(&server);
    let lock = replica.conditional().unwrap();
    let tag = Tag("5".into());
    let put = async |when| {
        lock.put("lock.json", Bytes::from_static(b"{}"), when)
            .await
            .unwrap()
    };
    assert_eq!(put(When::Absent).await, Outcome::Done(tag.clone()));
    assert_eq!(put(When::Absent).await, Outcome::Refused);
    assert_eq!(put(When::Same(tag.clone())).await, Outcome::Refused);
    let delete = async || lock.delete("lock.json", &tag).await.unwrap();
    assert_eq!(delete().await, Outcome::Done(tag.clone()));
    assert_eq!(delete().await, Outcome::Refused);
    assert_eq!(delete().await, Outcome::Refused);
    assert_eq!(lock.get("lock.json").await.unwrap(), None);
    let got = lock.get("lock.json").await.unwrap();
    assert_eq!(got, Some((Bytes::from_static(b"{}"), Tag("6".into()))));
    let seen = server.seen();
    assert!(
        seen[0]
            .line()
            .ends_with("name=db1%2Flock.json&prettyPrint=false&ifGenerationMatch=0")
    );
    assert!(seen[2].line().ends_with("&ifGenerationMatch=5"));
    assert_eq!(
        seen[3].line(),
        "DELETE /storage/v1/b/box/o/db1%2Flock.json?ifGenerationMatch=5"
    );
}

#[tokio::test]
async fn the_token_of_the_metadata_service_is_on_every_request() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metadata = Server::with(|_| {
        Some(
            Reply::text(
                200,
                r#"{"access_token":"t0ken","expires_in":3600,"token_type":"Bearer"}"#,
            )
            .header("content-type", "application/json"),
        )
    });
    let server = Server::with(|_| Some(Reply::text(200, "{}")));
    let GsReplica {
        service,
        names,
        location,
    } = replica(&server);
    let mut service = Arc::into_inner(service).unwrap();
    let credentials = mds::Builder::default()
        .with_endpoint(metadata.url())
        .build();
    service.login = Some(Arc::new(Login::given(credentials.unwrap())));
    let replica = GsReplica {
        service: Arc::new(service),
        names,
        location,
    };
    for _ in 0..2 {
        assert!(
            replica
                .list(Level::L0, None, false)
                .await
                .unwrap()
                .is_empty()
        );
    }
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), Some("Bearer t0ken"));
    assert_eq!(seen[1].header("authorization"), Some("Bearer t0ken"));
    assert_eq!(metadata.seen().len(), 1);
}

#[tokio::test]
async fn without_a_token_it_is_said_why_and_asked_anew() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = settings::Storage::from_url("gs://box/db1");
    let Ok(settings::Storage::Gs(settings)) = settings else {
        panic!("another storage")
    };
    let env = real::env();
    let opening = settings::Opening::command(&env);
    let metadata = Server::with(|_| Some(Reply::text(403, "no account here")));
    let credentials = mds::Builder::default().with_endpoint(metadata.url());
    let login = Arc::new(Login::given(credentials.build().unwrap()));
    let service = Service::new(
        "box",
        Some("127.0.0.1:1"),
        opening.http(&opening.access.trust).unwrap(),
        Some(login),
    );
    let replica = GsReplica {
        service: Arc::new(service.unwrap()),
        names: Names::Cleaned(settings.prefix),
        location: String::new(),
    };
    let error = replica.list(Level::L0, None, false).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("no credentials: ") && text.contains("GOOGLE_APPLICATION_CREDENTIALS"),
        "{text}"
    );
    assert!(text.len() < 600, "{text}");
    assert!(!replica.service.login.as_ref().unwrap().is_there());
}
