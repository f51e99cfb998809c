//! Alibaba's object storage: an adapter that checks signatures, in front of moto.

#![cfg(feature = "oss")]
#![allow(clippy::unwrap_used, reason = "what fails is said by the panic")]

mod storage_common;
mod storage_objects;

use litestream_replica::settings::{Keys, Storage};
use litestream_replica::{ErrorKind, Level};
use litestream_servers::Kind;
use storage_common::{conforms, keys, open, place, start, storage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance() {
    conforms(Kind::Oss).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects() {
    let server = start(Kind::Oss);
    let replica = open(&storage(&place(&server, "large")));
    storage_objects::large(&replica).await;
    storage_objects::many(&replica).await;
    replica.tidy().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_a_missing_bucket_and_a_wrong_key_are_told_apart() {
    let server = start(Kind::Oss);
    let place = place(&server, "x");
    for (key, value, kind, text) in [
        (
            "bucket",
            "nothing-there",
            ErrorKind::Invalid,
            "NoSuchBucket",
        ),
        (
            "secret-access-key",
            "other",
            ErrorKind::Forbidden,
            "SignatureDoesNotMatch",
        ),
        (
            "access-key-id",
            "other",
            ErrorKind::Forbidden,
            "InvalidAccessKeyId",
        ),
    ] {
        let mut pairs = place.keys.clone();
        pairs.retain(|(name, _)| *name != key);
        pairs.push((key, value.to_owned()));
        let storage = Storage::read(&keys(&pairs), &Keys::new()).unwrap();
        let error = open(&storage)
            .list(Level::L0, None, false)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}
