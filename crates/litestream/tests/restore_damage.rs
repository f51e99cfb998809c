//! Damaged, missing and changing replicas: an error that names the file, or exactly the right database.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod restore_support;

use std::sync::Arc;

use litestream::restore::{RestoreError, Target};
use litestream_replica::faulty::{Faulty, Op, When};
use litestream_replica::memory::Memory;
use litestream_replica::{ErrorKind, FileInfo, Replica, Source};
use ltx::{Header, PageSize, Txid};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use restore_support::{
    History, Pages, Place, copy, encode, file_replica, memory, put, restored, run,
};

async fn bytes_of(replica: &Memory, file: FileInfo) -> Vec<u8> {
    replica
        .read(file.level, file.name, 0, None)
        .await
        .unwrap()
        .to_vec()
}

async fn replace(replica: &dyn Replica, file: FileInfo, bytes: Vec<u8>) {
    replica
        .write(
            file.level,
            file.name,
            Source::Bytes(bytes.into()),
            file.created,
        )
        .await
        .unwrap();
}

/// Restores with `damaged` in the place of `file`; wrong data is the only thing that must not come out.
async fn try_damaged(
    replica: &Memory,
    file: FileInfo,
    damaged: Vec<u8>,
    expected: &[u8],
    what: &str,
) -> Option<RestoreError> {
    let original = bytes_of(replica, file).await;
    replace(replica, file, damaged).await;
    let result = restored(replica.clone(), Target::Latest).await;
    replace(replica, file, original).await;
    match result {
        Ok(bytes) => {
            assert!(bytes == expected, "{what} in {}: wrong data", file.name);
            None
        }
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains(&file.name.to_string()) || text.contains("invalid ltx file"),
                "{what}: {text}"
            );
            Some(error)
        }
    }
}

#[tokio::test]
async fn r29_every_bit_flip_is_seen_or_harmless() {
    let history = History::random(3, 512, 3, 3);
    let replica = history.memory().await;
    let mut rng = StdRng::seed_from_u64(1);
    let (mut seen, mut harmless) = (0, 0);
    for file in replica.files() {
        let original = bytes_of(&replica, file).await;
        for at in 0..original.len() {
            let mut damaged = original.clone();
            damaged[at] ^= 1 << rng.random_range(0..8);
            match try_damaged(
                &replica,
                file,
                damaged,
                history.image(3),
                &format!("flip at {at}"),
            )
            .await
            {
                Some(_) => seen += 1,
                None => harmless += 1,
            }
        }
    }
    // Some bits of LZ4 data have no meaning.
    assert!(
        harmless * 50 < seen,
        "{harmless} of {} flips were not noticed",
        seen + harmless
    );
}

#[tokio::test]
async fn r30_every_truncation_is_seen() {
    let history = History::random(3, 512, 2, 3);
    let replica = history.memory().await;
    for file in replica.files() {
        let original = bytes_of(&replica, file).await;
        for len in 0..original.len() {
            let error = try_damaged(
                &replica,
                file,
                original[..len].to_vec(),
                history.image(2),
                "cut",
            )
            .await;
            assert!(error.is_some(), "{} bytes of {}", len, original.len());
        }
        let mut longer = original;
        longer.push(0);
        assert!(
            try_damaged(&replica, file, longer, history.image(2), "one byte more")
                .await
                .is_some()
        );
    }
}

#[tokio::test]
async fn damage_in_large_files_is_seen() {
    let history = History::random(21, 4096, 2, 2500);
    let replica = history.memory().await;
    let mut rng = StdRng::seed_from_u64(2);
    let file = replica.files()[0];
    let original = bytes_of(&replica, file).await;
    assert!(original.len() > 4 << 20, "must be read in parts");
    let index = original.len() - 30_000;
    let mut places: Vec<usize> = (0..60)
        .map(|_| rng.random_range(0..original.len()))
        .collect();
    places.extend((0..60).map(|_| rng.random_range(index..original.len())));
    places.extend(original.len() - 24..original.len());
    places.extend(0..100);
    let mut seen = 0;
    for at in &places {
        let mut damaged = original.clone();
        damaged[*at] ^= 1 << rng.random_range(0..8);
        seen += u32::from(
            try_damaged(
                &replica,
                file,
                damaged,
                history.image(2),
                &format!("flip at {at}"),
            )
            .await
            .is_some(),
        );
    }
    assert!(seen as usize > places.len() * 9 / 10);
}

