//! From WAL and database to level-0 files.
//!
//! Owns the proof that each file continues the one before: a file is written only from frames whose salts and checksums
//! continue the cursor, up to a commit. When that can't be shown, a full file is written and the reason returned.

mod chunk;
mod compress;
mod continuity;
mod source;
mod track;
mod walfile;

pub use continuity::{Decision, FullReason, LastFile, WalView, decide};
pub use walfile::WalFile;

use std::sync::atomic::{AtomicBool, Ordering};

use litestream_replica::Level;
use litestream_replica::env::{Env, UnixMillis};
use ltx::{Chain, DatabaseChecksum, Encoder, FileName, Header, PageNo, PageSize, Txid};

use crate::error::{Error, Result};
use crate::ledger::{self, Entry, Ledger, Whole};
use crate::settings::Settings;
use crate::sqlite::{Sentinel, WalState};
use crate::staging::{Staging, Writer};
use crate::wal::{Cursor, PageSet, WAL_HEADER_SIZE};
use source::{DatabasePages, Differing, PageSource, WalPages};
use track::Track;

/// What is staged: the newest level-0 file and where in the WAL it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its TXID.
    pub txid: Txid,
    /// Database size in pages after it.
    pub commit: u32,
    /// Page size of the database.
    pub page_size: PageSize,
    /// Where the next file begins.
    pub cursor: Cursor,
    /// SQLite's change counter there: every commit increments it, and a restart of the WAL keeps it.
    pub change: u32,
    /// The time in its header.
    pub time: UnixMillis,
}

/// One staged file.
#[derive(Clone, Copy, Debug)]
pub struct Staged {
    /// Where the database stands with it.
    pub position: Position,
    /// Its size.
    pub size: u64,
    /// Pages in it.
    pub pages: u32,
    /// WAL bytes that it stands for.
    pub wal_bytes: u64,
    /// What it holds.
    pub holds: Holds,
}

/// Which pages a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Those that were written since the file before.
    Written,
    /// Those that differ from the file before, found by comparison.
    Differing,
    /// All.
    All,
}

/// All that a capture works on. The guard must be held: the database file stands still, and frames not yet
/// backfilled can't be overwritten.
pub struct Capture<'a> {
    /// The outside world.
    pub env: &'a Env,
    /// Settings of the database.
    pub settings: &'a Settings,
    /// The open database.
    pub sentinel: &'a Sentinel,
    /// Its WAL.
    pub wal: &'a WalFile,
    /// Where files go.
    pub staging: &'a mut Staging,
    /// What pages were as of the newest staged file.
    pub ledger: &'a mut ledger::State,
    /// Set when the work should stop.
    pub stop: &'a AtomicBool,
}

impl<'a> Capture<'a> {
    /// Stages the next file after `last`: committed frames from its cursor on, up to the first commit at which the memory
    /// budget is used up. `None` if nothing was committed since. Call again until it gives none.
    pub fn next(&mut self, last: &Position, state: &WalState) -> Result<Option<Staged>> {
        let Some(mut chunk) = self.next_chunk(last, state)? else {
            return Ok(None);
        };
        let mut captured = chunk.pages.sorted(chunk.commit);
        captured.retain(|e| e.0 != last.page_size.lock_page());
        let growth = self.growth_pages(&chunk, &captured, last.commit, state)?;
        let (txid, time) = (last.txid.next(), self.env.clock.now());
        let header = Header {
            wal_offset: chunk.start.offset() as i64,
            wal_size: (chunk.end.offset() - chunk.start.offset()) as i64,
            wal_salt1: chunk.start.salts.0,
            wal_salt2: chunk.start.salts.1,
            ..self.header(FileName::single(txid), chunk.commit, last.page_size, time)
        };
        let pages = WalPages::new(self.wal, &chunk.pages, captured, growth, chunk.start);
        let (size, pages) = self.write_level0(header, pages)?;
        let at_end = chunk.end.salts == state.salts && chunk.end.frames == state.frames;
        let position = Position {
            txid,
            commit: chunk.commit,
            page_size: last.page_size,
            cursor: chunk.end,
            change: if at_end {
                state.change
            } else {
                last.change.wrapping_add(chunk.commits)
            },
            time,
        };
        Ok(Some(Staged {
            position,
            size,
            pages,
            wal_bytes: header.wal_size as u64,
            holds: Holds::Written,
        }))
    }

