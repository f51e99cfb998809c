//! Backups of Litestream 0.3, made from real databases: exactly the right database, or an error that says what is wrong.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail this way, and looks at files directly"
)]

mod restore_support;
mod v3_support;

use litestream::env::UnixMillis;
use litestream::restore::{IntegrityCheck, RestoreError, Target};
use litestream_replica::ErrorKind;
use litestream_replica::faulty::{Faulty, Op, When};
use litestream_replica::memory::Memory;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use restore_support::{History, Place, file_replica, memory, restored, run};
use v3_support::{Made, Source, pack, write};

fn put(replica: &Memory, made: &Made) {
    let created = UnixMillis(made.created_ms);
    replica.put_v3(&made.path, made.bytes.clone().into(), created);
}

fn replica(objects: &[Made]) -> Memory {
    let replica = memory();
    for made in objects {
        put(&replica, made);
    }
    replica
}

fn same(actual: &[u8], expected: &[u8], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    assert!(actual == expected, "{what}: other content");
}

fn at(ms: i64) -> Target {
    Target::Timestamp(UnixMillis(ms))
}

#[tokio::test]
async fn r17_every_object_gives_the_state_of_its_last_commit() {
    for (seed, page_size) in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
        .into_iter()
        .enumerate()
    {
        let mut source = Source::new(seed as u64, page_size);
        let mut objects = source.generation(7, 3, 5, seed % 2 == 1);
        objects.append(&mut source.generation(3, 2, 7, false));
        let all = replica(&objects);
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &objects);
        for end in 1..=objects.len() {
            let (last, what) = (&objects[end - 1], format!("{page_size}, {end}"));
            let now = restored(replica(&objects[..end]), Target::Latest).await;
            same(&now.expect(&what), &last.image, &what);
            // A snapshot counts if it is older than the time, WAL if it is not younger.
            let then = last.created_ms + 1;
            same(
                &restored(all.clone(), at(then)).await.unwrap(),
                &last.image,
                &what,
            );
        }
        let newest = restored(file_replica(folder.path()), Target::Latest)
            .await
            .unwrap();
        same(&newest, &objects.last().unwrap().image, "from a folder");
        let early = restored(all, at(objects[0].created_ms)).await.unwrap_err();
        assert!(early.is_no_backup());
    }
}

#[tokio::test]
async fn r18_a_snapshot_alone_restores() {
    let mut source = Source::new(1, 4096);
    let objects = source.generation(7, 1, 1, false);
    let place = Place::new();
    let outcome = run(&place.request(), replica(&objects[..1])).await.unwrap();
    same(&place.read(), &objects[0].image, "snapshot");
    let time = UnixMillis(objects[0].created_ms);
    assert_eq!((outcome.txid, outcome.time), (None, time));
    assert_eq!((outcome.files, outcome.page_size.get()), (1, 4096));
    assert_eq!(outcome.pages * 4096, objects[0].image.len() as u64);
}

#[tokio::test]
async fn r14_any_object_that_is_missing_is_named() {
    let (mut named, mut unseen) = (0, 0);
    for seed in 0..6 {
        let objects = Source::new(seed, 1024).generation(7, 3, 4, false);
        let all = replica(&objects);
        for (number, gone) in objects.iter().enumerate() {
            all.remove_v3(&gone.path);
            let result = restored(all.clone(), Target::Latest).await;
            put(&all, gone);
            if number + 1 == objects.len() {
                same(
                    &result.unwrap(),
                    &objects[number - 1].image,
                    "up to the last object",
                );
            } else if gone.ends_wal && objects[number - 1].commits {
                // What is gone from the end of a WAL, behind a commit, leaves no trace.
                unseen += 1;
            } else if number == 0 {
                let text = result.unwrap_err().to_string();
                assert!(text.contains("no generation has a snapshot"), "{text}");
            } else {
                let text = result.unwrap_err().to_string();
                assert!(
                    text.contains(&format!("{} is missing", gone.path)),
                    "{text}"
                );
                let (_, time) = text.split_once("-timestamp ").expect(&text);
                // A snapshot counts if it is older.
                let before = &objects[number - 1];
                let until = before.created_ms + i64::from(number == 1);
                assert!(time.ends_with(&format!("{:03}Z", until % 1000)), "{text}");
                let back = restored(all.clone(), at(until)).await.unwrap();
                same(&back, &before.image, "the last point before");
                named += 1;
            }
        }
    }
    assert!(named > 20 && unseen < 12, "{named} {unseen}");
}

