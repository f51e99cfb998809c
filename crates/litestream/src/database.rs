//! One open database: its sentinel, WAL, staged files and position, and the two-stage checkpoint.
//!
//! Promises, asserted after each checkpoint: outside of [`Database::checkpoint`] the guard is held and no frame is
//! backfilled that is not staged, so no WAL that holds an uncaptured frame can restart.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use litestream_replica::env::{Env, Metadata, Monotonic};
use ltx::{FileName, Txid};

use crate::capture::{
    Capture, Decision, FullReason, LastFile, Position, Staged, WalFile, WalView, decide,
};
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::sqlite::{Checkpointer, Reader, Sentinel, WalState};
use crate::staging::{DatabaseStamp, Staging};
use crate::wal::{Cursor, Evidence, frame_offset, frame_size, restart_evidence};

/// How long the guard is tried for; others hold it only while they checkpoint.
const GUARD_WAIT: Duration = Duration::from_secs(5);
/// How long a checkpoint of another connection is waited for before its work is left to it.
const OTHERS_WAIT: Duration = Duration::from_millis(20);
/// How long the guard is tried for while transactions or a foreign checkpoint may be waiting for us.
const REGAIN_WAIT: Duration = Duration::from_millis(10);
/// How long a moment without transactions is waited for.
const GATE_WAIT: Duration = Duration::from_millis(20);
/// How long the WRITE lock is tried for.
const BARRIER_WAIT: Duration = Duration::from_millis(200);
/// Longest time that transactions are held up; what is not done by then is tried again later.
const HOLD_MAX: Duration = Duration::from_millis(30);
/// With more than this many frames left to capture, holding transactions up would take too long.
const FRAMES_HELD_MAX: u32 = 2000;
/// So few that no further pass is worth its time.
const FEW_FRAMES: u32 = 100;
/// Passes before transactions are held up, each leaving less than the one before.
const PASSES_MAX: u32 = 6;
/// Pause between tries of a lock.
const LOCK_PAUSE: Duration = Duration::from_micros(50);
/// How long a torn WAL-index header may last before it is taken for one that needs recovery.
const TORN_MAX: Duration = Duration::from_millis(20);
/// Bytes looked at for evidence about a restarted WAL.
const EVIDENCE_BYTES: u64 = 8 << 20;

/// What a checkpoint achieved.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointReport {
    /// Everything is in the database file; the next writer restarts the WAL.
    pub complete: bool,
    /// A reader keeps older frames in use.
    pub pinned: bool,
    /// How long transactions were held up, if they were.
    pub held: Option<Duration>,
}

/// See the module.
pub struct Database {
    env: Env,
    settings: Settings,
    // Before the connections: dropped first, while its file is still open.
    reader: Option<Reader>,
    checkpointer: Option<Checkpointer>,
    sentinel: Sentinel,
    wal: WalFile,
    staging: Staging,
    identity: (u64, u64),
    position: Option<Position>,
    cursor_saved: bool,
    /// TXID that the next file continues when there is no position.
    base: Txid,
}

impl Database {
    /// Opens the database and takes the guard. Nothing is captured yet. The flag says whether the journal mode was changed.
    pub fn open(env: &Env, settings: &Settings) -> Result<(Database, bool)> {
        let metadata = stat(env, settings)?;
        let (mut sentinel, switched) = Sentinel::open(
            &settings.path,
            settings.vfs.as_deref(),
            settings.busy_timeout,
        )?;
        guard(env, settings, &mut sentinel)?;
        let wal = WalFile::open(env, &settings.wal_path())?;
        let staging = Staging::open(env, &settings.path, &settings.meta_path)?;
        let database = Database {
            env: env.clone(),
            settings: settings.clone(),
            reader: None,
            checkpointer: None,
            sentinel,
            wal,
            staging,
            identity: metadata.id,
            position: None,
            cursor_saved: false,
            base: Txid::ZERO,
        };
        Ok((database, switched))
    }

