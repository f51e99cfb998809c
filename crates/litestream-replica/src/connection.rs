//! One connection for all who need it, made when it is needed and again when it broke.
//!
//! Promise: attempts are made one at a time; those who waited for an attempt that failed get its error instead of trying one after the
//! other.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::env::{Clock, Monotonic};
use crate::{Error, Result};

/// See the [module](self).
pub(crate) struct Connection<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    open: Option<Arc<T>>,
    /// The last attempt, if it failed: when, and how.
    failed: Option<(Monotonic, Error)>,
}

impl<T> Connection<T> {
    /// None yet.
    pub(crate) fn new() -> Connection<T> {
        let (open, failed) = (None, None);
        Connection {
            state: Mutex::new(State { open, failed }),
        }
    }

    /// The connection, if it is usable, else what `dial` makes.
    pub(crate) async fn get(
        &self,
        clock: &dyn Clock,
        is_usable: impl Fn(&T) -> bool,
        dial: impl Future<Output = Result<T>>,
    ) -> Result<Arc<T>> {
        let asked = clock.monotonic();
        let mut state = self.state.lock().await;
        if let Some(open) = state.open.as_ref().filter(|open| is_usable(open)) {
            return Ok(Arc::clone(open));
        }
        state.open = None;
        if let Some((at, error)) = &state.failed
            && *at > asked
        {
            return Err(error.clone());
        }
        match dial.await {
            Ok(made) => {
                let made = Arc::new(made);
                state.open = Some(Arc::clone(&made));
                state.failed = None;
                Ok(made)
            }
            Err(error) => {
                state.failed = Some((clock.monotonic(), error.clone()));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::ErrorKind;

    #[tokio::test]
    async fn one_attempt_is_for_all_who_wait() {
        let clock = crate::env::real::env().clock;
        let connection = Connection::new();
        let dialled = AtomicU32::new(0);
        let dial = async |fails: bool| {
            let number = dialled.fetch_add(1, Ordering::Relaxed);
            clock.sleep_async(Duration::from_millis(20)).await;
            if fails {
                return Err(Error::new(ErrorKind::Unreachable, "connect", "", "no"));
            }
            Ok(number)
        };
        let get = |fails| connection.get(&*clock, |n| *n < 7, dial(fails));
        let failed = join_all((0..5).map(|_| get(true))).await;
        assert!(failed.iter().all(Result::is_err));
        assert_eq!(dialled.load(Ordering::Relaxed), 1);
        let made = join_all((0..5).map(|_| get(false))).await;
        assert!(made.iter().all(|n| **n.as_ref().unwrap() == 1));
        dialled.store(7, Ordering::Relaxed);
        assert_eq!(*get(false).await.unwrap(), 1);
        // What is no longer usable is made anew, each time it is asked for.
        let other = Connection::new();
        for expected in [7, 8] {
            let got = other.get(&*clock, |n| *n < 7, dial(false)).await;
            assert_eq!(*got.unwrap(), expected);
        }
    }
}
