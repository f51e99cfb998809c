//! Snapshots that are uploaded while the files after them go on: they may be large, and nothing depends on them.
//!
//! Promise: only a snapshot whose transactions the replica holds is on its way, so that none makes a hole look filled. It
//! goes on with the task that waits for it, and ends with it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use ltx::FileName;
use parking_lot::Mutex;

use crate::error::Result;

type Work = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Alongside {
    current: Mutex<Option<(FileName, Work)>>,
}

impl Alongside {
    /// Whether none is on its way.
    pub fn is_idle(&self) -> bool {
        self.current.lock().is_none()
    }

    /// One is on its way from the next [`Alongside::ended`] on.
    pub fn begin(&self, name: FileName, work: Work) {
        *self.current.lock() = Some((name, work));
    }

    /// Gives up the one on its way if it is this one.
    pub fn cancel(&self, name: FileName) {
        let mut current = self.current.lock();
        let given_up = current.take_if(|(current, _)| *current == name);
        drop(current);
        drop(given_up);
    }

    /// Gives up any.
    pub fn cancel_all(&self) {
        let given_up = self.current.lock().take();
        drop(given_up);
    }

    /// How the one on its way ended; never, if there is none.
    pub async fn ended(&self) -> Result<()> {
        poll_fn(|context| {
            // Not polled under the lock.
            let Some((name, mut work)) = self.current.lock().take() else {
                return Poll::Pending;
            };
            let polled = work.as_mut().poll(context);
            if polled.is_pending() {
                *self.current.lock() = Some((name, work));
            }
            polled
        })
        .await
    }
}
