//! The state of one episode: its fibers, the time, who may run next. Pure; no fiber runs while it is borrowed.

mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::Location;
use std::task::Waker;

use super::random::{Random, mix};
use super::switch::Stack;
use super::{Config, FiberId, Nanos, Process, Report};

/// What each step takes, so that a loop that polls the clock ends.
const STEP_NANOS: Nanos = 1_000;
/// Nobody runs longer than this while others could.
const STREAK_MAX: u32 = 4_096;
/// 2026-01-01, when every episode begins.
const WALL_START_MILLIS: i64 = 1_767_225_600_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In `runnable`, since so many switches.
    Runnable,
    Running,
    /// Waits for `unpark`, and for its deadline if it has one.
    Parked,
    /// In `agenda`.
    Called,
    Ended,
    /// Did not end although dead; never resumed again.
    Leaked,
}

/// What to do now.
pub(super) enum Next {
    Run(FiberId),
    /// Wake those whose timers are due, which may call back into the world.
    Ring,
    End,
}

pub(super) struct Fiber {
    pub(super) name: String,
    pub(super) process: Process,
    pub(super) state: State,
    pub(super) stack: Option<Stack>,
    /// An `unpark` that nobody has waited for yet.
    pub(super) token: bool,
    pub(super) dead: bool,
    pub(super) panicked: bool,
    /// Calls since its death or panic.
    pub(super) futile: u32,
    waits_at: Option<&'static Location<'static>>,
    deadline: Option<Nanos>,
    joiners: Vec<FiberId>,
}

pub(super) struct World {
    pub(super) episode: u64,
    pub(super) config: Config,
    pub(super) current: Option<FiberId>,
    pub(super) random: Random,
    pub(super) now: Nanos,
    pub(super) report: Report,
    pub(super) fibers: Vec<Fiber>,
    /// By number, so that the order in which several were woken in one step makes no difference; each with the number of
    /// switches at that time.
    runnable: Vec<(FiberId, u64)>,
    /// Run before all else, in this order: the dying, then who killed them.
    agenda: VecDeque<FiberId>,
    sleepers: BTreeSet<(Nanos, FiberId)>,
    timers: BTreeMap<(Nanos, u64), Waker>,
    timers_made: u64,
    next: Option<FiberId>,
    /// Is given the turn at the next step.
    urgent: Option<FiberId>,
    dead: Vec<Process>,
    ending: bool,
    streak: u32,
    wall_offset_millis: i64,
}

impl World {
    pub(super) fn new(episode: u64, config: Config) -> World {
        World {
            episode,
            current: None,
            random: Random::new(config.seed),
            now: 0,
            report: Report {
                trace_hash: mix(config.seed),
                ..Report::default()
            },
            config,
            fibers: Vec::new(),
            runnable: Vec::new(),
            agenda: VecDeque::new(),
            sleepers: BTreeSet::new(),
            timers: BTreeMap::new(),
            timers_made: 0,
            next: None,
            urgent: None,
            dead: Vec::new(),
            ending: false,
            streak: 0,
            wall_offset_millis: 0,
        }
    }

    pub(super) fn fiber(&mut self, id: FiberId) -> &mut Fiber {
        &mut self.fibers[id.0 as usize]
    }

    pub(super) fn running(&mut self) -> Option<&mut Fiber> {
        let id = self.current?;
        Some(self.fiber(id))
    }

    /// A new fiber that waits for its first turn; already ended in a dead process.
    pub(super) fn add(&mut self, process: Process, name: &str) -> FiberId {
        let id = FiberId(self.fibers.len() as u32);
        let dead = self.ending || self.dead.contains(&process);
        self.fibers.push(Fiber {
            name: name.to_owned(),
            process,
            state: if dead { State::Ended } else { State::Parked },
            stack: None,
            token: false,
            dead,
            panicked: false,
            futile: 0,
            waits_at: None,
            deadline: None,
            joiners: Vec::new(),
        });
        if !dead {
            self.make_runnable(id);
        }
        id
    }

    fn make_runnable(&mut self, id: FiberId) {
        let fiber = self.fiber(id);
        fiber.state = State::Runnable;
        if let Some(deadline) = fiber.deadline.take() {
            self.sleepers.remove(&(deadline, id));
        }
        let at = self.runnable.partition_point(|(other, _)| *other < id);
        self.runnable.insert(at, (id, self.report.switches));
    }

    pub(super) fn trace(&mut self, tag: u64) {
        let hash = self.report.trace_hash;
        self.report.trace_hash = mix(hash.rotate_left(5) ^ tag);
    }

