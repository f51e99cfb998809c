//! LTX files beside backups of Litestream 0.3, in one replica or in several.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail this way, and looks at files directly"
)]

mod restore_support;
mod v3_support;

use std::sync::Arc;
use std::time::Duration;

use litestream::env::UnixMillis;
use litestream::restore::{Event, Request, RestoreError, Restored, Target, run_any};
use litestream_replica::faulty::{Faulty, Op, When};
use litestream_replica::memory::Memory;
use litestream_replica::{ErrorKind, Level, Replica, SharedReplica, Source as Bytes};
use ltx::Txid;
use parking_lot::Mutex;
use restore_support::{History, Place, env, memory, name, restored, run, time};
use v3_support::{Made, Source};

fn put(replica: &Memory, objects: &[Made]) {
    for made in objects {
        let created = UnixMillis(made.created_ms);
        replica.put_v3(&made.path, made.bytes.clone().into(), created);
    }
}

/// A backup whose first object is a second younger than `since`.
fn old(since: UnixMillis) -> (Vec<Made>, Memory) {
    let mut source = Source::new(2, 4096);
    source.clock_ms = since.0;
    let (objects, replica) = (source.generation(7, 2, 2, false), memory());
    put(&replica, &objects);
    (objects, replica)
}

fn image(objects: &[Made]) -> &[u8] {
    &objects.last().unwrap().image
}

async fn any(
    target: Target,
    replicas: &[SharedReplica],
) -> Result<(Restored, Vec<u8>), RestoreError> {
    let place = Place::new();
    let request = Request {
        target,
        ..place.request()
    };
    let found = run_any(&request, replicas, &env(), &|_| {}).await?;
    Ok((found, place.read()))
}

/// The same files, as after a copy of the folder.
async fn with_listed_time(history: &History, listed: UnixMillis) -> Memory {
    let replica = memory();
    for txid in 1..=history.last() {
        let bytes = Bytes::Bytes(history.l0[txid as usize - 1].clone().into());
        let name = name(txid, txid);
        replica.write(Level::L0, name, bytes, listed).await.unwrap();
    }
    replica
}

#[tokio::test]
async fn r02_times_inside_the_files_decide_between_the_kinds() {
    let history = History::random(3, 512, 5, 3);
    let copied = with_listed_time(&history, UnixMillis(i64::MAX - 1)).await;
    let (objects, _) = old(time(5));
    put(&copied, &objects);
    assert!(restored(copied.clone(), Target::Latest).await.unwrap() == image(&objects));
    // The first object is a second younger than TXID 5.
    for (at, expected) in [
        (time(4), history.image(3)),
        (UnixMillis(time(5).0 + 1), history.image(5)),
        (time(6), history.image(5)),
        (UnixMillis(time(6).0 + 1), &objects[0].image[..]),
    ] {
        let bytes = restored(copied.clone(), Target::Timestamp(at)).await;
        assert!(bytes.unwrap() == expected, "{at:?}");
    }
    // Among several replicas as well.
    let ltx = with_listed_time(&history, UnixMillis(i64::MAX - 1)).await;
    let (objects, v3) = old(time(5));
    let replicas: [SharedReplica; 2] = [Arc::new(ltx), Arc::new(v3)];
    let (found, bytes) = any(Target::Latest, &replicas).await.unwrap();
    assert_eq!(found.replica, 1);
    assert!(bytes == image(&objects));
}

