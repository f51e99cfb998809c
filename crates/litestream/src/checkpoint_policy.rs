//! Checkpoint now, and how? A pure decision.

use std::time::Duration;

use ltx::PageSize;

/// WAL content at which attempts begin whatever its number of pages.
const TRIGGER_BYTES: u64 = 16 << 20;
/// WAL content above which writers that commit without a pause may be held up for a moment to empty it.
const BARRIER_FAST_BYTES: u64 = 20 << 20;
/// The same for writers that leave pauses: a lucky moment is worth waiting for.
const BARRIER_BYTES: u64 = 48 << 20;
/// Commits so dense that an attempt without a barrier can't succeed, in frames per second.
const FAST_FRAMES_PER_SECOND: f64 = 4000.0;
/// Wait after a failed attempt, doubled with each.
const RETRY_MIN: Duration = Duration::from_millis(10);
/// Longest wait after failed attempts while a reader keeps frames in use: more of them change nothing.
const RETRY_STUCK_MAX: Duration = Duration::from_secs(5);
/// Longest wait after attempts during which commits fell in: another may be luckier.
const RETRY_MAX: Duration = Duration::from_millis(200);

/// What the decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// Committed frames in the WAL.
    pub frames: u32,
    /// Of these, in the database file.
    pub backfilled: u32,
    /// Page size of the database.
    pub page_size: PageSize,
    /// `min-checkpoint-page-count`.
    pub page_count_min: u32,
    /// Frames committed per second lately.
    pub frames_per_second: f64,
    /// Attempts since the last complete one.
    pub failures: u32,
    /// A reader kept frames in use at the last attempt, or the disk was too slow: what does not change soon.
    pub stuck: bool,
    /// Time since the last attempt.
    pub since_attempt: Duration,
    /// Time since the last complete checkpoint (or start).
    pub since_complete: Duration,
    /// `checkpoint-interval`; zero: never by time.
    pub interval: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing now.
    No,
    /// Without holding anybody up: complete only if no commit falls in between.
    Quiet,
    /// And if that leaves something, hold writers up for a moment.
    Barrier,
}

impl Inputs {
    /// Frames at which attempts begin.
    fn trigger(&self) -> u32 {
        self.page_count_min.min(self.pages(TRIGGER_BYTES)).max(1)
    }

    /// Frames at which writers may be held up.
    fn barrier(&self) -> u32 {
        let (factor, bytes) = if self.is_fast() {
            (5, BARRIER_FAST_BYTES)
        } else {
            (12, BARRIER_BYTES)
        };
        self.trigger()
            .saturating_mul(factor)
            .min(self.pages(bytes))
            .max(self.trigger())
    }

    fn pages(&self, bytes: u64) -> u32 {
        (bytes / u64::from(self.page_size.get())) as u32
    }

    fn is_fast(&self) -> bool {
        self.frames_per_second > FAST_FRAMES_PER_SECOND
    }

    /// Decides.
    pub fn plan(&self) -> Plan {
        if self.frames == self.backfilled {
            return Plan::No;
        }
        let retry = RETRY_MIN
            .saturating_mul(1 << self.failures.min(10))
            .min(if self.stuck {
                RETRY_STUCK_MAX
            } else {
                RETRY_MAX
            });
        if self.failures > 0 && self.since_attempt < retry {
            return Plan::No;
        }
        let due = !self.interval.is_zero() && self.since_complete >= self.interval;
        if self.frames >= self.barrier() {
            Plan::Barrier
        } else if due || (self.frames >= self.trigger() && !self.is_fast()) {
            Plan::Quiet
        } else {
            Plan::No
        }
    }

    /// When it may be time to decide again, seen from now, while commits keep coming at this rate.
    pub fn next_look(&self) -> Duration {
        const LOOK_MIN: Duration = Duration::from_millis(2);
        const LOOK_FAST_MAX: Duration = Duration::from_millis(10);
        const LOOK_MAX: Duration = Duration::from_millis(250);
        let longest = if self.is_fast() {
            LOOK_FAST_MAX
        } else {
            LOOK_MAX
        };
        let goal = if self.is_fast() || self.frames >= self.trigger() {
            self.barrier()
        } else {
            self.trigger()
        };
        let left = f64::from(goal.saturating_sub(self.frames));
        if self.frames_per_second < 1.0 {
            return LOOK_MAX;
        }
        Duration::try_from_secs_f64(left / self.frames_per_second)
            .unwrap_or(LOOK_MAX)
            .clamp(LOOK_MIN, longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(frames: u32, rate: f64) -> Inputs {
        Inputs {
            frames,
            backfilled: 0,
            page_size: PageSize::new(4096).expect("valid"),
            page_count_min: 1000,
            frames_per_second: rate,
            failures: 0,
            stuck: false,
            since_attempt: Duration::from_secs(100),
            since_complete: Duration::from_secs(1),
            interval: Duration::from_mins(1),
        }
    }

    #[test]
    fn small_wals_are_left_alone_until_the_interval() {
        assert_eq!(inputs(999, 10.0).plan(), Plan::No);
        assert_eq!(inputs(1000, 10.0).plan(), Plan::Quiet);
        assert_eq!(
            Inputs {
                since_complete: Duration::from_mins(1),
                ..inputs(1, 0.0)
            }
            .plan(),
            Plan::Quiet
        );
        assert_eq!(
            Inputs {
                since_complete: Duration::MAX,
                interval: Duration::ZERO,
                ..inputs(1, 0.0)
            }
            .plan(),
            Plan::No
        );
        assert_eq!(
            Inputs {
                backfilled: 999,
                ..inputs(999, 0.0)
            }
            .plan(),
            Plan::No
        );
    }

    #[test]
    fn writers_are_held_up_only_for_a_large_wal() {
        assert_eq!(inputs(11_999, 10.0).plan(), Plan::Quiet);
        assert_eq!(inputs(12_000, 10.0).plan(), Plan::Barrier);
        assert_eq!(inputs(4999, 1e5).plan(), Plan::No);
        assert_eq!(inputs(5000, 1e5).plan(), Plan::Barrier);
    }

    #[test]
    fn large_pages_count_by_bytes() {
        let big = |frames, rate| Inputs {
            page_size: PageSize::new(65536).expect("valid"),
            ..inputs(frames, rate)
        };
        assert_eq!(big(255, 10.0).plan(), Plan::No);
        assert_eq!(big(256, 10.0).plan(), Plan::Quiet);
        assert_eq!(big(320, 1e5).plan(), Plan::Barrier);
        assert_eq!(big(768, 10.0).plan(), Plan::Barrier);
    }

    #[test]
    fn failures_back_off() {
        let failed = |n, ms, stuck| {
            Inputs {
                failures: n,
                stuck,
                since_attempt: Duration::from_millis(ms),
                ..inputs(15_000, 10.0)
            }
            .plan()
        };
        assert_eq!(failed(1, 19, false), Plan::No);
        assert_eq!(failed(1, 20, false), Plan::Barrier);
        assert_eq!(failed(30, 200, false), Plan::Barrier);
        assert_eq!(failed(30, 4999, true), Plan::No);
        assert_eq!(failed(30, 5000, true), Plan::Barrier);
    }
}
