//! How fast and how often a storage may be used: bandwidth in both directions, requests per second, requests at once.
//!
//! One [`Limits`] a replica and one above all of them. Promise: over any second no more than the limit (and a tenth of a second's worth) passes;
//! who asked first is served first; without limits nothing is counted and nobody waits.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::env::{Clock, Monotonic};

/// What is asked for; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes sent per second.
    pub upload_bytes: Option<u64>,
    /// Bytes received per second.
    pub download_bytes: Option<u64>,
    /// Requests begun per second.
    pub requests: Option<u64>,
    /// Requests under way at once.
    pub concurrent: Option<u32>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the storage.
    Up,
    /// From the storage.
    Down,
}

/// See the [module](self).
pub struct Limits {
    clock: Arc<dyn Clock>,
    up: Option<Bucket>,
    down: Option<Bucket>,
    requests: Option<Bucket>,
    concurrent: Option<Arc<Semaphore>>,
    above: Option<Arc<Limits>>,
}

/// A request under way; it counts until it is dropped.
#[derive(Default)]
pub struct Place(#[allow(dead_code, reason = "held, not read")] Vec<OwnedSemaphorePermit>);

impl Limits {
    /// These rates, and those of `above` as well.
    pub fn new(rates: Rates, clock: Arc<dyn Clock>, above: Option<Arc<Limits>>) -> Arc<Limits> {
        let bucket = |rate: Option<u64>| rate.filter(|n| *n > 0).map(Bucket::new);
        Arc::new(Limits {
            clock,
            up: bucket(rates.upload_bytes),
            down: bucket(rates.download_bytes),
            requests: bucket(rates.requests),
            concurrent: rates
                .concurrent
                .filter(|n| *n > 0)
                .map(|n| Arc::new(Semaphore::new(n as usize))),
            above,
        })
    }

    /// None at all.
    pub fn none(clock: Arc<dyn Clock>) -> Arc<Limits> {
        Limits::new(Rates::default(), clock, None)
    }

    fn chain(&self) -> impl Iterator<Item = &Limits> {
        std::iter::successors(Some(self), |limits| limits.above.as_deref())
    }

    /// Waits until one more request may begin.
    pub async fn begin(&self) -> Place {
        if is_urgent() {
            return Place::default();
        }
        let mut held = Vec::new();
        for limits in self.chain() {
            if let Some(places) = &limits.concurrent {
                let permit = Arc::clone(places).acquire_owned().await;
                held.extend(permit.ok());
            }
        }
        for limits in self.chain() {
            if let Some(bucket) = &limits.requests {
                bucket.take(1, &*limits.clock).await;
            }
        }
        Place(held)
    }

    /// How many bytes to ask for at a time, so that everybody gets a turn every now and then: a fiftieth of a second's, up to `most`.
    pub fn block(&self, direction: Direction, most: u64) -> u64 {
        let rates = self.chain().filter_map(|limits| {
            let bucket = match direction {
                Direction::Up => limits.up.as_ref(),
                Direction::Down => limits.down.as_ref(),
            };
            Some((bucket?.per_second / 50).max(1024))
        });
        rates.fold(most, u64::min)
    }

    /// Waits until `bytes` more may pass.
    pub async fn pass(&self, direction: Direction, bytes: u64) {
        if is_urgent() {
            return;
        }
        for limits in self.chain() {
            let bucket = match direction {
                Direction::Up => &limits.up,
                Direction::Down => &limits.down,
            };
            if let Some(bucket) = bucket {
                bucket.take(bytes, &*limits.clock).await;
            }
        }
    }

    /// Whether bytes in that direction are limited at all.
    pub fn is_limited(&self, direction: Direction) -> bool {
        !is_urgent()
            && self.chain().any(|limits| match direction {
                Direction::Up => limits.up.is_some(),
                Direction::Down => limits.down.is_some(),
            })
    }
}

tokio::task_local! {
    static URGENT: ();
}

/// Does something small that must not wait behind everything else: its requests are not limited.
pub async fn urgent<T>(work: impl Future<Output = T>) -> T {
    URGENT.scope((), work).await
}

fn is_urgent() -> bool {
    URGENT.try_with(|()| ()).is_ok()
}

/// Units that pass at a steady rate: each take reserves its own stretch of time behind the one before.
struct Bucket {
    per_second: u64,
    /// When the next unit may pass.
    next: Mutex<Monotonic>,
}

/// What was not used may be made up for, as far as this.
const BURST: Duration = Duration::from_millis(100);

impl Bucket {
    fn new(per_second: u64) -> Bucket {
        Bucket {
            per_second,
            next: Mutex::new(Monotonic::default()),
        }
    }

    async fn take(&self, units: u64, clock: &dyn Clock) {
        let wait = self.reserve(units, clock.monotonic());
        if !wait.is_zero() {
            clock.sleep_async(wait).await;
        }
    }

    /// How long to wait from `now` until these units have passed.
    fn reserve(&self, units: u64, now: Monotonic) -> Duration {
        let mut next = self.next.lock();
        let earliest = Monotonic(now.0.saturating_sub(BURST));
        let begin = (*next).max(earliest);
        *next = begin + Duration::from_secs_f64(units as f64 / self.per_second as f64);
        next.since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_in_any_second_is_the_rate_and_the_burst() {
        let bucket = Bucket::new(1000);
        let start = Monotonic(Duration::from_secs(100));
        let mut now = start;
        let mut passed = Vec::new();
        for _ in 0..40 {
            let wait = bucket.reserve(100, now);
            now = now + wait;
            passed.push(now);
        }
        let within = |from: Duration| {
            let from = start + from;
            passed
                .iter()
                .filter(|at| at.since(from) < Duration::from_secs(1) && **at >= from)
                .count() as u64
                * 100
        };
        for millis in (0..2000).step_by(50) {
            let sent = within(Duration::from_millis(millis));
            assert!((900..=1100).contains(&sent), "{sent} from {millis} ms");
        }
    }

    #[tokio::test]
    async fn the_limit_above_counts_for_all_below() {
        let clock = crate::env::real::env().clock;
        let rates = Rates {
            concurrent: Some(1),
            ..Rates::default()
        };
        let above = Limits::new(rates, Arc::clone(&clock), None);
        let one = Limits::new(
            Rates::default(),
            Arc::clone(&clock),
            Some(Arc::clone(&above)),
        );
        let two = Limits::new(Rates::default(), clock, Some(above));
        let place = one.begin().await;
        let mut waiting = std::pin::pin!(two.begin());
        assert!(
            futures_util::future::poll_immediate(&mut waiting)
                .await
                .is_none()
        );
        drop(place);
        waiting.await;
    }

    #[tokio::test]
    async fn what_is_urgent_waits_for_nobody() {
        let clock = crate::env::real::env().clock;
        let rates = Rates {
            concurrent: Some(1),
            upload_bytes: Some(100_000),
            ..Rates::default()
        };
        let limits = Limits::new(rates, clock, None);
        let _place = limits.begin().await;
        assert!(limits.is_limited(Direction::Up));
        urgent(async {
            assert!(!limits.is_limited(Direction::Up));
            let begun = futures_util::future::poll_immediate(limits.begin()).await;
            assert!(begun.is_some());
        })
        .await;
        assert_eq!(limits.block(Direction::Up, 1 << 18), 2000);
        assert_eq!(limits.block(Direction::Down, 1 << 18), 1 << 18);
    }
}
