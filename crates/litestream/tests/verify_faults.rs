//! Damage of every kind done to replicas of every shape: a deep verification finds it, and finds nothing in sound ones.
//!
//! `LITESTREAM_VERIFY_CASES=10000` runs that many faults, and a tenth of that many sound replicas; `LITESTREAM_VERIFY_SEED` another part
//! of them.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

mod restore_support;
mod verify_support;

use std::sync::Arc;

use litestream::verify::{Depth, Memory as Proved, Options, Report, run};
use litestream_replica::chain::points::restorable;
use litestream_replica::memory::Memory;
use litestream_replica::{FileInfo, Level, Replica, SharedReplica, Source};
use ltx::{Decoder, Txid};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use restore_support::env;
use verify_support::{Chains, Made};

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |v| v.parse().expect("a number"))
}

async fn verified(replica: &Memory, expected: u64, depth: Depth) -> Report {
    remembering(replica, expected, depth, &mut Proved::default()).await
}

async fn remembering(replica: &Memory, expected: u64, depth: Depth, proved: &mut Proved) -> Report {
    let replica: SharedReplica = Arc::new(replica.clone());
    let options = Options {
        expected: Some(Txid::new(expected)),
        parallelism: 16,
        ..Options::new(depth)
    };
    run(&options, &replica, &env(), proved, &|_| {})
        .await
        .expect("a verification that ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_in_sound_replicas() {
    let first = setting("LITESTREAM_VERIFY_SEED", 0);
    let cases = setting("LITESTREAM_VERIFY_CASES", 600) / 10;
    for seed in first..first + cases {
        let made = Made::random(seed).await;
        for depth in [Depth::Quick, Depth::Deep] {
            let report = verified(&made.replica, made.last(), depth).await;
            let kinds: Vec<_> = report
                .findings
                .iter()
                .filter(|f| f.kind.is_damage())
                .collect();
            assert!(
                kinds.is_empty(),
                "seed {seed} {depth:?}: {kinds:#?}\n{}",
                made.describe()
            );
            let newest = report.newest.expect("a state").txid;
            assert_eq!(newest.get(), made.last(), "seed {seed}");
            let proved = report.proved.expect("a proof");
            assert_eq!(proved.txid, newest, "seed {seed} {depth:?}");
            assert_eq!(report.restorable.len(), 1, "seed {seed}");
            if made.chains == Chains::All {
                assert!(report.chained, "seed {seed}");
                let points = restorable(&made.replica.files()).len();
                assert!(
                    depth == Depth::Quick || report.states_proved == points,
                    "seed {seed}"
                );
            }
        }
    }
}

/// What was verified before is not read again, what is new is, and nothing is found in it that is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_new_is_read() {
    let first = setting("LITESTREAM_VERIFY_SEED", 0);
    let cases = setting("LITESTREAM_VERIFY_CASES", 600) / 20;
    let (mut read, mut all) = (0, 0);
    for seed in first..first + cases {
        let mut made = Made::random(seed).await;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut proved = Proved::default();
        for round in 0..6 {
            let report = remembering(&made.replica, made.last(), Depth::Deep, &mut proved).await;
            assert!(
                report.is_sound(),
                "seed {seed} {round}: {:#?}\n{}",
                report.findings,
                made.describe()
            );
            assert_eq!(report.proved.map(|p| p.txid.get()), Some(made.last()));
            let again = remembering(&made.replica, made.last(), Depth::Deep, &mut proved).await;
            assert_eq!((again.files_read, again.proved), (0, report.proved));
            if round > 0 {
                read += report.files_read;
                all += report.files;
            }
            made.go_on(&mut rng, 4).await;
        }
        // Damage in what is new is found, in what is remembered only by reading it again.
        let files = made.replica.files();
        let file = files[rng.random_range(0..files.len())];
        let mut damaged = bytes(&made.replica, &file).await;
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        put(&made.replica, &file, damaged).await;
        let full = verified(&made.replica, made.last(), Depth::Deep).await;
        assert!(!full.is_sound(), "seed {seed}");
    }
    assert!(read * 2 < all, "{read} of {all} files were read");
}

/// A limit is kept, and who drops a verification ends it soon and keeps what it proved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_is_no_faster_than_asked_and_ends_when_dropped() {
    let (made, clock) = (Made::random(5).await, env().clock);
    let replica: SharedReplica = Arc::new(made.replica.clone());
    let bytes: u64 = made.replica.files().iter().map(|f| f.size).sum();
    let slowly = |seconds: u64| Options {
        bandwidth: Some((bytes / seconds).max(1)),
        ..Options::new(Depth::Deep)
    };
    let begin = clock.monotonic();
    let mut proved = Proved::default();
    let report = run(&slowly(1), &replica, &env(), &mut proved, &|_| {})
        .await
        .expect("an end");
    let took = clock.monotonic().since(begin).as_secs_f64();
    assert!(report.is_sound() && took > 0.4, "{took} s");
    let options = slowly(3600);
    let mut proved = Proved::default();
    let begin = clock.monotonic();
    {
        let (env, quiet) = (env(), |_| {});
        let run = run(&options, &replica, &env, &mut proved, &quiet);
        let patience = std::time::Duration::from_millis(300);
        assert!(tokio::time::timeout(patience, run).await.is_err());
    }
    assert!(clock.monotonic().since(begin).as_secs() < 5);
}

