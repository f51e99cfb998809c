//! NATS object stores on real servers.

#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, reason = "what fails is said by the panic")]

mod storage_common;

use std::time::Duration;

use async_nats::jetstream::object_store::{ObjectMetadata, ObjectStore};
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use litestream_replica::env::UnixMillis;
use litestream_replica::retry::Patience;
use litestream_replica::settings::{Keys, Storage};
use litestream_replica::{ErrorKind, Level, SharedReplica, Source, suite};
use litestream_servers::{Kind, Place, Server};
use ltx::{FileName, Txid};
use storage_common::{conforms, keys, open, open_with, place, start, storage};
use tokio::io::AsyncReadExt;

const TIME: UnixMillis = UnixMillis(1_700_000_000_123);
const ONCE: Patience = Patience {
    first: Duration::ZERO,
    later: Duration::ZERO,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn current() {
    conforms(Kind::Nats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oldest() {
    conforms(Kind::NatsOld).await;
}

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

fn object(txid: u64) -> String {
    format!("ltx/0/{}", name(txid))
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|n| (n / 3 + n / 70_000) as u8).collect()
}

async fn write(replica: &SharedReplica, txid: u64, bytes: &Bytes) {
    let source = Source::Bytes(bytes.clone());
    replica
        .write(Level::L0, name(txid), source, TIME)
        .await
        .unwrap();
}

/// The bucket of a place as another client sees it.
async fn bucket(server: &Server, place: &Place) -> (ObjectStore, stream::Stream) {
    let client = async_nats::connect(format!("127.0.0.1:{}", server.port()));
    let context = jetstream::new(client.await.unwrap());
    let url = place.key("url").unwrap();
    let name = url.rsplit('/').next().unwrap();
    let objects = context.get_object_store(name).await.unwrap();
    let stream = context.get_stream(format!("OBJ_{name}")).await.unwrap();
    (objects, stream)
}

async fn put(objects: &ObjectStore, name: &str, chunk_size: Option<usize>, bytes: &Bytes) {
    let meta = ObjectMetadata {
        name: name.to_owned(),
        chunk_size,
        ..ObjectMetadata::default()
    };
    objects.put(meta, &mut &bytes[..]).await.unwrap();
}

async fn get(objects: &ObjectStore, name: &str) -> Vec<u8> {
    let mut all = Vec::new();
    let mut object = objects.get(name).await.unwrap();
    object.read_to_end(&mut all).await.unwrap();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v3() {
    let server = start(Kind::Nats);
    let count = std::cell::Cell::new(0);
    suite::run_v3(async |given| {
        count.set(count.get() + 1);
        let place = place(&server, &format!("v3-{}", count.get()));
        let (objects, _) = bucket(&server, &place).await;
        for (path, bytes) in given {
            put(&objects, path, None, bytes).await;
        }
        open(&storage(&place))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_clients_write_is_read_and_the_other_way_round() {
    for kind in [Kind::Nats, Kind::NatsOld] {
        let server = start(kind);
        let place = place(&server, "other");
        let (objects, _) = bucket(&server, &place).await;
        let replica = open(&storage(&place));
        let bytes = pattern(5000);
        put(&objects, &object(1), Some(7), &bytes).await;
        put(&objects, &object(2), None, &bytes).await;
        put(&objects, "notes", None, &bytes).await;
        put(&objects, &object(3), None, &bytes).await;
        objects.delete(&object(3)).await.unwrap();
        let listed = replica.list(Level::L0, None, false).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|f| (f.name, f.size)).collect();
        assert_eq!(listed, [(name(1), 5000), (name(2), 5000)]);
        for txid in [1, 2] {
            for (offset, len) in [
                (0, None),
                (0, Some(5)),
                (6, Some(3)),
                (7, Some(7)),
                (4993, None),
                (3, Some(4000)),
            ] {
                let read = replica.read(Level::L0, name(txid), offset, len).await;
                let end = len.map_or(5000, |len| offset + len) as usize;
                assert_eq!(
                    read.unwrap(),
                    bytes.slice(offset as usize..end),
                    "{offset} {len:?}"
                );
            }
        }
        let gone = replica.read(Level::L0, name(3), 0, None).await;
        assert!(gone.unwrap_err().is_not_found());

        let long = pattern(300_000);
        write(&replica, 3, &long).await;
        write(&replica, 4, &Bytes::new()).await;
        let info = objects.info(object(3)).await.unwrap();
        assert_eq!((info.size, info.chunks), (300_000, 3));
        let headers = info.headers.unwrap();
        let time = headers.get("Litestream-Timestamp").unwrap();
        assert_eq!(time.as_str(), "2023-11-14T22:13:20.123Z");
        assert!(get(&objects, &object(3)).await == long);
        assert!(
            replica
                .read(Level::L0, name(4), 0, None)
                .await
                .unwrap()
                .is_empty()
        );
        replica.delete(&[(Level::L0, name(3))]).await.unwrap();
        assert!(objects.get(object(3)).await.is_err());
        assert!(get(&objects, "notes").await == bytes);
    }
}

/// How many messages a bucket has under subjects of that kind: `C` for chunks, `M` for descriptions.
async fn messages(stream: &mut stream::Stream, kind: &str) -> usize {
    let name = stream.info().await.unwrap().config.name.clone();
    let bucket = name.trim_start_matches("OBJ_").to_owned();
    let subjects = stream
        .info_with_subjects(format!("$O.{bucket}.{kind}.>"))
        .await;
    let subjects: Vec<_> = futures_util::StreamExt::collect(subjects.unwrap()).await;
    subjects.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s20_chunks_that_belong_to_nothing_go_away() {
    let server = start(Kind::Nats);
    let place = place(&server, "strays");
    let (objects, mut stream) = bucket(&server, &place).await;
    let replica = open(&storage(&place));
    for _ in 0..3 {
        write(&replica, 1, &pattern(200_000)).await;
    }
    assert_eq!(
        messages(&mut stream, "C").await,
        1,
        "one version has chunks"
    );
    let big = Bytes::from(vec![1; 64 << 20]);
    for _ in 0..3 {
        let source = Source::Bytes(big.clone());
        let writing = replica.write(Level::L0, name(2), source, TIME);
        let given_up = tokio::time::timeout(Duration::from_millis(40), writing).await;
        assert!(given_up.is_err(), "a write that large can't be done");
    }
    let client = async_nats::connect(format!("127.0.0.1:{}", server.port()))
        .await
        .unwrap();
    let other = jetstream::new(client);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let fresh = format!("ls{now:012x}0000000000000abc");
    let old = "ls018bcfe568000000000000000abc";
    for id in [fresh.as_str(), old, "SOMEBODYELSES"] {
        let subject = format!("$O.strays.C.{id}");
        other
            .publish(subject, "x".into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    replica.tidy().await.unwrap();
    let mut left = 0;
    for _ in 0..50 {
        left = messages(&mut stream, "C").await;
        if left == 3 {
            break;
        }
        // What was given up is removed by somebody who is not waited for.
        tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>())
            .await
            .unwrap_err();
    }
    assert_eq!(left, 3, "the object's, a fresh one, and somebody else's");
    assert_eq!(get(&objects, &object(1)).await.len(), 200_000);
    replica.delete(&[(Level::L0, name(1))]).await.unwrap();
    assert_eq!(messages(&mut stream, "M").await, 0, "no marks stay");
    assert_eq!(messages(&mut stream, "C").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_its_digest_is_no_file() {
    let server = start(Kind::Nats);
    let place = place(&server, "digest");
    let (_, stream) = bucket(&server, &place).await;
    let replica = open(&storage(&place));
    write(&replica, 1, &pattern(300_000)).await;
    let first = stream.get_raw_message(1).await.unwrap();
    // Another chunk of the same size behind, and the first one away.
    let client = async_nats::connect(format!("127.0.0.1:{}", server.port()))
        .await
        .unwrap();
    let other = jetstream::new(client);
    stream.delete_message(1).await.unwrap();
    let subject = first.subject.clone();
    other
        .publish(subject, first.payload)
        .await
        .unwrap()
        .await
        .unwrap();
    let error = replica.read(Level::L0, name(1), 0, None).await.unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    stream.delete_message(2).await.unwrap();
    let error = replica.read(Level::L0, name(1), 0, None).await.unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert!(
        error.to_string().contains("chunks of it are missing"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_bucket_is_said_so() {
    let server = start(Kind::Nats);
    let url = format!("nats://127.0.0.1:{}/nowhere", server.port());
    let storage = Storage::from_url(&url).unwrap();
    let replica = open(&storage);
    let source = Source::Bytes(Bytes::from_static(b"x"));
    let errors = [
        replica.list(Level::L0, None, false).await.unwrap_err(),
        replica.read(Level::L0, name(1), 0, None).await.unwrap_err(),
        replica
            .write(Level::L0, name(1), source, TIME)
            .await
            .unwrap_err(),
        replica.delete(&[(Level::L0, name(1))]).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("(bucket must be created beforehand): nats: bucket not found"),
            "{text}"
        );
        assert!(text.contains("nats object add nowhere"), "{text}");
    }
    let bad = Storage::from_url(&format!("{url}/below")).unwrap();
    let env = storage_common::env();
    let opened = litestream_replica::settings::open(
        &bad,
        &litestream_replica::settings::Opening::command(&env),
    );
    assert!(
        opened
            .err()
            .unwrap()
            .to_string()
            .contains("invalid bucket name")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_lost_is_made_again() {
    let mut server = start(Kind::Nats);
    let place = place(&server, "again");
    let replica = open(&storage(&place));
    let bytes = pattern(500_000);
    write(&replica, 1, &bytes).await;
    server.restart().unwrap();
    write(&replica, 2, &bytes).await;
    server.kill();
    let later = {
        let (replica, bytes) = (replica.clone(), bytes.clone());
        tokio::spawn(async move { write(&replica, 3, &bytes).await })
    };
    server.restart().unwrap();
    later.await.unwrap();
    for txid in 1..=3 {
        let read = replica.read(Level::L0, name(txid), 0, None).await;
        assert!(read.unwrap() == bytes);
    }
    server.kill();
    let gone = open_with(&storage(&place), ONCE);
    let error = gone.list(Level::L0, None, false).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(
        error.to_string().contains("nothing listens there"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_in_one_bucket_are_apart_by_their_paths() {
    let server = start(Kind::Nats);
    let place = place(&server, "paths");
    let at = |path: &str| {
        let mut pairs = place.keys.clone();
        pairs.push(("path", path.to_owned()));
        open(&Storage::read(&keys(&pairs), &Keys::new()).unwrap())
    };
    let (one, two) = (at("a b/one.db"), at("a b/two.db/"));
    write(&one, 1, &pattern(10)).await;
    write(&two, 1, &pattern(20)).await;
    write(&two, 2, &pattern(30)).await;
    let sizes = async |replica: &SharedReplica| {
        let listed = replica.list(Level::L0, None, false).await.unwrap();
        listed.iter().map(|f| f.size).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&one).await, [10]);
    assert_eq!(sizes(&two).await, [20, 30]);
    assert!(sizes(&open(&storage(&place))).await.is_empty());
    let (objects, _) = bucket(&server, &place).await;
    let found = get(&objects, &format!("a b/two.db/{}", object(2))).await;
    assert_eq!(found.len(), 30);
}
