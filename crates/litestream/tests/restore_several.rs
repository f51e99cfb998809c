//! Restores from several replicas, and to points in time in replicas whose listings know no times.

#![allow(
    clippy::disallowed_methods,
    reason = "tests look at the real file system"
)]

mod restore_support;

use std::sync::Arc;

use litestream::env::UnixMillis;
use litestream::restore::{Request, RestoreError, Restored, Target, run_any};
use litestream_replica::faulty::{Faulty, Op, When};
use litestream_replica::{ErrorKind, Level, Replica, SharedReplica, Source};
use ltx::Txid;
use restore_support::{History, Place, copy, env, memory, name, restored, time};

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

/// A replica with the first `txids` transactions.
async fn up_to(history: &History, txids: u64) -> SharedReplica {
    let replica = memory();
    for txid in 1..=txids {
        history.put_l0(&replica, txid).await;
    }
    Arc::new(replica)
}

fn failing(replica: &SharedReplica, op: Op, kind: ErrorKind) -> SharedReplica {
    let faulty = Faulty::new(replica.clone());
    faulty.fail_always(op, kind, When::Before);
    Arc::new(faulty)
}

#[tokio::test]
async fn r22_the_freshest_intact_replica_is_taken() {
    let history = History::random(11, 4096, 6, 20);
    let (old, new) = (up_to(&history, 4).await, up_to(&history, 6).await);
    let (found, bytes) = any(Target::Latest, &[old.clone(), new.clone()])
        .await
        .unwrap();
    assert_eq!(
        (found.replica, found.outcome.txid, found.outcome.time),
        (1, Some(Txid::new(6)), time(6))
    );
    assert!(bytes == history.image(6));
    let (found, _) = any(Target::Latest, &[new.clone(), new.clone(), old.clone()])
        .await
        .unwrap();
    assert_eq!(found.replica, 0, "the first of equals");
    // One alone holds the point.
    let (found, bytes) = any(Target::Txid(Txid::new(5)), &[old.clone(), new.clone()])
        .await
        .unwrap();
    assert_eq!(found.replica, 1);
    assert!(bytes == history.image(5));
    let (found, bytes) = any(Target::Timestamp(time(3)), &[old, new]).await.unwrap();
    assert_eq!((found.replica, found.outcome.txid), (0, Some(Txid::new(2))));
    assert!(bytes == history.image(2));
}

#[tokio::test]
async fn r22_a_damaged_or_unreachable_replica_gives_way_to_the_next() {
    let history = History::random(12, 4096, 6, 20);
    let (old, new) = (up_to(&history, 4).await, up_to(&history, 6).await);
    let damaged = memory();
    copy(&history.memory().await, &damaged).await;
    let mut bytes = damaged
        .read(Level::L0, name(3, 3), 0, None)
        .await
        .unwrap()
        .to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    damaged
        .write(Level::L0, name(3, 3), Source::Bytes(bytes.into()), time(3))
        .await
        .unwrap();
    let holed = memory();
    copy(&history.memory().await, &holed).await;
    holed.delete(&[(Level::L0, name(2, 2))]).await.unwrap();
    for bad in [
        Arc::new(damaged) as SharedReplica,
        Arc::new(holed),
        failing(&new, Op::List, ErrorKind::Unreachable),
        failing(&new, Op::Read, ErrorKind::Forbidden),
        Arc::new(memory()),
    ] {
        let (found, bytes) = any(Target::Latest, &[bad, old.clone()]).await.unwrap();
        assert_eq!((found.replica, found.outcome.txid), (1, Some(Txid::new(4))));
        assert!(bytes == history.image(4));
    }
}

#[tokio::test]
async fn r21_no_backup_only_if_all_could_be_listed() {
    let empty: SharedReplica = Arc::new(memory());
    assert!(any(Target::Latest, &[]).await.unwrap_err().is_no_backup());
    assert!(
        any(Target::Latest, &[empty.clone(), empty.clone()])
            .await
            .unwrap_err()
            .is_no_backup()
    );
    let away = failing(&empty, Op::List, ErrorKind::Unreachable);
    for replicas in [[empty.clone(), away.clone()], [away, empty]] {
        let error = any(Target::Latest, &replicas).await.unwrap_err();
        assert!(
            matches!(&error, RestoreError::Replica(e) if e.is_retryable()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_output_that_cannot_be_written_ends_it() {
    let history = History::random(13, 4096, 2, 5);
    let replicas = [up_to(&history, 1).await, up_to(&history, 2).await];
    let place = Place::new();
    std::fs::write(&place.output, "something").unwrap();
    let error = run_any(&place.request(), &replicas, &env(), &|_| {})
        .await
        .unwrap_err();
    assert!(matches!(error, RestoreError::OutputExists(_)), "{error}");
}

/// As after a copy of a bucket: the same files, all with the same new time.
#[tokio::test]
async fn r02_a_copy_with_new_times_restores_the_same() {
    let history = History::random(14, 4096, 12, 20);
    let copied = memory();
    let now = UnixMillis(i64::MAX - 1);
    for txid in 5..=12 {
        let bytes = Source::Bytes(history.l0[txid as usize - 1].clone().into());
        copied
            .write(Level::L0, name(txid, txid), bytes, now)
            .await
            .unwrap();
    }
    for (level, min, max) in [(1, 1, 3), (1, 4, 6), (1, 7, 9), (9, 1, 2)] {
        let bytes = Source::Bytes(history.merged(min, max).into());
        copied
            .write(Level::new(level).unwrap(), name(min, max), bytes, now)
            .await
            .unwrap();
    }
    // Level 0 begins at 5, within a file of level 1 which ends at 6: 4 and 5 can't be had any more, nor can 1.
    for (at, expected) in [
        (3, 2),
        (4, 3),
        (5, 3),
        (6, 3),
        (7, 6),
        (8, 7),
        (9, 8),
        (12, 11),
        (13, 12),
    ] {
        let bytes = restored(copied.clone(), Target::Timestamp(time(at)))
            .await
            .unwrap();
        assert!(bytes == history.image(expected), "before {at}");
    }
    let error = restored(copied, Target::Timestamp(time(2)))
        .await
        .unwrap_err();
    assert!(error.is_no_backup(), "{error}");
}

/// More files than a plan looks at beforehand, and among the others one from after the time.
#[tokio::test]
async fn a_clock_that_was_set_back_is_noticed_while_restoring() {
    let history = History::random(15, 512, 200, 4);
    let replica = history.memory().await;
    let size = history.page_size;
    let page = vec![7; size.bytes()];
    let header = ltx::Header::new(
        size,
        (history.image(100).len() / 512) as u32,
        Txid::new(100),
        Txid::new(100),
        i64::MAX - 5,
    );
    let pages = (1..=header.commit).map(|n| (n, page.clone())).collect();
    restore_support::put(
        &replica,
        0,
        100,
        100,
        restore_support::encode(header, &pages, 0),
    )
    .await;
    let bytes = restored(replica.clone(), Target::Timestamp(time(199)))
        .await
        .unwrap();
    assert!(bytes == history.image(99), "not beyond the file from later");
    assert!(
        restored(replica, Target::Timestamp(time(90)))
            .await
            .unwrap()
            == history.image(89)
    );
}
