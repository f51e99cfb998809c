//! Applies what was staged to the database: all of it or nothing, for readers and for crashes.
//!
//! Order: exclusive lock; old pages into the journal; journal durable and valid; pages, length; database durable; journal removed,
//! durably; lock released. A crash before the removal gives the old state back, one after it the new.

use std::time::Duration;

use ltx::{PageNo, PageSize};

use super::Place;
use super::counter;
use super::error::FollowError;
use super::journal::{self, Journal};
use super::resume::Position;
use super::stage::Staged;
use crate::restore::aside::{self, with_suffix};
use crate::sqlite::{Exclusive, roll_back};

/// How long running readers are waited for, while new ones are kept off as by any writer.
const LOCK_WAIT: Duration = Duration::from_millis(100);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// How an attempt ended that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// The database is in the new state, durably.
    Done(Position),
    /// Somebody is reading; nothing was changed.
    Busy,
}

/// What the header of the database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) page_size: PageSize,
    pub(super) pages: u32,
    pub(super) counter: u32,
}

/// Applies `staged` to the database, which must be at `from`.
pub(super) fn apply(
    place: &Place,
    staged: &Staged,
    from: Position,
) -> Result<Applied, FollowError> {
    let Some(mut file) = lock(place)? else {
        return Ok(Applied::Busy);
    };
    remove_empty_wal(place)?;
    let header = header(place, &file)?;
    if header.map(|h| h.counter) != from.counter {
        return Err(FollowError::Changed {
            output: place.output.clone(),
            saved: from.txid,
        });
    }
    let old = Old::new(place, header, staged)?;
    let mut journal = Journal::create(place, old.page_size, old.pages)?;
    let first = old.keep(&file, staged, &mut journal)?;
    journal.seal()?;
    let written = write(&file, staged, first).and_then(|()| journal.commit());
    if let Err(error) = written {
        // The lock must be free for that. If it fails now, whoever opens the database next does it.
        drop(file);
        let _ = roll_back(&place.real, place.vfs());
        return Err(error);
    }
    file.unlock()?;
    let counter = (staged.header.commit > 0).then(|| counter::of(staged.to()));
    Ok(Applied::Done(Position {
        txid: staged.to(),
        counter,
    }))
}

/// The database under the exclusive lock, in the last state that is whole. `None` if somebody reads for longer.
fn lock(place: &Place) -> Result<Option<Exclusive>, FollowError> {
    let clock = &*place.env.clock;
    for _ in 0..2 {
        let mut file = Exclusive::open(&place.real, place.vfs())?;
        let start = clock.monotonic();
        while !file.try_exclusive()? {
            if clock.monotonic().since(start) >= LOCK_WAIT {
                return Ok(None);
            }
            clock.sleep(LOCK_PAUSE);
        }
        let (disk, path) = (&*place.env.disk, place.journal());
        if !journal::is_hot(disk, &path)? {
            if place.exists(&path)?.is_some() {
                disk.remove(&path)
                    .map_err(FollowError::io("remove", path))?;
            }
            return Ok(Some(file));
        }
        drop(file);
        if !roll_back(&place.real, place.vfs())? {
            return Ok(None);
        }
    }
    Err(FollowError::Journal {
        journal: place.journal(),
    })
}

/// Under the exclusive lock nobody has the WAL open, so an empty one is a left-over, and what is in a full one was lost if we
/// went on.
fn remove_empty_wal(place: &Place) -> Result<(), FollowError> {
    let wal = place.wal();
    match place.exists(&wal)? {
        None => return Ok(()),
        Some(0) => {}
        Some(_) => return Err(FollowError::Wal { wal }),
    }
    aside::remove(
        &*place.env.disk,
        vec![wal, with_suffix(&place.real, "-shm")],
    );
    Ok(())
}

/// Reads the header, under any lock. `None` if the file is empty.
pub(super) fn header(place: &Place, file: &Exclusive) -> Result<Option<Header>, FollowError> {
    let size = file.size()?;
    if size == 0 {
        return Ok(None);
    }
    let not = |what: String| FollowError::NotDatabase {
        output: place.output.clone(),
        what,
    };
    let mut bytes = [0; 100];
    file.read(&mut bytes, 0)?;
    if bytes[..16] != *b"SQLite format 3\0" {
        return Err(not("it begins with something else".into()));
    }
    let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
        1 => 65536,
        n => u32::from(n),
    };
    let page_size =
        PageSize::new(page_size).ok_or_else(|| not(format!("page size {page_size}")))?;
    if !size.is_multiple_of(u64::from(page_size.get())) {
        let what = format!("its length {size} is no multiple of the page size {page_size}");
        return Err(not(what));
    }
    let mut counter = [0; 4];
    counter.copy_from_slice(&bytes[counter::COUNTER]);
    Ok(Some(Header {
        page_size,
        pages: u32::try_from(size / u64::from(page_size.get()))
            .map_err(|_| not(format!("{size} bytes")))?,
        counter: u32::from_be_bytes(counter),
    }))
}

