//! What time it is for whoever asks how old a file is: a clock that was set forward makes nothing old.
//!
//! Promise: what was made less than `span` ago, by a clock that does not jump, is not older than `span` by [`Ages::now`], however the
//! wall clock was set meanwhile. What was made before the first look counts as made then or earlier, as far apart as its times say.
//! A wall clock that is right is believed again after `span` at the latest.

use std::collections::VecDeque;
use std::time::Duration;

use crate::env::{Monotonic, UnixMillis};

/// Differences that are not worth remembering: time passes between the making of a file and its arrival.
const TOLERANCE_MILLIS: i64 = 250;
/// Of more offsets than that the oldest become one.
const OFFSETS_MAX: usize = 256;

/// How far the wall clock was ahead of the monotonic one, and until when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offset {
    until: Monotonic,
    millis: i64,
}

/// How the wall clock went, seen from a clock that does not jump.
#[derive(Clone, Debug, Default)]
pub struct Ages {
    /// The smallest since each time: ascending in both.
    offsets: VecDeque<Offset>,
}

impl Ages {
    /// A look at both clocks; or a file that arrives now, with the time at which it was made.
    pub fn note(&mut self, wall: UnixMillis, now: Monotonic) {
        let millis = wall.0.saturating_sub(since_start(now));
        while self.offsets.back().is_some_and(|o| o.millis >= millis) {
            self.offsets.pop_back();
        }
        match self.offsets.back_mut() {
            Some(last) if millis - last.millis < TOLERANCE_MILLIS => last.until = now,
            _ => self.offsets.push_back(Offset { until: now, millis }),
        }
        if self.offsets.len() > OFFSETS_MAX {
            // Of two the smaller for as long as the later: nothing gets older by that.
            let first = self.offsets.pop_front();
            if let (Some(first), Some(second)) = (first, self.offsets.front_mut()) {
                second.millis = first.millis;
            }
        }
    }

    /// The time for whoever judges by an age of `span`, given what [`Ages::note`] was told last; `wall` if it was told nothing.
    pub fn now(&self, span: Duration, wall: UnixMillis, now: Monotonic) -> UnixMillis {
        let begin = Monotonic(now.0.saturating_sub(span));
        let within = self.offsets.iter().find(|o| o.until >= begin);
        let time = within.map(|o| o.millis.saturating_add(since_start(now)));
        UnixMillis(time.map_or(wall.0, |time| time.min(wall.0)))
    }
}

fn since_start(now: Monotonic) -> i64 {
    i64::try_from(now.0.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_795_202_257_123;
    const HOUR: i64 = 3_600_000;
    const DAY: Duration = Duration::from_hours(24);

    fn at(millis: i64) -> Monotonic {
        Monotonic(Duration::from_millis(millis as u64))
    }

    /// Noted every minute, with the wall clock ahead by this much at each time.
    fn noted(until: i64, ahead: impl Fn(i64) -> i64) -> Ages {
        let mut ages = Ages::default();
        for now in (0..=until).step_by(60_000) {
            ages.note(UnixMillis(START + now + ahead(now)), at(now));
        }
        ages
    }

    #[test]
    fn a_right_clock_is_believed() {
        let ages = noted(30 * HOUR, |_| 0);
        let now = UnixMillis(START + 30 * HOUR);
        assert_eq!(ages.now(DAY, now, at(30 * HOUR)), now);
        assert_eq!(Ages::default().now(DAY, now, at(5)), now);
    }

    #[test]
    fn a_clock_set_forward_makes_nothing_old_until_the_span_is_over() {
        let ahead = |now: i64| if now >= 30 * HOUR { 48 * HOUR } else { 0 };
        let believed = |now: i64| {
            let ages = noted(now, ahead);
            ages.now(DAY, UnixMillis(START + now + ahead(now)), at(now))
                .0
                - START
        };
        assert_eq!(believed(31 * HOUR), 31 * HOUR);
        assert_eq!(believed(53 * HOUR), 53 * HOUR);
        assert_eq!(believed(55 * HOUR), (55 + 48) * HOUR);
        let ages = noted(31 * HOUR, ahead);
        let wall = UnixMillis(START + 79 * HOUR);
        let short = Duration::from_mins(5);
        assert_eq!(ages.now(short, wall, at(31 * HOUR)), wall);
    }

    #[test]
    fn a_clock_that_was_behind_and_is_put_right_delays_for_one_span() {
        let ages = noted(30 * HOUR, |now| if now < HOUR { -48 * HOUR } else { 0 });
        let now = UnixMillis(START + 30 * HOUR);
        assert_eq!(ages.now(DAY, now, at(30 * HOUR)), now);
    }

    #[test]
    fn time_that_nobody_saw_does_not_count_until_it_can() {
        // The newest file of the replica is a week old when we begin.
        let mut ages = Ages::default();
        ages.note(UnixMillis(START - 7 * 24 * HOUR), at(0));
        for now in (0..=30 * HOUR).step_by(60_000) {
            ages.note(UnixMillis(START + now), at(now));
        }
        let believed = |span, now| ages.now(span, UnixMillis(START + now), at(now)).0 - START;
        assert_eq!(believed(DAY, 30 * HOUR), 30 * HOUR);
        assert_eq!(believed(DAY, 23 * HOUR), (23 - 7 * 24) * HOUR);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let drifting = noted(48 * HOUR, |now| now / 10);
        assert!(drifting.offsets.len() <= OFFSETS_MAX);
    }

    proptest! {
        #[test]
        fn what_is_young_stays_young(
            steps in prop::collection::vec((1..100_000i64, -400_000..400_000i64), 1..200),
            span in 0..2_000_000i64,
        ) {
            let (mut ages, mut now, mut ahead) = (Ages::default(), 0, 0);
            let mut made = Vec::new();
            for (pause, jump) in steps {
                now += pause;
                ahead += jump;
                let wall = UnixMillis(START + now + ahead);
                // The file is uploaded at once: it is seen whatever the clock does next.
                ages.note(wall, at(now));
                made.push((now, wall));
                let believed = ages.now(Duration::from_millis(span as u64), wall, at(now));
                prop_assert!(believed <= wall);
                for (then, created) in &made {
                    if now - then <= span {
                        prop_assert!(believed.0 - created.0 <= span, "made at {then}, judged at {now}");
                    }
                }
            }
        }
    }
}
