//! Listing many objects, and times that are exact.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::*;
use crate::FileInfo;
use crate::net::date_millis;

const PAGE: usize = 1000;

/// How a service answers.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Proper,
    /// It does not know `start-after`.
    NoStart,
    /// Pages are short.
    Short(usize),
    /// After a key there is nothing, it says.
    EmptyStart,
    /// It refuses to begin after a key.
    RefusedStart,
}

/// Lists these keys as S3 does.
fn lister(keys: Vec<String>, manner: Manner) -> Recorder {
    Recorder::start(move |asked| {
        let prefix = asked.query("prefix").unwrap();
        let token = asked.query("continuation-token");
        let start = asked.query("start-after");
        let start = start.filter(|_| manner != Manner::NoStart);
        match manner {
            Manner::EmptyStart if start.is_some() => {
                return Reply::new(200, "<ListBucketResult></ListBucketResult>");
            }
            Manner::RefusedStart if start.is_some() => return Reply::error(400, "InvalidArgument"),
            _ => {}
        }
        let after = token.or(start).unwrap_or_default();
        let from = keys.partition_point(|key| *key <= after);
        let len = match manner {
            Manner::Short(len) => len,
            _ => PAGE,
        };
        let mut rest = keys[from..].iter().filter(|key| key.starts_with(&prefix));
        let mut body = String::from("<ListBucketResult>");
        let mut last = None;
        for key in rest.by_ref().take(len) {
            write!(
                body,
                "<Contents><Key>{key}</Key><Size>7</Size><LastModified>2026-11-20T09:59:17.000Z</LastModified></Contents>"
            )
            .unwrap();
            last = Some(key);
        }
        if let (Some(last), Some(_)) = (last, rest.next()) {
            write!(
                body,
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>"
            )
            .unwrap();
        }
        Reply::new(200, body + "</ListBucketResult>")
    })
}

fn key(file: FileName) -> String {
    format!("db/0000/{file}")
}

/// Lists, and checks that exactly these files come out; the requests that it took.
async fn requests(files: &[FileName], more: &[&str], manner: Manner) -> usize {
    let mut keys: Vec<String> = files.iter().map(|file| key(*file)).collect();
    keys.extend(more.iter().map(|key| (*key).to_owned()));
    keys.sort();
    let recorder = lister(keys, manner);
    let replica = open(&settings(&recorder.url, "db"));
    let listed = replica.list(Level::L0, None, false).await.unwrap();
    let mut expected = files.to_vec();
    expected.sort_by_key(|file| (file.min, file.max));
    assert!(listed.iter().map(|file| file.name).eq(expected));
    let time = date_millis("Fri, 20 Nov 2026 09:59:17 GMT").unwrap();
    let as_listed = |file: &FileInfo| file.size == 7 && file.created == time;
    assert!(listed.iter().all(as_listed));
    recorder.seen().len()
}

#[tokio::test]
async fn r03_many_pages_are_few_requests_more_than_there_are_pages() {
    let files: Vec<FileName> = (1..=100_000).map(|n| name(n, n)).collect();
    let asked = requests(&files, &[], Manner::Proper).await;
    assert!((100..=125).contains(&asked), "{asked}");
}

#[tokio::test]
async fn r15_whatever_lies_there_every_file_is_listed_once() {
    let dense = (1..=3000).map(|n| name(n, n));
    let sparse = (1..=2500_u64).map(|n| name(n * n * 1000 + 5000, n * n * 1000 + 5000));
    let overlapping = (1..=1500).flat_map(|n| [name(n, n + 1), name(n, n + 500), name(n, n)]);
    let extreme = [name(1, u64::MAX), name(u64::MAX, u64::MAX)];
    let all: Vec<FileName> = dense
        .chain(sparse)
        .chain(overlapping)
        .chain(extreme)
        .collect();
    let unique: BTreeMap<_, _> = all.iter().map(|f| ((f.min, f.max), *f)).collect();
    let files: Vec<FileName> = unique.into_values().collect();
    let foreign = [
        "db/0000/",
        "db/0000/notes.txt",
        "db/0000/0000000000000001-0000000000000001.ltx.tmp",
        "db/0000/000000000000000A-000000000000000A.ltx",
        "db/0000/zzz",
        "db/0001/0000000000000001-0000000000000001.ltx",
    ];
    for manner in [
        Manner::Proper,
        Manner::NoStart,
        Manner::Short(7),
        Manner::EmptyStart,
        Manner::RefusedStart,
    ] {
        requests(&files, &foreign, manner).await;
    }
    // Pages without a single file of ours.
    let noise: Vec<String> = (0..2500).map(|n| format!("db/0000/!{n:06}")).collect();
    let noise: Vec<&str> = noise.iter().map(String::as_str).collect();
    requests(&files[..10], &noise, Manner::Proper).await;
    requests(&[], &[], Manner::Proper).await;
}

