//! What all calls have in common: sent, under way, answered.
//!
//! Promise: a change is on its way from the moment it is sent; if its caller dies or stops waiting, it arrives or not as the profile
//! permits. Nothing is awaited with the lock held.

use std::time::Duration;

use litestream_replica::faulty::{Op, When};
use litestream_replica::{Error, ErrorKind, Level, Replica, Result};
use ltx::Txid;
use xxhash_rust::xxh3::xxh3_64;

use super::profile::{Failure, Profile};
use super::store::{Change, Ticket};
use super::verdict::{Quirk, Verdict, between, decide, ordered};
use super::{SimReplica, count, vanish};
use crate::sched::{self, Nanos};

/// A call that was sent.
pub(super) struct Call {
    pub(super) op: Op,
    number: u64,
    pub(super) tag: u64,
    pub(super) verdict: Verdict,
    /// When it was sent.
    pub(super) sent: Nanos,
    pub(super) profile: Profile,
}

impl Call {
    /// When the answer comes to a call that carries so many bytes.
    pub(super) fn answer(&self, bytes: u64) -> Nanos {
        let carried = bytes / 1024 * self.profile.nanos_per_kib;
        self.sent + self.verdict.latency + carried
    }

    /// Some time before the answer.
    fn effect(&self, answer: Nanos) -> Nanos {
        between(self.sent + 1, answer.max(self.sent + 1))
    }

    /// Fails before it does anything.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.verdict.failure, Some((_, When::Before)))
    }

    /// The times at which a change takes effect.
    pub(super) fn effects(&self, answer: Nanos) -> Vec<Nanos> {
        if self.is_refused() {
            return Vec::new();
        }
        match self.verdict.quirk {
            Quirk::Late(by) => vec![answer + by],
            Quirk::Repeated(by) => vec![self.effect(answer), answer + by],
            Quirk::Lost => Vec::new(),
            _ => vec![self.effect(answer)],
        }
    }
}

/// Changes whose sender still waits for the answer.
pub(super) struct Flight<'a> {
    replica: &'a SimReplica,
    tickets: Vec<Ticket>,
    /// They arrive even if nobody waits for them any more.
    arrives: bool,
}

impl Flight<'_> {
    fn landed(mut self) {
        self.tickets.clear();
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.arrives {
            let mut state = self.replica.shared.lock();
            for ticket in self.tickets.drain(..) {
                state.store.cancel(ticket);
            }
        }
    }
}

fn verb(op: Op) -> &'static str {
    match op {
        Op::List => "list",
        Op::Read => "read",
        Op::Write => "write",
        Op::Delete => "delete",
    }
}

/// The dead do nothing any more. Those that unwind are told that they were stopped.
pub(super) fn alive(op: Op) -> Result<()> {
    let stopped = |_| Error::new(ErrorKind::Interrupted, verb(op), "", "the process is dead");
    sched::die_if_dead().map_err(stopped)
}

/// What the trace remembers of a call.
pub(super) fn tag(op: Op, level: Level, min: Txid, max: Txid) -> u64 {
    let op = match op {
        Op::List => 0x51,
        Op::Read => 0x52,
        Op::Write => 0x53,
        Op::Delete => 0x54,
    };
    [u64::from(level.get()), min.get(), max.get()]
        .into_iter()
        .fold(op, |tag: u64, part| {
            (tag ^ part)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(23)
        })
}

/// The same for a call that concerns Litestream 0.3.
pub(super) fn tag_v3(op: Op, path: &str) -> u64 {
    tag(op, Level::SNAPSHOT, Txid::ZERO, Txid::ZERO) ^ xxh3_64(path.as_bytes())
}

impl SimReplica {
    pub(super) fn begin(&self, op: Op, tag: u64) -> Result<Call> {
        alive(op)?;
        sched::yield_point(tag);
        alive(op)?;
        let call = {
            let mut state = self.shared.lock();
            let sent = state.advance();
            state.calls += 1;
            state.ops.push(op);
            count(&mut state.counts, op);
            let number = state.calls;
            let profile = state.profile.clone();
            let mut verdict = if let Some((failure, when)) = state.ordered.remove(&number) {
                ordered(&profile, failure, when)
            } else if sent < state.outage_until {
                let failure = if sched::chance(250) {
                    Failure::Timeout
                } else {
                    Failure::Unavailable
                };
                ordered(&profile, failure, When::Before)
            } else {
                decide(op, &profile, &state.faults)
            };
            verdict.latency += state.delay;
            if profile.vanishing && sched::chance(state.faults.vanish) {
                let level = Level::new(sched::below(20) as u8);
                vanish(&mut state, level);
            }
            Call {
                op,
                number,
                tag,
                verdict,
                sent,
                profile,
            }
        };
        self.stop_here(&call, When::Before);
        Ok(call)
    }

    /// The end of a call, after its effect.
    pub(super) fn end(&self, call: &Call) -> Result<()> {
        alive(call.op)?;
        sched::yield_point(call.tag ^ 1);
        alive(call.op)?;
        self.stop_here(call, When::After);
        match call.verdict.failure {
            None => Ok(()),
            Some((failure, _)) => self.fail(call, failure.kind(), failure.text()),
        }
    }

    pub(super) fn fail<T>(&self, call: &Call, kind: ErrorKind, text: &str) -> Result<T> {
        self.shared.lock().counts.failed += 1;
        let subject = format!("{} (call {})", self.location(), call.number);
        Err(Error::new(kind, verb(call.op), subject, text))
    }

    /// Stands still if that was ordered.
    fn stop_here(&self, call: &Call, when: When) {
        let stage = {
            let mut state = self.shared.lock();
            match &mut state.stop {
                Some(stop) if stop.number == call.number && stop.when == when => {
                    stop.reached = Some(sched::current());
                    stop.stage
                }
                _ => return,
            }
        };
        sched::unpark(stage);
        while self.stopped() && sched::die_if_dead().is_ok() {
            sched::park(None);
        }
    }

    pub(super) async fn wait_until(&self, time: Nanos) {
        let now = sched::now();
        if time > now {
            let wait = Duration::from_nanos(time - now);
            self.env.clock.sleep_async(wait).await;
        }
    }

    /// Sends changes, which take effect at these times, on behalf of a call that waits.
    pub(super) fn send(&self, call: &Call, changes: Vec<(Nanos, Change)>) -> Flight<'_> {
        let late = matches!(call.verdict.quirk, Quirk::Late(_));
        let arrives = call.profile.outlives_caller && (late || sched::chance(500));
        let mut state = self.shared.lock();
        let tickets = changes
            .into_iter()
            .map(|(due, change)| state.store.submit(due, change))
            .collect();
        Flight {
            replica: self,
            tickets,
            arrives,
        }
    }

    /// Waits for the answer, by when all that is due has happened.
    pub(super) async fn answered(
        &self,
        call: &Call,
        flight: Flight<'_>,
        answer: Nanos,
    ) -> Result<()> {
        self.wait_until(answer).await;
        alive(call.op)?;
        self.shared.lock().advance();
        flight.landed();
        Ok(())
    }
}
