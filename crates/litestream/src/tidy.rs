//! Keeping the queue of staged files small while a storage is down: what waits for long is merged before it is ever uploaded.
//!
//! Works on the thread that owns the staged files, so that none of them gets another meaning meanwhile. Promises: what a merged file
//! replaces goes only when that one is durable; the newest file of level 0 stays; only what no replica has is merged; if the budget
//! can't be kept otherwise, the queue is given up, and a snapshot bridges the gap later.

use std::time::Duration;

use litestream_replica::Level;
use litestream_replica::env::{Env, UnixMillis, Work};
use ltx::{FileName, Txid};

use crate::depot::MERGED;
use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::staging::{Staging, remove_if_there};
use crate::upkeep::Failure;
use crate::upkeep::merge::{Inputs, Merger};

/// Merges in one go: the worker has other things to do.
const MERGES_MAX: usize = 8;

/// See the module.
pub(crate) struct Tidy<'a> {
    pub env: &'a Env,
    pub staging: &'a mut Staging,
    pub merger: &'a Merger,
    /// Every replica has everything up to here, or had it when we began.
    pub floor: Txid,
    /// Whose marks are not merged away.
    pub shared: &'a Shared,
    /// What is younger stays apart.
    pub age: Duration,
    /// Local files together.
    pub bytes_max: u64,
}

impl Tidy<'_> {
    /// See the module.
    pub fn run(&mut self) -> Result<()> {
        // The worker waits for nobody; what is late comes the next time, unless there is no room until then.
        let place = self.env.spawn.places(Work::Heavy).try_acquire_owned();
        if place.is_err() && self.bytes()? <= self.bytes_max {
            return Ok(());
        }
        let cutoff = self.env.clock.now().0 - self.age.as_millis() as i64;
        for _ in 0..MERGES_MAX {
            let files = self.waiting(Level::L0, Some(UnixMillis(cutoff)))?;
            if files.len() < 2 || !self.merge(files)? {
                break;
            }
        }
        while self.bytes()? > self.bytes_max {
            if !self.squeeze()? {
                return self.give_up();
            }
        }
        Ok(())
    }

    /// Merges what can be merged at all. `false` if nothing can.
    fn squeeze(&mut self) -> Result<bool> {
        let mut files = self.waiting(Level::L0, None)?;
        if files.len() < 2 {
            files = self.waiting(MERGED, None)?;
        }
        Ok(files.len() >= 2 && self.merge(files)?)
    }

    /// The oldest files of a level that wait for every replica, as far as they are contiguous, without the newest of level 0.
    fn waiting(&self, level: Level, until: Option<UnixMillis>) -> Result<Vec<(Level, FileName)>> {
        let mut names = self.staging.list_of(level)?;
        if level == Level::L0 {
            names.pop();
        }
        let marks = self.shared.marked();
        let mut run: Vec<(Level, FileName)> = Vec::new();
        for name in names.into_iter().filter(|name| name.min > self.floor) {
            if marks.contains(&name.max) {
                if run.len() > 1 {
                    break;
                }
                run.clear();
                continue;
            }
            let follows = run
                .last()
                .is_none_or(|(_, last)| name.min == last.max.next());
            if !follows && run.len() < 2 {
                run.clear();
            }
            if (!follows && !run.is_empty()) || !self.is_from_before(level, name, until)? {
                break;
            }
            run.push((level, name));
        }
        Ok(run)
    }

    fn is_from_before(
        &self,
        level: Level,
        name: FileName,
        until: Option<UnixMillis>,
    ) -> Result<bool> {
        let Some(until) = until else { return Ok(true) };
        let path = self.staging.path(level, name);
        let found = self.env.disk.metadata(&path);
        Ok(found.map_err(Error::io("stat", path))?.modified < until)
    }

    /// `false` if nothing came of it: a change of the page size stands between the first two, or a replica is getting one of them.
    fn merge(&mut self, files: Vec<(Level, FileName)>) -> Result<bool> {
        let inputs = Inputs::Local(files);
        let merged = match self.merger.merge(MERGED, &inputs) {
            Ok(merged) => merged,
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Damaged(_, error)) => return Err(*error),
            Err(Failure::Gone(level, name)) => {
                let path = self.staging.path(level, name);
                return Err(Error::io("open", path)(std::io::ErrorKind::NotFound.into()));
            }
        };
        self.staging.made(MERGED, merged.name);
        self.staging.make_durable()?;
        let Inputs::Local(files) = inputs else {
            return Ok(false);
        };
        if !self.shared.removes(merged.name.min..=merged.name.max) {
            // Some replica has begun to take one of them.
            remove_if_there(self.env, &self.staging.path(MERGED, merged.name))?;
            return Ok(false);
        }
        let mut replaced = files.iter().take(merged.inputs);
        let removed = replaced.try_for_each(|(level, name)| {
            if (*level, *name) == (MERGED, merged.name) {
                return Ok(());
            }
            remove_if_there(self.env, &self.staging.path(*level, *name))
        });
        self.shared.removed();
        removed?;
        tracing::debug!(name = %merged.name, inputs = merged.inputs, "waiting ltx files merged");
        Ok(merged.inputs > 1)
    }

    /// What local files take, without the one snapshot that may have to wait.
    fn bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for level in Level::all() {
            let mut names = self.staging.list_of(level)?;
            if level == Level::SNAPSHOT {
                names.pop();
            }
            for name in names {
                let found = self.env.disk.metadata(&self.staging.path(level, name));
                bytes += found.map_or(0, |m| m.len); // uploaded and removed meanwhile
            }
        }
        Ok(bytes)
    }

    /// Removes what waits, but for the newest.
    fn give_up(&mut self) -> Result<()> {
        let mut count = 0;
        for level in [Level::L0, MERGED, Level::SNAPSHOT] {
            let mut names = self.staging.list_of(level)?;
            if level != MERGED {
                names.pop();
            }
            // What a replica that is up is about to get stays.
            let spared = self.shared.healthy().filter(|_| level != Level::SNAPSHOT);
            for name in names {
                if spared.is_some_and(|at| name.max > at) {
                    continue;
                }
                remove_if_there(self.env, &self.staging.path(level, name))?;
                count += 1;
            }
        }
        if count > 0 {
            tracing::error!(
                limit = self.bytes_max,
                files = count,
                "local files that wait for the replica exceed their limit and were given up; a snapshot will follow when the replica can be reached"
            );
        }
        Ok(())
    }
}
