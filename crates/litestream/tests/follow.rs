//! Follow mode, with exact states: every TXID page for page, gaps, resuming, refusals.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests look at the real file system"
)]

mod follow_support;

use std::sync::Arc;
use std::time::Duration;

use follow_support::support::{History, file_replica, memory, name, put};
use follow_support::{Place, assert_is, history, sums_agree};
use litestream::follow::{Ended, FollowError};
use litestream_replica::faulty::{Faulty, Op};
use litestream_replica::{Level, SharedReplica};
use ltx::Txid;
use rusqlite::Connection;

async fn with_l0(history: &History, txids: std::ops::RangeInclusive<u64>) -> SharedReplica {
    let replica = memory();
    for txid in txids {
        history.put_l0(&replica, txid).await;
    }
    Arc::new(replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_txid_is_page_for_page_that_of_the_replica() {
    for page_size in [512, 4096, 65536] {
        let history = history(&[(1, page_size)], 25);
        let replica = with_l0(&history, 1..=1).await;
        let place = Place::new();
        place.follow_to(&replica, 1).await;
        assert_is("restored", &place.read(), history.image(1));
        for txid in 2..=history.last() {
            history.put_l0(&*replica, txid).await;
            place.follow_to(&replica, txid).await;
            let what = format!("page size {page_size}, TXID {txid}");
            assert_is(&what, &place.read(), history.image(txid));
            assert!(sums_agree(&place.db()), "{what}");
        }
        assert_eq!(place.names(), ["followed.db", "followed.db-txid"]);
        let content = std::fs::read_to_string(place.txid_file()).unwrap();
        assert_eq!(content, "0000000000000019\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_notices_each_change() {
    let history = history(&[(1, 4096)], 12);
    let replica = with_l0(&history, 1..=1).await;
    let place = Place::new();
    let follower = place.start(&replica);
    place.reaches(1).await;
    let reader = Connection::open(place.db()).unwrap();
    reader.busy_timeout(Duration::from_secs(10)).unwrap();
    let sum = |conn: &Connection| -> (i64, i64) {
        let sql = "SELECT (SELECT sum(n * id) FROM a), (SELECT sum(length(x)) FROM blobs)";
        conn.query_row(sql, [], |r| {
            Ok((r.get(0)?, r.get::<_, Option<i64>>(1)?.unwrap_or(0)))
        })
        .unwrap()
    };
    for txid in 2..=history.last() {
        sum(&reader); // its cache is full of the state before
        history.put_l0(&*replica, txid).await;
        place.reaches(txid).await;
        let state = place.dir.path().join("state.db");
        std::fs::write(&state, history.image(txid)).unwrap();
        let expected = sum(&Connection::open(&state).unwrap());
        assert_eq!(sum(&reader), expected, "TXID {txid}");
    }
    assert_eq!(
        follower.stop().await.unwrap(),
        Ended::Following(Txid::new(12))
    );
}

/// D1: the original resumes only up to the newest snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn d01_resumes_beyond_the_newest_snapshot() {
    let history = history(&[(1, 4096)], 20);
    let replica = with_l0(&history, 1..=10).await;
    history.put_merged(&*replica, 9, 1, 4).await;
    let place = Place::new();
    place.follow_to(&replica, 10).await;
    place.follow_to(&replica, 10).await; // nothing new: no error either
    for txid in 11..=20 {
        history.put_l0(&*replica, txid).await;
    }
    place.follow_to(&replica, 20).await;
    assert_is("resumed", &place.read(), history.image(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_bridged_from_the_levels_and_then_from_a_snapshot() {
    let history = history(&[(1, 1024)], 40);
    let replica = with_l0(&history, 1..=5).await;
    let place = Place::new();
    let follower = place.start(&replica);
    place.reaches(5).await;
    // Compacted and retained between two looks: level 0 begins at 16.
    history.put_merged(&*replica, 1, 3, 9).await;
    history.put_merged(&*replica, 2, 8, 14).await;
    history.put_merged(&*replica, 1, 15, 15).await;
    for txid in 16..=18 {
        history.put_l0(&*replica, txid).await;
    }
    place.reaches(18).await;
    follower.stop().await.unwrap();
    assert_is("levels", &place.read(), history.image(18));

    // Only a snapshot leads further, found at once although level 0 has nothing.
    history.put_merged(&*replica, 9, 1, 30).await;
    place.follow_to(&replica, 30).await;
    assert_is("snapshot alone", &place.read(), history.image(30));
    let follower = place.start(&replica);
    history.put_merged(&*replica, 9, 1, 37).await;
    history.put_l0(&*replica, 38).await;
    place.reaches(38).await;
    follower.stop().await.unwrap();
    assert_is("snapshot", &place.read(), history.image(38));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_files_than_fit_in_one_step() {
    let history = history(&[(1, 512)], 150);
    let replica = with_l0(&history, 1..=1).await;
    let place = Place::new();
    place.follow_to(&replica, 1).await;
    for txid in 2..=150 {
        history.put_l0(&*replica, txid).await;
    }
    place.follow_to(&replica, 150).await;
    assert_is("caught up", &place.read(), history.image(150));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_nothing_bridges_is_an_error_and_then_bridged() {
    let history = history(&[(1, 4096)], 9);
    let replica = with_l0(&history, 1..=3).await;
    let place = Place::new();
    place.follow_to(&replica, 3).await;
    history.put_l0(&*replica, 6).await;
    let error = place.refused(&replica).await;
    assert!(
        matches!(&error, FollowError::Gap { have, next, .. } if have.get() == 3 && next.get() == 6),
        "{error}"
    );
    assert!(error.to_string().contains("delete"), "{error}");
    assert_is("untouched", &place.read(), history.image(3));
    for txid in 4..=5 {
        history.put_l0(&*replica, txid).await;
    }
    place.follow_to(&replica, 6).await;
    assert_is("bridged", &place.read(), history.image(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_before_the_position_is_refused() {
    let history = history(&[(1, 4096)], 5);
    let place = Place::new();
    place.follow_to(&with_l0(&history, 1..=5).await, 5).await;
    let error = place.refused(&with_l0(&history, 1..=3).await).await;
    assert!(matches!(error, FollowError::Ahead { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r32_a_lost_or_older_position_is_found_again() {
    let history = history(&[(1, 4096)], 12);
    let replica = with_l0(&history, 1..=9).await;
    let place = Place::new();
    place.follow_to(&replica, 9).await;
    for lost in [
        None,
        Some(""),
        Some("garbage\n"),
        Some("0000000000000004\n"),
    ] {
        match lost {
            None => std::fs::remove_file(place.txid_file()).unwrap(),
            Some(text) => std::fs::write(place.txid_file(), text).unwrap(),
        }
        place.follow_to(&replica, 9).await;
    }
    std::fs::remove_file(place.txid_file()).unwrap();
    for txid in 10..=12 {
        history.put_l0(&*replica, txid).await;
    }
    place.follow_to(&replica, 12).await;
    assert_is("found", &place.read(), history.image(12));
    assert_eq!(place.names(), ["followed.db", "followed.db-txid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_ours_is_never_touched() {
    let history = history(&[(1, 4096)], 6);
    let replica = with_l0(&history, 1..=4).await;
    let place = Place::new();
    let conn = Connection::open(place.db()).unwrap();
    conn.execute_batch("CREATE TABLE precious(x); INSERT INTO precious VALUES(1)")
        .unwrap();
    drop(conn);
    let before = place.read();
    let error = place.refused(&replica).await;
    assert!(
        error
            .to_string()
            .starts_with("cannot resume follow mode: database exists but no -txid file found; delete the database to re-restore: "),
        "{error}"
    );
    std::fs::write(place.txid_file(), "garbage").unwrap();
    let error = place.refused(&replica).await.to_string();
    assert!(
        error.starts_with("read txid file for crash recovery: parse txid file: "),
        "{error}"
    );
    std::fs::write(place.txid_file(), "0000000000000002\n").unwrap();
    let error = place.refused(&replica).await;
    assert!(matches!(error, FollowError::Changed { .. }), "{error}");
    assert_eq!(place.read(), before);
    std::fs::write(place.db(), "no database at all, but not empty either").unwrap();
    let error = place.refused(&replica).await;
    assert!(matches!(error, FollowError::NotDatabase { .. }), "{error}");
}

/// As the original leaves it: flagged as WAL or not, its change counter random.
#[tokio::test(flavor = "multi_thread")]
async fn goes_on_with_what_another_program_followed() {
    let history = history(&[(1, 4096)], 9);
    for flag in [1, 2] {
        let replica = with_l0(&history, 1..=6).await;
        let place = Place::new();
        let mut image = history.image(6).to_vec();
        image[18..20].fill(flag);
        image[24..28].copy_from_slice(&[9, 8, 7, 6]);
        std::fs::write(place.db(), &image).unwrap();
        std::fs::write(place.txid_file(), "0000000000000006\n").unwrap();
        history.put_l0(&*replica, 7).await;
        place.follow_to(&replica, 7).await;
        assert_is("taken over", &place.read(), history.image(7));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_wrote_is_not_mixed_up() {
    let history = history(&[(1, 4096)], 9);
    let replica = with_l0(&history, 1..=4).await;
    let place = Place::new();
    let follower = place.start(&replica);
    place.reaches(4).await;
    let conn = Connection::open(place.db()).unwrap();
    conn.execute_batch("INSERT INTO blobs VALUES('mine')")
        .unwrap();
    history.put_l0(&*replica, 5).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mine: i64 = conn
        .query_row("SELECT count(*) FROM blobs WHERE x = 'mine'", [], |r| {
            r.get(0)
        })
        .unwrap();
    assert_eq!((mine, place.position()), (1, 4));
    drop(conn);
    follower.stop().await.unwrap();
    let error = place.refused(&replica).await;
    assert!(matches!(error, FollowError::Changed { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_followers_of_one_file_do_not_spoil_it() {
    let history = history(&[(1, 1024)], 60);
    let replica = with_l0(&history, 1..=1).await;
    let place = Place::new();
    place.follow_to(&replica, 1).await;
    let followers = [place.start(&replica), place.start(&replica)];
    for txid in 2..=60 {
        history.put_l0(&*replica, txid).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    place.reaches(60).await;
    for follower in followers {
        follower.stop().await.unwrap();
    }
    assert_is("two", &place.read(), history.image(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_reader_is_waited_for_without_spinning() {
    let history = history(&[(1, 4096)], 8);
    let faulty = Arc::new(Faulty::new(with_l0(&history, 1..=2).await));
    let replica: SharedReplica = faulty.clone();
    let place = Place::new();
    let follower = place.start(&replica);
    place.reaches(2).await;
    let reader = Connection::open(place.db()).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let count = || -> i64 {
        reader
            .query_row("SELECT sum(n * id) FROM a", [], |r| r.get(0))
            .unwrap()
    };
    let before = count();
    history.put_l0(&*replica, 3).await;
    let reads = faulty.calls(Op::Read);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!((count(), place.position()), (before, 2));
    assert!(faulty.calls(Op::Read) - reads <= 4, "fetched once");
    reader.execute_batch("COMMIT").unwrap();
    place.reaches(3).await;
    assert_ne!(count(), before);
    follower.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_tick_is_one_listing() {
    let history = history(&[(1, 4096)], 3);
    let faulty = Arc::new(Faulty::new(with_l0(&history, 1..=3).await));
    let replica: SharedReplica = faulty.clone();
    let place = Place::new();
    let follower = place.start(&replica);
    place.reaches(3).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (lists, reads) = (faulty.calls(Op::List), faulty.calls(Op::Read));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let lists = faulty.calls(Op::List) - lists;
    follower.stop().await.unwrap();
    assert!(
        (5..=51).contains(&lists),
        "{lists} listings in 50 intervals"
    );
    assert_eq!(faulty.calls(Op::Read), reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_a_file_that_goes_while_it_is_wanted_is_replaced_by_what_holds_it_now() {
    let history = history(&[(1, 4096)], 30);
    let dir = tempfile::tempdir().unwrap();
    let replica: SharedReplica = Arc::new(file_replica(dir.path()));
    history.put_l0(&*replica, 1).await;
    let place = Place::new();
    let follower = place.start(&replica);
    for txid in 2..=30 {
        history.put_l0(&*replica, txid).await;
        if txid % 3 == 0 {
            history.put_merged(&*replica, 1, txid - 2, txid).await;
            let gone: Vec<_> = (txid - 2..txid).map(|t| (Level::L0, name(t, t))).collect();
            replica.delete(&gone).await.unwrap();
        }
        if txid % 5 == 0 {
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
    place.reaches(30).await;
    follower.stop().await.unwrap();
    assert_is("churn", &place.read(), history.image(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_changes_nothing_and_is_tried_again() {
    let history = history(&[(1, 4096)], 6);
    let replica = with_l0(&history, 1..=4).await;
    let place = Place::new();
    let follower = place.start(&replica);
    place.reaches(4).await;
    let mut bad = history.l0[4].clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    put(&*replica, 0, 5, 5, bad).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(place.position(), 4);
    assert!(sums_agree(&place.db()));
    history.put_l0(&*replica, 5).await;
    place.reaches(5).await;
    follower.stop().await.unwrap();
    assert_is("mended", &place.read(), history.image(5));
    assert_eq!(place.names(), ["followed.db", "followed.db-txid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_size_that_changes_is_followed() {
    for (from, to) in [(4096, 512), (512, 65536), (1024, 4096)] {
        let history = history(&[(1, from), (6, to), (12, from)], 15);
        let replica = with_l0(&history, 1..=3).await;
        let place = Place::new();
        place.follow_to(&replica, 3).await;
        for txid in 4..=8 {
            history.put_l0(&*replica, txid).await;
        }
        place.follow_to(&replica, 8).await;
        assert_is("changed", &place.read(), history.image(8));
        assert!(sums_agree(&place.db()));
        for txid in 9..=15 {
            history.put_l0(&*replica, txid).await;
        }
        place.follow_to(&replica, 15).await;
        assert_is("and back", &place.read(), history.image(15));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_size_that_changes_without_a_whole_copy_needs_a_snapshot() {
    let (old, new) = (history(&[(1, 4096)], 5), history(&[(1, 1024)], 9));
    let replica = with_l0(&old, 1..=5).await;
    let place = Place::new();
    let follower = place.start(&replica);
    place.reaches(5).await;
    new.put_l0(&*replica, 6).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(place.position(), 5);
    new.put_merged(&*replica, 9, 1, 7).await;
    new.put_l0(&*replica, 8).await;
    place.reaches(8).await;
    follower.stop().await.unwrap();
    assert_is("snapshot", &place.read(), new.image(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_before_there_is_a_database() {
    let history = history(&[(1, 4096)], 2);
    let faulty = Arc::new(Faulty::new(with_l0(&history, 1..=2).await));
    let stall = faulty.stall(Op::Read, 1);
    let replica: SharedReplica = faulty.clone();
    let place = Place::new();
    let follower = place.start(&replica);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(follower.stop().await.unwrap(), Ended::Restoring);
    drop(stall);
    assert!(!place.names().contains(&"followed.db".to_owned()));
    place.follow_to(&replica, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_while_fetching() {
    let history = history(&[(1, 4096)], 3);
    let faulty = Arc::new(Faulty::new(with_l0(&history, 1..=2).await));
    let replica: SharedReplica = faulty.clone();
    let place = Place::new();
    let follower = place.start(&replica);
    place.reaches(2).await;
    let stall = faulty.stall(Op::Read, 1);
    history.put_l0(&*replica, 3).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), follower.stop()).await;
    assert_eq!(stopped.unwrap().unwrap(), Ended::Following(Txid::new(2)));
    drop(stall);
    assert_is("unchanged", &place.read(), history.image(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_replica_is_no_backup() {
    let error = Place::new()
        .refused(&(Arc::new(memory()) as SharedReplica))
        .await;
    assert!(error.is_no_backup(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn left_over_wal_files() {
    let history = history(&[(1, 4096)], 5);
    let replica = with_l0(&history, 1..=3).await;
    let place = Place::new();
    place.follow_to(&replica, 3).await;
    let wal = place.dir.path().join("followed.db-wal");
    std::fs::write(&wal, "").unwrap();
    history.put_l0(&*replica, 4).await;
    place.follow_to(&replica, 4).await;
    assert!(!wal.exists());
    std::fs::write(&wal, "what somebody wrote").unwrap();
    history.put_l0(&*replica, 5).await;
    let follower = place.start(&replica);
    tokio::time::sleep(Duration::from_millis(100)).await;
    follower.stop().await.unwrap();
    assert_eq!(place.position(), 4);
    std::fs::remove_file(&wal).unwrap();
    place.follow_to(&replica, 5).await;
    assert_is("at last", &place.read(), history.image(5));
}
