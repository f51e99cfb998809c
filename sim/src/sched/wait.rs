//! Waiting: for another fiber, for a time, for a future.
//!
//! Promise: a dead or panicking fiber never waits and never lets others run; each function says what it does instead.

use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{FiberId, Nanos, die, is_futile, now, switch, with};

/// Waits until [`unpark`] is called for this fiber (`true`) or the deadline has come (`false`). An `unpark` before counts.
/// It may return `true` without reason: whoever waits must look whether what he waits for is there.
/// Dead or panicking: `false` at once. Never unwinds, so C code may wait in it.
#[track_caller]
pub fn park(deadline: Option<Nanos>) -> bool {
    wait(deadline, Location::caller())
}

fn wait(deadline: Option<Nanos>, at: &'static Location<'static>) -> bool {
    if is_futile() {
        return false;
    }
    match with(|world| world.park(deadline, at)) {
        None => panic!("only a fiber can wait"),
        Some(None) => true,
        Some(Some(id)) => {
            switch::leave();
            with(|world| std::mem::take(&mut world.fiber(id).token)).unwrap_or(false)
        }
    }
}

/// Ends the current or next [`park`] of a fiber. Nothing if it has ended.
pub fn unpark(fiber: FiberId) {
    with(|world| world.unpark(fiber));
}

/// Wakes a fiber, which runs in the place of the running one from its next step on.
pub fn cut_in(fiber: FiberId) {
    with(|world| world.cut_in(fiber));
}

/// Waits in virtual time. Dead or panicking: returns at once. Never unwinds.
#[track_caller]
pub fn sleep(nanos: Nanos) {
    let at = Location::caller();
    let deadline = now().saturating_add(nanos);
    loop {
        wait(Some(deadline), at);
        if now() >= deadline || is_futile() {
            return;
        }
    }
}

/// Waits until a fiber has ended. Dead or panicking: returns at once. Never unwinds.
#[track_caller]
pub fn join(fiber: FiberId) {
    let at = Location::caller();
    while with(|world| world.tell_end(fiber)).unwrap_or(false) {
        wait(None, at);
        if is_futile() {
            return;
        }
    }
}

/// Waits for a future, which is polled on this fiber. Dead: ends the fiber by unwinding, so never call it below C code.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let at = Location::caller();
    let mut future = pin!(future);
    let bell = with(|world| world.current.map(|fiber| (world.episode, fiber))).flatten();
    let (episode, fiber) = bell.expect("only a fiber can wait for a future");
    let bell = Arc::new(Bell {
        episode,
        fiber,
        rung: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        while !bell.rung.swap(false, Ordering::Relaxed) {
            if is_futile() {
                die();
            }
            wait(None, at);
        }
    }
}

/// Wakes a fiber that waits for a future. In another episode or thread, or after the end, it does nothing.
struct Bell {
    episode: u64,
    fiber: FiberId,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Bell>) {
        if !self.rung.swap(true, Ordering::Relaxed) {
            with(|world| {
                if world.episode == self.episode {
                    world.unpark(self.fiber);
                }
            });
        }
    }
}
