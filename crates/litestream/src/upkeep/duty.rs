//! What is due in a replica, and when something will be: decided from what is known, without asking anybody.
//!
//! Promise: nothing is due, and no time is named, for a replica in which nothing can change.

use std::time::Duration;

use litestream_replica::chain::schedule;
use litestream_replica::env::UnixMillis;
use litestream_replica::{FileInfo, Level};
use ltx::Txid;

use crate::catalogue::Catalogue;
use crate::policy::Policy;

/// Level 0 is looked through at most this often.
const L0_CHECK: Duration = Duration::from_secs(15);
/// Snapshots are looked through at most this often.
const SNAPSHOT_CHECK: Duration = Duration::from_mins(1);
/// The first file holds the whole database. If it is at least this large, it is not compacted: level by level it would be uploaded
/// again, to no use.
const BASE_BYTES: u64 = 1 << 20;

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Duty {
    /// Merge what is new in the level below into this one.
    Compact(Level),
    /// Take a snapshot.
    Snapshot,
    /// Delete what is compacted and old in level 0.
    TrimL0,
    /// Delete old snapshots and what went with them.
    TrimSnapshots,
}

/// What is remembered of duties done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// When each level was last compacted, or a snapshot asked for.
    ran: [Option<UnixMillis>; 10],
    l0_checked: Option<UnixMillis>,
    snapshots_checked: Option<UnixMillis>,
}

impl Memory {
    /// A duty was done.
    pub fn done(&mut self, duty: Duty, now: UnixMillis) {
        match duty {
            Duty::Compact(level) => {
                self.ran[usize::from(level.get())] = Some(now);
                if level == Level::L1 {
                    self.l0_checked = None;
                }
            }
            Duty::Snapshot => {
                self.ran[usize::from(Level::SNAPSHOT.get())] = Some(now);
                self.snapshots_checked = None;
            }
            Duty::TrimL0 => self.l0_checked = Some(now),
            Duty::TrimSnapshots => self.snapshots_checked = Some(now),
        }
    }
}

/// What decides.
pub(crate) struct View<'a> {
    pub catalogue: &'a Catalogue,
    pub policy: &'a Policy,
    pub memory: &'a Memory,
    /// End of the replica's contiguous part.
    pub position: Txid,
    pub now: UnixMillis,
    /// What is judged by its age is judged by a clock that is so much behind, of level 0 and of snapshots.
    pub behind: [Duration; 2],
    /// Shifts what comes by the clock, so that many databases don't come at once; below 1.
    pub jitter: f64,
}

impl View<'_> {
    /// Everything that is or will be due, with the time from when on.
    pub fn duties(&self) -> Vec<(UnixMillis, Duty)> {
        let mut duties = Vec::new();
        for (level, interval) in &self.policy.levels {
            duties.extend(self.compact(*level, *interval));
        }
        duties.extend(self.snapshot());
        if self.policy.deletes {
            duties.extend(self.trim_l0());
            duties.extend(self.trim_snapshots());
        }
        duties.sort_unstable();
        duties
    }

    fn compact(&self, level: Level, interval: Duration) -> Option<(UnixMillis, Duty)> {
        let below = Level::new(level.get() - 1)?;
        let end = self.catalogue.end(level);
        let mut new = self.catalogue.after(below, end);
        new.find(|file| !is_base(file))?;
        let newest = self.catalogue.level(level).next_back();
        Some((self.slot(level, newest, interval), Duty::Compact(level)))
    }

    fn snapshot(&self) -> Option<(UnixMillis, Duty)> {
        let interval = self.policy.snapshot_interval;
        let newest = self.newest_snapshot();
        let end = newest.map_or(Txid::ZERO, |file| file.name.max);
        if interval.is_zero() || self.position <= end {
            return None;
        }
        Some((self.slot(Level::SNAPSHOT, newest, interval), Duty::Snapshot))
    }

    /// The snapshot that reaches furthest; the first file of all is as good as one.
    fn newest_snapshot(&self) -> Option<&FileInfo> {
        let snapshot = self.catalogue.level(Level::SNAPSHOT).next_back();
        snapshot.or_else(|| self.base())
    }

    fn base(&self) -> Option<&FileInfo> {
        let mut level0 = self.catalogue.level(Level::L0);
        level0.next().filter(|file| is_base(file))
    }

    /// The time after the slot of what was done last; at once if nothing was. What lies further ahead than a slot was done before the
    /// clock was set back, and tells nothing.
    fn slot(&self, level: Level, newest: Option<&FileInfo>, interval: Duration) -> UnixMillis {
        let millis = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        let ahead = UnixMillis(self.now.0.saturating_add(millis));
        let ran = self.memory.ran[usize::from(level.get())];
        let known = [newest.map(|file| file.created), ran];
        let Some(last) = known.into_iter().flatten().filter(|t| *t <= ahead).max() else {
            return UnixMillis(i64::MIN);
        };
        let UnixMillis(next) = schedule::next_slot(last, interval);
        UnixMillis(next.saturating_add((millis as f64 / 10.0 * self.jitter) as i64))
    }

    fn trim_l0(&self) -> Option<(UnixMillis, Duty)> {
        if self.policy.l0_retention.is_zero() {
            return None;
        }
        let mut level0 = self.catalogue.level(Level::L0).filter(|f| !is_base(f));
        let (oldest, _newer) = (level0.next()?, level0.next()?);
        if oldest.name.max > self.catalogue.end(Level::L1) {
            return None;
        }
        let keep = self.policy.l0_retention;
        let due = |file: Option<&FileInfo>, span: Duration, behind: Duration| {
            after(file.map(|f| f.created), span.saturating_add(behind))
        };
        // What level 1 begins after stays for the window, all of it.
        let begin = self.catalogue.level(Level::L1).next().map(|f| f.name.min);
        let is_below = |f: &&FileInfo| begin.is_some_and(|begin| f.name.max < begin);
        let window = self.policy.snapshot_retention;
        let files = || self.catalogue.level(Level::L0).filter(|f| !is_base(f));
        let at = if is_below(&oldest) && !window.is_zero() {
            let youngest = files().take_while(is_below).last();
            let first_in = files().find(|f| !is_below(f));
            let parts = [
                due(youngest, keep.max(window), self.behind[1]),
                due(first_in, keep, self.behind[0]),
            ];
            parts.into_iter().flatten().min()?
        } else {
            due(Some(oldest), keep, self.behind[0])?
        };
        let earliest = after(self.memory.l0_checked, L0_CHECK);
        Some((earliest.map_or(at, |e| e.max(at)), Duty::TrimL0))
    }

    fn trim_snapshots(&self) -> Option<(UnixMillis, Duty)> {
        let mut snapshots = self
            .base()
            .into_iter()
            .chain(self.catalogue.level(Level::SNAPSHOT));
        // The oldest goes when the one after it is old enough to begin the window.
        let (_oldest, next) = (snapshots.next()?, snapshots.next()?);
        let old = self
            .policy
            .snapshot_retention
            .saturating_add(self.behind[1]);
        let at = after(Some(next.created), old)?;
        let earliest = after(self.memory.snapshots_checked, SNAPSHOT_CHECK);
        Some((earliest.map_or(at, |e| e.max(at)), Duty::TrimSnapshots))
    }
}