#[tokio::test]
async fn r22_a_backup_of_0_3_takes_its_place_by_time() {
    let history = History::random(4, 512, 5, 3);
    let ltx: SharedReplica = Arc::new(history.memory().await);
    let (objects, newer) = old(time(5));
    let (_, older) = old(UnixMillis(time(1).0 - 100_000));
    let (newer, older): (SharedReplica, SharedReplica) = (Arc::new(newer), Arc::new(older));
    let all = [older.clone(), ltx.clone(), newer.clone()];

    let (found, bytes) = any(Target::Latest, &all).await.unwrap();
    assert_eq!((found.replica, found.outcome.txid), (2, None));
    assert_eq!(found.outcome.time.0, objects.last().unwrap().created_ms);
    assert!(bytes == image(&objects));

    let (found, bytes) = any(Target::Txid(Txid::new(4)), &all).await.unwrap();
    assert_eq!((found.replica, found.outcome.txid), (1, Some(Txid::new(4))));
    assert!(bytes == history.image(4));

    let (found, _) = any(Target::Timestamp(time(4)), &all).await.unwrap();
    assert_eq!((found.replica, found.outcome.txid), (1, Some(Txid::new(3))));
    let (found, _) = any(Target::Timestamp(time(1)), &all).await.unwrap();
    assert_eq!((found.replica, found.outcome.txid), (0, None));
}

#[tokio::test]
async fn r22_a_damaged_backup_of_0_3_gives_way_to_the_next() {
    let history = History::random(5, 512, 5, 3);
    let ltx: SharedReplica = Arc::new(history.memory().await);
    let (objects, _) = old(time(5));
    let (holed, altered, without, whole) = (memory(), memory(), memory(), memory());
    let mut bad = objects.clone();
    let middle = bad[0].bytes.len() / 2;
    bad[0].bytes[middle] ^= 1;
    put(&altered, &bad);
    put(&holed, &objects);
    holed.remove_v3(&objects[1].path);
    put(&without, &objects[1..]);
    put(&whole, &objects);
    let away = Faulty::new(Arc::new(whole));
    away.fail_always(Op::Read, ErrorKind::Forbidden, When::Before);
    for (number, bad) in [
        Arc::new(altered) as SharedReplica,
        Arc::new(holed),
        Arc::new(without),
        Arc::new(away),
    ]
    .into_iter()
    .enumerate()
    {
        let (found, bytes) = any(Target::Latest, &[bad.clone(), ltx.clone()])
            .await
            .unwrap();
        assert_eq!(
            (found.replica, found.outcome.txid),
            (1, Some(Txid::new(5))),
            "{number}"
        );
        assert!(bytes == history.image(5));
        let error = any(Target::Latest, &[bad]).await.unwrap_err();
        assert!(matches!(error, RestoreError::V3(_)), "{number}: {error}");
    }
}

/// While LTX files are read they go, and 0.3 writes something newer, or there is only something older.
#[tokio::test]
async fn r06_the_kind_may_change_meanwhile_but_only_to_something_newer() {
    for newer in [true, false] {
        let history = History::random(6, 512, 5, 3);
        let all = history.memory().await;
        let (objects, _) = old(if newer {
            time(5)
        } else {
            UnixMillis(time(1).0 - 100_000)
        });
        let faulty = Faulty::new(Arc::new(all.clone()));
        let stall = faulty.stall(Op::Read, 3);
        let (place, events) = (Place::new(), Mutex::new(Vec::new()));
        let (request, replica) = (place.request(), Arc::new(faulty.clone()));
        let (environment, tell) = (env(), |event| events.lock().push(event));
        let restore = litestream::restore::run(&request, replica, &environment, &tell);
        let meanwhile = async {
            while faulty.calls(Op::Read) < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let gone: Vec<_> = all.files().iter().map(|f| (f.level, f.name)).collect();
            all.delete(&gone).await.unwrap();
            put(&all, &objects);
            drop(stall);
        };
        let (result, ()) = tokio::join!(restore, meanwhile);
        if newer {
            assert_eq!(result.unwrap().txid, None);
            assert!(place.read() == image(&objects));
            let planned = |e: &Event| match e {
                Event::Planned { txid, .. } => Some(*txid),
                _ => None,
            };
            let planned: Vec<_> = events.lock().iter().filter_map(planned).collect();
            assert_eq!(planned, [Some(Txid::new(5)), None]);
        } else {
            let error = result.unwrap_err();
            assert!(matches!(error, RestoreError::Vanished(_)), "{error}");
            assert_eq!(place.names(), [""; 0]);
            // Who asks afresh gets what is there.
            run(&request, faulty).await.unwrap();
            assert!(place.read() == image(&objects));
        }
    }
}
