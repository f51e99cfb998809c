//! The two-stage checkpoint: from the WAL into the database file without losing a frame or keeping anybody waiting.
//!
//! Promise: while the guard is open, the WAL is pinned, by a read transaction or by the gate; when it returns without an error, the
//! guard is held and nothing is backfilled that is not staged.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use litestream_replica::env::Monotonic;

use super::{Database, LOCK_PAUSE, stamp};
use crate::capture::Staged;
use crate::error::{Error, Result};
use crate::sqlite::{Checkpointer, Reader, Sentinel};

/// How long a checkpoint of another connection is waited for before its work is left to it.
const OTHERS_WAIT: Duration = Duration::from_millis(20);
/// How long the WAL stays pinned at one commit while another connection checkpoints, which may be waiting for us.
const PIN_MAX: Duration = Duration::from_millis(10);
/// How long a moment without transactions is waited for.
const GATE_WAIT: Duration = Duration::from_millis(20);
/// How long the WRITE lock is tried for.
const BARRIER_WAIT: Duration = Duration::from_millis(200);
/// Longest time that transactions are held up; what is not done by then is tried again later.
const HOLD_MAX: Duration = Duration::from_millis(30);
/// With more than this left to capture, holding transactions up would take too long.
const HELD_BYTES_MAX: u64 = 4 << 20;
/// The same when the WAL has grown large: it must be emptied.
const HELD_BYTES_URGENT_MAX: u64 = 12 << 20;
/// A pass over few frames that takes longer than this shows a disk on which transactions would be held up for too long.
const HELD_PASS_MAX: Duration = Duration::from_millis(40);
/// When the WAL has grown large: what is left is done with everybody waiting only if it should take no longer than this, by what the
/// last pass took. The larger the WAL, the longer it may take, but applications give up after some seconds.
const HELD_URGENT_MAX: Duration = Duration::from_secs(1);
/// So many times as long at most.
const HELD_URGENT_FACTOR_MAX: u32 = 5;
/// What a pass over fewer frames takes is mostly what any pass takes.
const PASS_FRAMES_MIN: u32 = 16;
/// So few that no further pass is worth its time.
const FEW_FRAMES: u32 = 100;
/// Passes before transactions are held up, each leaving less than the one before.
const PASSES_MAX: u32 = 6;

/// What a checkpoint achieved.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointReport {
    /// Everything is in the database file; the next writer restarts the WAL.
    pub complete: bool,
    /// A reader keeps older frames in use.
    pub pinned: bool,
    /// On this disk transactions would have to be held up for too long, so a part of the WAL was left.
    pub slow: bool,
    /// How long transactions were held up, if they were.
    pub held: Option<Duration>,
}

impl Database {
    /// Brings the WAL's content into the database file. `barrier`: writers may be given busy errors for a moment if
    /// nothing gentler helps. `each` sees every file staged on the way.
    pub fn checkpoint(
        &mut self,
        barrier: bool,
        stop: &AtomicBool,
        each: &mut dyn FnMut(Staged),
    ) -> Result<CheckpointReport> {
        let mut report = CheckpointReport::default();
        let mut left = u32::MAX;
        let (mut took, mut done) = (Duration::ZERO, 0);
        let (held_max, urgent_max) = {
            let state = self.state()?;
            let page_size = u64::from(state.page_size.get());
            let large = u64::from(state.frames) * page_size / HELD_BYTES_URGENT_MAX;
            let factor = (large as u32).clamp(1, HELD_URGENT_FACTOR_MAX);
            let bytes = if barrier {
                HELD_BYTES_URGENT_MAX
            } else {
                HELD_BYTES_MAX
            };
            ((bytes / page_size) as u32, HELD_URGENT_MAX * factor)
        };
        for _ in 0..PASSES_MAX {
            let start = self.env.clock.monotonic();
            let backfilled = self.state()?.backfilled;
            report.pinned = !self.pass(stop, each)?;
            took = self.env.clock.monotonic().since(start);
            let state = self.state()?;
            done = state.backfilled.saturating_sub(backfilled);
            let before =
                std::mem::replace(&mut left, state.frames.saturating_sub(state.backfilled));
            // Each pass leaves what was committed during it; once that no longer shrinks, another would not help.
            let settled = left <= FEW_FRAMES
                || (left <= held_max && (left > before / 2 || (barrier && left <= held_max / 3)));
            if left == 0 || report.pinned || settled {
                break;
            }
        }
        // What the last pass took, the next would take with everybody waiting, unless it had much more to do.
        let expected = took.saturating_mul(left) / done.max(PASS_FRAMES_MIN);
        let quick = if barrier {
            expected <= urgent_max
        } else {
            took.max(expected) <= HELD_PASS_MAX
        };
        report.slow = barrier && left > 0 && !quick && !report.pinned;
        if left > 0 && left <= held_max && quick && !report.pinned {
            report.held = self.gated_pass(stop, each)?;
            if report.held.is_none() && barrier {
                report.held = self.barred_pass(stop, each)?;
            }
        }
        report.complete = self.all_backfilled()?;
        self.stamp = stamp(&self.env, &self.settings)?;
        self.assert_invariant()?;
        Ok(report)
    }

