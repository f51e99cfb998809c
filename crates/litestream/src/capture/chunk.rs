//! Frames of the WAL that become one file: read, verified, and cut at a commit within the memory budget.

use ltx::PageNo;

use super::{Capture, Position};
use crate::error::Result;
use crate::sqlite::WalState;
use crate::wal::{Cursor, FrameHeader, PageSet, ScanEnd, frame_size, scan};

/// Bytes read from the WAL at once.
const READ_BYTES: usize = 1 << 20;

/// See the module.
pub(super) struct Chunk {
    /// Newest versions of pages.
    pub pages: PageSet,
    /// Where it begins.
    pub start: Cursor,
    /// Where it ends: after a commit.
    pub end: Cursor,
    /// Database size in pages after it.
    pub commit: u32,
    /// Commits in it.
    pub commits: u32,
}

/// How far a range could be read.
enum Range {
    Read(Chunk),
    /// The memory budget ran out in the middle of a transaction, after this many frames of the generation ended in a commit.
    Overflow {
        committed: u32,
    },
}

impl Capture<'_> {
    /// The next frames after `last`. `None` if nothing was committed since.
    ///
    /// A generation that follows another is accepted only if SQLite's change counter, which every commit increments,
    /// says that its commits are all that came since `last`.
    pub(super) fn next_chunk(&self, last: &Position, state: &WalState) -> Result<Option<Chunk>> {
        if state.page_size != last.page_size {
            return Err(self.changed("its pages have another size".into()));
        }
        let since = state.change.wrapping_sub(last.change);
        let same_generation = state.salts == last.cursor.salts;
        if state.frames == 0 && (!same_generation || last.cursor.frames == 0) {
            return if since == 0 {
                Ok(None)
            } else {
                Err(self.changed(format!("{since} commits were missed")))
            };
        }
        if same_generation && state.frames < last.cursor.frames {
            let captured = last.cursor.frames;
            return Err(self.changed(format!(
                "it holds {} frames, {captured} were captured",
                state.frames
            )));
        }
        if same_generation && state.frames == last.cursor.frames {
            return Ok(None);
        }
        // An empty generation's header may not have been written yet when the cursor was taken.
        let start = if same_generation && last.cursor.frames > 0 {
            last.cursor
        } else {
            self.generation_start(state)?
        };
        let chunk = self.read_chunk(start, state)?;
        if !same_generation {
            let commits = chunk.commits + self.commits(chunk.end, state)?;
            if commits != since {
                return Err(self.changed(format!(
                    "it was restarted and {since} commits came since, not {commits}"
                )));
            }
        }
        Ok(Some(chunk))
    }

    fn generation_start(&self, state: &WalState) -> Result<Cursor> {
        match self.wal.header()? {
            Some(header) if header.salts == state.salts && header.page_size == state.page_size => {
                Ok(Cursor::start(&header))
            }
            _ => Err(self.changed("its header does not match the WAL-index".into())),
        }
    }

    fn read_chunk(&self, start: Cursor, state: &WalState) -> Result<Chunk> {
        let budget = self.settings.capture_bytes_max;
        let kept = PageSet::new(start.page_size, budget);
        match self.read_range(start, state.frames, state, kept)? {
            Range::Read(chunk) => Ok(chunk),
            // End before the transaction that does not fit.
            Range::Overflow { committed } if committed > start.frames => {
                let kept = PageSet::new(start.page_size, budget);
                self.read_whole(start, committed, state, kept)
            }
            // It is the first: keep offsets and read its pages again when they are written.
            Range::Overflow { .. } => self.read_whole(
                start,
                state.frames,
                state,
                PageSet::offsets_only(start.page_size),
            ),
        }
    }

    fn read_whole(
        &self,
        start: Cursor,
        until: u32,
        state: &WalState,
        pages: PageSet,
    ) -> Result<Chunk> {
        match self.read_range(start, until, state, pages)? {
            Range::Read(chunk) => Ok(chunk),
            Range::Overflow { .. } => {
                Err(self.changed("it holds other frames than a moment ago".into()))
            }
        }
    }

    /// Reads until frame `until` or the first commit at which the set is full.
    fn read_range(
        &self,
        start: Cursor,
        until: u32,
        state: &WalState,
        mut pages: PageSet,
    ) -> Result<Range> {
        let mut cursor = start;
        let (mut commit, mut commits, mut committed) = (0, 0, start.frames);
        let (mut overflow, mut done) = (false, false);
        self.scan_frames(&mut cursor, until, |h, index, data| {
            overflow = pages.is_exhausted();
            if overflow {
                return false;
            }
            pages.push(h.page, index, data);
            commit = h.commit;
            if commit != 0 {
                (commits, committed) = (commits + 1, index + 1);
                done = pages.is_full();
            }
            !done
        })?;
        if overflow {
            return Ok(Range::Overflow { committed });
        }
        if commit == 0 {
            return Err(self.changed("the last committed frame ends no transaction".into()));
        }
        if cursor.frames == state.frames
            && (cursor.checksum != state.checksum || commit != state.pages)
        {
            return Err(self.changed("its checksum differs from the WAL-index's".into()));
        }
        Ok(Range::Read(Chunk {
            pages,
            start,
            end: cursor,
            commit,
            commits,
        }))
    }

    /// Commits in the state's generation, from its start on.
    pub fn commits_of_generation(&self, state: &WalState) -> Result<u32> {
        if state.frames == 0 {
            Ok(0)
        } else {
            self.commits(self.generation_start(state)?, state)
        }
    }

    /// Commits after `from` up to the state's end, verified.
    pub(super) fn commits(&self, from: Cursor, state: &WalState) -> Result<u32> {
        let (mut cursor, mut commits) = (from, 0);
        self.scan_frames(&mut cursor, state.frames, |h, _, _| {
            commits += u32::from(h.commit != 0);
            true
        })?;
        Ok(commits)
    }

    /// Notes the frames from index `from` up to the cursor, verified.
    pub(super) fn collect_frames(&self, pages: &mut PageSet, from: u32, to: &Cursor) -> Result<()> {
        if from >= to.frames {
            return Ok(());
        }
        let start = self.wal.cursor_at(from, to)?;
        let mut cursor = start.ok_or_else(|| self.changed("a captured frame is gone".into()))?;
        self.scan_frames(&mut cursor, to.frames, |h, index, data| {
            pages.push(h.page, index, data);
            true
        })?;
        if cursor.checksum == to.checksum {
            Ok(())
        } else {
            Err(self.changed("its checksum differs from the WAL-index's".into()))
        }
    }

    /// Gives `visit` each frame up to index `until`, until it returns false.
    fn scan_frames(
        &self,
        cursor: &mut Cursor,
        until: u32,
        mut visit: impl FnMut(&FrameHeader, u32, &[u8]) -> bool,
    ) -> Result<()> {
        let step = frame_size(cursor.page_size) as usize;
        let frames = (until.saturating_sub(cursor.frames) as usize).min((READ_BYTES / step).max(1));
        let mut buf = vec![0; frames * step];
        while cursor.frames < until {
            self.check_stop()?;
            let want = ((until - cursor.frames) as usize * step).min(buf.len());
            self.wal.read_exact(&mut buf[..want], cursor.offset())?;
            match scan(cursor, &buf[..want], &mut visit) {
                ScanEnd::Consumed => {}
                ScanEnd::Stopped => return Ok(()),
                ScanEnd::Invalid => {
                    let what = format!(
                        "frame {} is not the one that was committed",
                        cursor.frames + 1
                    );
                    return Err(self.changed(what));
                }
            }
        }
        Ok(())
    }

    /// Pages between the old and the new size that the chunk doesn't hold (`captured`, ascending), each with the older frame of
    /// this generation that does, if any: SQLite would read it from there. A merge of files must never take an older version of
    /// them, so a file that grows the database carries them all.
    pub(super) fn growth_pages(
        &self,
        chunk: &Chunk,
        captured: &[(PageNo, u32)],
        old: u32,
        state: &WalState,
    ) -> Result<Vec<(PageNo, Option<u32>)>> {
        let lock_page = chunk.start.page_size.lock_page();
        let mut held = captured
            .iter()
            .map(|e| e.0)
            .skip_while(|p| p.get() <= old)
            .peekable();
        let mut missing = Vec::new();
        for page in (old.saturating_add(1)..=chunk.commit).filter_map(PageNo::new) {
            if held.next_if_eq(&page).is_none() && page != lock_page {
                missing.push(page);
            }
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let mut older = PageSet::offsets_only(chunk.start.page_size);
        let from = super::in_database(state, &chunk.end).min(chunk.start.frames);
        self.collect_frames(&mut older, from, &chunk.start)?;
        let older = older.sorted(chunk.commit);
        let frame = |page| {
            older
                .binary_search_by_key(&page, |e| e.0)
                .ok()
                .map(|i| older[i].1)
        };
        Ok(missing
            .into_iter()
            .map(|page| (page, frame(page)))
            .collect())
    }
}
