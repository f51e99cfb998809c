//! The cases of the conformance suite.

use bytes::Bytes;
use tokio::sync::oneshot::error::TryRecvError;

use super::{Bench, content, name};
use crate::env::UnixMillis;
use crate::{Level, Source};

/// Some time with milliseconds in it.
const TIME: i64 = 1_700_000_000_123;

const L0: Level = Level::L0;
const SNAPSHOT: Level = Level::SNAPSHOT;

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        pub(super) const NAMES: &[&str] = &[$(stringify!($case)),*];

        /// False if there is no such case.
        pub(super) async fn call(name: &str, bench: &Bench) -> bool {
            match name {
                $(stringify!($case) => $case(bench).await,)*
                _ => return false,
            }
            true
        }
    };
}

cases! {
    empty_replica_lists_nothing,
    r10_ranges,
    missing_files_are_not_found,
    written_again_replaces,
    levels_are_apart,
    lists_are_sorted,
    k03_seek_goes_by_the_last_txid,
    created_time_is_kept,
    source_from_a_local_file,
    source_file_may_go_afterwards,
    k19_delete_takes_exactly_the_given,
    deleting_the_missing_is_no_error,
    big_file,
    concurrent_writes_of_different_names,
    concurrent_writes_of_one_name,
    s12_readers_never_see_a_part,
    extreme_txids,
}

async fn empty_replica_lists_nothing(b: &Bench) {
    for level in Level::all() {
        assert!(b.list(level, None).await.is_empty());
        assert!(b.list(level, Some(7)).await.is_empty());
    }
    assert!(!b.replica.kind().is_empty() && !b.replica.location().is_empty());
}

async fn r10_ranges(b: &Bench) {
    let file = name(1, 1);
    let bytes = b.write(L0, file, TIME, 1000).await;
    for (offset, len, expected) in [
        (0, None, 0..1000),
        (0, Some(0), 0..0),
        (0, Some(1), 0..1),
        (0, Some(100), 0..100),
        (0, Some(1000), 0..1000),
        (0, Some(5000), 0..1000),
        (250, None, 250..1000),
        (250, Some(500), 250..750),
        (250, Some(750), 250..1000),
        (250, Some(751), 250..1000),
        (999, None, 999..1000),
        (999, Some(1), 999..1000),
        (1000, None, 0..0),
        (1000, Some(1), 0..0),
        (5000, None, 0..0),
        (5000, Some(10), 0..0),
        (u64::MAX, Some(u64::MAX), 0..0),
        (1, Some(u64::MAX), 1..1000),
    ] {
        let read = b.read(L0, file, offset, len).await;
        assert_eq!(
            read,
            bytes.slice(expected),
            "read from {offset}, length {len:?}"
        );
    }
}

async fn missing_files_are_not_found(b: &Bench) {
    b.assert_missing(L0, name(1, 1)).await;
    b.write(L0, name(1, 1), TIME, 200).await;
    b.assert_missing(L0, name(2, 2)).await;
    b.assert_missing(L0, name(1, 2)).await;
    b.assert_missing(SNAPSHOT, name(1, 1)).await;
}

async fn written_again_replaces(b: &Bench) {
    let file = name(1, 9);
    b.write(SNAPSHOT, file, TIME, 5000).await;
    let shorter = b.write(SNAPSHOT, file, TIME + 60_000, 300).await;
    assert_eq!(b.read(SNAPSHOT, file, 0, None).await, shorter);
    let listed = b.list(SNAPSHOT, None).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].size, listed[0].created),
        (300, UnixMillis(TIME + 60_000))
    );
    // The same once more, as a retry does.
    b.write(SNAPSHOT, file, TIME + 60_000, 300).await;
    assert_eq!(b.read(SNAPSHOT, file, 0, None).await, shorter);
}

async fn levels_are_apart(b: &Bench) {
    for level in Level::all() {
        b.write(level, name(1, 3), TIME, 200 + usize::from(level.get()))
            .await;
    }
    for level in Level::all() {
        let listed = b.list(level, None).await;
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (listed[0].level, listed[0].size),
            (level, 200 + u64::from(level.get()))
        );
    }
}

async fn lists_are_sorted(b: &Bench) {
    let level = Level::new(1).expect("level 1");
    for (min, max) in [(16, 16), (2, 9), (1, 5), (300, 400), (1, 3), (10, 15)] {
        b.write(level, name(min, max), TIME, 200).await;
    }
    assert_eq!(
        b.names(level, None).await,
        [(1, 3), (1, 5), (2, 9), (10, 15), (16, 16), (300, 400)]
    );
    let again = b.list(level, None).await;
    assert_eq!(again, b.list(level, None).await);
}

