use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::*;

const A: Process = Process(1);
const B: Process = Process(2);

fn config(seed: u64) -> Config {
    Config {
        switch_per_mille: 300,
        ..Config::new(seed)
    }
}

fn clean(report: &Report) {
    assert_eq!(report.panic, None);
    assert_eq!(report.deadlock, None);
    assert!(!report.steps_exceeded);
    assert_eq!(report.leaked, 0);
}

/// Order in which three fibers wrote, and the report.
fn letters(seed: u64) -> (String, Report) {
    let text = Rc::new(RefCell::new(String::new()));
    let shared = Rc::clone(&text);
    let report = run(config(seed), move || {
        let fibers: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                let text = Rc::clone(&shared);
                spawn(A, name, move || {
                    for _ in 0..20 {
                        text.borrow_mut().push_str(name);
                        yield_point(7);
                    }
                })
            })
            .collect();
        fibers.into_iter().for_each(join);
    });
    clean(&report);
    let text = text.borrow().clone();
    (text, report)
}

#[test]
fn the_seed_decides_everything() {
    let (text, report) = letters(1);
    assert_eq!(letters(1), (text.clone(), report.clone()));
    let (other_text, other) = letters(2);
    assert_ne!(other_text, text);
    assert_ne!(other.trace_hash, report.trace_hash);
    assert!(text.contains("ab") && text.contains("ca"), "{text}");
}

#[test]
fn the_trace_tells_what_differs() {
    let hash = |tag| run(config(1), move || yield_point(tag)).trace_hash;
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
    assert_ne!(hash(1), run(config(1), || trace(1)).trace_hash);
}

#[test]
fn who_can_run_runs_soon() {
    for switch_per_mille in [0, 1, 1000] {
        let ran = Rc::new(Cell::new(false));
        let seen = Rc::clone(&ran);
        let config = Config {
            switch_per_mille,
            ..config(3)
        };
        let report = run(config, move || {
            spawn(A, "patient", {
                let seen = Rc::clone(&seen);
                move || seen.set(true)
            });
            for n in 0..8 {
                spawn(B, &format!("greedy {n}"), || {
                    loop {
                        yield_point(0);
                        if die_if_dead().is_err() {
                            return;
                        }
                    }
                });
            }
            while !seen.get() {
                yield_point(0);
            }
        });
        clean(&report);
        assert!(ran.get());
        assert!(report.steps < 200_000, "{}", report.steps);
    }
}

#[test]
fn time_jumps_when_all_wait() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let shared = Rc::clone(&order);
    let report = run(config(4), move || {
        for seconds in [3600, 5, 60] {
            let order = Rc::clone(&shared);
            spawn(A, "sleeper", move || {
                sleep(seconds * 1_000_000_000);
                order.borrow_mut().push(now() / 1_000_000_000);
            });
        }
        let wall = wall_millis();
        sleep(7_200_000_000_000);
        assert_eq!((wall_millis() - wall) / 1000, 7200);
        step_wall(-5_000_000);
        assert!(wall_millis() < wall + 7_200_000 - 4_000_000);
    });
    clean(&report);
    assert_eq!(*order.borrow(), [5, 60, 3600]);
    assert!(report.steps < 20, "{}", report.steps);
}

#[test]
fn a_loop_that_looks_at_the_clock_ends() {
    clean(&run(config(5), || {
        while now() < 1_000_000 {
            yield_point(0);
        }
    }));
}

#[test]
fn an_unpark_before_is_remembered_and_a_deadline_ends_a_wait() {
    clean(&run(config(6), || {
        let me = current();
        unpark(me);
        assert!(park(None));
        let before = now();
        assert!(!park(Some(before + 1_000_000)));
        assert!(now() >= before + 1_000_000);
        spawn(A, "waker", move || {
            sleep(1_000);
            unpark(me);
        });
        assert!(park(Some(now() + 1_000_000_000)));
        assert!(now() < before + 1_000_000_000);
    }));
}

#[test]
fn futures_of_tokio_work_without_its_runtime() {
    use tokio::sync::{Notify, mpsc, oneshot, watch};
    clean(&run(config(7), || {
        let (send, receive) = oneshot::channel();
        let (many, mut queue) = mpsc::channel(1);
        let (state, mut seen) = watch::channel(0);
        let notify = Rc::new(Notify::new());
        let kick = Rc::clone(&notify);
        let sender = spawn(A, "sender", move || {
            sleep(1_000_000);
            send.send(5).unwrap();
            kick.notify_one();
            for n in 0..10 {
                block_on(many.send(n)).unwrap();
            }
            state.send(9).unwrap();
        });
        assert_eq!(block_on(receive), Ok(5));
        block_on(notify.notified());
        let numbers: Vec<i32> = (0..10).map(|_| block_on(queue.recv()).unwrap()).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        block_on(seen.changed()).unwrap();
        assert_eq!(*seen.borrow(), 9);
        join(sender);
        assert!(is_finished(sender) && !has_panicked(sender));
    }));
}