#[tokio::test]
async fn r29_any_object_cut_or_altered_is_named_and_never_restored_wrongly() {
    let objects = Source::new(5, 512).generation(7, 3, 3, false);
    let (all, expected) = (replica(&objects), &objects.last().unwrap().image);
    let mut rng = StdRng::seed_from_u64(9);
    for made in &objects {
        for round in 0..60 {
            let mut bad = made.clone();
            let at = rng.random_range(0..bad.bytes.len());
            match round {
                0 => bad.bytes.clear(),
                1 => bad.bytes.push(0),
                2 => bad.bytes.truncate(bad.bytes.len() - 1),
                3..20 => bad.bytes.truncate(at),
                _ => bad.bytes[at] ^= 1 << rng.random_range(0..8),
            }
            put(&all, &bad);
            match restored(all.clone(), Target::Latest).await {
                Ok(image) => same(&image, expected, "a change without a meaning"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        text.contains(&format!("{} is damaged: ", made.path)),
                        "{text}"
                    );
                    assert!(text.contains("can be restored"), "{text}");
                }
            }
        }
        put(&all, made);
    }
}

/// Whole for LZ4, wrong for SQLite.
#[tokio::test]
async fn contents_that_do_not_fit_are_refused() {
    let objects = Source::new(5, 4096).generation(7, 2, 2, false);
    let other = Source::new(6, 4096).generation(7, 2, 2, false);
    let small = Source::new(6, 512).generation(7, 2, 2, false);
    for (number, bytes, text) in [
        (0, pack(b""), "holds no SQLite database"),
        (0, pack(&[0; 4096]), "holds no SQLite database"),
        (1, pack(b""), "is missing"),
        (
            1,
            pack(&[0; 4096]),
            "does not begin with the header of a WAL",
        ),
        (
            1,
            small[1].bytes.clone(),
            "pages of 512 bytes, the snapshot's have 4096",
        ),
        (2, other[2].bytes.clone(), "is damaged"),
        (2, objects[1].bytes.clone(), "is damaged"),
    ] {
        let mut bad = objects.clone();
        bad[number].bytes = bytes;
        let error = restored(replica(&bad), Target::Latest)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(text) && error.contains("generations/"),
            "{number}: {error}"
        );
    }
}

#[tokio::test]
async fn w25_a_tail_without_commit_is_left_out_at_the_end_and_refused_before() {
    let objects = Source::new(11, 512).generation(7, 2, 6, false);
    let parts = || objects.iter().enumerate();
    let (number, _) = parts()
        .find(|(_, o)| !o.commits)
        .expect("a part that ends within");
    same(
        &restored(replica(&objects[..=number]), Target::Latest)
            .await
            .unwrap(),
        &objects[number].image,
        "up to the last commit",
    );
    // The same, and the next WAL.
    let (next, _) = parts()
        .find(|(_, o)| o.path.contains("/00000001_00000000"))
        .unwrap();
    let mut gap: Vec<Made> = objects[..=number].to_vec();
    gap.extend_from_slice(&objects[next..]);
    let error = restored(replica(&gap), Target::Latest)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("is missing"), "{error}");
}

#[tokio::test]
async fn the_newer_kind_is_restored() {
    let history = History::random(3, 512, 5, 3);
    let ltx_times = restore_support::time(5).0;
    let mut source = Source::new(2, 4096);
    for (first, ltx_wins) in [(ltx_times - 100_000, true), (ltx_times, false)] {
        source.clock_ms = first;
        let objects = source.generation(7, 2, 2, false);
        let all = history.memory().await;
        for made in &objects {
            put(&all, made);
        }
        let v3 = &objects.last().unwrap().image;
        let expected = if ltx_wins { history.image(5) } else { v3 };
        let newest = restored(all.clone(), Target::Latest).await.unwrap();
        same(&newest, expected, "newest");
        let number = restored(all.clone(), Target::Txid(ltx::Txid::new(4)))
            .await
            .unwrap();
        same(&number, history.image(4), "a TXID is always of LTX");
        let older = if ltx_wins {
            restore_support::time(1).0
        } else {
            objects[0].created_ms
        };
        let older = restored(all.clone(), at(older)).await.unwrap();
        same(
            &older,
            if ltx_wins { v3 } else { history.image(5) },
            "before the newer began",
        );
        // Damage in the newer is no reason to take the older.
        if !ltx_wins {
            all.remove_v3(&objects[1].path);
            let error = restored(all, Target::Latest).await.unwrap_err();
            assert!(error.to_string().contains(&objects[1].path), "{error}");
        }
    }
}

