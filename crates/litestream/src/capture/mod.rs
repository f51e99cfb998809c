//! From WAL and database to level-0 files.
//!
//! Owns the proof that each file continues the one before: a file is written only from frames whose salts and checksums
//! continue the cursor, up to a commit. When that can't be shown, a full file is written and the reason returned.

mod chunk;
mod compress;
mod continuity;
mod source;
mod walfile;

pub use continuity::{Decision, FullReason, LastFile, WalView, decide};
pub use walfile::WalFile;

use std::sync::atomic::{AtomicBool, Ordering};

use litestream_replica::Level;
use litestream_replica::env::{Env, UnixMillis};
use ltx::{Encoder, FileName, Header, PageSize, Txid};

use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::sqlite::{Sentinel, WalState};
use crate::staging::{Staging, Writer};
use crate::wal::{Cursor, PageSet, WAL_HEADER_SIZE};
use source::{DatabasePages, PageSource, WalPages};

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
    /// Set when the work should stop.
    pub stop: &'a AtomicBool,
}

impl Capture<'_> {
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
        let (size, pages) = self.write(Level::L0, header, pages)?;
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
        let cursor = self.cursor_at(state)?;
        let header = Header {
            wal_offset: WAL_HEADER_SIZE as i64,
            wal_size: (cursor.offset() - WAL_HEADER_SIZE as u64) as i64,
            wal_salt1: cursor.salts.0,
            wal_salt2: cursor.salts.1,
            ..self.header(FileName::single(txid), state.pages, state.page_size, time)
        };
        let (size, pages) = self.write_database(Level::L0, header, state, &cursor)?;
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
        let (size, _) = self.write_database(Level::SNAPSHOT, header, state, &cursor)?;
        Ok((name, size))
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

    fn write_database(
        &mut self,
        level: Level,
        header: Header,
        state: &WalState,
        cursor: &Cursor,
    ) -> Result<(u64, u32)> {
        if !self.sentinel.is_guarded() {
            return Err(Error::Busy {
                path: self.settings.path.clone(),
                what: "the guard was lost",
            });
        }
        let mut frames = PageSet::offsets_only(state.page_size);
        // What is backfilled is in the database file, which stands still under the guard.
        self.collect_frames(&mut frames, state.backfilled, cursor)?;
        let pages = DatabasePages::new(self.wal, frames.sorted(state.pages), state.pages, cursor);
        self.write(level, header, pages)
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

    fn write(
        &mut self,
        level: Level,
        header: Header,
        mut pages: impl PageSource,
    ) -> Result<(u64, u32)> {
        let name = FileName::new(header.min_txid, header.max_txid);
        let encode = |source| Error::Encode { name, source };
        let writer: Writer = self.staging.create(level, name)?;
        let mut encoder = Encoder::new(writer, header).map_err(encode)?;
        compress::write_pages(
            self.env,
            &mut encoder,
            name,
            header.page_size,
            &mut pages,
            self.sentinel,
            self.stop,
        )?;
        let (writer, written) = encoder.finish(0).map_err(encode)?;
        self.staging
            .publish(writer, level, name, UnixMillis(header.timestamp_ms))?;
        Ok((written.size, written.page_count))
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
