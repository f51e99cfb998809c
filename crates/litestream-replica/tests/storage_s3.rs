//! The backend for S3 against real servers.
#![cfg(feature = "s3")]

use std::path::PathBuf;

use litestream_replica::env::{self, Env};
use litestream_replica::retry::Patience;
use litestream_replica::settings::{self, Keys, Opening, Secret, Storage, Value, ValueKind};
use litestream_replica::{SharedReplica, suite};
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
async fn suite_against(server: &Server, scratch: PathBuf, more: &[(&str, &str)]) {
    let env = env::real::env();
    let make = async |case: &str| {
        let name = case.replace('_', "-");
        open(&storage(&server.new_place(&name).unwrap(), more), &env)
    };
    suite::run(make, &env, scratch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suite_where_signatures_are_checked() {
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(Kind::MotoAuth).unwrap();
    suite_against(&server, scratch.path().join(""), &[]).await;
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let scratch = tempfile::tempdir().unwrap();
    let more = [
        ("path", "unsigned and encrypted"),
        ("sign-payload", "false"),
        ("sse-customer-key", key),
        ("storage-class", "STANDARD_IA"),
    ];
    let env = env::real::env();
    let place = server.new_place("x").unwrap();
    let replica = open(&storage(&place, &more), &env);
    suite::run_case("big_file", replica, &env, scratch.path().join("")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suite_against_rclone() {
    let scratch = tempfile::tempdir().unwrap();
    let server = Server::start(Kind::RcloneS3).unwrap();
    suite_against(&server, scratch.path().join(""), &[]).await;
}