async fn k03_seek_goes_by_the_last_txid(b: &Bench) {
    let level = Level::new(2).expect("level 2");
    for (min, max) in [(1, 10), (11, 20), (15, 40), (21, 30)] {
        b.write(level, name(min, max), TIME, 200).await;
    }
    let all = [(1, 10), (11, 20), (15, 40), (21, 30)];
    for (seek, from) in [
        (0, &all[..]),
        (1, &all[..]),
        (10, &all[..]),
        (11, &all[1..]),
        (20, &all[1..]),
    ] {
        assert_eq!(b.names(level, Some(seek)).await, from, "seek {seek}");
    }
    assert_eq!(b.names(level, Some(21)).await, [(15, 40), (21, 30)]);
    assert_eq!(b.names(level, Some(31)).await, [(15, 40)]);
    assert!(b.names(level, Some(41)).await.is_empty());
    assert!(b.names(level, Some(u64::MAX)).await.is_empty());
}

async fn created_time_is_kept(b: &Bench) {
    for (txid, created) in [
        (1, TIME),
        (2, TIME + 1),
        (3, 1_500_000_000_999),
        (4, 2_000_000_000_000),
    ] {
        b.write(L0, name(txid, txid), created, 200).await;
        let listed = b.list(L0, Some(txid)).await;
        assert_eq!(listed[0].created, UnixMillis(created));
    }
}

async fn source_from_a_local_file(b: &Bench) {
    let file = name(5, 5);
    for (i, created) in [TIME, TIME + 1000, TIME + 1000].into_iter().enumerate() {
        let bytes = content(file, UnixMillis(created), 3000 + i, i as u8);
        let path = b.local_file(&format!("{i}.ltx"), &bytes);
        // Twice, as a retry does.
        for _ in 0..2 {
            let source = Source::File(path.clone());
            let info = b
                .replica
                .write(L0, file, source, UnixMillis(created))
                .await
                .expect("write");
            assert_eq!(
                (info.size, info.created),
                (bytes.len() as u64, UnixMillis(created))
            );
            assert_eq!(b.read(L0, file, 0, None).await, bytes);
            assert_eq!(b.list(L0, None).await, [info]);
        }
    }
    let gone = Source::File(b.scratch.join("no such file"));
    assert!(
        b.replica
            .write(L0, name(6, 6), gone, UnixMillis(TIME))
            .await
            .is_err()
    );
    assert_eq!(b.names(L0, None).await, [(5, 5)]);
}

async fn source_file_may_go_afterwards(b: &Bench) {
    let file = name(5, 5);
    let bytes = content(file, UnixMillis(TIME), 3000, 0);
    let path = b.local_file("staged.ltx", &bytes);
    b.replica
        .write(L0, file, Source::File(path.clone()), UnixMillis(TIME))
        .await
        .expect("write");
    b.env.disk.remove(&path).expect("remove the source");
    assert_eq!(b.read(L0, file, 0, None).await, bytes);
    // Replacing what may share its bytes with a local file leaves that file alone.
    let path = b.local_file("staged again.ltx", &bytes);
    b.replica
        .write(L0, file, Source::File(path.clone()), UnixMillis(TIME))
        .await
        .expect("write");
    b.write(L0, file, TIME, 200).await;
    assert_eq!(
        b.env.disk.metadata(&path).expect("the source is there").len,
        3000
    );
}

async fn k19_delete_takes_exactly_the_given(b: &Bench) {
    let level = Level::new(1).expect("level 1");
    for txid in 1..=9 {
        b.write(L0, name(txid, txid), TIME, 200).await;
        b.write(level, name(txid, txid + 1), TIME, 200).await;
    }
    b.replica
        .delete(&[
            (L0, name(3, 3)),
            (level, name(3, 4)),
            (L0, name(7, 7)),
            (L0, name(3, 4)),
            (level, name(7, 7)),
        ])
        .await
        .expect("delete");
    let left = |gone: &[u64]| (1..=9).filter(|t| !gone.contains(t)).collect::<Vec<u64>>();
    let l0: Vec<u64> = b.names(L0, None).await.iter().map(|f| f.0).collect();
    let l1: Vec<u64> = b.names(level, None).await.iter().map(|f| f.0).collect();
    assert_eq!(l0, left(&[3, 7]));
    assert_eq!(l1, left(&[3]));
    b.assert_missing(L0, name(3, 3)).await;
}

