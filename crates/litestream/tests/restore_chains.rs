//! Restores of made-up chains: the result must be, byte for byte, what applying the transactions one by one gives.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod restore_support;

use litestream::env::UnixMillis;
use litestream::restore::Target;
use litestream_replica::{Level, Replica};
use ltx::{Checksum, DatabaseChecksum, Header, NO_CHECKSUM, Txid};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use restore_support::{
    History, Pages, Place, copy, encode, file_replica, memory, page_no, put, restored, run, time,
};

const PAGE_SIZES: [u32; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

#[tokio::test]
async fn every_txid_of_random_chains_for_all_page_sizes() {
    for (seed, page_size) in PAGE_SIZES.into_iter().enumerate() {
        let history = History::random(seed as u64, page_size, 12, 20);
        let replica = history.memory().await;
        for txid in 1..=history.last() {
            let bytes = restored(replica.clone(), Target::Txid(Txid::new(txid)))
                .await
                .unwrap();
            assert!(
                bytes == history.image(txid),
                "page size {page_size}, TXID {txid}"
            );
        }
    }
}

/// Adds compacted files and snapshots at random; L0 files go where something covers them.
async fn compact_at_random(history: &History, replica: &dyn Replica, rng: &mut StdRng) {
    for _ in 0..rng.random_range(0..8) {
        let min = rng.random_range(1..=history.last());
        let max = rng.random_range(min..=history.last());
        let level = rng.random_range(1..=8);
        history.put_merged(replica, level, min, max).await;
        if rng.random_bool(0.5) {
            let l0 = (min..=max)
                .map(|t| (Level::L0, restore_support::name(t, t)))
                .collect::<Vec<_>>();
            replica.delete(&l0).await.unwrap();
        }
    }
    if rng.random_bool(0.7) {
        history
            .put_merged(replica, 9, 1, rng.random_range(1..=history.last()))
            .await;
    }
}

#[tokio::test]
async fn r04_r17_overlapping_levels_give_the_newest_state() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let history = History::random(seed, PAGE_SIZES[seed as usize % 8], 15, 10);
        let replica = history.memory().await;
        compact_at_random(&history, &replica, &mut rng).await;
        let bytes = restored(replica.clone(), Target::Latest).await.unwrap();
        assert!(bytes == history.image(history.last()), "seed {seed}");
        // Not every TXID is left, but what is given must be right.
        for txid in 1..=history.last() {
            match restored(replica.clone(), Target::Txid(Txid::new(txid))).await {
                Ok(bytes) => assert!(bytes == history.image(txid), "seed {seed}, TXID {txid}"),
                Err(error) => assert!(error.is_no_backup(), "seed {seed}, TXID {txid}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_local_folder_gives_the_same_as_any_other_storage() {
    for parallelism in [1, 2, 3, 16, 1000] {
        let history = History::random(77, 1024, 30, 50);
        let held = history.memory().await;
        compact_at_random(&history, &held, &mut StdRng::seed_from_u64(1)).await;
        let folder = tempfile::tempdir().unwrap();
        let local = file_replica(folder.path());
        copy(&held, &local).await;
        for replica in [Box::new(held) as Box<dyn Replica>, Box::new(local)] {
            let place = Place::new();
            let mut request = place.request();
            request.parallelism = parallelism;
            let outcome = litestream::restore::run(
                &request,
                replica.into(),
                &restore_support::env(),
                &|_| {},
            )
            .await
            .unwrap();
            assert!(place.read() == history.image(30));
            assert_eq!(
                (outcome.txid.unwrap(), outcome.page_size.get()),
                (Txid::new(30), 1024)
            );
            assert_eq!(outcome.pages * 1024, history.image(30).len() as u64);
        }
    }
}

/// Files of several mebibytes are read in parts along their index.
#[tokio::test]
async fn large_files_are_read_in_parts() {
    for (seed, page_size, pages) in [(1, 65536, 150), (2, 4096, 3000), (3, 512, 20000)] {
        let history = History::random(seed, page_size, 6, pages);
        let held = history.memory().await;
        history.put_merged(&held, 9, 1, 4).await;
        history.put_merged(&held, 2, 1, 6).await;
        let folder = tempfile::tempdir().unwrap();
        let local = file_replica(folder.path());
        copy(&held, &local).await;
        for target in [1, 4, 5, 6] {
            let expected = history.image(target);
            let target = Target::Txid(Txid::new(target));
            assert!(
                restored(held.clone(), target).await.unwrap() == expected,
                "{page_size} {target:?}"
            );
            assert!(
                restored(local.clone(), target).await.unwrap() == expected,
                "{page_size} {target:?}"
            );
        }
    }
}

#[tokio::test]
async fn progress_ends_at_what_was_planned() {
    let history = History::random(5, 4096, 8, 2000);
    let replica = history.memory().await;
    let place = Place::new();
    let events = parking_lot::Mutex::new(Vec::new());
    let tell = |event| events.lock().push(event);
    litestream::restore::run(
        &place.request(),
        std::sync::Arc::new(replica),
        &restore_support::env(),
        &tell,
    )
    .await
    .unwrap();
    let events = events.into_inner();
    use litestream::restore::Event;
    let Event::Planned {
        files: 8,
        bytes,
        pages,
        txid,
        time: made,
    } = events[0]
    else {
        panic!("{:?}", events[0])
    };
    assert_eq!((txid, made), (Some(Txid::new(8)), time(8)));
    let last = events
        .iter()
        .rev()
        .find(|e| matches!(e, Event::Progress { .. }))
        .unwrap();
    assert_eq!(
        *last,
        Event::Progress {
            bytes_read: bytes,
            bytes_written: pages * 4096
        }
    );
    assert_eq!(events.last(), Some(&Event::Done { proved: false }));
}

#[tokio::test]
async fn r01_timestamps_give_the_last_state_before_them() {
    let history = History::random(9, 4096, 6, 10);
    let replica = history.memory().await;
    for txid in 1..=6 {
        for offset in [1, 500, 1000] {
            let at = UnixMillis(time(txid).0 + offset);
            let bytes = restored(replica.clone(), Target::Timestamp(at))
                .await
                .unwrap();
            assert!(bytes == history.image(txid));
        }
    }
    let before = restored(replica.clone(), Target::Timestamp(time(1)))
        .await
        .unwrap_err();
    assert!(before.is_no_backup());
}

#[tokio::test]
async fn r18_a_single_snapshot_is_enough() {
    let history = History::random(4, 4096, 5, 10);
    let replica = memory();
    history.put_merged(&replica, 9, 1, 5).await;
    assert!(restored(replica, Target::Latest).await.unwrap() == history.image(5));
}

#[tokio::test]
async fn nothing_to_restore_is_told_apart() {
    let error = restored(memory(), Target::Latest).await.unwrap_err();
    assert_eq!(error.to_string(), "no matching backup files available");
    let history = History::random(4, 4096, 3, 10);
    let error = restored(history.memory().await, Target::Txid(Txid::new(4)))
        .await
        .unwrap_err();
    assert!(error.is_no_backup());
}

#[tokio::test]
async fn r14_a_hole_is_named() {
    let history = History::random(4, 4096, 6, 10);
    let replica = history.memory().await;
    replica
        .delete(&[(Level::L0, restore_support::name(3, 3))])
        .await
        .unwrap();
    // Also when a time after it is asked for: there is no state of that time to restore.
    let after = UnixMillis(time(4).0 + 1);
    for target in [Target::Latest, Target::Timestamp(after)] {
        let error = restored(replica.clone(), target).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot calc restore plan: non-contiguous ltx files: have up to 0000000000000002 but next file starts at 0000000000000004"
        );
    }
    // What lies beyond it is younger.
    let bytes = restored(replica, Target::Timestamp(time(4))).await.unwrap();
    assert!(bytes == history.image(2));
}

#[tokio::test]
async fn a_deleted_database_is_an_empty_file() {
    let history = History::random(4, 4096, 2, 10);
    let replica = history.memory().await;
    let header = Header::new(history.page_size, 0, Txid::new(3), Txid::new(3), 0);
    put(&replica, 0, 3, 3, encode(header, &Pages::new(), 0)).await;
    assert!(restored(replica, Target::Latest).await.unwrap().is_empty());
}

/// Files that track the database's checksum, as early versions wrote them.
fn tracked(history: &History, wrong: Option<u64>) -> Vec<Vec<u8>> {
    let bytes = history.page_size.bytes();
    let mut before = 0;
    let mut files = Vec::new();
    for txid in 1..=history.last() {
        let mut sum = DatabaseChecksum::new();
        for (at, page) in history.image(txid).chunks(bytes).enumerate() {
            sum.toggle(Checksum::page(page_no(at as u32 + 1), page));
        }
        let after = sum.value().get() ^ u64::from(wrong == Some(txid));
        let commit = (history.image(txid).len() / bytes) as u32;
        let mut header = Header::new(
            history.page_size,
            commit,
            Txid::new(txid),
            Txid::new(txid),
            0,
        );
        header.flags &= !NO_CHECKSUM;
        header.pre_apply_checksum = before;
        let mut decoder = ltx::Decoder::new(&history.l0[txid as usize - 1][..]).unwrap();
        let mut page = vec![0; bytes];
        let mut pages = Pages::new();
        while let Some(number) = decoder.next_page(&mut page).unwrap() {
            pages.insert(number.get(), page.clone());
        }
        files.push(encode(header, &pages, after));
        before = after;
    }
    files
}

#[tokio::test]
async fn tracked_checksums_are_verified() {
    let history = History::random(31, 1024, 5, 10);
    for wrong in [None, Some(5)] {
        let replica = memory();
        for (at, file) in tracked(&history, wrong).into_iter().enumerate() {
            put(&replica, 0, at as u64 + 1, at as u64 + 1, file).await;
        }
        let result = restored(replica, Target::Latest).await;
        if wrong.is_none() {
            assert!(result.unwrap() == history.image(5));
            continue;
        }
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("0000000000000005-0000000000000005.ltx: it says that it leaves")
                && error.ends_with("(restore -txid 0000000000000004)"),
            "{error}"
        );
    }
    // A file of another history in the middle.
    let replica = memory();
    let other = tracked(&history, Some(3)).swap_remove(2);
    for (at, file) in tracked(&history, None).into_iter().enumerate() {
        let file = if at == 2 { other.clone() } else { file };
        put(&replica, 0, at as u64 + 1, at as u64 + 1, file).await;
    }
    let error = restored(replica, Target::Latest).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("0000000000000003-0000000000000003.ltx: it says that it leaves a database"),
        "{error}"
    );
}

