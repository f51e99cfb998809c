//! What each kind of storage may do besides what it says, and what it never does.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// All storage of the kind and rate, as often as it takes to see what is looked for.
fn until_seen(
    profile: fn() -> Profile,
    faults: Faults,
    look: impl Fn(&SimReplica) -> bool + 'static,
) {
    let look = Rc::new(look);
    for seed in 0..300 {
        let seen = Rc::new(RefCell::new(false));
        let (saw, look) = (Rc::clone(&seen), Rc::clone(&look));
        episode(seed, move || {
            let replica = SimReplica::new(env(), profile());
            replica.set_faults(faults);
            *saw.borrow_mut() = look(&replica);
        });
        if *seen.borrow() {
            return;
        }
    }
    panic!("never seen with {faults:?}");
}

#[test]
fn every_failure_happens_by_chance() {
    until_seen(
        Profile::object_store,
        Faults {
            timeout: 200,
            throttled: 200,
            unavailable: 200,
            reset: 200,
            forbidden: 200,
            no_space: 200,
            ..Faults::none()
        },
        |replica| {
            let mut seen = std::collections::BTreeSet::new();
            let (mut with, mut without) = (false, false);
            for txid in 1..300 {
                let Err(e) = write(replica, txid, b"a") else {
                    continue;
                };
                let done = replica.bytes(Level::L0, name(txid)).is_some();
                let ambiguous = e.kind() == ErrorKind::Unreachable;
                assert!(ambiguous || !done, "{e}, but it was done");
                (with, without) = (with || done, without || ambiguous && !done);
                seen.insert(e.to_string().split("simulated").last().unwrap().to_owned());
            }
            seen.len() == Failure::ALL.len() && with && without
        },
    );
}

#[test]
fn a_local_disk_fails_but_never_lies() {
    for seed in 0..100 {
        episode(seed, || {
            let replica = SimReplica::new(env(), Profile::strict());
            replica.set_faults(Faults {
                vanish: 0,
                flip: 0,
                timeout: 300,
                throttled: 300,
                unavailable: 300,
                reset: 300,
                forbidden: 100,
                no_space: 100,
                slow: 300,
                late: 500,
                repeated: 500,
                partial_delete: 300,
                loose_delete: 500,
                stale_list: 500,
                duplicate_list: 500,
            });
            for txid in 1..40 {
                match write(&replica, txid, b"a") {
                    Ok(_) => assert!(there(&replica).contains(&txid)),
                    Err(e) => assert!(!e.is_retryable(), "{e}"),
                }
                match delete(&replica, &[txid - 1, txid]) {
                    Ok(()) => assert!(!there(&replica).iter().any(|t| *t + 1 >= txid)),
                    Err(e) => assert!(!e.is_retryable(), "{e}"),
                }
                if let Ok(listed) = list(&replica) {
                    assert_eq!(listed, there(&replica));
                }
                assert_eq!(replica.pending(), 0);
            }
        });
    }
}

#[test]
fn a_failed_write_may_come_late_over_a_newer_one() {
    until_seen(
        Profile::object_store,
        Faults {
            timeout: 500,
            late: 1000,
            ..Faults::none()
        },
        |replica| {
            if write(replica, 1, b"old").is_ok() || replica.pending() == 0 {
                return false;
            }
            assert!(there(replica).is_empty());
            replica.set_faults(Faults::none());
            write(replica, 1, b"new").unwrap();
            assert_eq!(read(replica, 1).unwrap(), "new");
            sched::sleep(replica.profile().late_max);
            assert_eq!(replica.pending(), 0, "late is bounded");
            assert_eq!(read(replica, 1).unwrap(), "old");
            true
        },
    );
}

#[test]
fn a_repeated_write_may_bring_back_what_was_deleted() {
    until_seen(
        Profile::object_store,
        Faults {
            repeated: 500,
            ..Faults::none()
        },
        |replica| {
            write(replica, 1, b"a").unwrap();
            if replica.pending() == 0 {
                return false;
            }
            delete(replica, &[1]).unwrap();
            let gone = there(replica).is_empty();
            replica.heal();
            assert_eq!(there(replica), [1]);
            gone
        },
    );
}

