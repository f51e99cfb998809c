//! Uploads in parts, where things go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::env::{Clock, Monotonic};

const BEGUN: &str =
    "<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>";
const ENDED: &str = "<CompleteMultipartUploadResult><ETag>t</ETag></CompleteMultipartUploadResult>";

/// A service that does everything but what `special` answers otherwise.
fn service(special: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Recorder {
    Recorder::start(move |asked| {
        special(asked).unwrap_or_else(|| match asked.operation() {
            "CreateMultipartUpload" => Reply::new(200, BEGUN),
            "CompleteMultipartUpload" => Reply::new(200, ENDED),
            "AbortMultipartUpload" => Reply::new(204, ""),
            _ => Reply::tag(),
        })
    })
}

fn count(recorder: &Recorder, operation: &str) -> usize {
    let all = recorder.operations();
    all.iter().filter(|op| **op == operation).count()
}

#[tokio::test]
async fn parts_are_put_together_and_only_what_failed_is_sent_again() {
    let failures = AtomicU32::new(0);
    let recorder = service(move |asked| {
        let second = asked.query("partNumber").as_deref() == Some("2");
        (second && failures.fetch_add(1, Ordering::Relaxed) == 0)
            .then(|| Reply::error(500, "InternalError"))
    });
    let replica = open(&settings(&recorder.url, "db"));
    let (env, folder) = (real::env(), tempfile::tempdir().unwrap());
    let content = bytes((12 << 20) + 5);
    let source = file(&env, &folder, &content);
    let info = replica.write(Level::SNAPSHOT, name(1, 9), source, TIME);
    assert_eq!(info.await.unwrap().size, content.len() as u64);
    let mut parts: Vec<(u32, Vec<u8>)> = Vec::new();
    for asked in recorder.seen() {
        if asked.operation() == "UploadPart" {
            assert_eq!(asked.query("uploadId").as_deref(), Some("U"));
            parts.push((
                asked.query("partNumber").unwrap().parse().unwrap(),
                asked.body,
            ));
        }
    }
    assert_eq!(parts.len(), 4, "the second part twice");
    parts.sort();
    parts.dedup();
    let sizes: Vec<usize> = parts.iter().map(|(_, body)| body.len()).collect();
    assert_eq!(sizes, [5 << 20, 5 << 20, (2 << 20) + 5]);
    assert!(parts.iter().flat_map(|(_, body)| body).eq(content.iter()));
    let seen = recorder.seen();
    let end = seen
        .iter()
        .find(|a| a.operation() == "CompleteMultipartUpload");
    let list = end.unwrap().text();
    let positions: Vec<_> = (1..=3)
        .map(|n| list.find(&format!("<PartNumber>{n}</PartNumber>")).unwrap())
        .collect();
    assert!(positions.is_sorted(), "{list}");
    assert_eq!(count(&recorder, "AbortMultipartUpload"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods, reason = "the service takes its time")]
async fn s04_a_service_that_bears_two_parts_at_once_gets_everything() {
    let busy = Arc::new(AtomicU32::new(0));
    let recorder = service(move |asked| {
        if asked.operation() != "UploadPart" {
            return None;
        }
        let others = busy.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(60));
        busy.fetch_sub(1, Ordering::SeqCst);
        (others >= 2).then(|| Reply::error(500, "InternalError"))
    });
    let replica = open(&settings(&recorder.url, "db"));
    write(&replica, &bytes(60 << 20)).await.unwrap();
    assert_eq!(count(&recorder, "CompleteMultipartUpload"), 1);
    let parts = count(&recorder, "UploadPart");
    assert!((12..=22).contains(&parts), "{parts} requests for 12 parts");
}

#[tokio::test]
async fn an_upload_that_fails_is_aborted() {
    for (operation, reply) in [
        ("UploadPart", Reply::error(403, "AccessDenied")),
        ("UploadPart", Reply::new(200, "")),
        ("CompleteMultipartUpload", Reply::error(400, "InvalidPart")),
    ] {
        let recorder =
            service(move |asked| (asked.operation() == operation).then(|| reply.clone()));
        let replica = open(&settings(&recorder.url, "db"));
        let error = write(&replica, &bytes(6 << 20)).await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        assert_eq!(count(&recorder, "AbortMultipartUpload"), 1, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods, reason = "the service hangs")]
async fn an_upload_whose_future_is_dropped_is_aborted() {
    let recorder = service(|asked| {
        if asked.operation() == "UploadPart" {
            std::thread::sleep(Duration::from_secs(30));
        }
        None
    });
    let replica = open(&settings(&recorder.url, "db"));
    let clock = real::env().clock;
    let content = bytes(6 << 20);
    tokio::select! {
        done = write(&replica, &content) => panic!("{done:?}"),
        () = async {
            while count(&recorder, "UploadPart") < 2 {
                clock.sleep_async(Duration::from_millis(5)).await;
            }
        } => {}
    }
    for _ in 0..400 {
        if count(&recorder, "AbortMultipartUpload") == 1 {
            return;
        }
        clock.sleep_async(Duration::from_millis(10)).await;
    }
    panic!("{:?}", recorder.operations());
}

#[tokio::test]
async fn an_end_whose_answer_got_lost_is_found_out() {
    for (time, is_ours) in [
        ("2026-11-20T09:59:17.46Z", true),
        ("2026-11-20T09:59:17Z", false),
    ] {
        let tries = Mutex::new(0);
        let recorder = service(move |asked| match asked.operation() {
            "CompleteMultipartUpload" => {
                *tries.lock() += 1;
                Some(if *tries.lock() == 1 {
                    Reply::new(200, ENDED).cut(3)
                } else {
                    Reply::error(404, "NoSuchUpload")
                })
            }
            "HeadObject" => Some(
                Reply::new(200, "")
                    .with("content-length", (6 << 20).to_string())
                    .with("x-amz-meta-litestream-timestamp", time),
            ),
            _ => None,
        });
        let replica = open(&settings(&recorder.url, "db"));
        let done = write(&replica, &bytes(6 << 20)).await;
        assert_eq!(done.is_ok(), is_ours, "{done:?}");
        assert_eq!(count(&recorder, "CompleteMultipartUpload"), 2);
        assert_eq!(count(&recorder, "HeadObject"), 1);
    }
}

/// Waits between attempts take no time; time-outs do.
struct Jumping {
    real: Arc<dyn Clock>,
    jumped: Mutex<Duration>,
}

#[async_trait::async_trait]
impl Clock for Jumping {
    fn now(&self) -> UnixMillis {
        self.real.now()
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.real.monotonic().0 + *self.jumped.lock())
    }

    fn boot(&self) -> Option<u128> {
        self.real.boot()
    }

    fn sleep(&self, duration: Duration) {
        self.real.sleep(duration);
    }

    async fn sleep_async(&self, duration: Duration) {
        if duration < Duration::from_secs(15) {
            *self.jumped.lock() += duration;
        } else {
            self.real.sleep_async(duration).await;
        }
    }
}

#[tokio::test]
async fn an_upload_of_whose_end_nobody_knows_is_looked_for_and_not_aborted() {
    for (time, is_ours) in [
        ("2026-11-20T09:59:17.46Z", true),
        ("2026-11-20T09:59:17Z", false),
    ] {
        let recorder = service(move |asked| match asked.operation() {
            "CompleteMultipartUpload" => Some(Reply::error(500, "InternalError")),
            "HeadObject" => Some(
                Reply::new(200, "")
                    .with("content-length", (6 << 20).to_string())
                    .with("x-amz-meta-litestream-timestamp", time),
            ),
            _ => None,
        });
        let mut env = real::env();
        env.clock = Arc::new(Jumping {
            real: Arc::clone(&env.clock),
            jumped: Mutex::default(),
        });
        let settings = settings(&recorder.url, "db");
        let replica = S3Replica::new(&settings, &Opening::command(&env)).unwrap();
        let begin = env.clock.monotonic();
        let done = write(&replica, &bytes(6 << 20)).await;
        assert_eq!(done.is_ok(), is_ours, "{done:?}");
        let passed = env.clock.monotonic().since(begin);
        assert!(passed > Duration::from_mins(14), "{passed:?}");
        assert_eq!(count(&recorder, "HeadObject"), 1);
        assert_eq!(count(&recorder, "AbortMultipartUpload"), 0);
    }
}

#[tokio::test]
async fn uploads_that_nobody_ends_are_cleared_away() {
    let list = |uploads: &str, more: &str| {
        format!("<ListMultipartUploadsResult>{uploads}{more}</ListMultipartUploadsResult>")
    };
    let upload = |key: &str, id: &str, begun: &str| {
        format!(
            "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{begun}</Initiated></Upload>"
        )
    };
    const FILE: &str = "0000000000000001-0000000000000009.ltx";
    let old = "2026-01-01T00:00:00.000Z";
    let first = [
        upload(&format!("db/0009/{FILE}"), "old", old),
        upload(
            &format!("db/0009/{FILE}"),
            "new",
            "2999-01-01T00:00:00.000Z",
        ),
        upload(&format!("db/000a/{FILE}"), "no-level", old),
        upload(&format!("db/sub/0009/{FILE}"), "of-another-replica", old),
        upload("db/0009/notes", "foreign", old),
    ]
    .concat();
    let more = "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>i</NextUploadIdMarker>";
    let pages = [
        list(&first, more),
        list(&upload(&format!("db/0001/{FILE}"), "old-2", old), ""),
    ];
    let recorder = service(move |asked| {
        (asked.operation() == "ListMultipartUploads").then(|| {
            assert_eq!(asked.query("prefix").as_deref(), Some("db/"));
            let second = asked.query("key-marker").as_deref() == Some("k");
            Reply::new(200, pages[usize::from(second)].clone())
        })
    });
    open(&settings(&recorder.url, "db")).tidy().await.unwrap();
    let seen = recorder.seen();
    let aborted: Vec<_> = seen
        .iter()
        .filter(|a| a.operation() == "AbortMultipartUpload")
        .map(|a| a.query("uploadId").unwrap())
        .collect();
    assert_eq!(aborted, ["old", "old-2"]);
    for (reply, requests) in [
        (Reply::error(501, "NotImplemented"), 1),
        (Reply::error(403, "AccessDenied"), 1),
        // One that never goes on.
        (Reply::new(200, list("", more)), 2),
    ] {
        let recorder = service(move |_| Some(reply.clone()));
        open(&settings(&recorder.url, "db")).tidy().await.unwrap();
        assert_eq!(recorder.seen().len(), requests);
    }
}