    /// Stage 1. The reader pins the WAL at some commit *before* everything up to it is staged, so that whatever is
    /// backfilled while the guard is open is staged. `false` if another reader keeps frames in use.
    fn pass(&mut self, stop: &AtomicBool, each: &mut dyn FnMut(Staged)) -> Result<bool> {
        // What is committed before the reader begins is within its mark: so far others let us backfill.
        let goal = self.state()?.frames;
        self.begin_read()?;
        let result = self.stage_and_backfill(goal, None, stop, each);
        // After an error without the guard the caller drops the whole database, and the reader with it.
        self.end_read()?;
        result
    }

    /// Stage 2: what is left, with the gate shut, so that nothing can be committed in between. How long it was shut, or
    /// `None` if it could not be: some transaction was always running.
    fn gated_pass(
        &mut self,
        stop: &AtomicBool,
        each: &mut dyn FnMut(Staged),
    ) -> Result<Option<Duration>> {
        if !self.try_for(GATE_WAIT, Sentinel::try_shut_gate)? {
            return Ok(None);
        }
        let start = self.env.clock.monotonic();
        let goal = self.state()?.frames;
        let result = self.stage_and_backfill(goal, Some(start + HOLD_MAX), stop, each);
        // If the pin had to be moved, it is a reader by now.
        self.end_read()?;
        self.sentinel.open_gate()?;
        result?;
        Ok(Some(self.env.clock.monotonic().since(start)))
    }

    /// The same with the WRITE lock held, for when readers never pause.
    fn barred_pass(
        &mut self,
        stop: &AtomicBool,
        each: &mut dyn FnMut(Staged),
    ) -> Result<Option<Duration>> {
        if !self.try_for(BARRIER_WAIT, Sentinel::try_bar)? {
            return Ok(None);
        }
        let start = self.env.clock.monotonic();
        let result = self.begin_read().and_then(|()| {
            let goal = self.state()?.frames;
            self.stage_and_backfill(goal, Some(start + HOLD_MAX), stop, each)
        });
        self.end_read()?;
        self.sentinel.release_bar()?;
        result?;
        Ok(Some(self.env.clock.monotonic().since(start)))
    }

    /// Stages everything, then opens the guard, backfills up to frame `goal` and takes the guard again. The WAL is pinned
    /// by the caller. `false` if the goal was not reached.
    fn stage_and_backfill(
        &mut self,
        goal: u32,
        deadline: Option<Monotonic>,
        stop: &AtomicBool,
        each: &mut dyn FnMut(Staged),
    ) -> Result<bool> {
        self.stage(stop, each)?;
        self.open_checkpointer()?;
        self.sentinel.release_guard()?;
        let reached = self.backfill(goal, deadline);
        self.regain_guard(deadline, stop, each)?;
        reached
    }

    fn backfill(&mut self, goal: u32, deadline: Option<Monotonic>) -> Result<bool> {
        let start = self.env.clock.monotonic();
        let mut fruitless = 0;
        loop {
            let ran = match &self.checkpointer {
                Some(c) => c.passive()?,
                None => false,
            };
            if self
                .sentinel
                .state()
                .is_some_and(|s| s.backfilled >= goal || s.frames < goal)
            {
                return Ok(true);
            }
            // An application's own checkpoint may be running: it does the same work and ours answers busy.
            fruitless += u32::from(ran);
            let now = self.env.clock.monotonic();
            if fruitless == 3
                || now.since(start) > OTHERS_WAIT
                || deadline.is_some_and(|d| now >= d)
            {
                return Ok(false);
            }
            self.env.clock.sleep(LOCK_PAUSE);
        }
    }

