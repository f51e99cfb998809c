//! What becomes of calls whose caller is killed.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// The caller is killed while its write is under way: on a local disk it is done or not, elsewhere it may come yet.
#[test]
fn what_the_killed_sent_may_arrive() {
    for (profile, may_arrive) in [
        (Profile::strict as fn() -> Profile, false),
        (Profile::object_store, true),
    ] {
        let outcomes = Rc::new(RefCell::new([0; 3]));
        for seed in 0..200 {
            let outcomes = Rc::clone(&outcomes);
            episode(seed, move || {
                let replica = SimReplica::new(env(), profile());
                let user = replica.used_by(env());
                let fiber = sched::spawn(Process(1), "user", move || {
                    let _ = write(&user, 1, b"a");
                });
                sched::sleep(1 + sched::below(profile().latency.1));
                sched::kill(Process(1));
                assert!(sched::is_finished(fiber));
                let done = !there(&replica).is_empty();
                sched::sleep(profile().timeout);
                let later = !there(&replica).is_empty();
                assert_eq!(replica.pending(), 0);
                outcomes.borrow_mut()[if done {
                    0
                } else if later {
                    1
                } else {
                    2
                }] += 1;
            });
        }
        let [done, later, never] = *outcomes.borrow();
        assert!(done > 5 && never > 5, "{done} {later} {never}");
        assert_eq!(later > 5, may_arrive, "{later} arrived after the kill");
    }
}

#[test]
fn stopping_at_a_call_and_killing_there() {
    for (when, expected) in [(When::Before, &[1][..]), (When::After, &[1, 2])] {
        episode(6, move || {
            let replica = SimReplica::new(env(), Profile::object_store());
            replica.stop_at_nth(2, when, sched::current());
            let user = replica.used_by(env());
            sched::spawn(Process(1), "user", move || {
                write(&user, 1, b"a").unwrap();
                write(&user, 2, b"b").unwrap();
                write(&user, 3, b"c").unwrap();
            });
            while !replica.stopped() {
                sched::park(None);
            }
            sched::kill(Process(1));
            replica.heal();
            assert_eq!(there(&replica), expected);
            assert_eq!(replica.calls(), 2);
        });
    }
    episode(7, || {
        let replica = SimReplica::new(env(), Profile::strict());
        replica.stop_at_nth(1, When::Before, sched::current());
        let user = replica.clone();
        let fiber = sched::spawn(Process(1), "user", move || {
            write(&user, 1, b"a").unwrap();
        });
        sched::park(None);
        assert!(replica.stopped() && there(&replica).is_empty());
        replica.heal();
        sched::join(fiber);
        assert_eq!(there(&replica), [1]);
    });
}