#[tokio::test]
async fn thousands_of_small_files() {
    let mut history = History::random(8, 4096, 1, 300);
    let mut rng = StdRng::seed_from_u64(8);
    let commit = 300;
    for txid in 2..=5000 {
        let mut image = history.images.pop().unwrap();
        let page = rng.random_range(1..=commit);
        let data: Vec<u8> = (0..4096).map(|_| rng.random()).collect();
        image[(page as usize - 1) * 4096..page as usize * 4096].copy_from_slice(&data);
        let header = Header::new(
            history.page_size,
            commit,
            Txid::new(txid),
            Txid::new(txid),
            0,
        );
        history
            .l0
            .push(encode(header, &Pages::from([(page, data)]), 0));
        history.images.push(image);
    }
    let folder = tempfile::tempdir().unwrap();
    let local = file_replica(folder.path());
    let dir = folder.path().join("ltx/0");
    #[allow(
        clippy::disallowed_methods,
        reason = "5,000 durable writes would take the longest time of this test"
    )]
    {
        std::fs::create_dir_all(&dir).unwrap();
        for (at, file) in history.l0.iter().enumerate() {
            std::fs::write(
                dir.join(restore_support::name(at as u64 + 1, at as u64 + 1).to_string()),
                file,
            )
            .unwrap();
        }
    }
    let place = Place::new();
    run(&place.request(), local).await.unwrap();
    assert!(place.read() == history.images[0]);
}