/// Whether a file is the first of a replica and large.
pub(crate) fn is_base(file: &FileInfo) -> bool {
    file.level == Level::L0 && file.name.min == Txid::new(1) && file.size >= BASE_BYTES
}

fn after(time: Option<UnixMillis>, pause: Duration) -> Option<UnixMillis> {
    let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
    Some(UnixMillis(time?.0.saturating_add(pause)))
}

#[cfg(test)]
mod tests {
    use litestream_replica::env::Monotonic;
    use ltx::FileName;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_202_257_123);
    const INTERVAL: Duration = Duration::from_secs(30);

    /// Whether level 1, whose newest file was made then, is due.
    fn due(newest: Option<UnixMillis>, memory: &Memory) -> bool {
        let file = |level, txid, created| FileInfo {
            level,
            name: FileName::single(Txid::new(txid)),
            size: 100,
            created,
        };
        let mut catalogue = Catalogue::default();
        catalogue.written(file(Level::L0, 2, NOW), Monotonic::default());
        if let Some(created) = newest {
            catalogue.written(file(Level::L1, 1, created), Monotonic::default());
        }
        let view = View {
            catalogue: &catalogue,
            policy: &Policy {
                levels: vec![(Level::L1, INTERVAL)],
                ..Policy::uploads_only()
            },
            memory,
            position: Txid::new(2),
            now: NOW,
            behind: [Duration::ZERO; 2],
            jitter: 0.0,
        };
        view.duties()[0].0 <= NOW
    }

    #[test]
    fn k22_a_restart_does_not_compact_again() {
        let due = |newest| due(newest, &Memory::default());
        let begin = schedule::slot(NOW, INTERVAL);
        assert!(due(None));
        assert!(due(Some(UnixMillis(begin.0 - 1))));
        assert!(!due(Some(begin)));
        assert!(!due(Some(NOW)));
        assert!(
            !due(Some(UnixMillis(NOW.0 + 30_000))),
            "clocks of two hosts differ a little"
        );
        assert!(due(Some(UnixMillis(NOW.0 + 90_000))), "a wrong clock");
    }

    #[test]
    fn a_clock_that_was_set_back_delays_nothing_and_repeats_nothing() {
        let hour_ahead = UnixMillis(NOW.0 + 3_600_000);
        let mut memory = Memory::default();
        memory.done(Duty::Compact(Level::L1), hour_ahead);
        assert!(due(Some(hour_ahead), &memory));
        memory.done(Duty::Compact(Level::L1), NOW);
        assert!(!due(Some(hour_ahead), &memory));
    }

    #[test]
    fn nothing_is_due_where_nothing_changed() {
        let view = View {
            catalogue: &Catalogue::default(),
            policy: &Policy::default(),
            memory: &Memory::default(),
            position: Txid::ZERO,
            now: NOW,
            behind: [Duration::ZERO; 2],
            jitter: 0.5,
        };
        assert_eq!(view.duties(), []);
    }
}