    /// The position of a file that is already staged and that `cursor` is known to continue.
    pub fn resume(
        &self,
        name: FileName,
        header: &Header,
        cursor: Cursor,
        state: &WalState,
    ) -> Result<Position> {
        // A generation that followed is all in the WAL: its commits, from its start on, are those to come.
        let to_come = if cursor.salts == state.salts && cursor.frames > 0 {
            self.commits(cursor, state)?
        } else {
            self.commits_of_generation(state)?
        };
        let change = state.change.wrapping_sub(to_come);
        Ok(Position {
            txid: name.max,
            commit: header.commit,
            page_size: header.page_size,
            cursor,
            change,
            time: UnixMillis(header.timestamp_ms),
        })
    }

    /// Stages a file with every page of the state, as level-0 file `txid`.
    pub fn full(&mut self, txid: Txid, time: UnixMillis, state: &WalState) -> Result<Staged> {
        *self.ledger = match self.staging.new_ledger(state.page_size) {
            Ok(ledger) => ledger::State::Ready(ledger),
            Err(error) => {
                tracing::debug!(%error, "no ledger");
                ledger::State::Lost
            }
        };
        let cursor = self.cursor_at(state)?;
        let pages = self.database_pages(state, &cursor)?;
        self.stage_state(txid, time, state, cursor, pages, Holds::All)
    }

    /// Stages a file with the pages of the state that are not as the ledger says, as level-0 file `txid`. The ledger must stand for the
    /// file before it. Every page is read once.
    pub fn difference(&mut self, txid: Txid, time: UnixMillis, state: &WalState) -> Result<Staged> {
        let cursor = self.cursor_at(state)?;
        let path = self.staging.ledger_path();
        // The ledger is written while it is read, always behind what was read.
        let old = self
            .staging
            .ledger()
            .map_err(Error::io("read", &path))?
            .ok_or_else(|| Error::io("read", &path)(std::io::ErrorKind::InvalidData.into()))?;
        let pages = Differing::new(self.database_pages(state, &cursor)?, &old, self.stop);
        self.stage_state(txid, time, state, cursor, pages, Holds::Differing)
    }

    fn stage_state(
        &mut self,
        txid: Txid,
        time: UnixMillis,
        state: &WalState,
        cursor: Cursor,
        pages: impl PageSource,
        holds: Holds,
    ) -> Result<Staged> {
        let header = Header {
            wal_offset: WAL_HEADER_SIZE as i64,
            wal_size: (cursor.offset() - WAL_HEADER_SIZE as u64) as i64,
            wal_salt1: cursor.salts.0,
            wal_salt2: cursor.salts.1,
            ..self.header(FileName::single(txid), state.pages, state.page_size, time)
        };
        let (size, pages) = self.write_level0(header, pages)?;
        let position = Position {
            txid,
            commit: state.pages,
            page_size: state.page_size,
            cursor,
            change: state.change,
            time,
        };
        Ok(Staged {
            position,
            size,
            pages,
            wal_bytes: header.wal_size as u64,
            holds,
        })
    }

    /// Stages a level-9 snapshot of the state, which is or will be that of `txid`. It bears the time of that file: what could be
    /// restored as of a time before, still can be when the same snapshot is taken again.
    pub fn snapshot(
        &mut self,
        txid: Txid,
        time: UnixMillis,
        state: &WalState,
    ) -> Result<(FileName, u64)> {
        let name = FileName::new(Txid::new(1), txid);
        let header = self.header(name, state.pages, state.page_size, time);
        let cursor = self.cursor_at(state)?;
        let pages = self.database_pages(state, &cursor)?;
        let known = self.ledger.at(txid).map(|ledger| ledger.head().whole);
        let mut track = Track::Whole(Whole::default());
        let (writer, size, _) = self.encode(Level::SNAPSHOT, header, pages, &mut track)?;
        if let (Some(known), Track::Whole(found)) = (known, &track)
            && known != *found
        {
            return Err(Error::ContentDiffers {
                path: self.settings.path.clone(),
                txid,
            });
        }
        self.publish(writer, Level::SNAPSHOT, &header)?;
        Ok((name, size))
    }