    /// Takes the guard again. Another connection may be checkpointing; what it may backfill is staged. Past the deadline
    /// transactions are let go, with the WAL still pinned.
    fn regain_guard(
        &mut self,
        deadline: Option<Monotonic>,
        stop: &AtomicBool,
        each: &mut dyn FnMut(Staged),
    ) -> Result<()> {
        let mut moved = self.env.clock.monotonic();
        let mut let_go = false;
        while !self.sentinel.try_guard()? {
            let now = self.env.clock.monotonic();
            if !let_go && deadline.is_some_and(|d| now >= d) {
                self.sentinel.release_bar()?;
                self.sentinel.narrow_gate()?;
                let_go = true;
            }
            if now.since(moved) > PIN_MAX {
                self.move_pin(stop, each)?;
                (let_go, moved) = (true, self.env.clock.monotonic());
            }
            self.env.clock.sleep(LOCK_PAUSE);
        }
        // Others may have backfilled what was committed since transactions were let go.
        if let_go {
            self.stage(stop, each)
        } else {
            Ok(())
        }
    }

    /// A FULL, RESTART or TRUNCATE of an application waits for our pin, perhaps with all writers waiting for it. Whether it
    /// does can't be told from a writer that is slow, so the pin is never given up, only moved to the newest commit: the new one is
    /// there, and everything up to it staged, before the old one goes. Moved once, it no longer keeps anybody from
    /// backfilling; moved again, now that nothing is left to backfill, it is one on the database file, which lets the WAL restart,
    /// but nobody backfill what comes after that.
    fn move_pin(&mut self, stop: &AtomicBool, each: &mut dyn FnMut(Staged)) -> Result<()> {
        self.sentinel.release_bar()?;
        self.sentinel.narrow_gate()?;
        let old = self.reader.take();
        match self.begin_read().and_then(|()| self.stage(stop, each)) {
            Ok(()) => {
                self.sentinel.open_gate()?;
                old.as_ref().map_or(Ok(()), Reader::end)
            }
            Err(Error::Closed) => Err(Error::Closed),
            // A full disk, or no read slot free: the old pin stays. What lasts shows once the guard is back.
            Err(error) => {
                let db = self.settings.path.display();
                tracing::debug!(%db, %error, "the wal stays pinned where it is");
                self.reader = old;
                Ok(())
            }
        }
    }

    fn stage(&mut self, stop: &AtomicBool, each: &mut dyn FnMut(Staged)) -> Result<()> {
        self.capture(stop, each)?;
        self.staging.make_durable()
    }

    fn try_for(
        &mut self,
        limit: Duration,
        mut attempt: impl FnMut(&mut Sentinel) -> Result<bool>,
    ) -> Result<bool> {
        let start = self.env.clock.monotonic();
        while !attempt(&mut self.sentinel)? {
            if self.env.clock.monotonic().since(start) > limit {
                return Ok(false);
            }
            self.env.clock.sleep(LOCK_PAUSE);
        }
        Ok(true)
    }

    /// Pins the WAL at the newest commit.
    fn begin_read(&mut self) -> Result<()> {
        if self.reader.is_none() {
            let settings = &self.settings;
            self.reader = Some(Reader::open(
                &settings.path,
                settings.vfs.as_deref(),
                settings.busy_timeout,
            )?);
        }
        // An application that dies while it publishes a commit must not hold up everybody.
        let begun = || self.reader.as_ref().map_or(Ok(()), Reader::begin);
        self.sentinel.without_recovery(begun)?
    }

    fn end_read(&mut self) -> Result<()> {
        self.reader.as_ref().map_or(Ok(()), Reader::end)
    }

    /// Gives up what is not needed while nothing happens.
    pub fn rest(&mut self) {
        self.reader = None;
        self.checkpointer = None;
        self.sentinel.rest();
    }

    fn open_checkpointer(&mut self) -> Result<()> {
        if self.checkpointer.is_none() {
            self.checkpointer = Some(Checkpointer::open(
                &self.settings.path,
                self.settings.vfs.as_deref(),
            )?);
        }
        Ok(())
    }

    fn all_backfilled(&mut self) -> Result<bool> {
        let state = self.state()?;
        Ok(state.frames == state.backfilled)
    }

    /// The invariant: guarded, and nothing is backfilled that is not staged.
    fn assert_invariant(&mut self) -> Result<()> {
        let state = self.state()?;
        let staged = match &self.position {
            Some(p) if p.cursor.salts == state.salts => p.cursor.frames,
            // Another generation than the last captured one: nothing of it is staged yet.
            _ => 0,
        };
        assert!(
            self.sentinel.is_guarded(),
            "checkpoint left {} unguarded",
            self.settings.path.display()
        );
        if state.backfilled > staged {
            return Err(Error::WalChanged {
                path: self.settings.path.clone(),
                what: format!(
                    "{} frames were checkpointed, only {staged} captured",
                    state.backfilled
                ),
            });
        }
        Ok(())
    }
}