async fn deleting_the_missing_is_no_error(b: &Bench) {
    b.replica.delete(&[]).await.expect("delete nothing");
    b.replica
        .delete(&[(L0, name(1, 1))])
        .await
        .expect("delete from an empty replica");
    b.write(L0, name(1, 1), TIME, 200).await;
    for _ in 0..2 {
        b.replica
            .delete(&[(L0, name(9, 9)), (L0, name(1, 1))])
            .await
            .expect("delete");
        assert!(b.list(L0, None).await.is_empty());
    }
    b.write(L0, name(1, 1), TIME, 200).await;
    assert_eq!(b.names(L0, None).await, [(1, 1)]);
}

async fn big_file(b: &Bench) {
    let len = 9 << 20;
    let file = name(1, 100);
    let bytes = b.write(SNAPSHOT, file, TIME, len).await;
    assert!(b.read(SNAPSHOT, file, 0, None).await == bytes);
    let middle = (8 << 20) - 5;
    assert_eq!(
        b.read(SNAPSHOT, file, middle as u64, Some(10)).await,
        bytes.slice(middle..middle + 10)
    );
    let other = name(1, 101);
    let bytes = content(other, UnixMillis(TIME), len, 3);
    let path = b.local_file("big.ltx", &bytes);
    let info = b
        .replica
        .write(SNAPSHOT, other, Source::File(path), UnixMillis(TIME))
        .await
        .expect("write");
    assert_eq!(info.size, len as u64);
    assert!(b.read(SNAPSHOT, other, 0, None).await == bytes);
}

async fn concurrent_writes_of_different_names(b: &Bench) {
    let mut writes = Vec::new();
    for txid in 1..=40 {
        let replica = b.replica.clone();
        writes.push(b.start(async move {
            let (file, created) = (name(txid, txid), UnixMillis(TIME + txid as i64));
            let level = if txid % 2 == 0 { L0 } else { SNAPSHOT };
            replica
                .write(
                    level,
                    file,
                    Source::Bytes(content(file, created, 2000, 0)),
                    created,
                )
                .await
        }));
    }
    for done in writes {
        let info = done.await.expect("it ends").expect("write");
        let read = b.read(info.level, info.name, 0, None).await;
        assert_eq!(read, content(info.name, info.created, 2000, 0));
    }
    assert_eq!(
        b.list(L0, None).await.len() + b.list(SNAPSHOT, None).await.len(),
        40
    );
}

async fn concurrent_writes_of_one_name(b: &Bench) {
    let file = name(1, 8);
    let version = |i: u8| content(file, UnixMillis(TIME), 100_000 + usize::from(i), i);
    let mut writes = Vec::new();
    let shared = b.local_file("shared.ltx", &version(0));
    for i in 0..16u8 {
        let replica = b.replica.clone();
        // Half of them the same local file, as when a retry overtakes what it retries.
        let source = if i % 2 == 0 {
            Source::File(shared.clone())
        } else {
            Source::Bytes(version(i))
        };
        writes.push(b.start(async move {
            replica
                .write(SNAPSHOT, file, source, UnixMillis(TIME))
                .await
        }));
    }
    for done in writes {
        done.await.expect("it ends").expect("write");
    }
    let read = b.read(SNAPSHOT, file, 0, None).await;
    assert!(
        (0..16).any(|i| read == version(i)),
        "one of those written, whole"
    );
    let listed = b.list(SNAPSHOT, None).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].size, read.len() as u64);
}

async fn s12_readers_never_see_a_part(b: &Bench) {
    let file = name(1, 2);
    let versions: Vec<Bytes> = (0..2)
        .map(|i| content(file, UnixMillis(TIME), 1 << 20, i))
        .collect();
    let replica = b.replica.clone();
    let sources = versions.clone();
    let mut writer = b.start(async move {
        for i in 0..20 {
            let source = Source::Bytes(sources[i % 2].clone());
            replica
                .write(L0, file, source, UnixMillis(TIME))
                .await
                .expect("write");
        }
    });
    let mut seen = 0;
    let mut writes = true;
    while writes || seen == 0 {
        if writes {
            match writer.try_recv() {
                Err(TryRecvError::Empty) => {}
                ended => {
                    ended.expect("writer");
                    writes = false;
                }
            }
        }
        for listed in b.list(L0, None).await {
            assert_eq!(listed.size, 1 << 20, "a file is listed in part");
            let read = b.read(L0, file, 0, None).await;
            assert!(versions.contains(&read), "a file is read in part or mixed");
            seen += 1;
        }
    }
}

async fn extreme_txids(b: &Bench) {
    for (min, max) in [(1, u64::MAX), (u64::MAX, u64::MAX)] {
        let bytes = b.write(L0, name(min, max), TIME, 200).await;
        assert_eq!(b.read(L0, name(min, max), 0, None).await, bytes);
    }
    assert_eq!(
        b.names(L0, Some(u64::MAX)).await,
        [(1, u64::MAX), (u64::MAX, u64::MAX)]
    );
}
