//! What becomes of answers that are no success, or broken.

use std::time::Duration;

use super::*;

async fn error_of(reply: Reply, list: bool) -> crate::Error {
    let recorder = Recorder::start(move |_| reply.clone());
    let replica = open(&settings(&recorder.url, "db"));
    if list {
        let listed = replica.list(Level::L0, None, false).await;
        listed.unwrap_err()
    } else {
        let read = replica.read(Level::L0, name(1, 1), 0, None).await;
        read.unwrap_err()
    }
}

#[tokio::test]
async fn r21_failures_are_told_apart_and_say_what_to_do() {
    use ErrorKind::{Forbidden, Invalid, NotFound, Throttled, Unreachable};
    let html = "<html><body>Sign in to the hotel</body></html>";
    for (reply, list, kind, part) in [
        (
            Reply::error(404, "NoSuchKey"),
            false,
            NotFound,
            "because [request R1]",
        ),
        // Not the service's own word: the file may be there.
        (Reply::new(404, ""), false, Unreachable, "404 Not Found"),
        (Reply::new(404, html), false, Unreachable, "404"),
        (
            Reply::error(404, "NoSuchBucket"),
            false,
            Invalid,
            "create it, or correct its name",
        ),
        (
            Reply::error(404, "NoSuchBucket"),
            true,
            Invalid,
            "create it, or correct its name",
        ),
        (
            Reply::new(404, ""),
            true,
            Invalid,
            "create it, or correct its name",
        ),
        (
            Reply::error(404, "NoSuchKey"),
            true,
            Invalid,
            "create it, or correct its name",
        ),
        (
            Reply::error(403, "AccessDenied"),
            true,
            Forbidden,
            "may not do this",
        ),
        (
            Reply::error(403, "SignatureDoesNotMatch"),
            true,
            Forbidden,
            "check the secret",
        ),
        (
            Reply::error(403, "InvalidAccessKeyId"),
            true,
            Forbidden,
            "does not know this access key",
        ),
        (
            Reply::error(400, "ExpiredToken"),
            true,
            Forbidden,
            "get new credentials",
        ),
        (
            Reply::error(403, "RequestTimeTooSkewed").with("date", "Mon, 30 Nov 2026 12:00:00 GMT"),
            true,
            Forbidden,
            "the clock of this machine is wrong: set it, for example by NTP; the server's says Mon, 30 Nov 2026 12:00:00 GMT",
        ),
        (
            Reply::error(301, "PermanentRedirect").with("x-amz-bucket-region", "eu-north-1"),
            true,
            Invalid,
            "the bucket lies in eu-north-1: set region to eu-north-1",
        ),
        (
            Reply::error(400, "AuthorizationHeaderMalformed"),
            true,
            Invalid,
            "set \"region\"",
        ),
        (Reply::error(503, "SlowDown"), true, Throttled, "SlowDown"),
        (Reply::new(429, ""), true, Throttled, "429"),
        (Reply::error(500, "InternalError"), true, Unreachable, "500"),
        (Reply::new(502, html), true, Unreachable, "502"),
        (
            Reply::error(408, "RequestTimeout"),
            true,
            Unreachable,
            "408",
        ),
    ] {
        let error = error_of(reply, list).await;
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(part), "{text}");
        let begin = if list {
            "list bucket/db/0000/: "
        } else {
            "get bucket/db/0000/0000000000000001-"
        };
        assert!(text.starts_with(begin), "{text}");
    }
    let error = error_of(Reply::new(200, html), true).await;
    assert_eq!(error.kind(), ErrorKind::Other, "{error}");
    assert!(
        error.to_string().contains("really is an S3 service"),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_there_is_told_from_a_refusal() {
    let replica = open(&settings("http://127.0.0.1:1", "db"));
    let error = replica.list(Level::L0, None, false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let text = error.to_string();
    assert!(
        text.starts_with("list bucket/db/0000/: 127.0.0.1:1: "),
        "{text}"
    );
    assert!(text.contains("nothing listens there"), "{text}");
}

#[tokio::test]
async fn r05_a_read_goes_on_where_it_broke() {
    let all = bytes(1000);
    let content = all.clone();
    let recorder = Recorder::start(move |asked| {
        let range = asked.header("range").strip_prefix("bytes=").unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let from: usize = from.parse().unwrap();
        let to = to.parse::<usize>().map_or(content.len(), |to| to + 1);
        Reply::new(206, content.slice(from..to))
            .with("content-range", format!("bytes {from}-{}/1000", to - 1))
            .cut((to - from).min(300))
    });
    let replica = open(&settings(&recorder.url, "db"));
    let got = replica.read(Level::L0, name(1, 1), 50, Some(900)).await;
    assert_eq!(got.unwrap(), all.slice(50..950));
    let seen = recorder.seen();
    let ranges: Vec<&str> = seen.iter().map(|asked| asked.header("range")).collect();
    // The last piece came whole before the connection was cut.
    assert_eq!(ranges, ["bytes=50-949", "bytes=350-949", "bytes=650-949"]);
}

/// Sends the beginning of what it has.
#[tokio::test]
async fn a_read_that_brings_less_than_there_is_is_no_end() {
    let range = |from: usize, len: usize, total: usize| {
        Reply::new(206, bytes(100).slice(from..from + len)).with(
            "content-range",
            format!("bytes {from}-{}/{total}", from + len - 1),
        )
    };
    for (second, kind) in [
        (Reply::new(416, ""), ErrorKind::Unreachable),
        (range(0, 10, 100), ErrorKind::Corrupt),
    ] {
        let recorder = Recorder::start(move |asked| match asked.header("range") {
            "bytes=0-99" => range(0, 40, 100),
            _ => second.clone(),
        });
        let replica = open(&settings(&recorder.url, "db"));
        let read = replica.read(Level::L0, name(1, 1), 0, Some(100)).await;
        assert_eq!(read.unwrap_err().kind(), kind);
    }
    let recorder = Recorder::start(move |asked| match asked.header("range") {
        "bytes=0-99" => range(0, 40, 100),
        _ => range(40, 60, 100),
    });
    let replica = open(&settings(&recorder.url, "db"));
    let read = replica.read(Level::L0, name(1, 1), 0, Some(100)).await;
    assert_eq!(read.unwrap(), bytes(100));
    let recorder = Recorder::start(|_| Reply::new(416, "").with("content-range", "bytes */7"));
    let replica = open(&settings(&recorder.url, "db"));
    let read = replica.read(Level::L0, name(1, 1), 9, None).await;
    assert_eq!(read.unwrap(), "");
}

#[tokio::test]
async fn r10_a_service_that_knows_no_ranges_is_read_all_the_same() {
    let recorder = Recorder::start(|_| Reply::new(200, "0123456789"));
    let replica = open(&settings(&recorder.url, "db"));
    for (offset, len, expected) in [
        (0, None, "0123456789"),
        (3, Some(4), "3456"),
        (8, Some(9), "89"),
        (20, None, ""),
    ] {
        let read = replica.read(Level::L0, name(1, 1), offset, len).await;
        assert_eq!(read.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_success_without_a_tag_is_none() {
    let recorder = Recorder::start(|_| Reply::new(200, html()));
    let replica = open(&settings(&recorder.url, "db"));
    let error = write(&replica, &bytes(10)).await.unwrap_err();
    assert!(error.to_string().contains("no ETag returned"), "{error}");
}

fn html() -> &'static str {
    "<html/>"
}

/// Nothing is tried again inside, whatever the SDK would like.
#[tokio::test]
async fn each_request_is_sent_once() {
    let recorder = Recorder::start(|_| Reply::error(503, "SlowDown"));
    let replica = open(&settings(&recorder.url, "db"));
    let clock = real::env().clock;
    let begin = clock.monotonic();
    write(&replica, &bytes(10)).await.unwrap_err();
    replica.list(Level::L0, None, false).await.unwrap_err();
    replica
        .delete(&[(Level::L0, name(1, 1)), (Level::L0, name(2, 2))])
        .await
        .unwrap_err();
    assert_eq!(recorder.seen().len(), 3);
    assert!(clock.monotonic().since(begin) < Duration::from_secs(2));
}
