//! What a replica is to hold: which levels are compacted how often, when snapshots are taken, what is kept.

use std::time::Duration;

use litestream_replica::Level;
use litestream_replica::chain::retain::KeepRules;

/// See the module. The default is Litestream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The compacted levels from 1 up, without a hole, each with its interval. Intervals are aligned to the clock.
    pub levels: Vec<(Level, Duration)>,
    /// How often a snapshot is taken, if anything changed; zero: only when asked for.
    pub snapshot_interval: Duration,
    /// How far back every transaction file's state can be restored.
    pub snapshot_retention: Duration,
    /// How long files of level 0 are kept once they are compacted; zero: for ever.
    pub l0_retention: Duration,
    /// Snapshots kept beyond that.
    pub keep: KeepRules,
    /// Whether a level is looked at for gaps after something was compacted into it, which costs a listing.
    pub verify_compaction: bool,
    /// Whether anything is deleted in the replica.
    pub deletes: bool,
    /// How often the replica is verified, and healed if need be; zero: never.
    pub verify_interval: Duration,
    /// What was verified longer ago than this is read again: damage of a disk changes neither name nor size of a file.
    pub verify_age: Duration,
    /// At most so many bytes per second are read for it.
    pub verify_bandwidth: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        let levels = [(1, 30), (2, 5 * 60), (3, 60 * 60)];
        let levels = levels
            .into_iter()
            .filter_map(|(n, seconds)| Some((Level::new(n)?, Duration::from_secs(seconds))));
        Policy {
            levels: levels.collect(),
            snapshot_interval: Duration::from_hours(24),
            snapshot_retention: Duration::from_hours(24),
            l0_retention: Duration::from_mins(5),
            keep: KeepRules::default(),
            verify_compaction: false,
            deletes: true,
            verify_interval: Duration::ZERO,
            verify_age: Duration::from_hours(7 * 24),
            verify_bandwidth: 8 << 20,
        }
    }
}

impl Policy {
    /// Files are uploaded and nothing else.
    pub fn uploads_only() -> Policy {
        Policy {
            levels: Vec::new(),
            snapshot_interval: Duration::ZERO,
            deletes: false,
            ..Policy::default()
        }
    }

    /// The highest compacted level.
    pub(crate) fn top(&self) -> Level {
        self.levels.last().map_or(Level::L0, |(level, _)| *level)
    }

    /// The level that files of `level` are compacted into.
    pub(crate) fn above(&self, level: Level) -> Option<Level> {
        Level::new(level.get() + 1).filter(|above| *above <= self.top())
    }
}