#[test]
fn timers_wake_futures_and_cost_nothing_once_dropped() {
    use futures_util::future::{join_all, select};
    clean(&run(config(16), || {
        let second = 1_000_000_000;
        let start = now();
        let times = block_on(join_all((1..=5).rev().map(|n| async move {
            timer(start + n * second).await;
            (now() - start) / second
        })));
        assert_eq!(times, [5, 4, 3, 2, 1]);
        let (send, receive) = tokio::sync::oneshot::channel();
        spawn(A, "sender", move || {
            sleep(second);
            send.send(()).unwrap();
        });
        block_on(select(receive, timer(now() + 1000 * second)));
        assert!(now() < start + 7 * second, "{}", now() - start);
        let busy = timer(now() + 1_000_000);
        spawn(A, "busy", || {
            loop {
                yield_point(0);
                let _ = die_if_dead();
            }
        });
        block_on(busy);
        assert!(now() < start + 7 * second);
    }));
}

/// Counts how often it is dropped, and yields then, as code that closes files does.
struct Guard(Rc<Cell<u32>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        yield_point(1);
        sleep(1_000_000_000);
        park(None);
        assert!(!is_dead() || die_if_dead() == Err(Dead));
    }
}

#[test]
fn the_killed_end_before_anybody_else_runs() {
    let drops = Rc::new(Cell::new(0));
    let shared = Rc::clone(&drops);
    let report = run(config(8), move || {
        let guard = || Guard(Rc::clone(&shared));
        let others = Rc::new(Cell::new(0));
        spawn(B, "other", {
            let others = Rc::clone(&others);
            move || {
                loop {
                    others.set(others.get() + 1);
                    yield_point(0);
                    if die_if_dead().is_err() {
                        return;
                    }
                }
            }
        });
        let (one, two, three) = (guard(), guard(), guard());
        let sleeper = spawn(A, "sleeper", move || {
            let _one = one;
            sleep(u64::MAX / 2);
            let _ = die_if_dead();
            unreachable!("it has died");
        });
        let waiter = spawn(A, "waiter", move || {
            let _two = two;
            block_on(std::future::pending::<()>());
        });
        sleep(1_000_000);
        let unborn = spawn(A, "unborn", move || drop(three));
        let (before, time) = (others.get(), now());
        kill(A);
        assert!(is_finished(sleeper) && is_finished(waiter) && is_finished(unborn));
        assert_eq!((others.get(), shared.get()), (before, 3));
        assert_eq!(now(), time);
        let late = spawn(A, "late", || panic!("born dead"));
        assert!(is_finished(late));
        sleep(1_000_000);
        assert!(others.get() > before);
    });
    clean(&report);
    assert_eq!(drops.get(), 3);
}

#[test]
fn what_remains_at_the_end_is_killed() {
    let drops = Rc::new(Cell::new(0));
    let guard = Guard(Rc::clone(&drops));
    let report = run(config(9), move || {
        spawn(A, "rest", move || {
            let _guard = guard;
            block_on(std::future::pending::<()>());
        });
        yield_point(0);
    });
    clean(&report);
    assert_eq!(drops.get(), 1);
}

#[test]
fn a_fiber_that_does_not_die_is_left_behind() {
    let report = run(config(10), || {
        spawn(A, "undying", || {
            loop {
                yield_point(0);
            }
        });
        sleep(1_000_000);
        kill(A);
    });
    assert_eq!((report.leaked, report.panic), (1, None));
}

#[test]
fn a_deadlock_is_told_with_names_and_places() {
    let report = run(config(11), || {
        let one = spawn(A, "waits for ever", || {
            park(None);
        });
        join(one);
    });
    let text = report.deadlock.unwrap();
    assert!(text.contains("waits for ever (process 1) at "), "{text}");
    assert!(text.contains("main (process 0)"), "{text}");
    assert!(text.contains("tests.rs"), "{text}");
}

#[test]
fn a_panic_is_told_with_the_name_and_others_go_on() {
    let report = run(config(12), || {
        let one = spawn(A, "clumsy", || {
            let _guard = Guard(Rc::new(Cell::new(0)));
            panic!("dropped the ball")
        });
        join(one);
        assert!(has_panicked(one));
        sleep(1);
    });
    let text = report.panic.unwrap();
    assert!(text.contains("fiber clumsy") && text.contains("dropped the ball"));
    assert_eq!(report.deadlock, None);
}

#[test]
fn an_endless_episode_is_ended() {
    let report = run(
        Config {
            steps_max: 10_000,
            ..config(13)
        },
        || {
            loop {
                yield_point(0);
                let _ = die_if_dead();
            }
        },
    );
    assert!(report.steps_exceeded);
    assert_eq!((report.leaked, report.panic), (0, None));
}

#[test]
fn outside_of_an_episode_nothing_happens() {
    assert!(!in_world() && !is_dead());
    yield_point(0);
    trace(1);
    assert_eq!((die_if_dead(), now()), (Ok(()), 0));
}

#[test]
fn many_fibers_share_few_stacks() {
    let report = run(config(14), || {
        for round in 0..200 {
            let ids: Vec<_> = (0..20)
                .map(|_| spawn(A, "short", move || yield_point(round)))
                .collect();
            ids.into_iter().for_each(join);
        }
    });
    clean(&report);
}

/// How fast it is: run with `--no-capture` and look.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "speed is measured in the time of the real world"
)]
fn switches_are_cheap() {
    let start = std::time::Instant::now();
    let config = Config {
        switch_per_mille: 1000,
        ..Config::new(15)
    };
    let report = run(config, || {
        let ids: Vec<_> = (0..4)
            .map(|_| spawn(A, "runner", || (0..250_000).for_each(|_| yield_point(0))))
            .collect();
        ids.into_iter().for_each(join);
    });
    clean(&report);
    println!("{} switches in {:?}", report.switches, start.elapsed());
    assert!(report.switches > 900_000);
}
