//! The content of the storage through time: every file's versions, and the changes that are still under way.
//!
//! Promise: pure; time is an argument and never goes back. Changes take effect in the order of their times, whoever looks
//! first, so it makes no difference that nothing happens until somebody looks.

use std::collections::BTreeMap;

use bytes::Bytes;
use litestream_replica::chain::points::restorable;
use litestream_replica::env::UnixMillis;
use litestream_replica::{FileInfo, Level, v3};
use ltx::{FileName, Txid};

use crate::sched::Nanos;

/// By level, min TXID and max TXID: listings come out in their order.
pub(super) type Key = (Level, Txid, Txid);

pub(super) fn key(level: Level, name: FileName) -> Key {
    (level, name.min, name.max)
}

/// What Litestream 0.3 left: nobody changes it any more.
pub(super) type V3 = BTreeMap<String, (Bytes, UnixMillis)>;

/// As listed.
pub(super) fn v3_objects(objects: &V3) -> Vec<v3::Object> {
    let objects = objects.iter().map(|(path, (bytes, created))| v3::Object {
        path: path.clone(),
        size: bytes.len() as u64,
        created: *created,
    });
    objects.collect()
}

/// A file as it was written once.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) bytes: Bytes,
    /// The time in its header.
    pub(super) created: UnixMillis,
    /// What the storage's own clock said.
    pub(super) modified: UnixMillis,
}

/// A change on its way.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(Key, Version),
    Remove(Key),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Put((level, min, max), version) => {
                write!(f, "{level}/{min}-{max} of {} bytes", version.bytes.len())
            }
            Change::Remove((level, min, max)) => write!(f, "no {level}/{min}-{max}"),
        }
    }
}

/// Names a change on its way: when it takes effect, and a running number.
pub(super) type Ticket = (Nanos, u64);

#[derive(Default)]
pub(super) struct Store {
    /// Each file's versions and absences with the time from which they hold, oldest first.
    files: BTreeMap<Key, Vec<(Nanos, Option<Version>)>>,
    pending: BTreeMap<Ticket, Change>,
    tickets: u64,
    /// When the deletion of a file took away the oldest states, and the time in the header of the snapshot that is the oldest since.
    losses: Vec<(Nanos, i64)>,
}

impl Store {
    /// A change that takes effect at `due`.
    pub(super) fn submit(&mut self, due: Nanos, change: Change) -> Ticket {
        self.tickets += 1;
        let ticket = (due, self.tickets);
        self.pending.insert(ticket, change);
        ticket
    }

