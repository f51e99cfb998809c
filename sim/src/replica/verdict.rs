//! What becomes of a call: decided once, when it is sent.
//!
//! Promise: no effect here; the seed, the rates, the profile and what was ordered for this call decide.

use litestream_replica::faulty::{Op, When};

use super::profile::{Failure, Faults, Profile};
use crate::sched::{self, Nanos};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// How it fails, and whether before its effect.
    pub(super) failure: Option<(Failure, When)>,
    /// How long until the answer, not counting what is carried.
    pub(super) latency: Nanos,
    /// How it lies or errs otherwise.
    pub(super) quirk: Quirk,
}

/// What a call does besides, or instead of, succeeding and failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quirk {
    None,
    /// Takes effect this long after its answer.
    Late(Nanos),
    /// Takes effect with its answer, and again this long after.
    Repeated(Nanos),
    /// Takes some of the files and fails.
    Partial,
    /// Takes none of the files, says that all is well.
    Lost,
    /// Shows each file as it was at most this long ago; all as at one time, or each as at its own.
    Stale {
        lag: Nanos,
        each: bool,
    },
    /// Shows some files twice.
    Duplicates,
    /// One bit of the answer is wrong.
    Flip,
}

/// Between the two, both included.
pub(super) fn between(from: Nanos, to: Nanos) -> Nanos {
    from + sched::below(to.saturating_sub(from) + 1)
}

/// Decides about a call for which nothing was ordered.
pub(super) fn decide(op: Op, profile: &Profile, faults: &Faults) -> Verdict {
    let latency = between(profile.latency.0, profile.latency.1);
    let mut verdict = Verdict {
        failure: None,
        latency,
        quirk: Quirk::None,
    };
    if sched::chance(faults.slow) {
        verdict.latency = between(latency, profile.timeout / 2);
    }
    if let Some(failure) = failure(op, profile, faults) {
        // Which of the two is a matter of luck for those who can't know.
        let when = if failure.is_ambiguous() && sched::chance(500) {
            When::After
        } else {
            When::Before
        };
        let may_be_late = op == Op::Write || op == Op::Delete;
        if when == When::After && may_be_late && profile.late_max > 0 && sched::chance(faults.late)
        {
            verdict.quirk = Quirk::Late(between(1, profile.late_max));
        }
        return failed(verdict, profile, failure, when);
    }
    verdict.quirk = match op {
        Op::List => list_quirk(profile, faults),
        Op::Read if profile.flips && sched::chance(faults.flip) => Quirk::Flip,
        Op::Write if profile.repeats && sched::chance(faults.repeated) => {
            Quirk::Repeated(between(1, profile.late_max))
        }
        Op::Delete => delete_quirk(profile, faults),
        Op::Read | Op::Write => Quirk::None,
    };
    verdict
}

/// Decides about a call that was ordered to fail.
pub(super) fn ordered(profile: &Profile, failure: Failure, when: When) -> Verdict {
    let verdict = Verdict {
        failure: None,
        latency: between(profile.latency.0, profile.latency.1),
        quirk: Quirk::None,
    };
    failed(verdict, profile, failure, when)
}

fn failed(verdict: Verdict, profile: &Profile, failure: Failure, when: When) -> Verdict {
    let latency = if failure == Failure::Timeout {
        profile.timeout
    } else {
        verdict.latency
    };
    Verdict {
        failure: Some((failure, when)),
        latency,
        ..verdict
    }
}

fn failure(op: Op, profile: &Profile, faults: &Faults) -> Option<Failure> {
    let rates = [
        (Failure::Timeout, faults.timeout, profile.transient),
        (Failure::Throttled, faults.throttled, profile.transient),
        (Failure::Unavailable, faults.unavailable, profile.transient),
        (Failure::Reset, faults.reset, profile.transient),
        (Failure::Forbidden, faults.forbidden, profile.refusals),
        (
            Failure::NoSpace,
            faults.no_space,
            profile.refusals && op == Op::Write,
        ),
    ];
    rates
        .into_iter()
        .find(|(_, rate, permitted)| *permitted && sched::chance(*rate))
        .map(|(failure, ..)| failure)
}

fn list_quirk(profile: &Profile, faults: &Faults) -> Quirk {
    if profile.stale_max > 0 && sched::chance(faults.stale_list) {
        return Quirk::Stale {
            lag: between(1, profile.stale_max),
            each: sched::chance(500),
        };
    }
    if profile.page_duplicates && sched::chance(faults.duplicate_list) {
        return Quirk::Duplicates;
    }
    Quirk::None
}

fn delete_quirk(profile: &Profile, faults: &Faults) -> Quirk {
    if profile.partial_deletes && sched::chance(faults.partial_delete) {
        return Quirk::Partial;
    }
    if profile.loose_deletes && sched::chance(faults.loose_delete) {
        return if profile.late_max > 0 && sched::chance(500) {
            Quirk::Late(between(1, profile.late_max))
        } else {
            Quirk::Lost
        };
    }
    Quirk::None
}