#[test]
fn deletes_are_partial_late_or_lost() {
    let faults = Faults {
        partial_delete: 300,
        loose_delete: 600,
        ..Faults::none()
    };
    let fill = |replica: &SimReplica| {
        for txid in 1..=6 {
            write(replica, txid, b"a").unwrap();
        }
    };
    until_seen(Profile::object_store, faults, move |replica| {
        fill(replica);
        match delete(replica, &[1, 2, 3, 4, 5, 6]) {
            Ok(()) => assert!(there(replica).is_empty(), "done is done"),
            Err(e) => assert!(e.is_retryable() && !there(replica).is_empty(), "{e}"),
        }
        (1..6).contains(&there(replica).len())
    });
    until_seen(Profile::eventual, faults, move |replica| {
        fill(replica);
        let done = delete(replica, &[1, 2, 3]).is_ok();
        let still = there(replica).len() == 6 && replica.pending() == 3;
        sched::sleep(replica.profile().late_max);
        done && still && there(replica) == [4, 5, 6]
    });
    until_seen(Profile::eventual, faults, move |replica| {
        fill(replica);
        let done = delete(replica, &[1, 2, 3]).is_ok();
        sched::sleep(replica.profile().late_max);
        done && there(replica).len() == 6
    });
}

#[test]
fn listings_lag_by_a_bounded_time() {
    let stale = Faults {
        stale_list: 1000,
        ..Faults::none()
    };
    until_seen(Profile::eventual, stale, |replica| {
        for txid in 1..=9 {
            write(replica, txid, b"a").unwrap();
            sched::sleep(500_000_000);
        }
        delete(replica, &[4]).unwrap();
        let listed = list(replica).unwrap();
        let missing = (1..=9).any(|t| t != 4 && !listed.contains(&t));
        sched::sleep(replica.profile().stale_max);
        assert_eq!(list(replica).unwrap(), [1, 2, 3, 5, 6, 7, 8, 9]);
        missing && listed.contains(&4)
    });
    episode(1, move || {
        let replica = SimReplica::new(env(), Profile::object_store());
        replica.set_faults(stale);
        for txid in 1..=9 {
            write(&replica, txid, b"a").unwrap();
            assert_eq!(list(&replica).unwrap(), (1..=txid).collect::<Vec<u64>>());
        }
    });
}

#[test]
fn pages_change_between_and_repeat_at_their_borders() {
    let faults = Faults {
        duplicate_list: 500,
        ..Faults::none()
    };
    until_seen(Profile::object_store, faults, |replica| {
        for txid in 1..=20 {
            write(replica, txid, b"a").unwrap();
        }
        let mut listed = list(replica).unwrap();
        assert!(listed.is_sorted());
        let twice = listed.len() > 20;
        listed.dedup();
        assert_eq!(listed, there(replica));
        twice
    });
    // Someone deletes an early file and writes a late one while the list is read: the late one is seen, and so is the early one.
    until_seen(Profile::object_store, Faults::none(), |replica| {
        for txid in 1..=20 {
            write(replica, txid, b"a").unwrap();
        }
        let other = replica.clone();
        let fiber = sched::spawn(Process(1), "other", move || {
            delete(&other, &[1]).unwrap();
            write(&other, 21, b"a").unwrap();
        });
        let listed = list(replica).unwrap();
        sched::join(fiber);
        listed.contains(&1) && listed.contains(&21)
    });
}

#[test]
fn a_read_may_have_one_wrong_bit_but_never_a_wrong_length() {
    let faults = Faults {
        flip: 500,
        reset: 200,
        ..Faults::none()
    };
    until_seen(Profile::object_store, faults, |replica| {
        while write(replica, 1, &[0; 100]).is_err() {}
        let mut flipped = 0;
        for _ in 0..50 {
            let Ok(bytes) = read(replica, 1) else {
                continue;
            };
            assert_eq!(bytes.len(), 100);
            let ones: u32 = bytes.iter().map(|b| b.count_ones()).sum();
            assert!(ones <= 1);
            flipped += ones;
        }
        assert_eq!(*replica.bytes(Level::L0, name(1)).unwrap(), [0; 100]);
        flipped > 0
    });
}

#[test]
fn the_storage_has_its_own_clock() {
    episode(9, || {
        let replica = SimReplica::new(env(), Profile::eventual());
        let mut wrong = 0;
        for txid in 1..=20 {
            let info = write(&replica, txid, b"a").unwrap();
            assert_eq!(info.created, UnixMillis(txid as i64));
        }
        let files = sched::block_on(replica.list(Level::L0, None, false)).unwrap();
        for file in files {
            let off = file.created.0 - sched::wall_millis();
            assert!(off.abs() < 70_000, "{off} ms");
            assert_eq!(file.created.0 % 1000, 0);
            wrong += i64::from(off.abs() > 10_000);
        }
        assert!(wrong > 5);
        let exact = sched::block_on(replica.list(Level::L0, None, true)).unwrap();
        assert!(exact.iter().all(|f| f.created.0 == f.name.min.get() as i64));
    });
}
