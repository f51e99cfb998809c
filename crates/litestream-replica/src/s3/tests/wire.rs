//! What goes over the wire.

use super::*;
use crate::net::Payload;
use crate::s3::digest::{Wanted, digests};

const FILE: &str = "0000000000000001-0000000000000001.ltx";

async fn sha256(bytes: &Bytes) -> String {
    let wanted = Wanted {
        sha256: true,
        crc32: false,
    };
    let payload = Payload::Bytes(bytes.clone());
    let digests = digests(&payload, wanted, &real::env()).await.unwrap();
    digests.sha256.unwrap()
}

/// The headers that the signature covers.
fn signed(asked: &Asked) -> Vec<&str> {
    let (_, rest) = asked
        .header("authorization")
        .split_once("SignedHeaders=")
        .unwrap();
    rest.split(',').next().unwrap().split(';').collect()
}

fn assert_plain(asked: &Asked) {
    for name in asked.headers.keys() {
        assert!(
            !name.starts_with("x-amz-checksum")
                && !name.starts_with("x-amz-sdk-checksum")
                && name != "x-amz-trailer"
                && name != "transfer-encoding"
                && name != "content-encoding"
                && name != "accept-encoding"
                && name != "x-amz-user-agent",
            "{asked:?}"
        );
    }
    assert!(asked.header("user-agent").starts_with("litestream "));
    assert!(
        asked
            .header("authorization")
            .contains("/eu-west-3/s3/aws4_request")
    );
}

#[tokio::test]
async fn s02_a_small_object_is_one_plain_request() {
    let recorder = Recorder::start(|_| Reply::tag());
    let replica = open(&settings(&recorder.url, "db"));
    let (env, folder) = (real::env(), tempfile::tempdir().unwrap());
    let content = bytes(300_000);
    write(&replica, &content).await.unwrap();
    let source = file(&env, &folder, &content);
    let info = replica.write(Level::L0, name(1, 1), source, TIME).await;
    assert_eq!(info.unwrap().size, 300_000);
    let seen = recorder.seen();
    assert_eq!(seen.len(), 2);
    for asked in &seen {
        assert_eq!(asked.method, "PUT");
        assert_eq!(
            asked.target.split('?').next().unwrap(),
            format!("/bucket/db/0000/{FILE}")
        );
        assert_eq!(asked.header("content-length"), "300000");
        assert_eq!(asked.header("content-type"), "application/octet-stream");
        assert_eq!(
            asked.header("x-amz-meta-litestream-timestamp"),
            "2026-11-20T09:59:17.46Z"
        );
        assert_eq!(asked.header("x-amz-content-sha256"), sha256(&content).await);
        assert_plain(asked);
        let signed = signed(asked);
        assert!(signed.contains(&"x-amz-meta-litestream-timestamp"));
        assert!(!signed.contains(&"user-agent"), "{signed:?}");
        assert!(asked.body == content);
    }
}

#[tokio::test]
async fn keys_go_out_as_they_are() {
    let recorder = Recorder::start(|asked| match asked.operation() {
        "PutObject" => Reply::tag(),
        "GetObject" => Reply::new(206, "x").with("content-range", "bytes 0-0/1"),
        _ => Reply::new(200, "<ListBucketResult/>"),
    });
    for (prefix, expected) in [
        (".", "/bucket/./0000/"),
        ("", "/bucket//0000/"),
        ("u", "/bucket/u/0000/"),
        ("tr/", "/bucket/tr//0000/"),
        ("/lead", "/bucket//lead/0000/"),
        ("a//b", "/bucket/a//b/0000/"),
        ("./x", "/bucket/./x/0000/"),
        ("a/../b", "/bucket/a/../b/0000/"),
        ("sp ace+ä", "/bucket/sp%20ace%2B%C3%A4/0000/"),
    ] {
        let before = recorder.seen().len();
        let replica = open(&settings(&recorder.url, prefix));
        write(&replica, &bytes(10)).await.unwrap();
        replica.read(Level::L0, name(1, 1), 0, None).await.unwrap();
        replica.list(Level::L0, None, false).await.unwrap();
        let seen = recorder.seen().split_off(before);
        for asked in &seen[..2] {
            let path = asked.target.split('?').next().unwrap();
            assert_eq!(path, format!("{expected}{FILE}"));
        }
        let listed = seen[2].query("prefix").unwrap();
        assert_eq!(listed, format!("{prefix}/0000/"));
    }
}

