//! Which objects of 0.3 to restore from. Pure.
//!
//! Promise: the newest snapshot over all generations that is old enough, and every part of the WAL since then; a hole that
//! names can show is an error, never a shorter plan. Whether one part ends where the next begins is seen when it is read.

use litestream_replica::env::UnixMillis;
use litestream_replica::v3::{Generation, Meaning, Object, Position, meaning, wal_path};

use super::error::{Reach, V3Error};

/// A part of a WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where its first byte belongs.
    pub start: Position,
    /// Where it lies.
    pub object: Object,
}

/// The objects that make up a state. Promise: the WALs of the segments count up from that of the snapshot, and each begins
/// at its offset 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V3Plan {
    /// Whose.
    pub generation: Generation,
    /// The WAL that goes on from the snapshot.
    pub index: u64,
    /// The copy of the database.
    pub snapshot: Object,
    /// What happened since then, in order.
    pub segments: Vec<Segment>,
    /// The newest snapshot that is older, of any generation.
    older: Option<Object>,
    /// Another generation that has newer WAL: two programs wrote at the same time.
    pub newer_elsewhere: Option<Generation>,
}

impl V3Plan {
    /// All objects, in the order in which they are read.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        std::iter::once(&self.snapshot).chain(self.segments.iter().map(|s| &s.object))
    }

    /// Size of all objects together.
    pub fn bytes(&self) -> u64 {
        self.objects()
            .fold(0, |sum: u64, object| sum.saturating_add(object.size))
    }

    /// When the newest of them came.
    pub fn newest(&self) -> UnixMillis {
        let times = self.objects().map(|object| object.created);
        times.max().unwrap_or(self.snapshot.created)
    }

    /// Where the last segment begins; that of the snapshot if there is none.
    pub fn last(&self) -> Position {
        let snapshot = Position {
            index: self.index,
            offset: 0,
        };
        self.segments.last().map_or(snapshot, |s| s.start)
    }

    /// How far a restore gets without the segment of that number, counted from 0.
    pub(super) fn reach_before(&self, segment: usize) -> Reach {
        let before = match segment.checked_sub(1) {
            Some(before) => &self.segments[before].object,
            None => &self.snapshot,
        };
        let after = self.segments[segment..].iter().map(|s| s.object.created);
        // A snapshot counts if it is older, a segment if it is not younger.
        let until = match segment {
            0 => UnixMillis(before.created.0.saturating_add(1)),
            _ => before.created,
        };
        Reach {
            last: Some(before.clone()),
            timestamp: after
                .min()
                .is_none_or(|after| after > until)
                .then_some(until),
        }
    }

    /// How far a restore gets without the snapshot.
    pub(super) fn reach_before_snapshot(&self) -> Reach {
        Reach {
            last: self.older.clone(),
            timestamp: self.older.as_ref().map(|_| self.snapshot.created),
        }
    }

    fn check(&self) -> Result<(), V3Error> {
        let mut index = self.index;
        let mut first = true;
        for (number, segment) in self.segments.iter().enumerate() {
            let start = segment.start;
            let expected = match (first, start.index == index) {
                (false, true) => continue,
                (true, _) => Position { index, offset: 0 },
                (false, false) => Position {
                    index: index.saturating_add(1),
                    offset: 0,
                },
            };
            if start != expected {
                return Err(V3Error::Missing {
                    path: wal_path(self.generation, expected),
                    next: segment.object.path.clone(),
                    reach: self.reach_before(number),
                });
            }
            (index, first) = (start.index, false);
        }
        Ok(())
    }
}

/// What is there, as far as it counts for a point in time.
pub struct Catalogue {
    snapshots: Vec<(Generation, u64, Object)>,
    wal: Vec<(Generation, Segment)>,
    unreadable: Vec<Object>,
    /// Whether that is a point in the past.
    bounded: bool,
}

