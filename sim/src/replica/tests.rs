//! What the storage does when all is well, what it may do when not, and what it never does.
#![allow(clippy::disallowed_methods)] // a source file is made on the real disk

use litestream_replica::env::{UnixMillis, real};
use litestream_replica::{ErrorKind, Replica, Result, Source, suite};
use ltx::Txid;

use super::*;
use crate::disk::SimDisk;
use crate::sched::{Config, Process, Report};

/// The simulated world, but for the disk: sources lie on the real one.
fn env() -> Env {
    Env {
        disk: real::env().disk,
        ..crate::env::env(Process(0), SimDisk::new())
    }
}

fn episode(seed: u64, main: impl FnOnce() + 'static) -> Report {
    let report = sched::run(Config::new(seed), main);
    assert_eq!(report.panic, None, "seed {seed}");
    assert_eq!(report.deadlock, None, "seed {seed}");
    report
}

fn name(txid: u64) -> FileName {
    FileName::single(Txid::new(txid))
}

fn write(replica: &SimReplica, txid: u64, bytes: &'static [u8]) -> Result<FileInfo> {
    let source = Source::Bytes(Bytes::from_static(bytes));
    sched::block_on(replica.write(Level::L0, name(txid), source, UnixMillis(txid as i64)))
}

fn read(replica: &SimReplica, txid: u64) -> Result<Bytes> {
    sched::block_on(replica.read(Level::L0, name(txid), 0, None))
}

fn list(replica: &SimReplica) -> Result<Vec<u64>> {
    let files = sched::block_on(replica.list(Level::L0, None, true))?;
    Ok(files.iter().map(|f| f.name.min.get()).collect())
}

fn delete(replica: &SimReplica, txids: &[u64]) -> Result<()> {
    let files: Vec<_> = txids.iter().map(|t| (Level::L0, name(*t))).collect();
    sched::block_on(replica.delete(&files))
}

fn there(replica: &SimReplica) -> Vec<u64> {
    replica.files().iter().map(|f| f.name.min.get()).collect()
}

#[test]
fn without_faults_every_kind_keeps_the_contract() {
    let scratch = tempfile::tempdir().unwrap();
    for (seed, case) in suite::CASES.iter().enumerate() {
        for profile in [Profile::strict, Profile::object_store, Profile::eventual] {
            let folder = scratch.path().join(format!(
                "{case} {}",
                profile().latency.1 + profile().stale_max
            ));
            std::fs::create_dir(&folder).unwrap();
            episode(seed as u64, move || {
                let replica = Arc::new(SimReplica::new(env(), profile()));
                sched::block_on(suite::run_case(case, replica, &env(), folder));
            });
        }
    }
}

#[test]
fn calls_take_virtual_time_and_are_counted() {
    let report = episode(1, || {
        let replica = SimReplica::new(env(), Profile::object_store());
        for txid in 1..=20 {
            write(&replica, txid, b"12345").unwrap();
        }
        assert_eq!(list(&replica).unwrap(), (1..=20).collect::<Vec<u64>>());
        assert_eq!(read(&replica, 3).unwrap(), "12345");
        delete(&replica, &[1, 2]).unwrap();
        sched::block_on(replica.delete(&[])).unwrap();
        let counts = replica.counts();
        assert_eq!(replica.calls(), 23);
        assert_eq!((counts.write, counts.bytes_written), (20, 100));
        assert_eq!((counts.read, counts.bytes_read), (1, 5));
        assert_eq!((counts.list, counts.heads), (1, 20));
        assert!(counts.pages >= 3, "{} pages", counts.pages);
        assert_eq!(
            (counts.delete, counts.files_deleted, counts.failed),
            (1, 2, 0)
        );
    });
    assert!(
        report.virtual_time > 23 * 5_000_000,
        "{} ns",
        report.virtual_time
    );
}

#[test]
fn the_same_seed_is_the_same_episode() {
    let run = || {
        episode(77, || {
            let replica = SimReplica::new(env(), Profile::random());
            replica.set_faults(Faults::random());
            let fibers: Vec<_> = (0..3)
                .map(|fiber| {
                    let replica = replica.clone();
                    sched::spawn(Process(1), "user", move || {
                        for round in 0..30 {
                            let _ = write(&replica, 1 + (round + fiber) % 7, b"abc");
                            let _ = list(&replica);
                            let _ = delete(&replica, &[1 + round % 5, 2]);
                        }
                    })
                })
                .collect();
            fibers.into_iter().for_each(sched::join);
            sched::trace(replica.counts().failed);
        })
    };
    assert_eq!(run(), run());
}