    /// Whether the path still leads to the file that is open.
    pub fn is_current(&self) -> Result<bool> {
        match stat(&self.env, &self.settings) {
            Ok(m) => Ok(m.id == self.identity),
            Err(Error::NoDatabase(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Finds the position from what lies on disk and, if that could be asked, in the replica (`replica_max`: its highest TXID).
    /// The reason says why a full file is needed, if one is.
    pub fn establish(&mut self, replica_max: Option<Txid>) -> Result<Option<FullReason>> {
        let newest = self.staging.newest_valid()?;
        let local = newest.map_or(Txid::ZERO, |(name, _)| name.max);
        self.base = local;
        if let Some(remote) = replica_max.filter(|r| *r > local) {
            self.staging.clear()?;
            self.base = remote;
            return Ok(Some(FullReason::ReplicaAhead));
        }
        let state = self.state()?;
        let last = newest
            .map(|(name, header)| self.last_file(name, &header))
            .transpose()?;
        let view = self.view(&state, last.as_ref().and_then(|l| l.cursor.as_ref()))?;
        match decide(last.as_ref(), &view) {
            Decision::Continue(cursor) => {
                let (name, header) = newest.ok_or(Error::NoPosition)?;
                self.position = Some(Position {
                    txid: name.max,
                    commit: header.commit,
                    page_size: header.page_size,
                    cursor,
                });
                Ok(None)
            }
            Decision::Full(reason) => Ok(Some(reason)),
        }
    }

    /// Forgets the position: the next file will be full and come after `base` (and after everything staged).
    pub fn restart_from(&mut self, base: Txid) -> Result<()> {
        self.base = self
            .base
            .max(base)
            .max(self.position.map_or(Txid::ZERO, |p| p.txid));
        self.position = None;
        if base >= self.base {
            self.staging.clear()?;
        }
        Ok(())
    }

    /// Whether the invariant's first half holds: nobody else can checkpoint.
    pub fn is_guarded(&self) -> bool {
        self.sentinel.is_guarded()
    }

    /// Where the database stands as far as it is staged.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The last committed state. Waits out a commit that is being published; recovers a WAL-index left torn by a crash.
    pub fn state(&mut self) -> Result<WalState> {
        let start = self.env.clock.monotonic();
        loop {
            if let Some(state) = self.sentinel.state() {
                return Ok(state);
            }
            if self.env.clock.monotonic().since(start) > TORN_MAX {
                return self.recover_index();
            }
            self.env.clock.sleep(LOCK_PAUSE);
        }
    }

    /// Recovery needs the CHECKPOINT lock, which the guard holds: give it back, let a read recover, take it again.
    fn recover_index(&mut self) -> Result<WalState> {
        self.sentinel.release_guard()?;
        let read = self.begin_read().and_then(|()| self.end_read());
        guard(&self.env, &self.settings, &mut self.sentinel)?;
        read?;
        // Frames may have been backfilled meanwhile; they are still in the WAL unless it restarted, which capture detects.
        self.sentinel
            .state()
            .ok_or_else(|| self.busy("wal-index header is torn"))
    }

    /// Whether something is committed that is not staged.
    pub fn is_behind(&self, state: &WalState) -> bool {
        match &self.position {
            None => true,
            Some(p) if p.cursor.salts == state.salts => state.frames != p.cursor.frames,
            Some(_) => state.frames != 0,
        }
    }

    /// Stages everything committed by now; `each` sees every file. Commits that come meanwhile are left for the next call, or a
    /// busy writer would keep this one for ever.
    pub fn capture(&mut self, stop: &AtomicBool, each: &mut dyn FnMut(Staged)) -> Result<()> {
        let state = self.state()?;
        loop {
            let (position, base) = (self.position, self.base);
            let mut capture = self.capture_parts(stop);
            let staged = match position {
                Some(position) => capture.next(&position, &state)?,
                None => Some(capture.full(base.next(), &state)?),
            };
            let Some(staged) = staged else { return Ok(()) };
            self.position = Some(staged.position);
            self.cursor_saved = false;
            each(staged);
        }
    }

    /// Notes the position's cursor beside the staged files, if it moved. Without the note the position is still found, by a
    /// comparison that is slower and proves less.
    pub fn save_cursor(&mut self) -> Result<()> {
        if let Some(position) = self.position.filter(|_| !self.cursor_saved) {
            self.staging
                .save_cursor(position.txid, &position.cursor, &self.settings.path)?;
            self.cursor_saved = true;
        }
        Ok(())
    }

    /// Stages a level-9 snapshot of what is staged. The caller captured everything just before.
    pub fn snapshot(
        &mut self,
        stop: &AtomicBool,
        each: &mut dyn FnMut(Staged),
    ) -> Result<FileName> {
        self.capture(stop, each)?;
        // Between the last capture and this state a commit may have come: stage that too, or the snapshot is not of its TXID.
        loop {
            let state = self.state()?;
            let position = self.position.ok_or(Error::NoPosition)?;
            if self.is_behind(&state) {
                self.capture(stop, each)?;
                continue;
            }
            let (name, _) = self.capture_parts(stop).snapshot(&position, &state)?;
            self.staging.make_durable()?;
            return Ok(name);
        }
    }

    fn capture_parts<'a>(&'a mut self, stop: &'a AtomicBool) -> Capture<'a> {
        Capture {
            env: &self.env,
            settings: &self.settings,
            sentinel: &self.sentinel,
            wal: &self.wal,
            staging: &mut self.staging,
            stop,
        }
    }

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
        for _ in 0..PASSES_MAX {
            report.pinned = !self.pass(stop, each)?;
            let state = self.state()?;
            let before =
                std::mem::replace(&mut left, state.frames.saturating_sub(state.backfilled));
            // Each pass leaves what was committed during it; once that no longer shrinks, another would not help.
            let settled = left <= FEW_FRAMES || (left <= FRAMES_HELD_MAX && left > before / 2);
            if left == 0 || report.pinned || settled {
                break;
            }
        }
        if left > 0 && left <= FRAMES_HELD_MAX && !report.pinned {
            report.held = self.gated_pass(stop, each)?;
            if report.held.is_none() && barrier {
                report.held = self.barred_pass(stop, each)?;
            }
        }
        report.complete = self.all_backfilled()?;
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
        self.capture(stop, each)?;
        self.staging.make_durable()?;
        self.open_checkpointer()?;
        self.sentinel.release_guard()?;
        let reached = self.backfill(goal, deadline);
        self.regain_guard(stop, each)?;
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

    /// Takes the guard again. If another connection holds it for longer than a moment, the pin is given up first: a RESTART or
    /// TRUNCATE of an application waits for it while it holds up all writers. By then everything is staged, so that one
    /// restart loses nothing; two before the guard is back would show in the salts.
    fn regain_guard(&mut self, stop: &AtomicBool, each: &mut dyn FnMut(Staged)) -> Result<()> {
        if self.try_for(REGAIN_WAIT, Sentinel::try_guard)? {
            return Ok(());
        }
        self.capture(stop, each)?;
        self.staging.make_durable()?;
        self.end_read()?;
        self.sentinel.open_gate()?;
        self.sentinel.release_bar()?;
        guard(&self.env, &self.settings, &mut self.sentinel)?;
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
        self.reader.as_ref().map_or(Ok(()), Reader::begin)
    }

    fn end_read(&mut self) -> Result<()> {
        self.reader.as_ref().map_or(Ok(()), Reader::end)
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

    fn last_file(&self, name: FileName, header: &ltx::Header) -> Result<LastFile> {
        let now = stat(&self.env, &self.settings)?;
        let saved = self.staging.load_cursor(name.max);
        let end = (header.wal_offset + header.wal_size) as u64;
        let cursor = match &saved {
            Some(s) if s.cursor.offset() == end => Some(s.cursor),
            _ => self.cursor_from_header(name, header)?,
        };
        let database_unchanged = saved.is_some_and(|s| {
            s.database
                == DatabaseStamp {
                    id: now.id,
                    len: now.len,
                    modified: now.modified,
                }
        });
        Ok(LastFile {
            page_size: header.page_size,
            cursor,
            database_unchanged,
        })
    }

    /// The cursor of a file that was written without noting it: the frame that it ended with must hold the content that the file has
    /// for that page.
    fn cursor_from_header(&self, name: FileName, header: &ltx::Header) -> Result<Option<Cursor>> {
        let Some(wal) = self
            .wal
            .header()?
            .filter(|w| w.page_size == header.page_size)
        else {
            return Ok(None);
        };
        let salts = crate::wal::Salts(header.wal_salt1, header.wal_salt2);
        let like = Cursor {
            salts,
            ..Cursor::start(&wal)
        };
        let end = (header.wal_offset + header.wal_size) as u64;
        let start = frame_offset(0, header.page_size);
        let step = frame_size(header.page_size);
        if end <= start || !(end - start).is_multiple_of(step) {
            return Ok(None);
        }
        let frames = ((end - start) / step) as u32;
        let Some(frame) = self.wal.frame_header(frames - 1, &like)? else {
            return Ok(None);
        };
        let mut content = vec![0; header.page_size.bytes()];
        let at = frame_offset(frames, header.page_size) - content.len() as u64;
        self.wal.read_exact(&mut content, at)?;
        let same = self.staging.page_equals(name, frame.page, &content)?;
        Ok(same.then_some(Cursor {
            frames,
            checksum: frame.checksum,
            ..like
        }))
    }

    fn view(&self, state: &WalState, cursor: Option<&Cursor>) -> Result<WalView> {
        let mut view = WalView {
            page_size: state.page_size,
            salts: state.salts,
            frames: state.frames,
            backfilled: state.backfilled,
            stored: None,
            evidence: Evidence::None,
        };
        let Some(cursor) = cursor.filter(|c| c.frames > 0 && c.page_size == state.page_size) else {
            return Ok(view);
        };
        view.stored = self
            .wal
            .frame_header(cursor.frames - 1, cursor)?
            .map(|h| h.checksum);
        if state.salts != cursor.salts {
            let from = frame_offset(cursor.frames - 1, cursor.page_size);
            let available = self.wal.len()?.saturating_sub(from);
            let mut tail = vec![0; available.min(EVIDENCE_BYTES) as usize];
            let read = self.wal.read_up_to(&mut tail, from)?;
            view.evidence = restart_evidence(
                cursor,
                state.salts,
                state.frames,
                &tail[..read],
                available <= EVIDENCE_BYTES,
            );
        }
        Ok(view)
    }

    fn busy(&self, what: &'static str) -> Error {
        Error::Busy {
            path: self.settings.path.clone(),
            what,
        }
    }
}

/// Takes the guard, waiting for checkpoints of others to end.
fn guard(env: &Env, settings: &Settings, sentinel: &mut Sentinel) -> Result<()> {
    let start = env.clock.monotonic();
    while !sentinel.try_guard()? {
        if env.clock.monotonic().since(start) > GUARD_WAIT {
            return Err(Error::Busy {
                path: settings.path.clone(),
                what: "another connection has been checkpointing for long",
            });
        }
        env.clock.sleep(LOCK_PAUSE);
    }
    Ok(())
}

fn stat(env: &Env, settings: &Settings) -> Result<Metadata> {
    match env.disk.metadata(&settings.path) {
        Ok(m) => Ok(m),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::NoDatabase(settings.path.clone()))
        }
        Err(e) => Err(Error::io("stat database", &settings.path)(e)),
    }
}