#[tokio::test]
async fn a_superseded_page_is_checked_too() {
    let page_size = PageSize::new(1024).unwrap();
    let replica = memory();
    let header = |txid| Header::new(page_size, 2, Txid::new(txid), Txid::new(txid), 0);
    let noise: Vec<u8> = (0..1024u32).map(|i| ((i * i) >> 3) as u8).collect();
    let mut first = encode(
        header(1),
        &Pages::from([(1, vec![1; 1024]), (2, noise.clone())]),
        0,
    );
    put(
        &replica,
        0,
        2,
        2,
        encode(
            header(2),
            &Pages::from([(1, vec![3; 1024]), (2, vec![2; 1024])]),
            0,
        ),
    )
    .await;
    let at = first
        .windows(16)
        .position(|w| w == &noise[200..216])
        .expect("literal bytes");
    put(&replica, 0, 1, 1, first.clone()).await;
    assert!(restored(replica.clone(), Target::Latest).await.is_ok());
    first[at] ^= 1;
    put(&replica, 0, 1, 1, first).await;
    let error = restored(replica, Target::Latest).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("level 0 0000000000000001-0000000000000001.ltx: file checksum mismatch"),
        "{error}"
    );
}

#[tokio::test]
async fn r10_an_empty_file_is_too_small() {
    let history = History::random(3, 512, 2, 3);
    let replica = history.memory().await;
    put(&replica, 0, 2, 2, Vec::new()).await;
    let error = restored(replica, Target::Latest).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid ltx file: level=0 min=0000000000000002 max=0000000000000002 has size 0 bytes (minimum 100); no other files lead to the same state, the newest one before that can be restored is that of TXID 0000000000000001 (restore -txid 0000000000000001)"
    );
}

#[tokio::test]
async fn files_under_wrong_names_are_refused() {
    let history = History::random(3, 512, 4, 3);
    let replica = history.memory().await;
    put(&replica, 0, 3, 3, history.l0[1].clone()).await;
    let error = restored(replica.clone(), Target::Latest).await.unwrap_err();
    assert!(
        error.to_string().contains(
            "0000000000000003-0000000000000003.ltx: its header is that of 0000000000000002"
        ),
        "{error}"
    );
    put(&replica, 0, 4, 4, history.l0[1].clone()).await;
    let error = restored(replica, Target::Latest).await.unwrap_err();
    assert!(
        error.to_string().contains("its header is that of"),
        "{error}"
    );
}

#[tokio::test]
async fn mixed_page_sizes_are_refused() {
    let history = History::random(3, 512, 2, 3);
    let replica = history.memory().await;
    put(
        &replica,
        0,
        2,
        2,
        History::random(3, 1024, 2, 3).l0[1].clone(),
    )
    .await;
    let error = restored(replica, Target::Latest).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("its page size is 512, that of the newest file 1024"),
        "{error}"
    );
}

/// A transaction that grew the database without its new pages.
#[tokio::test]
async fn w07_pages_that_no_file_holds_are_named() {
    let history = History::random(3, 512, 1, 3);
    let replica = history.memory().await;
    let header = Header::new(history.page_size, 6, Txid::new(2), Txid::new(2), 0);
    put(
        &replica,
        0,
        2,
        2,
        encode(
            header,
            &Pages::from([(4, vec![1; 512]), (6, vec![1; 512])]),
            0,
        ),
    )
    .await;
    let error = restored(replica, Target::Latest).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "decode database: page 5 of 6 is in none of the 2 files up to TXID 0000000000000002"
    );
}

#[tokio::test]
async fn a_database_size_that_cannot_be_reserves_no_space() {
    let history = History::random(3, 65536, 1, 1);
    let replica = history.memory().await;
    let header = Header::new(history.page_size, u32::MAX, Txid::new(2), Txid::new(2), 0);
    put(&replica, 0, 2, 2, encode(header, &Pages::new(), 0)).await;
    let error = restored(replica, Target::Latest).await.unwrap_err();
    assert!(
        error.to_string().contains("demands 4294967295 pages"),
        "{error}"
    );
}

