//! The page ledger of an open database: found, completed or built.
//!
//! Promise: no failure here stops replication; without a ledger files only say less, and a gap costs a full copy.

use std::io::{self, Write as _};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use litestream_replica::Level;
use litestream_replica::env::{UnixMillis, Work};
use ltx::{Checksum, FileName, Txid};

use super::Database;
use crate::base::Base;
use crate::depot::MERGED;
use crate::error::{Error, Result};
use crate::ledger::{Build, Entry, Ledger, State};
use crate::sqlite::WalState;

/// So many files at most complete a ledger; behind more, building it anew is as good.
const COMPLETE_MAX: u64 = 64;
/// After a failure, a ledger is tried again so much later.
const RETRY: Duration = Duration::from_mins(1);
/// The same while others take all places for work that costs much.
const PLACE_RETRY: Duration = Duration::from_millis(250);

impl Database {
    /// Finds out whether the ledger stands for the staged file `local`, or can be brought there.
    pub(super) fn open_ledger(&mut self, local: Txid) {
        let found = self.find_ledger(local);
        let path = self.settings.path.display();
        self.ledger = match found {
            Ok(Some(ledger)) => State::Ready(ledger),
            Ok(None) => State::Lost,
            Err(error) => {
                tracing::debug!(db = %path, %error, "the ledger cannot be used");
                State::Lost
            }
        };
    }

    /// What a replica holds is what comes next after: its newest file is the newest local one, and its pages are those to compare with.
    /// Only after a rebase, whose note of a number keeps the file from being looked for in the WAL.
    pub(super) fn adopt(&mut self, base: Base) -> Result<()> {
        let (name, created) = (base.header.file_name(), base.header.timestamp_ms);
        let path = self.staging.path(Level::L0, name);
        let mut writer = self.staging.create(Level::L0, name)?;
        writer
            .write_all(&base.file)
            .map_err(Error::io("write", &path))?;
        self.staging
            .publish(writer, Level::L0, name, UnixMillis(created))?;
        let adopted = Ledger::adopt(&*self.env.disk, &self.settings.meta_path);
        adopted.map_err(Error::io("rename to", self.staging.ledger_path()))?;
        tracing::info!(db = %self.settings.path.display(), txid = %name.max, pages = base.header.commit, "the replica's pages are known, what differs will be captured");
        self.base_page_size = Some(base.header.page_size);
        self.ledger = State::Ready(base.ledger);
        self.adopted = Some(name.max);
        Ok(())
    }

    /// Whether the replica's end was taken for the base.
    pub fn has_adopted(&self) -> bool {
        self.adopted.is_some()
    }

    /// Whether the ledger tells what differs from the last file. It is proved once more: a gap is rare, and a wrong entry would hide a page.
    pub(super) fn can_compare(&mut self, state: &WalState) -> bool {
        let base = self.base;
        let same_size = self
            .ledger
            .at(base)
            .is_some_and(|l| l.head().page_size == state.page_size);
        same_size && self.has_proved_ledger(base)
    }

    /// Whether the ledger stands for that file and is whole; it is dropped if not.
    pub(super) fn has_proved_ledger(&mut self, txid: Txid) -> bool {
        let proved = self.ledger.at(txid).map(|ledger| ledger.is_proved());
        let good = matches!(proved, Some(Ok(true)));
        if !good {
            tracing::warn!(db = %self.settings.path.display(), "the ledger is damaged and is made anew");
            self.ledger = State::Lost;
        }
        good
    }

