//! From WAL and database to level-0 files.
//!
//! Owns the proof that each file continues the one before: a file is written only from frames whose salts and checksums
//! continue the cursor, up to a commit. When that can't be shown, a full file is written and the reason returned.

mod compress;
mod continuity;
mod source;
mod walfile;

pub use continuity::{Decision, FullReason, LastFile, WalView, decide};
pub use walfile::WalFile;

use std::sync::atomic::{AtomicBool, Ordering};

use litestream_replica::Level;
use litestream_replica::env::{Env, UnixMillis};
use ltx::{Encoder, FileName, Header, PageNo, PageSize, Txid};

use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::sqlite::{Sentinel, WalState};
use crate::staging::{Staging, Writer};
use crate::wal::{Cursor, PageSet, ScanEnd, WAL_HEADER_SIZE, frame_size, scan};
use source::{DatabasePages, PageSource, WalPages};

/// Bytes read from the WAL at once.
const READ_BYTES: usize = 1 << 20;

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

/// Frames that become one file.
struct Chunk {
    pages: PageSet,
    start: Cursor,
    end: Cursor,
    commit: u32,
}

impl Capture<'_> {
    /// Stages the next file after `last`: committed frames from its cursor on, up to the first commit at which the memory
    /// budget is used up. `None` if nothing was committed since. Call again until it gives none.
    pub fn next(&mut self, last: &Position, state: &WalState) -> Result<Option<Staged>> {
        let Some(start) = self.start_of(&last.cursor, state)? else {
            return Ok(None);
        };
        if start.frames >= state.frames {
            return Ok(None);
        }
        let mut chunk = self.read_chunk(start, state)?;
        let growth = self.growth_pages(&mut chunk, last.commit, state)?;
        let txid = last.txid.next();
        let header = Header {
            wal_offset: chunk.start.offset() as i64,
            wal_size: (chunk.end.offset() - chunk.start.offset()) as i64,
            wal_salt1: chunk.start.salts.0,
            wal_salt2: chunk.start.salts.1,
            ..self.header(FileName::single(txid), chunk.commit, last.page_size)
        };
        let pages = WalPages::new(
            self.wal,
            &mut chunk.pages,
            chunk.commit,
            growth,
            chunk.start,
        );
        let (size, pages) = self.write(Level::L0, header, pages)?;
        let position = Position {
            txid,
            commit: chunk.commit,
            page_size: last.page_size,
            cursor: chunk.end,
        };
        let wal_bytes = header.wal_size as u64;
        Ok(Some(Staged {
            position,
            size,
            pages,
            wal_bytes,
        }))
    }

    /// Stages a file with every page of the state, as level-0 file `txid`.
    pub fn full(&mut self, txid: Txid, state: &WalState) -> Result<Staged> {
        let cursor = self.cursor_at(state)?;
        let header = Header {
            wal_offset: WAL_HEADER_SIZE as i64,
            wal_size: (cursor.offset() - WAL_HEADER_SIZE as u64) as i64,
            wal_salt1: cursor.salts.0,
            wal_salt2: cursor.salts.1,
            ..self.header(FileName::single(txid), state.pages, state.page_size)
        };
        let (size, pages) = self.write_database(Level::L0, header, state, &cursor)?;
        let position = Position {
            txid,
            commit: state.pages,
            page_size: state.page_size,
            cursor,
        };
        Ok(Staged {
            position,
            size,
            pages,
            wal_bytes: header.wal_size as u64,
        })
    }

    /// Stages a level-9 snapshot of the state at `position`, which must be the state's own.
    pub fn snapshot(&mut self, position: &Position, state: &WalState) -> Result<(FileName, u64)> {
        let name = FileName::new(Txid::new(1), position.txid);
        let header = self.header(name, state.pages, state.page_size);
        let cursor = self.cursor_at(state)?;
        let (size, _) = self.write_database(Level::SNAPSHOT, header, state, &cursor)?;
        Ok((name, size))
    }

    /// Where reading must start to continue `cursor`; `None` if the state holds nothing that can be read yet.
    fn start_of(&self, cursor: &Cursor, state: &WalState) -> Result<Option<Cursor>> {
        if state.salts == cursor.salts {
            if state.frames < cursor.frames {
                return Err(self.changed(format!(
                    "it holds {} frames, {} were captured",
                    state.frames, cursor.frames
                )));
            }
            return Ok(Some(*cursor));
        }
        if state.frames == 0 {
            return Ok(None);
        }
        // The guard keeps a WAL that is not wholly captured from restarting, so one restart loses nothing. An empty WAL gets
        // fresh salts with its first frame.
        if cursor.frames != 0 && !state.salts.follows(cursor.salts) {
            return Err(self.changed("it was restarted more than once".into()));
        }
        match self.wal.header()? {
            Some(header) if header.salts == state.salts && header.page_size == cursor.page_size => {
                Ok(Some(Cursor::start(&header)))
            }
            Some(header) if header.page_size != cursor.page_size => {
                Err(self.changed(format!("page size is now {}", header.page_size.get())))
            }
            _ => Err(self.changed("its header does not match the WAL-index".into())),
        }
    }

    fn read_chunk(&self, start: Cursor, state: &WalState) -> Result<Chunk> {
        let budget = self.settings.capture_bytes_max;
        if let Some(chunk) = self.read_range(start, state, PageSet::new(start.page_size, budget))? {
            return Ok(chunk);
        }
        // One transaction larger than memory allows: keep offsets and read its pages again when they are written.
        let offsets = PageSet::offsets_only(start.page_size);
        self.read_range(start, state, offsets)?
            .ok_or_else(|| self.changed("no commit where there was one".into()))
    }

    /// Reads until the state's end or the first commit after a third of the budget. `None` if the budget ran out before a commit.
    fn read_range(
        &self,
        start: Cursor,
        state: &WalState,
        mut pages: PageSet,
    ) -> Result<Option<Chunk>> {
        let mut cursor = start;
        let (mut commit, mut overflow, mut done) = (0, false, false);
        let step = frame_size(start.page_size) as usize;
        let mut buf = vec![0; (READ_BYTES / step).max(1) * step];
        while cursor.frames < state.frames && !done && !overflow {
            self.check_stop()?;
            let want = ((state.frames - cursor.frames) as usize * step).min(buf.len());
            self.wal.read_exact(&mut buf[..want], cursor.offset())?;
            let end = scan(&mut cursor, &buf[..want], |h, index, data| {
                overflow = pages.is_exhausted() && !pages.is_offsets();
                if overflow {
                    return false;
                }
                pages.push(h.page, index, data);
                commit = h.commit;
                done = commit != 0 && pages.is_full();
                !done
            });
            if end == ScanEnd::Invalid {
                return Err(self.changed(format!(
                    "frame {} is not the one that was committed",
                    cursor.frames + 1
                )));
            }
        }
        if overflow {
            return Ok(None);
        }
        if commit == 0 {
            return Err(self.changed("the last committed frame ends no transaction".into()));
        }
        if cursor.frames == state.frames
            && (cursor.checksum != state.checksum || commit != state.pages)
        {
            return Err(self.changed("its checksum differs from the WAL-index's".into()));
        }
        Ok(Some(Chunk {
            pages,
            start,
            end: cursor,
            commit,
        }))
    }

    /// Pages between the old and the new size that the chunk doesn't hold. A merge of files must never take an older version
    /// of them, so each file that grows the database carries them all.
    fn growth_pages(
        &self,
        chunk: &mut Chunk,
        old: u32,
        state: &WalState,
    ) -> Result<Vec<(PageNo, Option<u32>)>> {
        let lock_page = chunk.start.page_size.lock_page();
        let missing: Vec<PageNo> = (old.saturating_add(1)..=chunk.commit)
            .filter_map(PageNo::new)
            .filter(|&p| p != lock_page && !chunk.pages.contains(p))
            .collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        // An older frame of this generation may hold one; SQLite would read it from there.
        let mut older = PageSet::offsets_only(chunk.start.page_size);
        self.collect_frames(
            &mut older,
            state.backfilled.min(chunk.start.frames),
            &chunk.start,
        )?;
        let frames: std::collections::HashMap<PageNo, u32> =
            older.sorted(chunk.commit).into_iter().collect();
        Ok(missing
            .into_iter()
            .map(|p| (p, frames.get(&p).copied()))
            .collect())
    }

    /// Notes the frames from index `from` up to the cursor, verified, and returns the checksum reached.
    fn collect_frames(&self, pages: &mut PageSet, from: u32, to: &Cursor) -> Result<()> {
        if from >= to.frames {
            return Ok(());
        }
        let mut cursor = self
            .wal
            .cursor_at(from, to)?
            .ok_or_else(|| self.changed("a captured frame is gone".into()))?;
        let step = frame_size(to.page_size) as usize;
        let mut buf = vec![0; (READ_BYTES / step).max(1) * step];
        while cursor.frames < to.frames {
            self.check_stop()?;
            let want = ((to.frames - cursor.frames) as usize * step).min(buf.len());
            self.wal.read_exact(&mut buf[..want], cursor.offset())?;
            let end = scan(&mut cursor, &buf[..want], |h, index, data| {
                pages.push(h.page, index, data);
                true
            });
            if end == ScanEnd::Invalid {
                return Err(self.changed(format!(
                    "frame {} is not the one that was committed",
                    cursor.frames + 1
                )));
            }
        }
        if cursor.checksum != to.checksum {
            return Err(self.changed("its checksum differs from the WAL-index's".into()));
        }
        Ok(())
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
            None if state.frames == 0 => Ok(Cursor::before_any(state.page_size)),
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
        let mut frames = PageSet::offsets_only(state.page_size);
        // What is backfilled is in the database file, which stands still under the guard.
        self.collect_frames(&mut frames, state.backfilled, cursor)?;
        let sentinel = self.sentinel;
        let pages = DatabasePages::new(
            sentinel,
            self.wal,
            frames.sorted(state.pages),
            state.pages,
            cursor,
        );
        self.write(level, header, pages)
    }

    fn header(&self, name: FileName, commit: u32, page_size: PageSize) -> Header {
        Header {
            flags: ltx::NO_CHECKSUM,
            page_size,
            commit,
            min_txid: name.min,
            max_txid: name.max,
            timestamp_ms: self.env.clock.now().0,
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
