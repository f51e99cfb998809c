//! Answers that look alike and mean different things.

use super::*;
use crate::ErrorKind;

#[tokio::test]
async fn what_is_missing_where_everything_is_missing_is_an_error() {
    let files = [(Level::L0, FileName::single(Txid::new(1)))];
    for (base, kind) in [
        (404, ErrorKind::Invalid),
        (500, ErrorKind::Unreachable),
        (200, ErrorKind::Unreachable),
        (403, ErrorKind::Forbidden),
    ] {
        let (url, _) = serve(move |seen| reply(if seen.target == "/dav/" { base } else { 404 }));
        let replica = open(&format!("{url}/dav"), "p", None);
        let listed = replica.list(Level::L0, None, false).await.unwrap_err();
        let deleted = replica.delete(&files).await.unwrap_err();
        let v3 = replica.list_v3().await.unwrap_err();
        for error in [listed, deleted, v3] {
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(
                error.to_string().contains("webdav-url"),
                base == 404,
                "{error}"
            );
        }
    }
    let (url, log) = serve(|seen| reply(if seen.target == "/dav/" { 207 } else { 404 }));
    let replica = open(&format!("{url}/dav"), "p", None);
    for _ in 0..3 {
        assert!(
            replica
                .list(Level::L0, None, false)
                .await
                .unwrap()
                .is_empty()
        );
        replica.delete(&files).await.unwrap();
    }
    let lines = lines(&log);
    let checks = lines.iter().filter(|line| *line == "PROPFIND /dav/");
    assert_eq!(checks.count(), 1, "{lines:?}");
}

#[tokio::test]
async fn a_move_that_is_forbidden_is_no_reason_to_write_without_moving() {
    let (url, log) = serve(|seen| reply(if seen.method == "MOVE" { 403 } else { 201 }));
    let replica = open(&url, "p", None);
    for _ in 0..2 {
        assert!(write(&replica).await.unwrap_err().is_forbidden());
    }
    let direct = format!("PUT /p/ltx/0/{FILE}");
    assert!(!lines(&log).contains(&direct));
}

#[tokio::test]
async fn a_second_attempt_has_a_name_of_its_own() {
    for status in [404, 409, 400] {
        // What the first attempt uploaded can't be moved; a destination in another form is taken.
        let first = Mutex::new(None);
        let (url, log) = serve(move |seen| {
            let is_first = || *first.lock().get_or_insert(seen.target.clone()) == seen.target;
            let is_url = seen.header("destination").contains("://");
            match seen.method.as_str() {
                "MOVE" if is_first() && (status != 400 || is_url) => reply(status),
                _ => reply(201),
            }
        });
        let written = write(&open(&url, "p", None)).await;
        let lines = lines(&log);
        let puts: Vec<&String> = lines.iter().filter(|l| l.starts_with("PUT")).collect();
        if status == 400 {
            // Here the destination is told in another form.
            assert_eq!(puts.len(), 1, "{lines:?}");
        } else {
            assert!(puts.len() == 2 && puts[0] != puts[1], "{lines:?}");
        }
        assert!(written.is_ok());
    }
    let (url, log) = serve(|seen| reply(if seen.method == "PUT" { 412 } else { 201 }));
    assert!(write(&open(&url, "p", None)).await.is_err());
    let lines = lines(&log);
    assert_eq!(lines.iter().filter(|l| l.starts_with("PUT")).count(), 1);
}

#[tokio::test]
async fn a_file_that_became_shorter_does_not_end_where_reading_goes_on() {
    // The first answer breaks off after a part of what it promised.
    for (status, range) in [
        (416, None),
        (204, None),
        (200, None),
        (416, Some("bytes */4")),
    ] {
        let (url, log) = serve(move |seen| {
            if seen.header("range") == "bytes=0-9" {
                return (206, vec![("Cut", "4".to_owned())], b"0123456789".to_vec());
            }
            let range = range.map(|range| ("Content-Range", range.to_owned()));
            let body = if status == 200 {
                b"01".to_vec()
            } else {
                Vec::new()
            };
            (status, range.into_iter().collect(), body)
        });
        let got = read(&open(&url, "p", None), 0, Some(10)).await;
        if range.is_some() {
            assert_eq!(got.unwrap(), "0123", "{status}");
        } else {
            assert!(got.unwrap_err().is_retryable(), "{status}");
        }
        assert_eq!(log.lock()[1].header("range"), "bytes=4-9");
    }
}

#[tokio::test]
async fn names_outside_of_ascii_log_in_with_digest() {
    let (url, log) = serve(|seen| {
        if seen
            .header("authorization")
            .contains("username=\"j\u{f6}rg\"")
        {
            return reply(207);
        }
        let ask = "Digest realm=\"B\u{fc}ro\", nonce=\"n\", qop=\"auth\"".to_owned();
        (401, vec![("WWW-Authenticate", ask)], Vec::new())
    });
    let replica = open(&url, "p", Some(("j\u{f6}rg", "p")));
    replica.server.check_base("list").await.unwrap();
    assert_eq!(log.lock().len(), 2);
}