    /// What the ledger keeps of some pages, beginning with `from`, as the position has them; fewer at the end of the database.
    pub fn sums(
        &self,
        position: &Position,
        state: &WalState,
        from: u32,
        pages: u32,
    ) -> Result<Vec<Option<Entry>>> {
        self.check_guard()?;
        let mut frames = PageSet::offsets_only(position.page_size);
        // Frames of an older generation are all in the database file.
        if position.cursor.salts == state.salts {
            let from = in_database(state, &position.cursor);
            self.collect_frames(&mut frames, from, &position.cursor)?;
        }
        let commit = position.commit;
        let mut source =
            DatabasePages::new(self.wal, frames.sorted(commit), commit, &position.cursor)
                .starting_at(from);
        let end = commit.min(from.saturating_add(pages - 1));
        let lock_page = position.page_size.lock_page();
        let mut page = vec![0; position.page_size.bytes()];
        let mut sums = Vec::with_capacity((end.saturating_sub(from) + 1) as usize);
        for number in from..=end {
            self.check_stop()?;
            if PageNo::new(number) == Some(lock_page) {
                sums.push(None);
            } else if let Some(number) = source.next(self.sentinel, &mut page)? {
                sums.push(Some(Entry::of(number, &page)));
            }
        }
        Ok(sums)
    }

    /// The end of the state as a cursor.
    fn cursor_at(&self, state: &WalState) -> Result<Cursor> {
        let header = self.wal.header()?.filter(|h| h.salts == state.salts);
        match header {
            Some(h) => Ok(Cursor {
                frames: state.frames,
                checksum: if state.frames == 0 {
                    h.checksum
                } else {
                    state.checksum
                },
                ..Cursor::start(&h)
            }),
            // Empty, or restarted in shared memory and not yet written.
            None if state.frames == 0 => Ok(Cursor {
                salts: state.salts,
                ..Cursor::before_any(state.page_size)
            }),
            // Restarted since, which it can only if all of it is in the database file.
            None if state.backfilled == state.frames => Ok(Cursor {
                salts: state.salts,
                frames: state.frames,
                checksum: state.checksum,
                ..Cursor::before_any(state.page_size)
            }),
            None => Err(self.changed("its header does not match the WAL-index".into())),
        }
    }

    fn check_guard(&self) -> Result<()> {
        if self.sentinel.is_guarded() {
            Ok(())
        } else {
            Err(Error::Busy {
                path: self.settings.path.clone(),
                what: "the guard was lost",
            })
        }
    }

