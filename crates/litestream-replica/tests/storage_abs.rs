//! Azure Blob Storage on Azurite.

#![cfg(feature = "abs")]
#![allow(clippy::unwrap_used, reason = "what fails is said by the panic")]

mod storage_common;
mod storage_objects;

use litestream_replica::conditional::{Outcome, When};
use litestream_replica::settings::{Keys, Storage};
use litestream_replica::{ErrorKind, Level};
use litestream_servers::Kind;
use storage_common::{conforms, keys, open, place, start, storage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_account_key() {
    conforms(Kind::Azurite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_shared_access_signature() {
    conforms(Kind::AzuriteSas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects() {
    let server = start(Kind::Azurite);
    let open = |name: &str| open(&storage(&place(&server, name)));
    storage_objects::v3(open).await;
    storage_objects::large(&open("large")).await;
    storage_objects::many(&open("many")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_are_kept() {
    let server = start(Kind::Azurite);
    let replica = open(&storage(&place(&server, "lease")));
    let lock = replica.conditional().unwrap();
    let put =
        async |body: &'static str, when| lock.put("lock.json", body.into(), when).await.unwrap();
    assert_eq!(lock.get("lock.json").await.unwrap(), None);
    let Outcome::Done(first) = put("1", When::Absent).await else {
        panic!("refused")
    };
    assert_eq!(put("2", When::Absent).await, Outcome::Refused);
    let Outcome::Done(second) = put("3", When::Same(first.clone())).await else {
        panic!("refused")
    };
    assert_eq!(put("4", When::Same(first.clone())).await, Outcome::Refused);
    assert_eq!(
        lock.get("lock.json").await.unwrap(),
        Some(("3".into(), second.clone()))
    );
    assert_eq!(
        lock.delete("lock.json", &first).await.unwrap(),
        Outcome::Refused
    );
    assert_eq!(
        lock.delete("lock.json", &second).await.unwrap(),
        Outcome::Done(second.clone())
    );
    assert_eq!(
        lock.delete("lock.json", &second).await.unwrap(),
        Outcome::Refused
    );
    assert_eq!(put("5", When::Same(second)).await, Outcome::Refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_a_missing_container_and_a_wrong_key_are_told_apart() {
    let server = start(Kind::Azurite);
    let place = place(&server, "x");
    for (key, value, kind, text) in [
        (
            "bucket",
            "nothing-there",
            ErrorKind::Invalid,
            "ContainerNotFound",
        ),
        (
            "account-key",
            "bm90IGEga2V5",
            ErrorKind::Forbidden,
            "AuthorizationFailure",
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