#[tokio::test]
async fn exact_times_come_from_metadata_else_from_the_file_itself() {
    let header = |txid: u64, time: i64| {
        let (page_size, txid) = (ltx::PageSize::new(4096).unwrap(), Txid::new(txid));
        let header = ltx::Header::new(page_size, 1, txid, txid, time);
        header.encode().to_vec()
    };
    let recorder = Recorder::start(move |asked| {
        let of = |n: u64| asked.target.contains(&name(n, n).to_string());
        match asked.operation() {
            "ListObjectsV2" => {
                let item = |n: u64| {
                    format!(
                        "<Contents><Key>{}</Key><Size>7</Size><LastModified>2026-11-20T09:59:17.000Z</LastModified></Contents>",
                        key(name(n, n))
                    )
                };
                let body: String = (1..=7).map(item).collect();
                Reply::new(200, format!("<ListBucketResult>{body}</ListBucketResult>"))
            }
            "HeadObject" if of(1) => Reply::tag().with(
                "X-Amz-Meta-Litestream-Timestamp",
                "2026-11-20T09:59:16.001Z",
            ),
            "HeadObject" if of(2) => {
                Reply::tag().with("x-amz-meta-litestream-timestamp", "yesterday")
            }
            "HeadObject" if of(3) => Reply::tag(),
            "HeadObject" if of(4) => Reply::new(403, ""),
            "HeadObject" if of(5) => Reply::new(404, ""),
            // Says nothing of why: only GET knows.
            "HeadObject" if of(7) => Reply::new(404, ""),
            "HeadObject" => Reply::tag(),
            "GetObject" if of(5) => Reply::error(404, "NoSuchKey"),
            "GetObject" if of(7) => {
                Reply::new(206, header(7, 1007)).with("content-range", "bytes 0-99/200")
            }
            "GetObject" if of(2) => {
                Reply::new(206, header(2, 1002)).with("content-range", "bytes 0-99/200")
            }
            "GetObject" if of(3) => {
                Reply::new(206, header(3, 1003)).with("content-range", "bytes 0-99/200")
            }
            "GetObject" if of(4) => {
                Reply::new(206, header(4, 1004)).with("content-range", "bytes 0-99/200")
            }
            _ => Reply::new(206, "no LTX").with("content-range", "bytes 0-5/6"),
        }
    });
    let replica = open(&settings(&recorder.url, "db"));
    let listed = replica.list(Level::L0, None, true).await.unwrap();
    let times: Vec<_> = listed
        .iter()
        .map(|file| (file.name.min.get(), file.created.0))
        .collect();
    let date = |text| date_millis(text).unwrap().0;
    assert_eq!(
        times,
        [
            (1, date("Fri, 20 Nov 2026 09:59:16 GMT") + 1),
            (2, 1002),
            (3, 1003),
            (4, 1004),
            // 5 has gone, 6 is damaged.
            (6, date("Fri, 20 Nov 2026 09:59:17 GMT")),
            (7, 1007),
        ]
    );
}

#[tokio::test]
async fn a_time_that_nobody_tells_is_an_error_not_another_time() {
    let recorder = Recorder::start(|asked| match asked.operation() {
        "ListObjectsV2" => Reply::new(
            200,
            format!(
                "<ListBucketResult><Contents><Key>{}</Key><Size>7</Size><LastModified>2026-11-20T09:59:17.000Z</LastModified></Contents></ListBucketResult>",
                key(name(1, 1))
            ),
        ),
        _ => Reply::error(403, "AccessDenied"),
    });
    let replica = open(&settings(&recorder.url, "db"));
    assert!(
        replica
            .list(Level::L0, None, true)
            .await
            .unwrap_err()
            .is_forbidden()
    );
}
