//! One open database: its sentinel, WAL, staged files and position, and the two-stage checkpoint.
//!
//! Promises, asserted after each checkpoint: outside of [`Database::checkpoint`] the guard is held and no frame is
//! backfilled that is not staged, so no WAL that holds an uncaptured frame can restart.

mod books;
mod checkpoint;

pub use checkpoint::CheckpointReport;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use litestream_replica::Level;
use litestream_replica::env::{Env, Metadata, Monotonic};
use ltx::{FileName, PageSize, Txid};

use crate::base::{self, Base};
use crate::capture::{
    Capture, Decision, FullReason, LastFile, Position, Staged, WalFile, WalView, decide,
};
use crate::depot::MERGED;
use crate::error::{Error, Result};
use crate::ledger;
use crate::settings::Settings;
use crate::sqlite::{Checkpointer, Reader, Sentinel, WalState};
use crate::staging::{DatabaseStamp, Doubts, Noted, Staging};
use crate::wal::{Cursor, Evidence, Salts, frame_offset, frame_size, restart_evidence};

/// How long the guard is tried for; others hold it only while they checkpoint.
const GUARD_WAIT: Duration = Duration::from_secs(5);
/// How long a torn WAL-index header may last before it is taken for one that needs recovery.
const TORN_MAX: Duration = Duration::from_millis(200);
/// Pause between tries of a lock.
const LOCK_PAUSE: Duration = Duration::from_micros(50);
/// Bytes looked at for evidence about a restarted WAL.
const EVIDENCE_BYTES: u64 = 8 << 20;

/// The end of what is staged is the end of its generation of the WAL, and this one follows.
pub type Succession = (Cursor, Salts);

/// See the module.
pub struct Database {
    env: Env,
    settings: Settings,
    reader: Option<Reader>,
    checkpointer: Option<Checkpointer>,
    sentinel: Sentinel,
    wal: WalFile,
    staging: Staging,
    ledger: ledger::State,
    /// When a ledger that could not be made is tried again.
    ledger_again: Option<Monotonic>,
    /// How the database file looked when only holders of the guard could have written it.
    stamp: DatabaseStamp,
    position: Option<Position>,
    cursor_saved: bool,
    /// TXID that the next file continues when there is no position.
    base: Txid,
    /// Page size of the file with that TXID, if known.
    base_page_size: Option<PageSize>,
    /// What was seen of the WAL before it was opened.
    recalled: Option<Succession>,
    /// The replica's end that was taken for the base, until somebody who did not know asks to continue after it.
    adopted: Option<Txid>,
}

impl Database {
    /// Opens the database and takes the guard. Nothing is captured yet. The flag says whether the journal mode was changed.
    pub fn open(env: &Env, settings: &Settings, doubts: &Doubts) -> Result<(Database, bool)> {
        let before = stat(env, settings)?;
        let (mut sentinel, switched) = Sentinel::open(
            &settings.path,
            settings.vfs.as_deref(),
            settings.busy_timeout,
        )?;
        guard(env, settings, &mut sentinel)?;
        let wal = WalFile::open(env, &settings.wal_path())?;
        let staging = Staging::open(env, &settings.path, &settings.meta_path, doubts)?;
        let stamp = stamp(env, settings)?;
        if stamp.id != before.id {
            // The connection may be one to the file that was there before, for ever.
            return Err(Error::Busy {
                path: settings.path.clone(),
                what: "another file took its place just now",
            });
        }
        let database = Database {
            env: env.clone(),
            settings: settings.clone(),
            reader: None,
            checkpointer: None,
            sentinel,
            wal,
            staging,
            ledger: ledger::State::Lost,
            ledger_again: None,
            stamp,
            position: None,
            cursor_saved: false,
            base: Txid::ZERO,
            base_page_size: None,
            recalled: None,
            adopted: None,
        };
        Ok((database, switched))
    }