#[tokio::test]
async fn r06_r07_a_file_that_goes_during_the_restore_means_planning_again() {
    let history = History::random(3, 4096, 5, 1500);
    let replica = history.memory().await;
    for nth in 1..12 {
        let faulty = Faulty::new(Arc::new(replica.clone()));
        faulty.fail(Op::Read, nth, ErrorKind::NotFound, When::Before);
        assert!(
            restored(faulty, Target::Latest).await.unwrap() == history.image(5),
            "read {nth}"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_listed_but_never_there_is_named() {
    let history = History::random(3, 4096, 5, 5);
    let faulty = Faulty::new(Arc::new(history.memory().await));
    faulty.fail_always(Op::Read, ErrorKind::NotFound, When::Before);
    let error = restored(faulty, Target::Latest).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "ltx file is gone: level 0 0000000000000005-0000000000000005.ltx: it is listed, but cannot be read"
    );
}

/// Compaction and retention as fast as they can, while restores run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r06_restores_during_churn() {
    let history = Arc::new(History::random(3, 4096, 40, 50));
    let folder = tempfile::tempdir().unwrap();
    let local = file_replica(folder.path());
    let held = memory();
    for replica in [&local as &dyn Replica, &held] {
        history.put_l0(replica, 1).await;
    }
    let churn = {
        let (history, local, held) = (Arc::clone(&history), local.clone(), held.clone());
        tokio::spawn(async move {
            for txid in 2..=history.last() {
                for replica in [&local as &dyn Replica, &held] {
                    history.put_l0(replica, txid).await;
                    if txid % 3 == 0 {
                        history.put_merged(replica, 1, txid - 2, txid).await;
                        let covered = [txid - 2, txid - 1, txid]
                            .map(|t| (litestream_replica::Level::L0, restore_support::name(t, t)));
                        replica.delete(&covered).await.unwrap();
                    }
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let mut restores = 0;
    while !churn.is_finished() || restores == 0 {
        for replica in [
            Box::new(local.clone()) as Box<dyn Replica>,
            Box::new(held.clone()),
        ] {
            let place = Place::new();
            let result = litestream::restore::run(
                &place.request(),
                replica.into(),
                &restore_support::env(),
                &|_| {},
            )
            .await;
            let outcome = result.expect("a restore during churn");
            assert!(place.read() == history.image(outcome.txid.unwrap().get()));
            restores += 1;
        }
    }
    churn.await.unwrap();
}

#[tokio::test]
async fn r08_failures_that_pass_are_waited_for() {
    let history = History::random(3, 4096, 5, 5);
    let faulty = Faulty::new(Arc::new(history.memory().await));
    faulty.fail(Op::Read, 2, ErrorKind::Throttled, When::Before);
    faulty.fail(Op::Read, 4, ErrorKind::Unreachable, When::After);
    assert!(restored(faulty, Target::Latest).await.unwrap() == history.image(5));
}

#[tokio::test]
async fn r21_a_forbidden_replica_is_not_an_empty_one() {
    let history = History::random(3, 4096, 5, 5);
    for op in [Op::List, Op::Read] {
        let faulty = Faulty::new(Arc::new(history.memory().await));
        faulty.fail(op, 3, ErrorKind::Forbidden, When::Before);
        let error = restored(faulty, Target::Latest).await.unwrap_err();
        assert!(!error.is_no_backup(), "{error}");
        assert!(
            error.to_string().contains("check the credentials"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_local_file_that_goes_is_named() {
    let history = History::random(3, 4096, 3, 5);
    let folder = tempfile::tempdir().unwrap();
    let local = file_replica(folder.path());
    copy(&history.memory().await, &local).await;
    let faulty = Faulty::new(Arc::new(local.clone()));
    // The listing of level 0 comes before the deletion.
    let place = Place::new();
    let request = place.request();
    let stall = faulty.stall(Op::Read, 1);
    let delete = async {
        while faulty.calls(Op::Read) == 0 {
            tokio::task::yield_now().await;
        }
        local
            .delete(&[(litestream_replica::Level::L0, restore_support::name(2, 2))])
            .await
            .unwrap();
        stall.release();
    };
    let (result, ()) = tokio::join!(run(&request, faulty.clone()), delete);
    let error = result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot calc restore plan: non-contiguous ltx files: have up to 0000000000000001 but next file starts at 0000000000000003"
    );
    assert!(place.names().is_empty());
}

/// Level 0 whole, two compacted levels and a snapshot: every file but those of level 0 can be done without, and each of these as well.
#[tokio::test]
async fn o14_another_chain_goes_around_any_damaged_file() {
    let history = History::random(7, 512, 12, 6);
    let replica = history.memory().await;
    for (min, max) in [(1, 4), (5, 8), (9, 12)] {
        history.put_merged(&replica, 1, min, max).await;
    }
    history.put_merged(&replica, 2, 1, 8).await;
    history.put_merged(&replica, 9, 1, 6).await;
    let mut rng = StdRng::seed_from_u64(3);
    for file in replica.files() {
        let original = bytes_of(&replica, file).await;
        for damage in 0..4 {
            let mut bytes = original.clone();
            match damage {
                0 => bytes.truncate(rng.random_range(0..original.len())),
                1 => bytes.clear(),
                2 => bytes[20] ^= 1,
                _ => {
                    let last = bytes.len() - 1;
                    bytes[last] ^= 1;
                }
            }
            replace(&replica, file, bytes).await;
            let result = restored(replica.clone(), Target::Latest).await;
            assert!(
                result.unwrap() == history.image(12),
                "{} {damage}",
                file.name
            );
        }
        replace(&replica, file, original).await;
    }
}

#[tokio::test]
async fn o14_several_damaged_files_are_gone_around_and_the_first_is_named_where_there_is_no_way() {
    let history = History::random(7, 512, 6, 6);
    let replica = history.memory().await;
    history.put_merged(&replica, 1, 1, 3).await;
    history.put_merged(&replica, 2, 1, 6).await;
    for (level, min, max) in [(2, 1, 6), (1, 1, 3)] {
        put(&replica, level, min, max, vec![0; 200]).await;
        let result = restored(replica.clone(), Target::Latest).await;
        assert!(result.unwrap() == history.image(6));
    }
    put(&replica, 0, 5, 5, vec![0; 200]).await;
    let error = restored(replica.clone(), Target::Latest).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("decode database: level 2 0000000000000001-0000000000000006.ltx: ")
            && error.ends_with("is that of TXID 0000000000000004 (restore -txid 0000000000000004)"),
        "{error}"
    );
    let four = restored(replica.clone(), Target::Txid(Txid::new(4))).await;
    assert!(four.unwrap() == history.image(4));
    let error = restored(replica, Target::Txid(Txid::new(5))).await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("level 0 0000000000000005")
    );
}

/// Checksums chain; a file of another history has only right ones of its own.
#[tokio::test]
async fn a_file_that_breaks_the_chain_is_named_and_gone_around() {
    let mut history = History::random(9, 512, 8, 6);
    chained(&mut history);
    let replica = history.memory().await;
    let place = Place::new();
    assert!(run(&place.request(), replica.clone()).await.unwrap().proved);
    let foreign = |min: u64, max: u64| {
        let (first, last) = (&history.l0[min as usize - 1], &history.l0[max as usize - 1]);
        let (first, last) = (
            Header::decode(first).unwrap(),
            Header::decode(last).unwrap(),
        );
        let (min, max) = (Txid::new(min), Txid::new(max));
        let header = Header::new(history.page_size, last.commit, min, max, 0);
        let header = header.with_chain(ltx::Chain {
            before: first.chain().before,
            after: last.chain().after,
        });
        encode(header, &Pages::from([(1, vec![77; 512])]), 0)
    };
    put(&replica, 1, 6, 8, foreign(6, 8)).await;
    assert!(restored(replica.clone(), Target::Latest).await.unwrap() == history.image(8));
    put(&replica, 0, 8, 8, foreign(8, 8)).await;
    let error = restored(replica, Target::Latest).await.err().unwrap();
    let error = error.to_string();
    assert!(
        error.starts_with("decode database: level 1 0000000000000006-0000000000000008.ltx: it says that it leaves a database with checksum")
            && error.ends_with("(restore -txid 0000000000000007)"),
        "{error}"
    );
}

/// Gives every file of level 0 what the database was before and after it.
fn chained(history: &mut History) {
    let page_size = history.page_size;
    let sum = |image: &[u8]| {
        let mut sum = ltx::DatabaseChecksum::new();
        for (at, page) in image.chunks(page_size.bytes()).enumerate() {
            let number = restore_support::page_no(at as u32 + 1);
            sum.toggle(ltx::Checksum::page(number, page));
        }
        sum.value()
    };
    let mut before = None;
    for (file, image) in history.l0.iter_mut().zip(&history.images) {
        let after = Some(sum(image));
        let mut decoder = ltx::Decoder::new(&file[..]).unwrap();
        let header = decoder.header().with_chain(ltx::Chain { before, after });
        let (mut pages, mut page) = (Pages::new(), vec![0; page_size.bytes()]);
        while let Some(number) = decoder.next_page(&mut page).unwrap() {
            pages.insert(number.get(), page.clone());
        }
        *file = encode(header, &pages, 0);
        before = after;
    }
}