#[tokio::test]
async fn a_read_always_names_a_range() {
    let recorder = Recorder::start(|asked| match asked.header("range") {
        "bytes=0-" => Reply::new(206, "0123456789").with("content-range", "bytes 0-9/10"),
        _ => Reply::new(206, "789").with("content-range", "bytes 7-9/10"),
    });
    let replica = open(&settings(&recorder.url, "db"));
    for (offset, len) in [(0, None), (7, None), (7, Some(3))] {
        replica
            .read(Level::L0, name(1, 1), offset, len)
            .await
            .unwrap();
    }
    let seen = recorder.seen();
    let ranges: Vec<&str> = seen.iter().map(|asked| asked.header("range")).collect();
    assert_eq!(ranges, ["bytes=0-", "bytes=7-", "bytes=7-9"]);
    seen.iter().for_each(assert_plain);
}

#[tokio::test]
async fn a_payload_that_is_not_signed_says_so_in_every_request() {
    let recorder = Recorder::start(|asked| match asked.operation() {
        "ListObjectsV2" => Reply::new(200, "<ListBucketResult/>"),
        _ => Reply::tag(),
    });
    let mut settings = settings(&recorder.url, "db");
    settings.sign_payload = false;
    settings.tigris_consistent = true;
    let replica = open(&settings);
    write(&replica, &bytes(10)).await.unwrap();
    replica.list(Level::L0, None, false).await.unwrap();
    let seen = recorder.seen();
    for asked in &seen {
        assert_eq!(asked.header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
        assert_eq!(asked.header("x-tigris-consistent"), "true");
        assert!(signed(asked).contains(&"x-tigris-consistent"));
        assert_plain(asked);
    }
    assert_eq!(seen.len(), 2);
}

/// Answers everything that an upload in parts asks.
pub(super) fn service(asked: &Asked) -> Reply {
    match asked.operation() {
        "CreateMultipartUpload" => Reply::new(
            200,
            "<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>",
        ),
        "CompleteMultipartUpload" => Reply::new(
            200,
            "<CompleteMultipartUploadResult><ETag>t</ETag></CompleteMultipartUploadResult>",
        ),
        "GetObject" => Reply::new(206, "x").with("content-range", "bytes 0-0/1"),
        "ListObjectsV2" => Reply::new(
            200,
            format!(
                "<ListBucketResult><Contents><Key>db/0000/{FILE}</Key><Size>1</Size>\
                 <LastModified>2026-11-20T09:59:17.000Z</LastModified></Contents></ListBucketResult>"
            ),
        ),
        "HeadObject" => {
            Reply::tag().with("X-Amz-Meta-Litestream-Timestamp", "2026-11-20T09:59:17.46Z")
        }
        _ => Reply::tag(),
    }
}

#[tokio::test]
async fn s24_a_key_of_ones_own_is_shown_where_it_is_needed() {
    let recorder = Recorder::start(service);
    let mut settings = settings(&recorder.url, "db");
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    settings.encryption.customer_key = Some(Secret::new(key));
    settings.storage_class = Some("COLD_AND_CHEAP".to_owned());
    let replica = open(&settings);
    write(&replica, &bytes(10)).await.unwrap();
    write(&replica, &bytes(6 << 20)).await.unwrap();
    replica.read(Level::L0, name(1, 1), 0, None).await.unwrap();
    let listed = replica.list(Level::L0, None, true).await.unwrap();
    assert_eq!(listed[0].created, TIME);
    let mut operations = recorder.operations();
    operations.sort_unstable();
    operations.dedup();
    assert_eq!(
        operations,
        [
            "CompleteMultipartUpload",
            "CreateMultipartUpload",
            "GetObject",
            "HeadObject",
            "ListObjectsV2",
            "PutObject",
            "UploadPart"
        ]
    );
    for asked in recorder.seen() {
        let operation = asked.operation();
        let of_key = |end: &str| {
            let name = format!("x-amz-server-side-encryption-customer-{end}");
            asked.header(&name).to_owned()
        };
        if operation == "ListObjectsV2" {
            assert_eq!(of_key("key"), "");
        } else {
            assert_eq!(of_key("algorithm"), "AES256", "{operation}");
            assert_eq!(of_key("key"), key, "{operation}");
            assert_eq!(of_key("key-md5"), "hRasmdxgYDKV3nvbahU1MA==", "{operation}");
        }
        let makes = matches!(operation, "PutObject" | "CreateMultipartUpload");
        let class = asked.header("x-amz-storage-class");
        assert_eq!(class == "COLD_AND_CHEAP", makes, "{operation}");
        let time = asked.header("x-amz-meta-litestream-timestamp");
        assert_eq!(time == "2026-11-20T09:59:17.46Z", makes, "{operation}");
    }
}

#[tokio::test]
async fn s24_a_key_that_the_service_keeps_is_named_in_what_makes_objects() {
    let recorder = Recorder::start(service);
    let mut settings = settings(&recorder.url, "db");
    settings.encryption.kms_key_id = Some("K1".to_owned());
    let replica = open(&settings);
    write(&replica, &bytes(10)).await.unwrap();
    write(&replica, &bytes(6 << 20)).await.unwrap();
    replica.read(Level::L0, name(1, 1), 0, None).await.unwrap();
    for asked in recorder.seen() {
        let makes = matches!(asked.operation(), "PutObject" | "CreateMultipartUpload");
        let kind = asked.header("x-amz-server-side-encryption");
        assert_eq!(kind == "aws:kms", makes, "{asked:?}");
        let id = asked.header("x-amz-server-side-encryption-aws-kms-key-id");
        assert_eq!(id == "K1", makes);
    }
}

#[tokio::test]
async fn s10_the_region_is_looked_up_once_and_without_more_rights_than_needed() {
    let answers = [
        (
            Reply::new(200, "<LocationConstraint>eu-north-1</LocationConstraint>"),
            "eu-north-1",
        ),
        (Reply::new(200, "<LocationConstraint/>"), "us-east-1"),
        (
            Reply::new(200, "<LocationConstraint>EU</LocationConstraint>"),
            "eu-west-1",
        ),
        (Reply::error(403, "AccessDenied"), "ap-south-1"),
        (
            Reply::error(301, "PermanentRedirect").with("x-amz-bucket-region", "sa-east-1"),
            "sa-east-1",
        ),
    ];
    for (answer, region) in answers {
        let recorder = Recorder::start(move |asked| match asked.operation() {
            "GetBucketLocation" => answer.clone(),
            "HeadBucket" => Reply::new(403, "").with("x-amz-bucket-region", "ap-south-1"),
            _ => Reply::tag(),
        });
        let mut settings = settings(&recorder.url, "db");
        settings.region = None;
        let replica = open(&settings);
        write(&replica, &bytes(10)).await.unwrap();
        write(&replica, &bytes(10)).await.unwrap();
        let seen = recorder.seen();
        let scope = |asked: &Asked| {
            asked
                .header("authorization")
                .contains(&format!("/{region}/s3/"))
        };
        assert!(
            seen[seen.len() - 2..].iter().all(scope),
            "{region}: {seen:?}"
        );
        let asked = recorder.operations();
        let lookups = asked.iter().filter(|op| **op != "PutObject").count();
        assert!(lookups <= 2 && asked.len() == lookups + 2, "{asked:?}");
    }
    let recorder = Recorder::start(|_| Reply::error(404, "NoSuchBucket"));
    let mut settings = settings(&recorder.url, "db");
    settings.region = None;
    let error = write(&open(&settings), &bytes(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
}
