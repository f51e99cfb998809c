//! The backend for S3 against real servers.
#![cfg(feature = "s3")]
#![allow(
    clippy::unwrap_used,
    reason = "what fails here fails the test, wherever it stands"
)]

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt};
use litestream_replica::conditional::{Outcome, Tag, When};
use litestream_replica::env::{self, Env};
use litestream_replica::retry::Patience;
use litestream_replica::settings::{self, Keys, Opening, Secret, Storage, Value, ValueKind};
use litestream_replica::{Level, SharedReplica, suite};
use litestream_servers::{Kind, Place, Server};

/// The keys of a place, and more of them.
fn storage(place: &Place, more: &[(&str, &str)]) -> Storage {
    let mut keys = Keys::new();
    let given = place
        .keys
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    for (name, value) in given.chain(more.iter().copied()) {
        keys.set(name, of_kind(name, value));
    }
    Storage::read(&keys, &Keys::new()).unwrap()
}

fn of_kind(name: &str, text: &str) -> Value {
    match settings::lookup(name).unwrap().kind {
        ValueKind::Secret => Value::Secret(Secret::new(text)),
        ValueKind::Bool => Value::Bool(text == "true"),
        ValueKind::Int => Value::Int(text.parse().unwrap()),
        ValueKind::Size => Value::Size(text.parse().unwrap()),
        _ => Value::Text(text.to_owned()),
    }
}

fn open(storage: &Storage, env: &Env) -> SharedReplica {
    let opening = Opening {
        patience: Patience::SHORT,
        ..Opening::command(env)
    };
    settings::open(storage, &opening).unwrap()
}

/// The whole suite, each case in a place of its own.
async fn suite_against(server: &Server, more: &[(&str, &str)]) {
    let env = env::real::env();
    let scratch = tempfile::tempdir().unwrap();
    let make = async |case: &str| {
        let name = case.replace('_', "-");
        open(&storage(&server.new_place(&name).unwrap(), more), &env)
    };
    suite::run(make, &env, scratch.path().to_owned()).await;
}