    /// One step of the running fiber. `true` if it has to leave.
    pub(super) fn step(&mut self, tag: u64) -> bool {
        let Some(id) = self.current else {
            return false;
        };
        self.count(id, tag);
        if self.report.steps > self.config.steps_max || self.is_timer_due() {
            self.make_runnable(id);
            return true;
        }
        if let Some(urgent) = self.urgent.take()
            && let Some(at) = self.runnable.iter().position(|(other, _)| *other == urgent)
        {
            self.runnable.remove(at);
            self.next = Some(urgent);
            self.make_runnable(id);
            return true;
        }
        if self.runnable.is_empty() {
            return false;
        }
        self.streak += 1;
        let chance = u64::from(self.config.switch_per_mille);
        if self.streak < STREAK_MAX && (chance == 0 || self.random.below(1000) >= chance) {
            return false;
        }
        self.next = self.pick();
        self.make_runnable(id);
        true
    }

    fn count(&mut self, id: FiberId, tag: u64) {
        self.report.steps += 1;
        self.now += STEP_NANOS;
        self.trace(tag ^ (u64::from(id.0 + 1) << 48));
        self.wake_due();
    }

    /// Begins a wait of the running fiber. `false` if it need not wait.
    pub(super) fn park(
        &mut self,
        deadline: Option<Nanos>,
        at: &'static Location<'static>,
    ) -> Option<FiberId> {
        let id = self.current?;
        self.count(id, 0x5041_524b);
        if std::mem::take(&mut self.fiber(id).token) {
            return None;
        }
        let fiber = self.fiber(id);
        fiber.state = State::Parked;
        fiber.waits_at = Some(at);
        fiber.deadline = deadline;
        if let Some(deadline) = deadline {
            self.sleepers.insert((deadline, id));
        }
        Some(id)
    }

    pub(super) fn unpark(&mut self, id: FiberId) {
        let fiber = self.fiber(id);
        match fiber.state {
            State::Ended | State::Leaked => {}
            State::Parked => {
                fiber.token = true;
                self.make_runnable(id);
            }
            State::Runnable | State::Running | State::Called => fiber.token = true,
        }
    }

    /// See [`super::cut_in`].
    pub(super) fn cut_in(&mut self, id: FiberId) {
        self.unpark(id);
        self.urgent = Some(id);
    }

    /// Unparks the running fiber when `id` has ended. `false` if it has.
    pub(super) fn tell_end(&mut self, id: FiberId) -> bool {
        let Some(me) = self.current else { return false };
        let fiber = self.fiber(id);
        if matches!(fiber.state, State::Ended | State::Leaked) {
            return false;
        }
        if !fiber.joiners.contains(&me) {
            fiber.joiners.push(me);
        }
        true
    }

    pub(super) fn set_state(&mut self, id: FiberId, end: State) {
        let fiber = self.fiber(id);
        fiber.state = end;
        for joiner in std::mem::take(&mut fiber.joiners) {
            self.unpark(joiner);
        }
    }

    /// Sets or changes a timer; gives back its former waker, to be dropped where that may call back.
    pub(super) fn set_timer(&mut self, timer: (Nanos, u64), waker: Waker) -> Option<Waker> {
        self.timers.insert(timer, waker)
    }

    pub(super) fn clear_timer(&mut self, timer: (Nanos, u64)) -> Option<Waker> {
        self.timers.remove(&timer)
    }

    pub(super) fn number_timer(&mut self) -> u64 {
        self.timers_made += 1;
        self.timers_made
    }

    fn is_timer_due(&self) -> bool {
        let first = self.timers.first_key_value();
        first.is_some_and(|((deadline, _), _)| *deadline <= self.now)
    }

    /// Takes the first timer that is due.
    pub(super) fn due_timer(&mut self) -> Option<Waker> {
        if self.is_timer_due() {
            return self.timers.pop_first().map(|(_, waker)| waker);
        }
        None
    }

    fn wake_due(&mut self) {
        while let Some(&(deadline, id)) = self.sleepers.first() {
            if deadline > self.now {
                return;
            }
            self.make_runnable(id);
        }
    }

    pub(super) fn wall_millis(&self) -> i64 {
        let passed = (self.now / 1_000_000) as i64;
        WALL_START_MILLIS + passed + self.wall_offset_millis
    }

    pub(super) fn step_wall(&mut self, delta_millis: i64) {
        self.wall_offset_millis = self.wall_offset_millis.saturating_add(delta_millis);
    }
}