#[tokio::test]
async fn r21_what_cannot_be_listed_or_read_is_never_no_backup() {
    let objects = Source::new(2, 512).generation(7, 1, 2, false);
    for kind in [
        ErrorKind::Forbidden,
        ErrorKind::Unreachable,
        ErrorKind::Throttled,
    ] {
        // Levels are listed three times before a hole in them is believed.
        for call in 1..=42 {
            let faulty = Faulty::new(std::sync::Arc::new(replica(&objects)));
            faulty.fail(Op::List, call, kind, When::Before);
            match restored(faulty.clone(), Target::Latest).await {
                Ok(image) => same(&image, &objects.last().unwrap().image, "not reached"),
                Err(error) => assert!(matches!(error, RestoreError::Replica(_)), "{error}"),
            }
        }
        let faulty = Faulty::new(std::sync::Arc::new(memory()));
        faulty.fail_always(Op::List, kind, When::Before);
        assert!(
            !restored(faulty, Target::Latest)
                .await
                .unwrap_err()
                .is_no_backup()
        );
    }
    let faulty = Faulty::new(std::sync::Arc::new(replica(&objects)));
    faulty.fail(Op::Read, 2, ErrorKind::Forbidden, When::Before);
    let error = restored(faulty.clone(), Target::Latest)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("generations/") && error.contains("credentials"),
        "{error}"
    );
    // R05: a connection that breaks now and then costs nothing but a new attempt.
    faulty.fail(Op::Read, 1, ErrorKind::Unreachable, When::Before);
    faulty.fail(Op::Read, 3, ErrorKind::Unreachable, When::After);
    same(
        &restored(faulty, Target::Latest).await.unwrap(),
        &objects.last().unwrap().image,
        "R05",
    );
}

#[tokio::test]
async fn r06_an_object_that_goes_meanwhile_is_planned_around() {
    let mut source = Source::new(2, 512);
    let objects = source.generation(7, 2, 2, true);
    let all = replica(&objects);
    let faulty = Faulty::new(std::sync::Arc::new(all.clone()));
    // The first read finds nothing; all is there when it is planned again.
    faulty.fail(Op::Read, 1, ErrorKind::NotFound, When::Before);
    same(
        &restored(faulty, Target::Latest).await.unwrap(),
        &objects.last().unwrap().image,
        "again",
    );
    let faulty = Faulty::new(std::sync::Arc::new(all));
    faulty.fail_always(Op::Read, ErrorKind::NotFound, When::Before);
    let error = restored(faulty, Target::Latest)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("it is gone") && error.contains("generations/"),
        "{error}"
    );
}

#[tokio::test]
async fn large_objects_stream_in_pieces_and_blocks() {
    let mut source = Source::new(2, 4096);
    source.conn().execute_batch(
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 3000) INSERT INTO t(b) SELECT randomblob(4000) FROM c",
    ).unwrap();
    let mut objects = source.generation(7, 2, 1, false);
    source
        .conn()
        .execute_batch("UPDATE t SET b = randomblob(4000)")
        .unwrap();
    objects.append(&mut source.generation(8, 2, 5, false));
    let largest = objects.iter().map(|o| o.bytes.len()).max().unwrap();
    assert!(largest > 10 << 20, "{largest}");
    let expected = &objects.last().unwrap().image;
    for parallelism in [1, 3, 16] {
        let place = Place::new();
        let mut request = place.request();
        (request.parallelism, request.integrity_check) = (parallelism, IntegrityCheck::Full);
        run(&request, replica(&objects)).await.unwrap();
        same(&place.read(), expected, "large");
        assert_eq!(place.names(), ["out.db"]);
    }
}

#[tokio::test]
async fn r28_the_output_is_treated_as_ever() {
    let objects = Source::new(2, 512).generation(7, 2, 2, false);
    let place = Place::new();
    std::fs::write(&place.output, b"precious").unwrap();
    let error = run(&place.request(), replica(&objects)).await.unwrap_err();
    assert!(matches!(error, RestoreError::OutputExists(_)), "{error}");
    assert_eq!(place.read(), b"precious");
    std::fs::remove_file(&place.output).unwrap();
    std::fs::write(place.dir.path().join("out.db-wal"), b"stale").unwrap();
    let error = run(&place.request(), replica(&objects)).await.unwrap_err();
    assert!(matches!(error, RestoreError::SidecarExists(_)), "{error}");
    let mut request = place.request();
    request.force = true;
    run(&request, replica(&objects)).await.unwrap();
    same(&place.read(), &objects.last().unwrap().image, "forced");
    assert_eq!(place.names(), ["out.db"]);
}

#[tokio::test]
async fn a_restore_that_is_given_up_leaves_nothing() {
    let objects = Source::new(2, 512).generation(7, 2, 2, false);
    let faulty = Faulty::new(std::sync::Arc::new(replica(&objects)));
    let _stall = faulty.stall(Op::Read, 3);
    let place = Place::new();
    let request = place.request();
    let restore = run(&request, faulty.clone());
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(300), restore).await;
    assert!(given_up.is_err() && faulty.calls(Op::Read) >= 3);
    assert_eq!(place.names(), [""; 0]);
}
