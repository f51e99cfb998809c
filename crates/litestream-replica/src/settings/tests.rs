//! One place from keys, URLs and both; round trips; what is refused.

use proptest::prelude::*;

use super::*;

fn url(text: &str) -> Storage {
    Storage::from_url(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn s3(storage: Storage) -> S3 {
    match storage {
        Storage::S3(s3) => s3,
        other => panic!("{other:?}"),
    }
}

fn keys(pairs: &[(&str, &str)]) -> Keys {
    let mut keys = Keys::new();
    for (name, value) in pairs {
        let value = (*value).to_owned();
        keys.set(
            name,
            match lookup(name).unwrap().kind {
                ValueKind::Secret => Value::Secret(Secret::new(value)),
                ValueKind::Bool => Value::Bool(value == "true"),
                ValueKind::Int => Value::Int(value.parse().unwrap()),
                ValueKind::Size => Value::Size(value.parse().unwrap()),
                ValueKind::Duration => Value::Duration(value.parse().unwrap()),
                ValueKind::List => Value::List(vec![value]),
                ValueKind::Text => Value::Text(value),
            },
        );
    }
    keys
}

fn read(own: &[(&str, &str)], defaults: &[(&str, &str)]) -> Result<Storage> {
    Storage::read(&keys(own), &keys(defaults))
}

#[test]
fn every_scheme() {
    for (text, kind, location) in [
        ("file:///a b", "file", "/a%20b"),
        ("S3://b/p", "s3", "s3://b/p"),
        ("gs://b/p", "gs", "gs://b/p"),
        ("abs://acc@c/p", "abs", "abs://acc@c/p"),
        ("sftp://u:pw@h:1/p", "sftp", "sftp://u@h:1/p"),
        ("webdav://u:pw@h/p", "webdav", "http://h/p"),
        ("webdavs://h:1/p", "webdav", "https://h:1/p"),
        ("nats://h/b/c", "nats", "nats://h/b/c"),
        ("oss://b.oss-r.aliyuncs.com/p", "oss", "oss://b/p"),
    ] {
        let storage = url(text);
        assert_eq!(
            (storage.kind(), storage.location().as_str()),
            (kind, location)
        );
        assert!(!format!("{storage:?}").contains("pw"));
    }
}

#[test]
fn the_url_beats_what_is_inherited_and_own_keys_beat_the_url() {
    let defaults = [
        ("bucket", "other"),
        ("host", "other"),
        ("region", "r1"),
        ("user", "u1"),
    ];
    let replica = s3(read(&[("url", "s3://b/p?region=r2")], &defaults).unwrap());
    assert_eq!(
        (replica.bucket.as_str(), replica.region.as_deref()),
        ("b", Some("r1"))
    );
    let error = read(&[("url", "s3://b/p"), ("bucket", "c")], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot specify url & bucket for s3 replica"
    );
    let sftp = read(&[("url", "sftp://u2@h/p"), ("user", "u3")], &defaults).unwrap();
    assert_eq!(sftp.location(), "sftp://u3@h/p");
    let nats = read(&[("url", "nats://h/b"), ("path", "app")], &defaults).unwrap();
    assert_eq!(nats.location(), "nats://h/b/app");
}

#[test]
fn query_parameters_and_providers() {
    let replica = s3(url(
        "s3://b/p?endpoint=localhost:9000&skipVerify=yes&sign-payload=0&storageClass=X&partSize=6000000&concurrency=7",
    ));
    assert_eq!(replica.endpoint.as_deref(), Some("http://localhost:9000"));
    assert_eq!(replica.region.as_deref(), Some("us-east-1"));
    assert!(replica.path_style && replica.skip_verify && !replica.sign_payload);
    assert_eq!((replica.part_size, replica.concurrency), (6_000_000, 7));
    let virtual_host = s3(url(
        "s3://b/p?endpoint=https://x.example&forcePathStyle=false",
    ));
    assert!(!virtual_host.path_style);
    let minio = "s3://b/p?endpoint=https://x:9000&forcePathStyle=false";
    assert!(s3(url(minio)).path_style, "a provider's rule beats the URL");
    let explicit = read(&[("url", minio), ("force-path-style", "false")], &[]);
    assert!(!s3(explicit.unwrap()).path_style, "and a key beats both");
    let tigris = s3(url("s3://b/p?endpoint=fly.storage.tigris.dev"));
    assert!(tigris.tigris_consistent && !tigris.content_md5);
    let r2 = s3(url("s3://b/p?endpoint=https://a.r2.cloudflarestorage.com"));
    assert_eq!(r2.concurrency, 2);
    assert!(!s3(url("s3://b/p?endpoint=https://storage.googleapis.com")).sign_accept_encoding);
    assert_eq!(unknown_parameters("s3://b/p?region=x&regoin=y"), ["regoin"]);
    assert_eq!(unknown_parameters("gs://b/p?region=x"), ["region"]);
    let error = Storage::from_url("s3://b?part-size=abc")
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "invalid value for query parameter \"part-size\": \"abc\" (must be a positive integer)"
    );
}

#[test]
fn no_debug_output_shows_a_password() {
    let own = keys(&[("type", "webdav"), ("webdav-url", "https://u:hunter2@h/x")]);
    let storage = Storage::read(&own, &Keys::new()).unwrap();
    let Storage::Webdav(webdav) = &storage else {
        panic!("{storage:?}")
    };
    assert_eq!(
        (webdav.url.as_str(), webdav.username.as_deref()),
        ("https://h/x", Some("u"))
    );
    assert_eq!(
        webdav.password.as_ref().map(Secret::expose),
        Some("hunter2")
    );
    let url = Keys::url("sftp://u:hunter2@h/p");
    let shown = format!("{own:?} {storage:?} {url:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn places_are_told_apart() {
    let same = |a: &str, b: &str| url(a).same_place(&url(b));
    assert!(same("s3://b/p", "s3://b/p?concurrency=3"));
    assert!(!same("s3://b/p", "s3://b/q"));
    assert!(!same("s3://b/p", "s3://b/p?endpoint=x"));
    assert!(same("file:///a/../b", "file:///b/"));
    assert!(same("sftp://u@h/p", "sftp://v:x@h:22/p/"));
    assert!(!same("gs://b/p", "s3://b/p"));
}

#[test]
fn databases_of_a_folder_lie_below_its_replica() {
    for (base, location) in [
        ("file:///r", "/r/a/b%20c.db"),
        ("s3://b", "s3://b/a/b c.db"),
        ("s3://b/", "s3://b/a/b c.db"),
        ("s3://b/p", "s3://b/p/a/b c.db"),
        ("sftp://u@h/p/", "sftp://u@h/p/a/b c.db"),
        ("nats://h/b", "nats://h/b/a/b c.db"),
    ] {
        assert_eq!(url(base).below("a/b c.db").location(), location);
    }
    let plain = read(&[("path", "/r x")], &[]).unwrap();
    assert_eq!(plain.below("a b").location(), "/r x/a b");
}

#[test]
fn what_can_only_fail_later_is_checked_when_asked() {
    let check = |pairs: &[(&str, &str)]| {
        let own = [&[("type", "s3"), ("bucket", "b")], pairs].concat();
        read(&own, &[]).unwrap().check().map_err(|e| e.to_string())
    };
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(check(&[("sse-customer-key", key)]), Ok(()));
    for (pairs, text) in [
        (
            &[("part-size", "5000000")][..],
            "part size must be at least",
        ),
        (&[("sse-customer-key", "x")], "must be valid base64"),
        (&[("sse-customer-key", "AAAA")], "got 3 bytes"),
        (
            &[("sse-customer-key", key), ("sse-kms-key-id", "k")],
            "mutually exclusive",
        ),
        (
            &[("sse-customer-key", key), ("sse-customer-algorithm", "x")],
            "must be AES256",
        ),
        (
            &[("sse-customer-key", key), ("endpoint", "http://x")],
            "requires HTTPS",
        ),
    ] {
        let error = check(pairs).unwrap_err();
        assert!(error.contains(text) && !error.contains(key), "{error}");
    }
    assert!(url("abs://c/p").check().is_err());
}

#[test]
fn settings_written_as_keys_are_read_as_the_same() {
    let secrets = keys(&[
        ("access-key-id", "i"),
        ("secret-access-key", "s"),
        ("account-key", "k"),
        ("sas-token", "t"),
        ("webdav-password", "w"),
        ("root-cas", "c"),
        ("client-cert", "a"),
        ("client-key", "b"),
    ]);
    for text in [
        "s3://b",
        "s3://b/",
        "s3://b/p?endpoint=localhost:9&sseCustomerKey=x",
        "s3://b.s3.r.scw.cloud/p",
        "s3://arn:aws:s3:eu:1:accesspoint/n/p",
        "s3://b/?endpoint=fly.storage.tigris.dev",
        "gs://b/p",
        "abs://a@c/p",
        "sftp://u:p@h/p",
        "webdavs://u:p@h/p",
        "nats://u:p@h/b",
        "nats:///b",
        "oss://b/p",
    ] {
        let storage = Storage::read(&Keys::url(text), &secrets).unwrap();
        assert_eq!(
            Storage::read(&storage.keys(), &Keys::new()).unwrap(),
            storage,
            "{text}"
        );
    }
}

#[test]
fn opening_contacts_nothing() {
    let env = crate::env::real::env();
    let replica = open(&url("file:///tmp/x/../y"), &Opening::command(&env)).unwrap();
    assert_eq!(
        (replica.kind(), replica.location().as_str()),
        ("file", "/tmp/y")
    );
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "\\PC{0,24}", scheme in "file|s3|s3|abs|sftp|nats|oss|webdav|x|s3://arn:") {
        let _ = Storage::from_url(&text);
        if let Ok(storage) = Storage::from_url(&format!("{scheme}://{text}")) {
            prop_assert!(storage.same_place(&storage));
            let _ = (storage.location(), storage.below("a/b").check());
        }
    }
}

#[test]
fn passwords_are_not_shown_whatever_is_in_them() {
    for (url, expected) in [
        ("sftp://u:p@h/x", "sftp://u:<redacted>@h/x"),
        ("sftp://u:p/q@h/x", "sftp://u:<redacted>@h/x"),
        ("sftp://u:p?q#r@h:22/x@y", "sftp://u:<redacted>@y"),
        ("sftp://u:p@q@h/x", "sftp://u:<redacted>@h/x"),
        ("sftp://u:p q@h", "sftp://u:<redacted>@h"),
        ("s3://b/x@y", "s3://b/x@y"),
        ("s3://b.h:9000/x@y", "s3://b.h:9000/x@y"),
        ("webdav://[::1]:80/x@y", "webdav://[::1]:80/x@y"),
        (
            "s3://arn:aws:s3:r:1:accesspoint/n@m",
            "s3://arn:aws:s3:r:1:accesspoint/n@m",
        ),
        (
            "s3://b/x?sseCustomerKey=k&region=r",
            "s3://b/x?sseCustomerKey=<redacted>&region=r",
        ),
    ] {
        assert_eq!(shown_url(url), expected);
    }
}