/// A database too large to be proved state by state: after the files its newest state is read, within the same limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_read_after_the_files_is_proved_within_the_limit() {
    let made = Made::random(5).await;
    let replica: SharedReplica = Arc::new(made.replica.clone());
    let bytes: u64 = made.replica.files().iter().map(|f| f.size).sum();
    let options = Options {
        bandwidth: Some(bytes.max(1)),
        pages_max: 0,
        ..Options::new(Depth::Deep)
    };
    let report = run(&options, &replica, &env(), &mut Proved::default(), &|_| {})
        .await
        .expect("an end");
    let proved = report.proved.map(|point| point.txid);
    assert!(report.is_sound() && report.too_large, "{report:?}");
    assert_eq!(proved, Some(Txid::new(made.last())));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Flip,
    Cut,
    Delete,
    Swap,
    Foreign,
}

/// What a case came to.
enum Outcome {
    Found,
    Harmless,
    Missed(String),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_found() {
    let first = setting("LITESTREAM_VERIFY_SEED", 0);
    let cases = setting("LITESTREAM_VERIFY_CASES", 600);
    let (mut found, mut harmless) = (0, 0);
    let mut missed = Vec::new();
    let mut seed = 1_000_000 + first;
    while found < cases {
        let made = Made::random(seed).await;
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..10 {
            let fault = match rng.random_range(0..10) {
                0..3 => Fault::Flip,
                3..5 => Fault::Cut,
                5..8 => Fault::Delete,
                8 => Fault::Swap,
                _ => Fault::Foreign,
            };
            match case(&made, fault, &mut rng).await {
                Some(Outcome::Found) => found += 1,
                Some(Outcome::Harmless) => harmless += 1,
                Some(Outcome::Missed(what)) => missed.push(format!("seed {seed}: {what}")),
                None => {}
            }
        }
        seed += 1;
    }
    println!(
        "{found} found, {harmless} harmless, {} missed",
        missed.len()
    );
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
    assert!(harmless * 2 < found, "{harmless} of {found} were harmless");
}

async fn bytes(replica: &Memory, file: &FileInfo) -> Vec<u8> {
    let read = replica.read(file.level, file.name, 0, None).await;
    read.unwrap().to_vec()
}

async fn put(replica: &Memory, file: &FileInfo, bytes: Vec<u8>) {
    let source = Source::Bytes(bytes.into());
    let written = replica.write(file.level, file.name, source, file.created);
    written.await.unwrap();
}

/// Does one fault, verifies, and takes it back.
async fn case(made: &Made, fault: Fault, rng: &mut StdRng) -> Option<Outcome> {
    let replica = &made.replica;
    let files = replica.files();
    let file = files[rng.random_range(0..files.len())];
    let original = bytes(replica, &file).await;
    let mut changed = original.clone();
    let mut other = None;
    let mut what = format!("{fault:?} of level {} {}", file.level, file.name);
    match fault {
        Fault::Flip => {
            let at = rng.random_range(0..changed.len());
            changed[at] ^= 1 << rng.random_range(0..8);
            what = format!("{what} at {at} of {}", changed.len());
        }
        Fault::Cut => changed.truncate(rng.random_range(0..changed.len())),
        Fault::Delete => {}
        Fault::Swap => {
            let second = files[rng.random_range(0..files.len())];
            changed = bytes(replica, &second).await;
            if second.name == file.name || changed == original {
                return None;
            }
            put(replica, &second, original.clone()).await;
            other = Some((second, changed.clone()));
        }
        Fault::Foreign => {
            if made.chains != Chains::All {
                return None;
            }
            changed = made.foreign(&file, rng)?;
        }
    }
    if fault == Fault::Delete {
        replica.delete(&[(file.level, file.name)]).await.unwrap();
    } else {
        put(replica, &file, changed.clone()).await;
    }
    let left = replica.files();
    let report = if left.is_empty() {
        None
    } else {
        Some(verified(replica, made.last(), Depth::Deep).await)
    };
    put(replica, &file, original.clone()).await;
    if let Some((second, bytes)) = other {
        put(replica, &second, bytes).await;
    }
    if report.as_ref().is_none_or(|report| !report.is_sound()) {
        return Some(Outcome::Found);
    }
    let harmless = match fault {
        Fault::Delete => looks_like_retention(&files, &left, &file, made.chains),
        Fault::Flip | Fault::Cut => decoded(&original) == decoded(&changed),
        Fault::Swap => false,
        Fault::Foreign => is_unused(&files, &file),
    };
    Some(if harmless {
        Outcome::Harmless
    } else {
        Outcome::Missed(format!("{what}\n{}", made.describe()))
    })
}

type Content = (ltx::Header, Vec<(u32, Vec<u8>)>, ltx::Trailer);

/// Everything that a file says; nothing if it is damaged.
fn decoded(bytes: &[u8]) -> Option<Content> {
    let mut decoder = Decoder::new(bytes).ok()?;
    let header = *decoder.header();
    let mut page = vec![0; header.page_size.bytes()];
    let mut pages = Vec::new();
    while let Some(number) = decoder.next_page(&mut page).ok()? {
        pages.push((number.get(), page.clone()));
    }
    let trailer = decoder.finish().ok()?;
    Some((header, pages, trailer))
}

/// Every state can still be restored; or all but that of a snapshot, which might not have been taken; or what is left may have stood on
/// a snapshot that was deleted; or level 0 begins later, as Litestream trims it.
fn looks_like_retention(
    before: &[FileInfo],
    left: &[FileInfo],
    gone: &FileInfo,
    chains: Chains,
) -> bool {
    let (was, is) = (restorable(before), restorable(left));
    if was == is {
        return true;
    }
    // It was not taken yet.
    let only = was.iter().filter(|p| **p != gone.name.max).eq(is.iter());
    if gone.level == Level::SNAPSHOT && only {
        return true;
    }
    if is.is_empty() {
        return false;
    }
    let oldest = left.iter().filter(|f| f.level == Level::SNAPSHOT);
    let oldest = oldest.map(|f| f.name.max.get()).min().unwrap_or_default();
    if (1..oldest).any(|end| stood_on(left, end, chains)) {
        return true;
    }
    let of = |level: Level| left.iter().filter(move |f| f.level == level);
    let compacted = of(Level::L1).map(|f| f.name.max).max();
    let front = gone.level == Level::L0 && of(Level::L0).all(|f| f.name.min > gone.name.min);
    let mut lost = was.iter().filter(|p| is.binary_search(p).is_err());
    chains != Chains::All
        && (front || gone.level == Level::SNAPSHOT)
        && lost.all(|p| Some(*p) <= compacted)
}

/// A snapshot that ended there and was deleted, with what ends before it, explains what is left.
fn stood_on(left: &[FileInfo], end: u64, chains: Chains) -> bool {
    let mut with = left.to_vec();
    with.push(FileInfo {
        level: Level::SNAPSHOT,
        name: restore_support::name(1, end),
        ..left[0]
    });
    let (points, real) = (restorable(&with), restorable(left));
    let is_in = |points: &[Txid], txid: u64| points.binary_search(&Txid::new(txid)).is_ok();
    let level_1 = left.iter().filter(|f| f.level == Level::L1);
    let compacted = level_1.map(|f| f.name.max.get()).max();
    (0..9).all(|level| {
        let of = left.iter().filter(|f| f.level.get() == level);
        let mut files: Vec<(u64, u64)> = of.map(|f| (f.name.min.get(), f.name.max.get())).collect();
        files.sort_unstable();
        if level > 0 && files.iter().filter(|(_, max)| *max < end).count() > 1 {
            return false;
        }
        let mut last = None;
        files.iter().all(|&(min, max)| {
            let follows = last.is_some_and(|last| min <= last + 1);
            let stands = min == 1 || is_in(&real, min - 1);
            let stood = min - 1 < end || is_in(&points, min - 1);
            let trimmed = level > 1 || last.is_none();
            let stood = stood || (level == 0 && compacted.is_some() && chains != Chains::All);
            let held = level > 0 || compacted.is_none_or(|end| min - 1 <= end);
            last = last.max(Some(max));
            follows || stands || (stood && trimmed && held)
        })
    })
}

/// No restore ever uses it, or compares with it; or it is a whole database of which no other file says anything.
fn is_unused(files: &[FileInfo], file: &FileInfo) -> bool {
    let mut others = files.iter().filter(|f| *f != file);
    let end = file.name.max;
    if file.name.min.get() == 1 && others.all(|f| f.name.max != end && f.name.min != end.next()) {
        return true;
    }
    let points = restorable(files);
    let begins = Txid::new(file.name.min.get() - 1);
    let stands = points.iter().any(|p| *p >= begins && *p < file.name.max);
    file.name.min.get() != 1 && !stands && points.binary_search(&file.name.max).is_err()
}