/// The database before.
struct Old {
    page_size: PageSize,
    pages: u32,
    /// What is staged goes by the same page numbers. If not, it replaces everything.
    same_pages: bool,
}

impl Old {
    fn new(place: &Place, header: Option<Header>, staged: &Staged) -> Result<Old, FollowError> {
        let new = staged.header.page_size;
        let (page_size, pages) = header.map_or((new, 0), |h| (h.page_size, h.pages));
        if page_size != new && !staged.is_whole() {
            return Err(FollowError::PageSize {
                from: page_size,
                to: new,
                file: staged.header.file_name(),
                output: place.output.clone(),
            });
        }
        Ok(Old {
            page_size,
            pages,
            same_pages: page_size == new,
        })
    }

    /// Puts every page that will change or go into the journal. Gives the first page.
    fn keep(
        &self,
        file: &Exclusive,
        staged: &Staged,
        journal: &mut Journal,
    ) -> Result<Vec<u8>, FollowError> {
        let mut buffer = vec![0; self.page_size.bytes()];
        let mut first = Vec::new();
        let mut keep = |number: u32, journal: &mut Journal| -> Result<(), FollowError> {
            let lock_page = self.page_size.lock_page();
            if let Some(number) = PageNo::new(number).filter(|&n| n != lock_page) {
                file.read(&mut buffer, number.offset(self.page_size))?;
                journal.add(number, &buffer)?;
                if number == PageNo::FIRST {
                    first.clone_from(&buffer);
                }
            }
            Ok(())
        };
        if !self.same_pages {
            (1..=self.pages).try_for_each(|number| keep(number, journal))?;
            return Ok(first);
        }
        // The first page changes always.
        if self.pages > 0 {
            keep(1, journal)?;
        }
        let commit = staged.header.commit;
        let mut grown = Grown::new(self.pages, staged);
        let mut pages = staged.open()?;
        let mut page = vec![0; self.page_size.bytes()];
        while let Some(number) = pages.next_page(&mut page).map_err(FollowError::Merge)? {
            if number.get() > self.pages {
                grown.accept(number.get())?;
            } else if number != PageNo::FIRST {
                keep(number.get(), journal)?;
            }
        }
        grown.end()?;
        (commit.max(1).saturating_add(1)..=self.pages)
            .try_for_each(|number| keep(number, journal))?;
        Ok(first)
    }
}

/// Checks that a database that grows gets all the pages it grows by.
struct Grown<'a> {
    staged: &'a Staged,
    next: u32,
}

impl Grown<'_> {
    fn new(pages: u32, staged: &Staged) -> Grown<'_> {
        let mut grown = Grown {
            staged,
            next: pages,
        };
        grown.advance();
        grown
    }

    fn advance(&mut self) {
        self.next = self.next.saturating_add(1);
        if self.next == self.staged.header.page_size.lock_page().get() {
            self.next += 1;
        }
    }

    fn accept(&mut self, number: u32) -> Result<(), FollowError> {
        if number != self.next {
            return Err(self.missing());
        }
        self.advance();
        Ok(())
    }

    fn end(&self) -> Result<(), FollowError> {
        if self.next <= self.staged.header.commit {
            return Err(self.missing());
        }
        Ok(())
    }

    fn missing(&self) -> FollowError {
        FollowError::PageMissing {
            commit: self.staged.header.commit,
            txid: self.staged.to(),
            page: self.next,
        }
    }
}

/// Writes the new pages and makes them durable. `first` is the first page as it was.
fn write(file: &Exclusive, staged: &Staged, mut first: Vec<u8>) -> Result<(), FollowError> {
    let ltx::Header {
        page_size, commit, ..
    } = staged.header;
    let mut pages = staged.open()?;
    let mut page = vec![0; page_size.bytes()];
    let mut wrote_first = false;
    while let Some(number) = pages.next_page(&mut page).map_err(FollowError::Merge)? {
        if number == PageNo::FIRST {
            counter::mark(&mut page, staged.to());
            wrote_first = true;
        }
        file.write(&page, number.offset(page_size))?;
    }
    pages.finish().map_err(FollowError::Merge)?;
    if !wrote_first && commit > 0 {
        counter::mark(&mut first, staged.to());
        file.write(&first, 0)?;
    }
    let len = u64::from(commit) * u64::from(page_size.get());
    if file.size()? != len {
        file.set_len(len)?;
    }
    Ok(file.sync()?)
}
