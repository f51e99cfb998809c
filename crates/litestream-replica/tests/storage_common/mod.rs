//! Replicas on servers that were started for a test.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "not every test needs all of it; what fails is said by the panic"
)]

use litestream_replica::env::{Env, real};
use litestream_replica::retry::Patience;
use litestream_replica::settings::{
    Keys, Opening, Secret, Storage, Value, ValueKind, lookup, open as open_storage,
};
use litestream_replica::{SharedReplica, suite};
use litestream_servers::{Kind, Place, Server};

pub fn start(kind: Kind) -> Server {
    Server::start(kind).unwrap_or_else(|e| panic!("{e:#}"))
}

/// A place whose name may be that of a test.
pub fn place(server: &Server, name: &str) -> Place {
    let place = server.new_place(&name.replace('_', "-"));
    place.unwrap_or_else(|e| panic!("{e:#}"))
}

pub fn keys(pairs: &[(&str, String)]) -> Keys {
    let mut keys = Keys::new();
    for (name, text) in pairs {
        let text = text.clone();
        let value = match lookup(name).map(|key| key.kind) {
            Some(ValueKind::Secret) => Value::Secret(Secret::new(text)),
            Some(ValueKind::Bool) => Value::Bool(text == "true"),
            Some(ValueKind::List) => Value::List(vec![text]),
            _ => Value::Text(text),
        };
        keys.set(name, value);
    }
    keys
}

pub fn storage(place: &Place) -> Storage {
    Storage::read(&keys(&place.keys), &Keys::new()).unwrap()
}

pub fn open(storage: &Storage) -> SharedReplica {
    open_with(storage, Patience::COMMAND)
}

pub fn open_with(storage: &Storage, patience: Patience) -> SharedReplica {
    let env = real::env();
    let opening = Opening {
        patience,
        ..Opening::command(&env)
    };
    open_storage(storage, &opening).unwrap()
}

/// The whole conformance suite on one server.
pub async fn conforms(kind: Kind) {
    let server = start(kind);
    let scratch = tempfile::tempdir().unwrap();
    let make = async |case: &str| open(&storage(&place(&server, case)));
    suite::run(make, &env(), scratch.path().to_path_buf()).await;
}

pub fn env() -> Env {
    real::env()
}