    /// Takes a change back. Without effect if it has happened.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        self.pending.remove(&ticket);
    }

    /// Lets happen what is due. Versions that ended more than `memory` ago are forgotten.
    pub(super) fn advance(&mut self, now: Nanos, memory: Nanos) {
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let ((due, _), change) = entry.remove_entry();
            if crate::log::is_on() {
                crate::log::line(&format!(
                    "  storage: {change} in effect at {:.6}",
                    due as f64 / 1e9
                ));
            }
            let before = matches!(change, Change::Remove(_)).then(|| self.oldest());
            self.apply(due, change, memory);
            if let Some(Some((was, _))) = before
                && let Some((is, true)) = self.oldest()
                && is > was
            {
                self.losses.push((due, is));
            }
        }
    }

    /// Lets everything happen that is on its way.
    pub(super) fn land(&mut self, now: Nanos, memory: Nanos) {
        self.advance(now, memory);
        for (_, change) in std::mem::take(&mut self.pending) {
            self.apply(now, change, memory);
        }
    }

    /// How many changes are on their way.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    fn apply(&mut self, when: Nanos, change: Change, memory: Nanos) {
        let (key, version) = match change {
            Change::Put(key, version) => (key, Some(version)),
            Change::Remove(key) => (key, None),
        };
        let versions = self.files.entry(key).or_default();
        if version.is_none() && versions.last().is_none_or(|(_, last)| last.is_none()) {
            return;
        }
        versions.push((when, version));
        // A version ends where the next begins.
        let ended = versions
            .iter()
            .skip(1)
            .take_while(|(next, _)| next.saturating_add(memory) < when)
            .count();
        versions.drain(..ended);
    }

    /// The time of the oldest state that can be restored, and whether it is that of a snapshot only.
    fn oldest(&self) -> Option<(i64, bool)> {
        let files: Vec<FileInfo> = self
            .all()
            .map(|((level, min, max), version)| FileInfo {
                level,
                name: FileName { min, max },
                size: version.bytes.len() as u64,
                created: version.created,
            })
            .collect();
        let first = *restorable(&files).first()?;
        let begins = |f: &&FileInfo| f.name.min.get() == 1;
        let ends = files.iter().filter(begins);
        let time = ends.filter(|f| f.name.max == first).map(|f| f.created.0);
        let time = time.min()?;
        // Compacted, the oldest states may be there no more one by one.
        let mut all = files.iter().filter(begins);
        Some((time, all.all(|f| f.level == Level::SNAPSHOT)))
    }

    /// See [`Store::losses`].
    pub(super) fn losses(&self) -> &[(Nanos, i64)] {
        &self.losses
    }

    /// A file as it was at `then`, which must lie within what is remembered.
    fn at(versions: &[(Nanos, Option<Version>)], then: Nanos) -> Option<&Version> {
        let after = versions.partition_point(|(from, _)| *from <= then);
        versions.get(after.checked_sub(1)?)?.1.as_ref()
    }

    /// A file as it is.
    pub(super) fn get(&self, key: Key) -> Option<&Version> {
        self.files.get(&key)?.last()?.1.as_ref()
    }

    /// The files of a level after `after` whose max TXID is at least `seek`, each as it was at the time that `then` says.
    pub(super) fn level<'a>(
        &'a self,
        level: Level,
        after: Option<Key>,
        seek: Option<Txid>,
        mut then: impl FnMut() -> Nanos + 'a,
    ) -> impl Iterator<Item = (Key, &'a Version)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = after.map_or(Included((level, Txid::ZERO, Txid::ZERO)), Excluded);
        self.files
            .range((from, Unbounded))
            .take_while(move |((of, ..), _)| *of == level)
            .filter(move |((_, _, max), _)| seek.is_none_or(|seek| *max >= seek))
            .filter_map(move |(key, versions)| Some((*key, Store::at(versions, then())?)))
    }

    /// All files as they are.
    pub(super) fn all(&self) -> impl Iterator<Item = (Key, &Version)> {
        self.files
            .iter()
            .filter_map(|(key, versions)| Some((*key, versions.last()?.1.as_ref()?)))
    }

    /// Changes a file in place, as damage does: listings and history show it as it was.
    pub(super) fn damage(&mut self, key: Key, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(Some(version)) = self
            .files
            .get_mut(&key)
            .and_then(|versions| versions.last_mut())
            .map(|(_, version)| version.as_mut())
        else {
            return false;
        };
        let mut bytes = version.bytes.to_vec();
        change(&mut bytes);
        version.bytes = bytes.into();
        true
    }

    /// Removes a file as damage does: nobody asked for it. False if it is not there.
    pub(super) fn lose(&mut self, key: Key, now: Nanos, memory: Nanos) -> bool {
        let there = self.get(key).is_some();
        self.apply(now, Change::Remove(key), memory);
        there
    }

    /// Removes the files of a level, or all, at once; how many there were.
    pub(super) fn vanish(&mut self, level: Option<Level>, now: Nanos, memory: Nanos) -> usize {
        let gone: Vec<Key> = self
            .all()
            .map(|(key, _)| key)
            .filter(|(of, ..)| level.is_none_or(|level| *of == level))
            .collect();
        for key in &gone {
            self.apply(now, Change::Remove(*key), memory);
        }
        gone.len()
    }
}

/// What a listing says of a version.
pub(super) fn info((level, min, max): Key, version: &Version, header_time: bool) -> FileInfo {
    FileInfo {
        level,
        name: FileName { min, max },
        size: version.bytes.len() as u64,
        created: if header_time {
            version.created
        } else {
            version.modified
        },
    }
}
