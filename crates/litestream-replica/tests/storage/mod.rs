//! What the tests of all storage behind a network share.

#![allow(clippy::unwrap_used, reason = "a helper of tests")]

use std::sync::Arc;

use bytes::Bytes;
use litestream_replica::conditional::When;
use litestream_replica::env::{self, Env, UnixMillis};
use litestream_replica::settings::{
    Keys, Opening, Secret, Storage, Value, ValueKind, lookup, open,
};
use litestream_replica::{Level, SharedReplica, Source, suite};
use ltx::{FileName, Txid};

pub struct Place {
    pub keys: Vec<(&'static str, String)>,
}

/// The replica below a place.
fn replica(place: &Place, below: &str, env: &Env) -> SharedReplica {
    let mut keys = Keys::new();
    for (name, value) in &place.keys {
        let value = match lookup(name).unwrap().kind {
            ValueKind::Text if *name == "path" => Value::Text(format!("{value}/{below}")),
            ValueKind::Text => Value::Text(value.clone()),
            ValueKind::Secret => Value::Secret(Secret::new(value.as_str())),
            kind => panic!("no test needs a {kind:?}"),
        };
        keys.set(name, value);
    }
    let storage = Storage::read(&keys, &Keys::new()).unwrap();
    open(&storage, &Opening::command(env)).unwrap()
}

pub async fn conforms(place: &Place) {
    let env = env::real::env();
    conforms_by(|below| replica(place, below, &env)).await;
}

pub async fn conforms_by(open: impl Fn(&str) -> SharedReplica) {
    let env = env::real::env();
    let run = env.entropy.next_u64();
    let scratch = tempfile::tempdir().unwrap();
    let make = async |case: &str| open(&format!("{run:x}/{case}"));
    suite::run(make, &env, scratch.path().to_owned()).await;
    let count = std::sync::atomic::AtomicUsize::new(0);
    suite::run_v3(async |given| {
        let count = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let replica = open(&format!("{run:x}/v3-{count}"));
        for (path, bytes) in given {
            replica
                .conditional()
                .unwrap()
                .put(path, bytes.clone(), When::Always)
                .await
                .unwrap();
        }
        replica
    })
    .await;
    large(&open(&format!("{run:x}/large"))).await;
}

async fn large(replica: &SharedReplica) {
    let bytes: Bytes = (0..40 << 20).map(|i: u32| (i / 7 + i) as u8).collect();
    let name = FileName::new(Txid::new(1), Txid::new(9));
    let written = replica
        .write(
            Level::SNAPSHOT,
            name,
            Source::Bytes(bytes.clone()),
            UnixMillis(1),
        )
        .await
        .unwrap();
    assert_eq!(written.size, 40 << 20);
    assert!(replica.read(Level::SNAPSHOT, name, 0, None).await.unwrap() == bytes);
    assert_eq!(
        replica.list(Level::SNAPSHOT, None, true).await.unwrap(),
        [written]
    );
    let _ = Arc::strong_count(replica);
}