    fn find_ledger(&self, local: Txid) -> Result<Option<Ledger>> {
        let path = self.staging.ledger_path();
        let failed = || Error::io("read", &path);
        let Some(ledger) = self.staging.ledger().map_err(failed())? else {
            return Ok(None);
        };
        let at = ledger.head().txid;
        if at == local {
            // The number alone could stand for another content by now.
            let same = self.after(local)? == Some(ledger.head().whole.sum.value());
            let proved = same && ledger.is_proved().map_err(failed())?;
            return Ok(proved.then_some(ledger));
        }
        let boot = self.env.clock.boot();
        let same_boot = boot.is_some() && ledger.head().boot == boot;
        if at > local || local.get() - at.get() > COMPLETE_MAX || !same_boot {
            return Ok(None);
        }
        // Ended between a file and its ledger.
        let mut completion = ledger.complete();
        let mut txid = at;
        while txid < local {
            txid = txid.next();
            let name = FileName::single(txid);
            if !self.staging.list()?.contains(&name) {
                return Ok(None);
            }
            let header = self.staging.header(Level::L0, name)?;
            let follows = completion.follows(txid, header.commit, header.chain());
            if header.page_size != completion.page_size() || !follows.map_err(failed())? {
                return Ok(None);
            }
            self.staging.every_page(name, |page, content| {
                let done = completion.page(page, Entry::of(page, content));
                done.map_err(failed())?;
                Ok(true)
            })?;
        }
        completion.finish().map_err(failed())
    }

    /// What the staged file that ends at `txid` says of the database after it.
    fn after(&self, txid: Txid) -> Result<Option<Checksum>> {
        for level in [Level::L0, MERGED] {
            for name in self.staging.list_of(level)? {
                if name.max == txid {
                    return Ok(self.staging.header(level, name)?.chain().after);
                }
            }
        }
        Ok(None)
    }

    /// When there is more to do for [`Database::tend_ledger`]; `None` if nothing is.
    pub fn build_wait(&self) -> Option<Duration> {
        let now = self.env.clock.monotonic();
        let left = self.ledger_again.map_or(Duration::ZERO, |at| at.since(now));
        match &self.ledger {
            State::Building(_) => Some(left),
            State::Ready(_) => None,
            State::Lost => self.position.map(|_| left),
        }
    }

    /// Makes a ledger of the database if there is none, a slice at a time.
    pub fn tend_ledger(&mut self, stop: &AtomicBool) -> Result<()> {
        if self.build_wait() != Some(Duration::ZERO) {
            return Ok(());
        }
        // After a power failure all databases of a process need one, and each is read as a whole.
        let Ok(_place) = self.env.spawn.places(Work::Ledger).try_acquire_owned() else {
            self.ledger_again = Some(self.env.clock.monotonic() + PLACE_RETRY);
            return Ok(());
        };
        match self.build_slice(stop) {
            Ok(()) => {
                self.ledger_again = None;
                Ok(())
            }
            Err(Error::Closed) => Err(Error::Closed),
            // What is wrong with the database shows elsewhere, and a ledger can wait.
            Err(error) => {
                tracing::debug!(db = %self.settings.path.display(), %error, "no ledger can be made, trying again later");
                self.ledger = State::Lost;
                self.ledger_again = Some(self.env.clock.monotonic() + RETRY);
                Ok(())
            }
        }
    }

    fn build_slice(&mut self, stop: &AtomicBool) -> Result<()> {
        let Some(position) = self.position else {
            return Ok(());
        };
        let state = self.state()?;
        // What was committed before the database was opened may be in its file already, whatever is told of what is backfilled: the
        // file is that of the position only once all of it is captured. From then on it is never further.
        if matches!(self.ledger, State::Lost) && self.is_behind(&state) {
            return Ok(());
        }
        let path = self.staging.ledger_path();
        let failed = |e: io::Error| Error::io("write", &path)(e);
        let mut build = match std::mem::take(&mut self.ledger) {
            State::Building(build) => build,
            _ => Build::new(
                self.staging
                    .new_ledger(position.page_size)
                    .map_err(failed)?,
            ),
        };
        if build.next() <= position.commit {
            let pages = (self.settings.ledger_slice_bytes / position.page_size.get()).max(1);
            let from = build.next();
            let sums = self
                .capture_parts(stop)
                .sums(&position, &state, from, pages)?;
            build.scanned(&sums).map_err(failed)?;
        }
        self.ledger = if build.next() > position.commit {
            let done = build.finish(position.txid, position.commit, self.env.clock.boot());
            tracing::debug!(db = %self.settings.path.display(), txid = %position.txid, pages = position.commit, "ledger built");
            State::Ready(done.map_err(failed)?)
        } else {
            State::Building(build)
        };
        Ok(())
    }
}