/// One case in a place whose keys are `more`.
async fn case_in(server: &Server, case: &str, more: &[(&str, &str)]) {
    let env = env::real::env();
    let scratch = tempfile::tempdir().unwrap();
    let replica = open(&storage(&server.new_place("x").unwrap(), more), &env);
    suite::run_case(case, replica, &env, scratch.path().to_owned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suite_where_signatures_are_checked() {
    let server = Server::start(Kind::MotoAuth).unwrap();
    suite_against(&server, &[]).await;
    let more = [
        ("path", "unsigned and encrypted"),
        ("sign-payload", "false"),
        (
            "sse-customer-key",
            "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        ),
        ("storage-class", "STANDARD_IA"),
    ];
    case_in(&server, "big_file", &more).await;
    // Keys with dots and empty parts must be signed as they are sent.
    let case = "k19_delete_takes_exactly_the_given";
    for path in [
        "",
        ".",
        "tr/",
        "/lead",
        "a//b",
        "./x",
        "a/../b",
        "sp ace+ä%41&=?",
    ] {
        case_in(&server, case, &[("path", path)]).await;
    }
    old_backups(&server).await;
    wrong_keys(&server).await;
}

/// What Litestream 0.3 left is found below a prefix, and below none.
async fn old_backups(server: &Server) {
    let env = env::real::env();
    let number = AtomicU32::new(0);
    let make = async |objects: &[suite::Given]| {
        let path = format!("v3-{}", number.fetch_add(1, Ordering::Relaxed));
        let more = [("path", path.as_str())];
        let replica = open(&storage(&server.new_place("x").unwrap(), &more), &env);
        let put = objects.iter().map(|(path, bytes)| {
            let place = replica.conditional().unwrap();
            place.put(path, bytes.clone(), When::Always)
        });
        let put: Vec<_> = put.collect();
        let done: Vec<_> = stream::iter(put).buffer_unordered(16).collect().await;
        assert!(done.into_iter().all(|done| done.is_ok()));
        replica
    };
    suite::run_v3(make).await;
}

/// The right place with wrong credentials is never an empty replica.
async fn wrong_keys(server: &Server) {
    let env = env::real::env();
    let place = server.new_place("x").unwrap();
    for (more, part) in [
        (("secret-access-key", "wrong"), "check the secret"),
        (("access-key-id", "NOBODY"), "does not know this access key"),
        (
            ("bucket", "no-such-bucket"),
            "create it, or correct its name",
        ),
    ] {
        let replica = open(&storage(&place, &[more]), &env);
        let error = replica.list(Level::L0, None, false).await.unwrap_err();
        assert!(!error.is_not_found() && !error.is_retryable(), "{error}");
        let text = error.to_string();
        assert!(text.contains(part), "{text}");
        assert!(!text.contains("wrong"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suite_against_rclone() {
    let server = Server::start(Kind::RcloneS3).unwrap();
    suite_against(&server, &[]).await;
}

/// Conditions, uploads that nobody ended, and what is not to be confused with either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_hold() {
    let server = Server::start(Kind::Moto).unwrap();
    let env = env::real::env();
    let replica = open(&storage(&server.new_place("x").unwrap(), &[]), &env);
    let place = replica.conditional().unwrap();
    let body = |text: &'static str| Bytes::from_static(text.as_bytes());
    let done = |outcome: Outcome| match outcome {
        Outcome::Done(tag) => tag,
        Outcome::Refused => panic!("refused"),
    };
    assert_eq!(place.get("lock.json").await.unwrap(), None);
    let gone = Tag("\"00000000000000000000000000000000\"".to_owned());
    let same_as_none = place.put("lock.json", body("0"), When::Same(gone.clone()));
    assert_eq!(same_as_none.await.unwrap(), Outcome::Refused);
    assert_eq!(
        place.delete("lock.json", &gone).await.unwrap(),
        Outcome::Refused
    );

    let all = (0..8).map(|_| place.put("lock.json", body("1"), When::Absent));
    let all: Vec<Outcome> = try_join_all(all).await.unwrap();
    let winners: Vec<_> = all.into_iter().filter(|o| *o != Outcome::Refused).collect();
    assert_eq!(winners.len(), 1);
    let first = done(winners[0].clone());
    assert_eq!(
        place.get("lock.json").await.unwrap(),
        Some((body("1"), first.clone()))
    );

    let second = place.put("lock.json", body("2"), When::Same(first.clone()));
    let second = done(second.await.unwrap());
    let late = place.put("lock.json", body("3"), When::Same(first.clone()));
    assert_eq!(late.await.unwrap(), Outcome::Refused);
    assert_eq!(
        place.delete("lock.json", &first).await.unwrap(),
        Outcome::Refused
    );
    assert_eq!(
        place.get("lock.json").await.unwrap(),
        Some((body("2"), second.clone()))
    );
    done(
        place
            .put("lock.json", body("4"), When::Always)
            .await
            .unwrap(),
    );
    let (_, fourth) = place.get("lock.json").await.unwrap().unwrap();
    done(place.delete("lock.json", &fourth).await.unwrap());
    assert_eq!(place.get("lock.json").await.unwrap(), None);
    replica.tidy().await.unwrap();
    for level in Level::all() {
        assert!(replica.list(level, None, false).await.unwrap().is_empty());
    }

    let nowhere = storage(
        &server.new_place("x").unwrap(),
        &[("bucket", "no-such-bucket")],
    );
    let nowhere = open(&nowhere, &env);
    let nowhere = nowhere.conditional().unwrap();
    nowhere.get("lock.json").await.unwrap_err();
    nowhere
        .put("lock.json", body("1"), When::Absent)
        .await
        .unwrap_err();
    nowhere.delete("lock.json", &gone).await.unwrap_err();
}
