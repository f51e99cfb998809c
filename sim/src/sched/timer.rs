//! Futures that are ready at a time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Nanos, now, with};

/// See [`timer`].
#[derive(Debug)]
pub struct Timer {
    deadline: Nanos,
    /// The episode and the number there, once it was waited for.
    set: Option<(u64, u64)>,
}

/// A future that is ready once virtual time has come to `deadline`. It needs no fiber of its own, and dropped it does not
/// hold up anything.
pub fn timer(deadline: Nanos) -> Timer {
    Timer {
        deadline,
        set: None,
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Timer>, context: &mut Context<'_>) -> Poll<()> {
        if now() >= self.deadline {
            return Poll::Ready(());
        }
        let (waker, deadline, set) = (context.waker().clone(), self.deadline, self.set);
        let former = with(|world| {
            let number = set.map_or_else(|| world.number_timer(), |(_, number)| number);
            let former = world.set_timer((deadline, number), waker);
            (former, (world.episode, number))
        });
        if let Some((former, set)) = former {
            drop(former);
            self.set = Some(set);
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some((episode, number)) = self.set else {
            return;
        };
        let deadline = self.deadline;
        let waker = with(|world| {
            let ours = world.episode == episode;
            ours.then(|| world.clear_timer((deadline, number)))
        });
        // Outside of the world: what a waker drops may call back.
        drop(waker);
    }
}

/// Wakes those whose time has come.
pub(super) fn ring_due() {
    while let Some(Some(waker)) = with(super::World::due_timer) {
        waker.wake();
    }
}
