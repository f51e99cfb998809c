//! The first restore of follow mode: planned anew while files go, and never of a backup of Litestream 0.3.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod follow_support;
mod v3_support;

use std::sync::Arc;

use follow_support::support::{memory, time};
use follow_support::{Place, assert_is};
use litestream::env::UnixMillis;
use litestream_replica::faulty::{Faulty, Op, When};
use litestream_replica::memory::Memory;
use litestream_replica::{ErrorKind, SharedReplica};
use v3_support::Source;

/// A backup of 0.3 that is younger than all LTX files.
fn put_old(replica: &Memory) {
    let mut source = Source::new(2, 4096);
    source.clock_ms = time(1_000_000).0;
    for made in source.generation(7, 2, 2, false) {
        let created = UnixMillis(made.created_ms);
        replica.put_v3(&made.path, made.bytes.into(), created);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_file_that_goes_during_it_means_planning_again() {
    let history = follow_support::history(&[(1, 4096)], 10);
    for nth in 1..=10 {
        let replica = Faulty::new(Arc::new(history.memory().await));
        replica.fail(Op::Read, nth, ErrorKind::NotFound, When::Before);
        let place = Place::new();
        place
            .follow_to(&(Arc::new(replica) as SharedReplica), 10)
            .await;
        assert_is(&format!("read {nth}"), &place.read(), history.image(10));
        assert_eq!(place.names(), ["followed.db", "followed.db-txid"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn younger_backups_of_0_3_are_passed_over() {
    let history = follow_support::history(&[(1, 4096)], 5);
    let replica = history.memory().await;
    put_old(&replica);
    let place = Place::new();
    place
        .follow_to(&(Arc::new(replica) as SharedReplica), 5)
        .await;
    assert_is("ltx", &place.read(), history.image(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_0_3_alone_is_none_to_follow() {
    let (replica, place) = (memory(), Place::new());
    put_old(&replica);
    let error = place.refused(&(Arc::new(replica) as SharedReplica)).await;
    assert!(error.is_no_backup(), "{error}");
    assert_eq!(place.names(), [""; 0]);
}
