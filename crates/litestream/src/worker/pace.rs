//! When a worker looks at its database again, and what it waits for until then.

use std::time::Duration;

use litestream_replica::env::Monotonic;

use super::Worker;
use super::drive::Rest;
use crate::sqlite::WalState;

/// Waits after an event whose commit is not published yet: SQLite writes frames first, then (perhaps after an fsync) the header.
pub(super) const SETTLE: [Duration; 6] = [
    Duration::from_micros(100),
    Duration::from_micros(400),
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(10),
    Duration::from_millis(30),
];

/// Between two slices of a ledger that is built.
const BUILD_PAUSE: Duration = Duration::from_millis(20);
/// First look at a busy WAL after an event; doubled with each further look.
const LOOK_MIN: Duration = Duration::from_millis(5);
/// Longest time between looks at a WAL with something to stage or checkpoint.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Time between looks at an idle database whose files are watched.
const IDLE_LOOK: Duration = Duration::from_secs(10);
/// The same where nothing has happened for long.
const IDLE_LOOK_MAX: Duration = Duration::from_mins(1);

/// What to wait for next, and for how long.
enum Next {
    /// Time and commands.
    Quiet(Duration),
    /// Events too.
    Event(Duration),
    /// The same, but no thread is needed for it.
    Idle(Duration),
}

/// Frames committed per second, smoothed over about a tenth of a second.
#[derive(Default)]
pub(super) struct Rate {
    seen: Option<(Monotonic, crate::wal::Salts, u32)>,
    pub(super) frames_per_second: f64,
}

impl Rate {
    pub(super) fn note(&mut self, now: Monotonic, state: &WalState) {
        if let Some((at, salts, frames)) = self.seen {
            let passed = now.since(at).as_secs_f64();
            if passed < 0.001 {
                return;
            }
            let new = if salts == state.salts {
                state.frames.saturating_sub(frames)
            } else {
                state.frames
            };
            let weight = (passed / 0.1).min(1.0);
            self.frames_per_second += (f64::from(new) / passed - self.frames_per_second) * weight;
        }
        self.seen = Some((now, state.salts, state.frames));
    }
}

impl Worker {
    /// Works until there is nothing to do for a while, or until closed. `woken`: a wait without a thread has ended, by an event or not.
    pub(super) fn run_until_idle(&mut self, woken: Option<bool>) -> Rest {
        if let Some(by_event) = woken {
            self.look(by_event);
        }
        loop {
            if let Some(rest) = self.obey_all() {
                return rest;
            }
            let changed = match self.next_wait() {
                Next::Idle(limit) => return Rest::Idle(limit),
                Next::Quiet(limit) => {
                    let _ = self.watcher.wait_quiet(Some(limit));
                    false
                }
                Next::Event(limit) => self.watcher.wait(Some(limit)).unwrap_or(false),
            };
            self.after_wait(changed);
        }
    }

    /// One look, for which nobody waits: [`Rest::Busy`] if there is more to do.
    pub(super) fn look_once(&mut self) -> Rest {
        self.look(false);
        if let Some(rest) = self.obey_all() {
            return rest;
        }
        match self.next_wait() {
            Next::Idle(limit) => Rest::Idle(limit),
            Next::Quiet(_) | Next::Event(_) => Rest::Busy,
        }
    }

    /// After a wait without a thread, which uses no event up.
    fn look(&mut self, by_event: bool) {
        let changed = self.watcher.wait(Some(Duration::ZERO)).unwrap_or(false);
        self.after_wait(changed || by_event);
    }

    fn after_wait(&mut self, changed: bool) {
        if changed {
            self.state.event_at = Some(self.env.clock.monotonic());
            self.state.settle = 0;
            self.state.look = LOOK_MIN;
        }
        self.tick();
    }

    /// What to wait for until there is a reason to look again.
    fn next_wait(&mut self) -> Next {
        let now = self.env.clock.monotonic();
        let interval = self.settings.monitor_interval;
        let Some(database) = &mut self.state.database else {
            let left = self
                .state
                .opened_at
                .map_or(Duration::ZERO, |at| interval.saturating_sub(now.since(at)));
            return Next::Quiet(left);
        };
        let calm = self.state.trouble_since.is_none();
        let build_wait = database.build_wait().filter(|_| calm);
        if build_wait == Some(Duration::ZERO) {
            return Next::Quiet(BUILD_PAUSE);
        }
        let Ok(state) = database.state() else {
            return Next::Quiet(Duration::ZERO);
        };
        if database.is_behind(&state) || state.frames != state.backfilled {
            let behind = database.is_behind(&state);
            let mut left = interval;
            if behind {
                left = left.min(self.capture_wait(now));
            }
            if let Ok(Some(inputs)) = self.policy_inputs(now)
                && self.state.rate.frames_per_second >= 1.0
            {
                left = left.min(inputs.next_look());
            }
            // A burst that has just begun shows in no rate yet.
            left = left.min(self.state.look);
            self.state.look = self
                .state
                .look
                .saturating_mul(2)
                .min(LOOK_MAX)
                .max(LOOK_MIN);
            if behind {
                // Changes are known; nothing is gained by waking for each.
                return Next::Quiet(left);
            }
            return self.change_or_settle(left);
        }
        if self
            .state
            .attempt_at
            .is_none_or(|at| now.since(at) >= IDLE_LOOK)
        {
            database.rest();
        }
        // Whatever happens to the files is told; what happens to the folders above them is not.
        // A commit is published some time after its last write, and without an event.
        let since = |at: Option<Monotonic>| at.map(|at| now.since(at));
        // Without any event it has been quiet from the start.
        let quiet_for = since(self.state.event_at)
            .or_else(|| since(self.state.opened_at).map(|quiet| quiet.max(IDLE_LOOK)))
            .unwrap_or(IDLE_LOOK);
        let limit = if self.watcher.is_sure() && quiet_for >= IDLE_LOOK {
            interval.max(quiet_for.min(IDLE_LOOK_MAX))
        } else {
            interval
        };
        let limit = build_wait.map_or(limit, |left| limit.min(left.max(BUILD_PAUSE)));
        self.change_or_settle(limit)
    }

    fn change_or_settle(&mut self, limit: Duration) -> Next {
        // Shortly after an event the commit may not be published yet: look again soon, then rely on events.
        let settling = SETTLE.get(self.state.settle).copied();
        self.state.settle = self.state.settle.saturating_add(1);
        match settling {
            Some(pause) => Next::Quiet(pause.min(limit)),
            None if limit >= IDLE_LOOK => Next::Idle(limit),
            None => Next::Event(limit),
        }
    }
}