#[test]
fn ordered_failures_come_before_or_after_the_effect() {
    for failure in Failure::ALL {
        episode(5, move || {
            let replica = SimReplica::new(env(), Profile::strict());
            write(&replica, 1, b"a").unwrap();
            replica.fail_nth(2, failure, When::Before);
            replica.fail_nth(3, failure, When::After);
            let before = write(&replica, 2, b"b").unwrap_err();
            assert_eq!(before.kind(), failure.kind());
            assert_eq!(there(&replica), [1]);
            assert!(before.to_string().contains("(call 2)"), "{before}");
            assert!(write(&replica, 3, b"c").is_err());
            assert_eq!(there(&replica), [1, 3]);
            replica.fail_nth(4, failure, When::Before);
            replica.fail_nth(5, failure, When::After);
            assert!(delete(&replica, &[1]).is_err());
            assert_eq!(there(&replica), [1, 3]);
            assert!(delete(&replica, &[1]).is_err());
            assert_eq!(there(&replica), [3]);
            replica.fail_nth(6, failure, When::Before);
            replica.fail_nth(7, failure, When::After);
            assert!(read(&replica, 3).is_err());
            assert!(list(&replica).is_err());
            assert_eq!(list(&replica).unwrap(), [3]);
            assert_eq!(replica.counts().failed, 6);
        });
    }
}

#[test]
fn an_outage_ends() {
    episode(3, || {
        let replica = SimReplica::new(env(), Profile::object_store());
        replica.outage(Duration::from_secs(10));
        let mut failed = 0;
        while let Err(e) = write(&replica, 1, b"a") {
            assert_eq!(e.kind(), ErrorKind::Unreachable);
            assert!(there(&replica).is_empty());
            failed += 1;
        }
        assert!(failed > 0 && sched::now() > 10_000_000_000);
    });
}

#[test]
fn forks_stay_as_they_were_and_the_true_content_shows() {
    episode(2, || {
        let replica = SimReplica::new(env(), Profile::eventual());
        write(&replica, 1, b"one").unwrap();
        write(&replica, 2, b"two").unwrap();
        let fork = replica.fork();
        assert_eq!(fork.files(), replica.files());
        delete(&replica, &[1]).unwrap();
        assert!(replica.damage(Level::L0, name(2), |bytes| bytes.truncate(1)));
        assert!(!replica.damage(Level::L0, name(1), Vec::clear));
        assert_eq!(read(&replica, 2).unwrap(), "t");
        assert_eq!(fork.bytes(Level::L0, name(2)).unwrap(), "two");
        let steps = sched::now();
        let listed = sched::block_on(fork.list(Level::L0, Some(Txid::new(2)), false)).unwrap();
        let one = sched::block_on(fork.read(Level::L0, name(1), 1, Some(9))).unwrap();
        let none = sched::block_on(fork.read(Level::L0, name(3), 0, None)).unwrap_err();
        assert_eq!((listed.len(), &one[..]), (1, &b"ne"[..]));
        assert!(none.is_not_found());
        assert!(sched::block_on(fork.delete(&[(Level::L0, name(1))])).is_err());
        assert!(sched::now() - steps < 1_000_000, "no time passes");
    });
}

#[test]
fn prefixes_vanish_by_order_and_by_chance() {
    episode(4, || {
        let replica = SimReplica::new(env(), Profile::object_store());
        for level in Level::all() {
            let source = Source::Bytes(Bytes::from_static(b"x"));
            sched::block_on(replica.write(level, name(1), source, UnixMillis(0))).unwrap();
        }
        assert_eq!(replica.vanish(Some(Level::L0)), 1);
        assert_eq!((replica.files().len(), replica.vanished()), (9, 1));
        replica.set_faults(Faults {
            vanish: 100,
            ..Faults::none()
        });
        while !replica.files().is_empty() {
            list(&replica).unwrap();
        }
        assert_eq!(replica.vanished(), 10);
    });
}

#[test]
fn sources_are_read_from_the_callers_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big");
    let content: Vec<u8> = (0..300_000u32).map(|i| (i * 7) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    let missing = folder.path().join("missing");
    episode(8, move || {
        let replica = SimReplica::new(env(), Profile::strict());
        let put = |path| {
            sched::block_on(replica.write(Level::L0, name(1), Source::File(path), UnixMillis(1)))
        };
        put(path).unwrap();
        assert_eq!(read(&replica, 1).unwrap(), content);
        let error = put(missing).unwrap_err();
        assert!(
            error.is_not_found() && error.to_string().contains("missing"),
            "{error}"
        );
        assert_eq!(replica.calls(), 2, "what never left is no call");
    });
}

mod killed;
mod lies;

#[test]
fn conforms_for_0_3() {
    episode(0, || {
        sched::block_on(suite::run_v3(async |objects| {
            let replica = SimReplica::new(env(), Profile::object_store());
            for (path, bytes) in objects {
                replica.put_v3(path, bytes.clone(), UnixMillis(1_700_000_000_000));
            }
            Arc::new(replica) as litestream_replica::SharedReplica
        }));
    });
}
