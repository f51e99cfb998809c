//! Google Cloud Storage in its emulator.

#![cfg(feature = "gs")]
#![allow(clippy::unwrap_used, reason = "what fails is said by the panic")]

mod storage_common;
mod storage_objects;

use std::sync::Arc;

use litestream_replica::gs::GsReplica;
use litestream_replica::limits::Rates;
use litestream_replica::retry::{Patience, Retrying};
use litestream_replica::settings::{Access, Opening, Storage};
use litestream_replica::{ErrorKind, Level, SharedReplica, suite};
use litestream_servers::{Kind, Place};
use storage_common::{env, place, start, storage};

/// The emulator does one thing after the other, and lets those who come in greater numbers wait for seconds.
const CONNECTIONS_MAX: u32 = 4;

/// A test can't change its own environment, so the emulator is named otherwise.
fn open(place: &Place, storage: &Storage) -> SharedReplica {
    let Storage::Gs(settings) = storage else {
        panic!("another storage")
    };
    let env = env();
    let host = place
        .env
        .iter()
        .find(|(name, _)| name == "STORAGE_EMULATOR_HOST");
    let host = host.map(|(_, host)| host.as_str());
    assert!(host.is_some());
    let opening = Opening {
        access: Access {
            rates: Rates {
                concurrent: Some(CONNECTIONS_MAX),
                ..Rates::default()
            },
            ..Access::default()
        },
        ..Opening::command(&env)
    };
    let replica = GsReplica::at(settings, host, &opening).unwrap();
    Arc::new(Retrying::new(
        Arc::new(replica),
        env.clock,
        Patience::COMMAND,
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_emulator() {
    let server = start(Kind::Gcs);
    let scratch = tempfile::tempdir().unwrap();
    let make = async |case: &str| {
        let place = place(&server, case);
        open(&place, &storage(&place))
    };
    suite::run(make, &env(), scratch.path().to_path_buf()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects() {
    let server = start(Kind::Gcs);
    let open = |name: &str| {
        let place = place(&server, name);
        open(&place, &storage(&place))
    };
    storage_objects::v3(open).await;
    storage_objects::large(&open("large")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r21_a_missing_bucket_is_told_apart() {
    let server = start(Kind::Gcs);
    let storage = Storage::from_url("gs://nothing-there/x").unwrap();
    let replica = open(&place(&server, "x"), &storage);
    let name = ltx::FileName::single(ltx::Txid::new(1));
    for error in [
        replica.list(Level::L0, None, false).await.unwrap_err(),
        replica.read(Level::L0, name, 0, None).await.unwrap_err(),
        replica.delete(&[(Level::L0, name)]).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("create it"), "{error}");
    }
}