    /// Whether the paths still lead to the files that are open, and the database file is as the holders of the guard left it.
    pub fn is_current(&self) -> Result<bool> {
        match stamp(&self.env, &self.settings) {
            Ok(stamp) => Ok(stamp == self.stamp && self.wal.is_at_its_path(&self.env)?),
            Err(Error::NoDatabase(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Finds the position from what lies on disk. `ahead`: a TXID that the next file must come after, whatever lies on disk (the
    /// highest number given so far), with its page size if that is known, and what lies there. The reason says why the WAL alone
    /// can't say what comes next, if it can't.
    pub fn establish(
        &mut self,
        ahead: Txid,
        ahead_page_size: Option<PageSize>,
        must_rebase: bool,
        base: Option<Base>,
    ) -> Result<Option<FullReason>> {
        let newest = self.staging.newest_valid()?;
        let single = newest.map_or(Txid::ZERO, |(name, _)| name.max);
        // Numbers that were merged are in use, whatever became of the files after them.
        let merged = self.staging.list_of(MERGED)?;
        let local = merged.iter().map(|n| n.max).fold(single, Txid::max);
        // A snapshot whose file is gone may be on its way to a replica by now: its number must not be given to something else.
        let snapshots = self.staging.list_of(Level::SNAPSHOT)?;
        let ahead = snapshots.iter().map(|name| name.max).fold(ahead, Txid::max);
        self.base = local;
        let page_size = newest.map(|(_, header)| header.page_size);
        self.base_page_size = page_size.or(ahead_page_size);
        self.open_ledger(local);
        // Nor must a number whose file is gone while the note of it is still there.
        let noted = match self.staging.noted()? {
            Noted::At(txid, _) if newest.is_none() => txid,
            Noted::Number(txid, _) => txid,
            _ => Txid::ZERO,
        };
        let ahead = ahead.max(noted);
        if ahead > local || must_rebase {
            self.rebase(ahead.max(local), ahead_page_size)?;
            match base {
                Some(base) if base.txid() == self.base => self.adopt(base)?,
                Some(_) => {
                    let _ = base::remove_leftover(&*self.env.disk, &self.settings.meta_path); // the next attempt does it, too
                }
                None => {}
            }
            return Ok(Some(FullReason::ReplicaAhead));
        }
        if local > single {
            return Ok(Some(FullReason::PositionLost));
        }
        let state = self.state()?;
        let last = newest
            .map(|(name, header)| self.last_file(name, &header, &state))
            .transpose()?;
        let change = match self.staging.noted()? {
            Noted::At(txid, saved) if txid == local => Some(saved.change),
            _ => None,
        };
        let view = self.view(&state, last.as_ref(), change)?;
        let decision = decide(last.as_ref(), &view);
        tracing::debug!(db = %self.settings.path.display(), txid = %local, ?last, ?view, ?decision, "position judged");
        match decision {
            Decision::Continue(cursor) => {
                let (name, header) = newest.ok_or(Error::NoPosition)?;
                let stop = AtomicBool::new(false);
                self.position = Some(
                    self.capture_parts(&stop)
                        .resume(name, &header, cursor, &state)?,
                );
                Ok(None)
            }
            Decision::Full(reason) => Ok(Some(reason)),
        }
    }

    /// Forgets what is staged: the next file will be full and come right after `base`, a file of this page size if known.
    pub fn rebase(&mut self, base: Txid, page_size: Option<PageSize>) -> Result<()> {
        let current = self.position.take().map(|position| position.page_size);
        self.base = base;
        self.base_page_size = page_size.or(current).or(self.base_page_size);
        self.ledger = ledger::State::Lost;
        self.staging.clear(base)
    }

    /// Whether what is staged continues the replica's end at `txid`, or nothing up to there is staged and what comes next begins with a
    /// full file.
    pub fn is_past(&mut self, txid: Txid) -> Result<bool> {
        if self.adopted == Some(txid) {
            self.adopted = None;
            return Ok(true);
        }
        if let Some(first) = self.staging.list()?.first() {
            return Ok(first.min > txid && self.staging.is_full(*first)?);
        }
        // What differs from our own history would not be a beginning.
        let base = self.base;
        Ok(self.position.is_none() && base >= txid && self.ledger.at(base).is_none())
    }

    /// Forgets the position, keeps what is staged: the next file will be full.
    pub fn start_over(&mut self) {
        if let Some(position) = self.position.take() {
            self.base = position.txid;
            self.base_page_size = Some(position.page_size);
        }
    }

    /// Whether the invariant's first half holds: nobody else can checkpoint.
    pub fn is_guarded(&self) -> bool {
        self.sentinel.is_guarded()
    }

    /// The local files.
    pub fn staging(&mut self) -> &mut Staging {
        &mut self.staging
    }

    /// What is to be remembered when the database is closed for a moment, as the recovery of a WAL-index demands: the recovery resets
    /// SQLite's change counter. Proved by the guard: a WAL restarts only when all of it is backfilled, and nothing is that is not
    /// staged.
    pub fn succession(&self) -> Option<Succession> {
        let cursor = self.position.filter(|_| self.is_guarded())?.cursor;
        let header = self.wal.header().ok().flatten()?;
        let followed = header.salts.follows(cursor.salts);
        followed.then_some((cursor, header.salts))
    }

    /// Before [`Database::establish`]: what [`Database::succession`] said last.
    pub fn recall(&mut self, succession: Option<Succession>) {
        self.recalled = succession;
    }

    /// Where the database stands as far as it is staged.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The last committed state. Waits out a commit that is being published. A WAL-index left torn by a crash is an error after which
    /// the database must be opened anew: recovery needs the lock that is the guard.
    pub fn state(&mut self) -> Result<WalState> {
        let start = self.env.clock.monotonic();
        loop {
            if let Some(state) = self.sentinel.state() {
                return Ok(state);
            }
            if self.env.clock.monotonic().since(start) > TORN_MAX {
                return Err(self.busy("its wal-index needs recovery"));
            }
            self.env.clock.sleep(LOCK_PAUSE);
        }
    }

    /// Whether something is committed that is not staged.
    pub fn is_behind(&self, state: &WalState) -> bool {
        match &self.position {
            None => true,
            Some(p) if p.cursor.salts == state.salts => state.frames != p.cursor.frames,
            Some(p) => state.frames != 0 || state.change != p.change,
        }
    }

    /// Stages everything committed by now and returns that state; `each` sees every file. Commits that come meanwhile are left
    /// for the next call, or a busy writer would keep this one for ever.
    pub fn capture(&mut self, stop: &AtomicBool, each: &mut dyn FnMut(Staged)) -> Result<WalState> {
        let state = self.state()?;
        loop {
            // So that the note is at most one file behind: what is further back proves nothing after a kill. Not being able to
            // note is no reason to stop.
            let _ = self.save_cursor();
            let staged = match self.position {
                Some(position) => self.capture_parts(stop).next(&position, &state)?,
                None => Some(self.capture_full(stop, &state)?),
            };
            let Some(staged) = staged else {
                return Ok(state);
            };
            self.position = Some(staged.position);
            self.cursor_saved = false;
            each(staged);
        }
    }

    /// Stages what differs from the last file, or everything where that can't be told. Files of two page sizes can't be merged: where the page size changes, a restore must be able to start, so a
    /// snapshot goes before.
    fn capture_full(&mut self, stop: &AtomicBool, state: &WalState) -> Result<Staged> {
        let (txid, time) = (self.base.next(), self.env.clock.now());
        if self.base_page_size.is_some_and(|s| s != state.page_size) {
            let (name, _) = self.capture_parts(stop).snapshot(txid, time, state)?;
            self.staging.make_durable()?;
            tracing::info!(db = %self.settings.path.display(), %name, "snapshot staged because the page size changed");
        }
        if self.can_compare(state) {
            return self.capture_parts(stop).difference(txid, time, state);
        }
        self.capture_parts(stop).full(txid, time, state)
    }

    /// Notes the position's cursor beside the staged files, if it moved. Without the note the position is still found, by a
    /// comparison that is slower and proves less.
    pub fn save_cursor(&mut self) -> Result<()> {
        if let Some(position) = self.position.filter(|_| !self.cursor_saved) {
            self.staging.save_cursor(
                position.txid,
                &position.cursor,
                position.change,
                &self.settings.path,
            )?;
            self.cursor_saved = true;
        }
        Ok(())
    }

    /// Stages everything committed by now, and a level-9 snapshot of it. What is committed meanwhile stays out: under the guard
    /// the database file stands still, and later frames are not looked at.
    pub fn snapshot(
        &mut self,
        stop: &AtomicBool,
        each: &mut dyn FnMut(Staged),
    ) -> Result<FileName> {
        let mut repaired = false;
        loop {
            let state = self.capture(stop, each)?;
            let position = self.position.ok_or(Error::NoPosition)?;
            let staged = self
                .capture_parts(stop)
                .snapshot(position.txid, position.time, &state);
            match staged {
                Ok((name, _)) => {
                    self.staging.make_durable()?;
                    return Ok(name);
                }
                Err(error @ Error::ContentDiffers { .. }) if !repaired => {
                    // The ledger may be what is wrong; then a new one is made, and nothing is to compare with.
                    if self.has_proved_ledger(position.txid) {
                        tracing::error!(%error, "what differs is captured now");
                        self.start_over();
                    }
                    repaired = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn capture_parts<'a>(&'a mut self, stop: &'a AtomicBool) -> Capture<'a> {
        Capture {
            env: &self.env,
            settings: &self.settings,
            sentinel: &self.sentinel,
            wal: &self.wal,
            staging: &mut self.staging,
            ledger: &mut self.ledger,
            stop,
        }
    }

    fn last_file(
        &self,
        name: FileName,
        header: &ltx::Header,
        state: &WalState,
    ) -> Result<LastFile> {
        let end = (header.wal_offset + header.wal_size) as u64;
        let salts = crate::wal::Salts(header.wal_salt1, header.wal_salt2);
        let (mut database_unchanged, mut same_boot) = (false, false);
        let boot = self.env.clock.boot();
        let cursor = match self.staging.noted()? {
            Noted::At(txid, saved) if txid == name.max => {
                database_unchanged = saved.database == self.stamp;
                same_boot = saved.boot.is_some() && saved.boot == boot;
                let agrees = saved.cursor.offset() == end && saved.cursor.salts == salts;
                agrees.then_some(saved.cursor)
            }
            // Power has not failed since, so the WAL still holds what it held; the file is the next one of ours, or another program
            // was here.
            Noted::At(_, saved) if saved.boot.is_some() && saved.boot == boot => {
                same_boot = true;
                self.cursor_by_content(name, header, state, true)?
            }
            // Ended between a file and its note: the file must follow what is noted.
            Noted::At(txid, saved)
                if txid.next() == name.max
                    && saved.cursor.salts == salts
                    && saved.cursor.offset() == header.wal_offset as u64
                    && self.is_in_wal(&saved.cursor)? =>
            {
                self.cursor_by_content(name, header, state, false)?
            }
            Noted::Number(txid, noted) if name.max > txid && noted.is_some() && noted == boot => {
                same_boot = true;
                self.cursor_by_content(name, header, state, true)?
            }
            Noted::Nothing => self.cursor_by_content(name, header, state, true)?,
            // Power failed, and what the WAL held before this file may have been lost and written again.
            Noted::At(..) | Noted::Number(..) | Noted::Unreadable => None,
        };
        Ok(LastFile {
            page_size: header.page_size,
            cursor,
            database_unchanged,
            same_boot,
        })
    }

    fn is_in_wal(&self, cursor: &Cursor) -> Result<bool> {
        if cursor.frames == 0 {
            return Ok(true);
        }
        let frame = self.wal.frame_header(cursor.frames - 1, cursor)?;
        Ok(frame.is_some_and(|frame| frame.checksum == cursor.checksum))
    }

    /// The cursor after a file that was written without noting it: the frames that it says it holds must have exactly the content that
    /// it has for their pages, and end with a transaction that leaves a database of its size. Other pages may be in it only if the database
    /// grew by them, or, where `kept`, if they come from before the WAL: not where frames may have been lost and written again.
    fn cursor_by_content(
        &self,
        name: FileName,
        header: &ltx::Header,
        state: &WalState,
        kept: bool,
    ) -> Result<Option<Cursor>> {
        let salts = crate::wal::Salts(header.wal_salt1, header.wal_salt2);
        let (size, start) = (header.page_size, frame_offset(0, header.page_size));
        let frames = |offset: i64| {
            let bytes = (offset as u64).checked_sub(start)?;
            let frames = bytes / frame_size(size);
            (bytes % frame_size(size) == 0 && frames <= u64::from(state.frames))
                .then_some(frames as u32)
        };
        let (Some(from), Some(to)) = (
            frames(header.wal_offset),
            frames(header.wal_offset + header.wal_size),
        ) else {
            return Ok(None);
        };
        let Some(wal) = self.wal.header()?.filter(|w| w.page_size == size) else {
            return Ok(None);
        };
        let like = Cursor {
            salts,
            ..Cursor::start(&wal)
        };
        // The frame before ends a transaction: so large the database was.
        let before = match from.checked_sub(1) {
            Some(index) => self.wal.frame_header(index, &like)?.map(|f| f.commit),
            None => None,
        };
        let may_lack = |page: ltx::PageNo| kept || before.is_some_and(|size| page.get() > size);
        let mut newest = BTreeMap::new();
        let mut last = None;
        for index in from..to {
            let Some(frame) = self.wal.frame_header(index, &like)? else {
                return Ok(None);
            };
            newest.insert(frame.page, index);
            last = Some(frame);
        }
        // The file ends with a transaction. Pages alone tell too little: frames of others may be of pages that it does not hold.
        let Some(last) = last.filter(|frame| frame.commit == header.commit) else {
            return Ok(None);
        };
        if newest.keys().all(|page| page.get() > header.commit) {
            return Ok(None);
        }
        let same = self.staging.every_page(name, |page, content| {
            let Some(index) = newest.remove(&page) else {
                return Ok(may_lack(page));
            };
            let at = frame_offset(index + 1, size) - content.len() as u64;
            let mut stored = vec![0; content.len()];
            let read = self.wal.read_up_to(&mut stored, at)?;
            Ok(read == stored.len() && stored == content)
        })?;
        let all = newest.keys().all(|page| page.get() > header.commit);
        Ok((same && all).then_some(Cursor {
            frames: to,
            checksum: last.checksum,
            ..like
        }))
    }

    fn view(
        &mut self,
        state: &WalState,
        last: Option<&LastFile>,
        change: Option<u32>,
    ) -> Result<WalView> {
        let mut view = WalView {
            page_size: state.page_size,
            salts: state.salts,
            frames: state.frames,
            backfilled: state.backfilled,
            stored: None,
            evidence: Evidence::None,
            changes_agree: false,
        };
        let Some(cursor) = last
            .and_then(|l| l.cursor)
            .filter(|c| c.frames > 0 && c.page_size == state.page_size)
        else {
            return Ok(view);
        };
        view.stored = self
            .wal
            .frame_header(cursor.frames - 1, &cursor)?
            .map(|h| h.checksum);
        if self.recalled == Some((cursor, state.salts)) {
            view.evidence = Evidence::NothingMissed;
        } else if state.salts != cursor.salts {
            let from = frame_offset(cursor.frames - 1, cursor.page_size);
            let available = self.wal.len()?.saturating_sub(from);
            let mut tail = vec![0; available.min(EVIDENCE_BYTES) as usize];
            let read = self.wal.read_up_to(&mut tail, from)?;
            view.evidence = restart_evidence(
                &cursor,
                state.salts,
                state.frames,
                &tail[..read],
                available <= EVIDENCE_BYTES,
            );
            view.changes_agree = match change {
                Some(change) if view.evidence == Evidence::EndOfFile => {
                    let stop = AtomicBool::new(false);
                    state.change.wrapping_sub(change)
                        == self.capture_parts(&stop).commits_of_generation(state)?
                }
                _ => false,
            };
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
                what: "another process (a second litestream?) holds its checkpoint lock",
            });
        }
        env.clock.sleep(LOCK_PAUSE);
    }
    Ok(())
}

fn stamp(env: &Env, settings: &Settings) -> Result<DatabaseStamp> {
    let m = stat(env, settings)?;
    Ok(DatabaseStamp {
        id: m.id,
        len: m.len,
        modified: m.modified,
    })
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
