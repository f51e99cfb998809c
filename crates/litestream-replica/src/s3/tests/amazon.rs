//! What follows from the environment: credentials, Amazon's own endpoint, proxies. Each case runs in a process of its own.

use std::process::{Command, Output};

use super::*;

/// Names the case to a child.
const CASE: &str = "CASE_OF_THE_CHILD";
/// What a user may have set.
const NAMES: [&str; 14] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_CA_BUNDLE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "LITESTREAM_ACCESS_KEY_ID",
    "LITESTREAM_SECRET_ACCESS_KEY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "no_proxy",
];

/// Runs the test of that name again as a child, which sees `case` and that environment.
fn child(
    test: &str,
    case: &str,
    folder: &tempfile::TempDir,
    environment: &[(&str, &str)],
) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in NAMES {
        command.env_remove(name);
    }
    let name = format!("s3::tests::amazon::{test}");
    command
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .env("HOME", folder.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(environment.iter().copied());
    command.output().unwrap()
}

fn assert_well(output: &Output, case: &str) {
    assert!(
        output.status.success(),
        "{case}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// For Amazon, with whatever credentials the environment has.
fn amazon(bucket: &str) -> S3 {
    S3 {
        bucket: bucket.to_owned(),
        access_key: None,
        endpoint: None,
        path_style: false,
        ..settings("http://unused", "db")
    }
}

const KEY: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKAMAZON"),
    ("AWS_SECRET_ACCESS_KEY", "SECRET"),
];

#[tokio::test]
async fn s02_checksums_go_to_amazon_in_headers() {
    let content = bytes(6 << 20);
    if std::env::var(CASE).is_ok() {
        let replica = open(&amazon("bucket"));
        write(&replica, &bytes(1000)).await.unwrap();
        write(&replica, &content).await.unwrap();
        return;
    }
    let recorder = Recorder::start(wire::service);
    let folder = tempfile::tempdir().unwrap();
    let endpoint = ("AWS_ENDPOINT_URL_S3", recorder.url.as_str());
    let token = ("AWS_SESSION_TOKEN", "TOKEN");
    let region = ("AWS_REGION", "xx-nowhere-9");
    let environment = [KEY[0], KEY[1], token, endpoint, region];
    let test = "s02_checksums_go_to_amazon_in_headers";
    assert_well(&child(test, "x", &folder, &environment), "child");
    let crc = |bytes: &[u8]| {
        use base64::Engine;
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32;
        base64::engine::general_purpose::STANDARD.encode(sum.to_be_bytes())
    };
    let mut parts = 0;
    for asked in recorder.seen() {
        let has_trailer = ["x-amz-trailer", "transfer-encoding", "content-encoding"]
            .iter()
            .any(|name| !asked.header(name).is_empty());
        assert!(!has_trailer, "{asked:?}");
        assert!(
            asked
                .header("authorization")
                .contains("Credential=AKAMAZON/")
        );
        assert!(asked.header("authorization").contains("/eu-west-3/s3/"));
        assert_eq!(asked.header("x-amz-security-token"), "TOKEN");
        match asked.operation() {
            "PutObject" | "UploadPart" => {
                parts += 1;
                assert_eq!(asked.header("x-amz-checksum-crc32"), crc(&asked.body));
                assert_eq!(asked.header("x-amz-content-sha256").len(), 64);
            }
            "CreateMultipartUpload" => {
                assert_eq!(asked.header("x-amz-checksum-algorithm"), "CRC32");
            }
            "CompleteMultipartUpload" => {
                let sum = crc(&content[5 << 20..]);
                let named = format!("<ChecksumCRC32>{sum}</ChecksumCRC32>");
                assert!(asked.text().contains(&named), "{}", asked.text());
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(parts, 3);
}

#[tokio::test]
async fn a_body_that_is_not_what_its_checksum_says_is_never_read() {
    if std::env::var(CASE).is_ok() {
        let replica = open(&amazon("bucket"));
        for len in [None, Some(10), Some(20)] {
            let read = replica.read(Level::L0, name(1, 1), 0, len).await;
            assert!(read.unwrap_err().is_retryable());
        }
        return;
    }
    let recorder = Recorder::start(|_| {
        Reply::new(206, "0123456789")
            .with("content-range", "bytes 0-9/10")
            .with("x-amz-checksum-crc32", "AAAAAA==")
    });
    let folder = tempfile::tempdir().unwrap();
    let endpoint = ("AWS_ENDPOINT_URL_S3", recorder.url.as_str());
    let test = "a_body_that_is_not_what_its_checksum_says_is_never_read";
    assert_well(&child(test, "x", &folder, &[KEY[0], KEY[1], endpoint]), "x");
    let mut ranges: Vec<_> = recorder
        .seen()
        .iter()
        .map(|asked| asked.header("range").to_owned())
        .collect();
    ranges.dedup();
    assert_eq!(
        ranges,
        ["bytes=0-", "bytes=0-9", "bytes=0-19"],
        "nothing was kept"
    );
}

#[tokio::test]
async fn credentials_come_from_where_litestream_looks() {
    if let Ok(case) = std::env::var(CASE) {
        let mut settings = amazon("bucket");
        if case == "settings" {
            settings.access_key = super::settings("http://unused", "db").access_key;
        }
        let done = write(&open(&settings), &bytes(10)).await;
        if case == "none" {
            let error = done.unwrap_err();
            assert!(error.is_forbidden(), "{error}");
            let text = error.to_string();
            assert!(
                text.contains("no credentials") && text.contains("set access-key-id"),
                "{text}"
            );
            assert_eq!(text.lines().count(), 1, "{text}");
        } else {
            done.unwrap();
        }
        return;
    }
    let recorder = Recorder::start(|_| Reply::tag());
    let folder = tempfile::tempdir().unwrap();
    let script = r#"{"Version":1,"AccessKeyId":"AKPROCESS","SecretAccessKey":"SECRET"}"#;
    let config = format!(
        "[default]\naws_access_key_id = AKFILE\naws_secret_access_key = SECRET\n\
         [profile other]\ncredential_process = printf '{script}'\n"
    );
    let path = folder.path().join("config");
    let file = real::env().disk.create_new(&path, 0o600).unwrap();
    file.write_at(config.as_bytes(), 0).unwrap();
    let endpoint = ("AWS_ENDPOINT_URL", recorder.url.as_str());
    let file = ("AWS_CONFIG_FILE", path.to_str().unwrap());
    let own = [
        ("LITESTREAM_ACCESS_KEY_ID", "AKOURS"),
        ("LITESTREAM_SECRET_ACCESS_KEY", "SECRET"),
    ];
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 6] = [
        ("amazon's variables", &KEY, "AKAMAZON"),
        ("our variables", &own, "AKOURS"),
        ("both", &[KEY[0], own[0], own[1]], "AKAMAZON"),
        ("a file", &[file], "AKFILE"),
        ("a profile", &[file, ("AWS_PROFILE", "other")], "AKPROCESS"),
        ("settings", &KEY, "AKID"),
    ];
    let test = "credentials_come_from_where_litestream_looks";
    for (case, environment, expected) in cases {
        let mut environment = environment.to_vec();
        environment.push(endpoint);
        assert_well(&child(test, case, &folder, &environment), case);
        let seen = recorder.seen();
        let by = seen.last().unwrap().header("authorization").to_owned();
        assert!(
            by.contains(&format!("Credential={expected}/")),
            "{case}: {by}"
        );
    }
    assert_eq!(recorder.seen().len(), cases.len());
    assert_well(&child(test, "none", &folder, &[endpoint]), "none");
    assert_eq!(recorder.seen().len(), cases.len());
}

#[tokio::test]
async fn s09_hosts_of_buckets_and_access_points_are_reached_through_a_proxy() {
    if let Ok(case) = std::env::var(CASE) {
        let mut settings = amazon(&case);
        if let Some(bucket) = case.strip_prefix("do:") {
            bucket.clone_into(&mut settings.bucket);
            settings.endpoint = Some("https://fra1.digitaloceanspaces.com".to_owned());
        }
        let error = write(&open(&settings), &bytes(10)).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        return;
    }
    let recorder = Recorder::start(|_| Reply::new(503, ""));
    let folder = tempfile::tempdir().unwrap();
    let proxy = ("HTTPS_PROXY", recorder.url.as_str());
    let test = "s09_hosts_of_buckets_and_access_points_are_reached_through_a_proxy";
    for (bucket, host) in [
        ("my-bucket", "my-bucket.s3.eu-west-3.amazonaws.com:443"),
        ("dots.in.it", "s3.eu-west-3.amazonaws.com:443"),
        (
            "arn:aws:s3:eu-west-3:123456789012:accesspoint/mine",
            "mine-123456789012.s3-accesspoint.eu-west-3.amazonaws.com:443",
        ),
        ("do:my-bucket", "my-bucket.fra1.digitaloceanspaces.com:443"),
    ] {
        let output = child(test, bucket, &folder, &[KEY[0], KEY[1], proxy]);
        assert_well(&output, bucket);
        let seen = recorder.seen();
        let asked = seen.last().unwrap();
        assert_eq!(
            (asked.method.as_str(), asked.target.as_str()),
            ("CONNECT", host)
        );
    }
}
