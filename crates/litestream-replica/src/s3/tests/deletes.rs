//! Deleting: what the service did not do is not passed over.

use super::*;

fn keys(asked: &Asked) -> Vec<String> {
    let text = asked.text();
    let parts = text.split("<Key>").skip(1);
    parts
        .map(|part| part.split('<').next().unwrap().to_owned())
        .collect()
}

fn all(count: u64) -> Vec<(Level, FileName)> {
    (1..=count).map(|n| (Level::L0, name(n, n))).collect()
}

fn deleted(keys: &[String]) -> Reply {
    let named = keys
        .iter()
        .map(|key| format!("<Deleted><Key>{key}</Key></Deleted>"));
    let body: String = named.collect();
    Reply::new(200, format!("<DeleteResult>{body}</DeleteResult>"))
}

#[tokio::test]
async fn batches_carry_checksums_and_md5_unless_told_otherwise() {
    let recorder = Recorder::start(|asked| deleted(&keys(asked)));
    let mut settings = settings(&recorder.url, "db");
    open(&settings).delete(&all(2500)).await.unwrap();
    settings.content_md5 = false;
    open(&settings).delete(&all(2)).await.unwrap();
    open(&settings).delete(&[]).await.unwrap();
    let seen = recorder.seen();
    let sizes: Vec<usize> = seen.iter().map(|asked| keys(asked).len()).collect();
    assert_eq!(sizes, [1000, 1000, 500, 2]);
    for (at, asked) in seen.iter().enumerate() {
        assert_eq!(asked.operation(), "DeleteObjects");
        assert!(!asked.header("x-amz-checksum-crc32").is_empty());
        assert!(!asked.text().contains("<Quiet>true"), "{}", asked.text());
        let md5 = if at < 3 {
            crate::s3::sign::content_md5(&asked.body)
        } else {
            String::new()
        };
        assert_eq!(asked.header("content-md5"), md5);
    }
}

#[tokio::test]
async fn s22_what_the_service_does_not_name_is_deleted_alone() {
    let kept = "db/0000/0000000000000002-0000000000000002.ltx";
    for (status, succeeds) in [(204, true), (403, false)] {
        let recorder = Recorder::start(move |asked| match asked.operation() {
            "DeleteObjects" => {
                let mut named = keys(asked);
                named.retain(|key| key != kept);
                deleted(&named)
            }
            _ if status == 204 => Reply::new(204, ""),
            _ => Reply::error(status, "AccessDenied"),
        });
        let done = open(&settings(&recorder.url, "db")).delete(&all(3)).await;
        assert_eq!(done.is_ok(), succeeds, "{done:?}");
        let seen = recorder.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[1].operation(), "DeleteObject");
        assert!(seen[1].target.contains(kept), "{}", seen[1].target);
        if let Err(error) = done {
            assert!(
                error.is_forbidden() && error.to_string().contains(kept),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn k17_what_the_service_could_not_delete_is_an_error() {
    for (code, kind) in [
        ("AccessDenied", ErrorKind::Forbidden),
        ("InternalError", ErrorKind::Unreachable),
        ("SlowDown", ErrorKind::Throttled),
    ] {
        let recorder = Recorder::start(move |asked| {
            let failures = keys(asked).into_iter().take(7).map(|key| {
                format!(
                    "<Error><Key>{key}</Key><Code>{code}</Code><Message>because</Message></Error>"
                )
            });
            let body: String = failures.collect();
            Reply::new(200, format!("<DeleteResult>{body}</DeleteResult>"))
        });
        let replica = open(&settings(&recorder.url, "db"));
        let error = replica.delete(&all(9)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("7 of 9 objects could not be deleted"),
            "{text}"
        );
        let told = text.matches(&format!(": {code}: because")).count();
        assert_eq!(told, 5, "{text}");
    }
    let recorder = Recorder::start(|asked| {
        let gone = keys(asked)
            .into_iter()
            .map(|key| format!("<Error><Key>{key}</Key><Code>NoSuchKey</Code></Error>"));
        let body: String = gone.collect();
        Reply::new(200, format!("<DeleteResult>{body}</DeleteResult>"))
    });
    let replica = open(&settings(&recorder.url, "db"));
    replica.delete(&all(2)).await.unwrap();
}

#[tokio::test]
async fn a_page_of_something_between_says_of_no_object_that_it_is_gone() {
    for reply in [Reply::new(404, ""), Reply::new(404, "<html>lost</html>")] {
        let recorder = Recorder::start(move |_| reply.clone());
        let replica = open(&settings(&recorder.url, "db"));
        assert!(replica.delete(&all(1)).await.unwrap_err().is_retryable());
    }
}

#[tokio::test]
async fn a_service_without_batches_gets_single_requests() {
    let recorder = Recorder::start(|asked| match asked.operation() {
        "DeleteObjects" => Reply::error(501, "NotImplemented"),
        _ if asked.target.contains("0000000000000003-") => Reply::error(404, "NoSuchKey"),
        _ => Reply::new(204, ""),
    });
    let replica = open(&settings(&recorder.url, "db"));
    replica.delete(&all(20)).await.unwrap();
    let alone = recorder.operations();
    assert_eq!(alone.iter().filter(|op| **op == "DeleteObject").count(), 20);
}
