//! How many parts go at once: as many as are allowed, fewer where the service fails under them, and more again when it goes well.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Error;

/// See the [module](self).
pub(super) struct Lanes {
    places: Semaphore,
    max: usize,
    /// At least 1.
    open: AtomicUsize,
    /// What went well since the number changed.
    well: AtomicUsize,
}

/// A lane in use.
pub(super) struct Lane<'a> {
    lanes: &'a Lanes,
    place: Option<SemaphorePermit<'a>>,
}

impl Lanes {
    pub(super) fn new(max: usize) -> Lanes {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Lanes {
            places: Semaphore::new(max),
            max,
            open: AtomicUsize::new(max),
            well: AtomicUsize::new(0),
        }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Waits for a lane.
    pub(super) async fn enter(&self) -> Lane<'_> {
        Lane {
            lanes: self,
            // It is never closed.
            place: self.places.acquire().await.ok(),
        }
    }

    /// One lane less, if more than one is left.
    fn close_one(&self) -> bool {
        self.well.store(0, Ordering::Relaxed);
        let less = |open: usize| (open > 1).then(|| open - 1);
        let closed = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        closed.is_ok()
    }

    /// One lane more after each round in which nothing failed.
    fn went_well(&self) {
        let open = self.open.load(Ordering::Relaxed);
        if open < self.max && self.well.fetch_add(1, Ordering::Relaxed) + 1 >= open * 2 {
            self.well.store(0, Ordering::Relaxed);
            self.open.fetch_add(1, Ordering::Relaxed);
            self.places.add_permits(1);
        }
    }
}

impl Lane<'_> {
    /// How it ended.
    pub(super) fn leave(mut self, failed: Option<&Error>) {
        match failed {
            None => self.lanes.went_well(),
            Some(error) if error.is_retryable() && self.lanes.close_one() => {
                if let Some(place) = self.place.take() {
                    place.forget();
                }
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[tokio::test]
    async fn s04_failures_close_lanes_and_successes_open_them_again() {
        let lanes = Lanes::new(4);
        let broken = Error::new(ErrorKind::Unreachable, "put", "x", "500");
        let denied = Error::new(ErrorKind::Forbidden, "put", "x", "403");
        for open in [3, 2, 1, 1, 1] {
            lanes.enter().await.leave(Some(&broken));
            assert_eq!(lanes.places.available_permits(), open);
        }
        lanes.enter().await.leave(Some(&denied));
        assert_eq!(lanes.places.available_permits(), 1);
        let mut open = Vec::new();
        for _ in 0..30 {
            lanes.enter().await.leave(None);
            open.push(lanes.places.available_permits());
        }
        assert!(
            open.is_sorted() && open[1] == 2 && open[29] == 4,
            "{open:?}"
        );
        drop(lanes.enter().await);
        assert_eq!(lanes.places.available_permits(), 4);
    }
}