    fn database_pages(&self, state: &WalState, cursor: &Cursor) -> Result<DatabasePages<'a>> {
        self.check_guard()?;
        let mut frames = PageSet::offsets_only(state.page_size);
        // What is backfilled is in the database file, which stands still under the guard.
        self.collect_frames(&mut frames, state.backfilled, cursor)?;
        let frames = frames.sorted(state.pages);
        Ok(DatabasePages::new(self.wal, frames, state.pages, cursor))
    }

    #[allow(clippy::unused_self, reason = "reads as the others do")]
    fn header(&self, name: FileName, commit: u32, page_size: PageSize, time: UnixMillis) -> Header {
        Header {
            flags: ltx::NO_CHECKSUM,
            page_size,
            commit,
            min_txid: name.min,
            max_txid: name.max,
            timestamp_ms: time.0,
            pre_apply_checksum: 0,
            wal_offset: 0,
            wal_size: 0,
            wal_salt1: 0,
            wal_salt2: 0,
            node_id: 0,
            reserved: [0; 20],
        }
    }

    /// Writes a level-0 file and brings the ledger up to it.
    fn write_level0(&mut self, header: Header, pages: impl PageSource) -> Result<(u64, u32)> {
        let mut ledger = std::mem::take(self.ledger);
        let mut track = match &mut ledger {
            ledger::State::Ready(ledger) if continues(ledger, &header) => {
                Track::Update(ledger.update())
            }
            ledger::State::Building(_) => Track::List(Vec::new()),
            _ => Track::Nothing,
        };
        let written =
            self.encode(Level::L0, header, pages, &mut track)
                .and_then(|(writer, size, pages)| {
                    self.publish(writer, Level::L0, &header)?;
                    Ok((size, pages))
                });
        let kept = match track {
            _ if written.is_err() => Ok(()),
            Track::Update(update) => {
                update.apply(header.max_txid, header.commit, self.env.clock.boot())
            }
            Track::List(list) => match &mut ledger {
                ledger::State::Building(build) => build.captured(&list, header.commit),
                _ => Ok(()),
            },
            Track::Failed(error) => Err(error),
            Track::Nothing | Track::Whole(_) => Ok(()),
        };
        match kept {
            Ok(()) => *self.ledger = ledger.filter_usable(),
            Err(error) => {
                tracing::debug!(db = %self.settings.path.display(), %error, "the ledger is lost");
            }
        }
        written
    }

    /// Writes a file, but does not give it its name yet.
    fn encode(
        &mut self,
        level: Level,
        header: Header,
        mut pages: impl PageSource,
        track: &mut Track<'_>,
    ) -> Result<(Writer, u64, u32)> {
        let name = FileName::new(header.min_txid, header.max_txid);
        let encode = |source| Error::Encode { name, source };
        let writer: Writer = self.staging.create(level, name)?;
        let mut encoder = Encoder::new(writer, header).map_err(encode)?;
        encoder.spill_to(self.staging.spill(level));
        compress::write_pages(
            self.env,
            &mut encoder,
            name,
            header.page_size,
            &mut pages,
            self.sentinel,
            self.stop,
            track,
        )?;
        let mut chain = track.chain(header.commit);
        if name.min == Txid::new(1) && chain.after.is_some() {
            chain.before = Some(DatabaseChecksum::new().value());
        } else if chain.before == Some(DatabaseChecksum::new().value()) {
            // Made anew: what came before is not known.
            chain.before = None;
        }
        if chain == Chain::UNKNOWN {
            let (writer, written) = encoder.finish(0).map_err(encode)?;
            return Ok((writer, written.size, written.page_count));
        }
        let (mut writer, written, head) = encoder.finish_chained(chain).map_err(encode)?;
        writer
            .overwrite(&head)
            .map_err(|e| encode(ltx::Error::Io(e)))?;
        Ok((writer, written.size, written.page_count))
    }

    fn publish(&mut self, writer: Writer, level: Level, header: &Header) -> Result<()> {
        let (name, created) = (header.file_name(), UnixMillis(header.timestamp_ms));
        self.staging.publish(writer, level, name, created)?;
        Ok(())
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    fn changed(&self, what: String) -> Error {
        Error::WalChanged {
            path: self.settings.path.clone(),
            what,
        }
    }
}

/// So many frames are in the database file for one who reads up to `cursor`. A checkpoint leaves out a page that has a newer frame than
/// those that it may copy: where frames follow the cursor, what is backfilled need not be there.
fn in_database(state: &WalState, cursor: &Cursor) -> u32 {
    if cursor.frames < state.frames {
        0
    } else {
        state.backfilled
    }
}

/// Whether the ledger can follow a file with this header: it stands for the one before it, or is a new one.
fn continues(ledger: &Ledger, header: &Header) -> bool {
    let head = ledger.head();
    head.page_size == header.page_size
        && (head.txid.next() == header.min_txid || head.txid == Txid::ZERO)
}
