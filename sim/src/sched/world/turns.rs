//! Whose turn it is: by lot among those that can run, the dying before all others, and nobody at the end.

use super::{Fiber, Next, State, World};
use crate::sched::{FiberId, Process};

impl World {
    /// Takes one of the runnable, by lot; one that has waited long comes first.
    pub(super) fn pick(&mut self) -> Option<FiberId> {
        let count = self.runnable.len() as u64;
        let (oldest, &(_, since)) = self
            .runnable
            .iter()
            .enumerate()
            .min_by_key(|(_, (_, since))| *since)?;
        let lot = if count == 1 || self.report.switches - since > 32 + 8 * count {
            oldest
        } else {
            self.random.below(count) as usize
        };
        Some(self.runnable.remove(lot).0)
    }

    /// Nobody can run: time jumps to the next deadline. `false` if there is none.
    fn jump(&mut self) -> bool {
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        let sleeper = self.sleepers.first().map(|(at, _)| *at);
        let Some(deadline) = timer.into_iter().chain(sleeper).min() else {
            return false;
        };
        self.now = self.now.max(deadline);
        self.wake_due();
        true
    }

    /// Who runs now.
    pub(in super::super) fn decide(&mut self) -> Next {
        loop {
            if let Some(id) = self.agenda.pop_front().or_else(|| self.next.take()) {
                if matches!(self.fiber(id).state, State::Ended | State::Leaked) {
                    continue;
                }
                return self.give_turn(id);
            }
            if self.ending {
                return Next::End;
            }
            self.report.steps_exceeded = self.report.steps > self.config.steps_max;
            if self.report.steps_exceeded || self.fibers[0].state == State::Ended {
                self.end_all();
            } else if self.is_timer_due() {
                return Next::Ring;
            } else if let Some(id) = self.pick() {
                return self.give_turn(id);
            } else if !self.jump() {
                self.report.deadlock = Some(self.who_waits());
                self.end_all();
            }
        }
    }

    fn give_turn(&mut self, id: FiberId) -> Next {
        self.report.switches += 1;
        self.streak = 0;
        self.current = Some(id);
        self.fiber(id).state = State::Running;
        self.trace(0x5357_4954 ^ (u64::from(id.0) << 32));
        Next::Run(id)
    }

    pub(in super::super) fn who_waits(&self) -> String {
        let waiting = self
            .fibers
            .iter()
            .filter(|f| !matches!(f.state, State::Ended));
        let lines: Vec<String> = waiting
            .map(|f| match f.waits_at {
                Some(at) => format!("{} (process {}) at {at}", f.name, f.process.0),
                None => format!("{} (process {})", f.name, f.process.0),
            })
            .collect();
        lines.join("; ")
    }

    /// Calls the fibers of a process, so that they die one after the other before anybody else runs, then the running one.
    pub(in super::super) fn kill(&mut self, process: Process) {
        if !self.dead.contains(&process) {
            self.dead.push(process);
        }
        self.call_dead(|fiber| fiber.process == process);
        if let Some(me) = self.current {
            self.fiber(me).state = State::Called;
            self.agenda.push_back(me);
        }
    }

    fn end_all(&mut self) {
        self.ending = true;
        self.call_dead(|_| true);
        // The stage manager goes last: what it holds may be needed by those who clean up.
        if self.agenda.front() == Some(&FiberId(0)) {
            self.agenda.rotate_left(1);
        }
    }

    fn call_dead(&mut self, belongs: impl Fn(&Fiber) -> bool) {
        for index in 0..self.fibers.len() {
            let id = FiberId(index as u32);
            let fiber = &mut self.fibers[index];
            if !belongs(fiber) || matches!(fiber.state, State::Ended | State::Leaked) {
                continue;
            }
            fiber.dead = true;
            fiber.state = State::Called;
            if let Some(deadline) = fiber.deadline.take() {
                self.sleepers.remove(&(deadline, id));
            }
            self.agenda.push_back(id);
        }
        let fibers = &self.fibers;
        self.runnable.retain(|(id, _)| !fibers[id.0 as usize].dead);
    }
}
