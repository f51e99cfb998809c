//! A stack of its own for a fiber, and the two ways over its border: in and out.
//!
//! Promise: a fiber's panic never crosses to the stack that resumed it, since its body catches all. Stacks are used again.
#![allow(
    unsafe_code,
    reason = "a fiber must be able to leave from any depth of calls, where the library's handle can't be passed"
)]

use std::cell::{Cell, RefCell};
use std::ptr;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// Stacks kept for later, per thread.
const POOL_MAX: usize = 256;

thread_local! {
    /// The way out of the code that this thread runs now; null on the thread's own stack.
    static RUNNING: Cell<*const Yielder<(), ()>> = const { Cell::new(ptr::null()) };
    static POOL: RefCell<Vec<(usize, DefaultStack)>> = const { RefCell::new(Vec::new()) };
}

/// A stack with something to run on it.
pub(super) struct Stack {
    bytes: usize,
    coroutine: Coroutine<(), (), (), DefaultStack>,
}

impl Stack {
    /// `body` must not panic.
    pub(super) fn new(bytes: usize, body: impl FnOnce() + 'static) -> Stack {
        let pooled = POOL.with(|pool| {
            let mut pool = pool.borrow_mut();
            let at = pool.iter().rposition(|(size, _)| *size == bytes)?;
            Some(pool.swap_remove(at).1)
        });
        let stack = pooled.unwrap_or_else(|| {
            DefaultStack::new(bytes).expect("no memory left for the stack of a fiber")
        });
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            RUNNING.set(yielder);
            body();
        });
        Stack { bytes, coroutine }
    }

    /// Runs it until it leaves or ends. `true` if it has ended.
    pub(super) fn resume(&mut self) -> bool {
        let outer = RUNNING.replace(ptr::null());
        let result = self.coroutine.resume(());
        RUNNING.set(outer);
        matches!(result, CoroutineResult::Return(()))
    }

    /// Keeps the stack of an ended body for the next one.
    pub(super) fn recycle(self) {
        let Stack { bytes, coroutine } = self;
        assert!(coroutine.done(), "the stack of a running fiber is not free");
        POOL.with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOL_MAX {
                pool.push((bytes, coroutine.into_stack()));
            }
        });
    }
}

/// Leaves the running fiber; returns when it is resumed.
pub(super) fn leave() {
    let way = RUNNING.get();
    assert!(!way.is_null(), "only a fiber can leave");
    // SAFETY: RUNNING is set by the body of a coroutine to its own yielder, which outlives the body; `resume` replaces
    // it on both sides of every switch, and the line below sets it again after one. So whenever it is not null, it is
    // the yielder of the coroutine on whose stack this code runs, and that coroutine has not ended.
    unsafe { (*way).suspend(()) };
    RUNNING.set(way);
}