impl Catalogue {
    /// Sorts a listing. With `until` only snapshots from before it and WAL that is not younger count.
    pub fn new(mut objects: Vec<Object>, until: Option<UnixMillis>) -> Catalogue {
        let mut catalogue = Catalogue {
            snapshots: Vec::new(),
            wal: Vec::new(),
            unreadable: Vec::new(),
            bounded: until.is_some(),
        };
        // Not every storage lists in order.
        objects.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        for object in objects {
            let before = until.is_none_or(|until| object.created < until);
            let not_after = until.is_none_or(|until| object.created <= until);
            match meaning(&object.path) {
                Meaning::Snapshot { generation, index } if before => {
                    catalogue.snapshots.push((generation, index, object));
                }
                Meaning::Wal { generation, start } if not_after => {
                    catalogue.wal.push((generation, Segment { start, object }));
                }
                Meaning::Unreadable if not_after => catalogue.unreadable.push(object),
                _ => {}
            }
        }
        catalogue
            .snapshots
            .sort_unstable_by_key(|(generation, index, object)| {
                (object.created, *index, *generation)
            });
        catalogue
    }

    /// When the newest of it came.
    pub fn newest(&self) -> Option<UnixMillis> {
        let snapshots = self.snapshots.iter().map(|(.., object)| object);
        let wal = self.wal.iter().map(|(_, segment)| &segment.object);
        let all = snapshots.chain(wal).chain(&self.unreadable);
        all.map(|object| object.created).max()
    }

    /// Picks the objects. `None` if there is nothing, or nothing that reaches back to the point in time.
    pub fn plan(&self) -> Result<Option<V3Plan>, V3Error> {
        let Some((generation, index, snapshot)) = self.snapshots.last() else {
            return self.without_snapshot();
        };
        let (generation, index) = (*generation, *index);
        let folder = format!("/{generation}/");
        let needed = |o: &&Object| o.path.contains(&folder) || o.created >= snapshot.created;
        if let Some(object) = self.unreadable.iter().find(needed) {
            let path = object.path.clone();
            return Err(V3Error::Unreadable { path });
        }
        let ours = |(of, segment): &&(Generation, Segment)| {
            *of == generation && segment.start.index >= index
        };
        let mut segments: Vec<Segment> = self
            .wal
            .iter()
            .filter(ours)
            .map(|(_, s)| s.clone())
            .collect();
        segments.sort_unstable_by_key(|s| s.start);
        let older = self.snapshots.iter().rev().map(|(.., o)| o);
        let mut plan = V3Plan {
            generation,
            index,
            snapshot: snapshot.clone(),
            segments,
            older: older
                .filter(|o| o.created < snapshot.created)
                .max_by_key(|o| o.created)
                .cloned(),
            newer_elsewhere: None,
        };
        let newest = plan.newest();
        let elsewhere =
            |(of, s): &&(Generation, Segment)| *of != generation && s.object.created > newest;
        plan.newer_elsewhere = self.wal.iter().find(elsewhere).map(|(of, _)| *of);
        plan.check()?;
        Ok(Some(plan))
    }

    fn without_snapshot(&self) -> Result<Option<V3Plan>, V3Error> {
        if let Some(object) = self.unreadable.first() {
            let path = object.path.clone();
            return Err(V3Error::Unreadable { path });
        }
        match self.wal.first() {
            // Its snapshot may have come later than the time asked for.
            Some((generation, segment)) if !self.bounded => Err(V3Error::NoSnapshot {
                generation: *generation,
                path: segment.object.path.clone(),
            }),
            _ => Ok(None),
        }
    }
}

/// Whether a later listing agrees with all of a plan: what was listed while objects came may lack one in between.
pub fn confirmed(plan: &V3Plan, later: &V3Plan) -> bool {
    let (a, b) = (&plan.segments, &later.segments);
    plan.snapshot == later.snapshot && b.len() >= a.len() && a[..] == b[..a.len()]
}

#[cfg(test)]
mod tests;
