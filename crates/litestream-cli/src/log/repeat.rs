//! Says which lines are left out because they were written a moment ago.
//!
//! Pure: the time is an argument. Promise: no more than [`KEPT_MAX`] lines are remembered.

use std::collections::HashMap;
use std::time::Duration;

use litestream_replica::env::Monotonic;
use tracing::Level;

use super::record::{Record, Value};

/// The same trouble is written this often.
pub const PAUSE: Duration = Duration::from_secs(30);

/// More different lines than this are not told apart from new ones. Ten thousand databases may have the same trouble at once: each
/// of them gets its line, then.
const KEPT_MAX: usize = 16_384;

struct Seen {
    written: Monotonic,
    left_out: u64,
}

/// What was written, and what was left out since.
#[derive(Default)]
pub struct Repeats {
    seen: HashMap<u64, Seen>,
    swept: Monotonic,
}

/// What is to be done with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is written; this many like it were left out before.
    Write(u64),
    /// It is left out.
    LeaveOut,
}

impl Repeats {
    /// Judges a line. Only warnings and errors repeat themselves at the pace of a failing loop.
    pub fn judge(&mut self, record: &Record, now: Monotonic) -> Verdict {
        if record.level > Level::WARN || is_bounded(record) {
            return Verdict::Write(0);
        }
        let key = key(record);
        if let Some(seen) = self.seen.get_mut(&key) {
            if now.since(seen.written) < PAUSE {
                seen.left_out += 1;
                return Verdict::LeaveOut;
            }
            let before = std::mem::take(&mut seen.left_out);
            seen.written = now;
            return Verdict::Write(before);
        }
        self.make_room(now);
        let seen = Seen {
            written: now,
            left_out: 0,
        };
        if self.seen.len() < KEPT_MAX {
            self.seen.insert(key, seen);
        }
        Verdict::Write(0)
    }

    /// Forgets lines of which nothing was left out and those that have not come back for long; at most once a [`PAUSE`].
    fn make_room(&mut self, now: Monotonic) {
        if self.seen.len() < KEPT_MAX || now.since(self.swept) < PAUSE {
            return;
        }
        self.swept = now;
        self.seen.retain(|_, seen| {
            let age = now.since(seen.written);
            age < PAUSE || (seen.left_out > 0 && age < PAUSE * 4)
        });
    }
}

/// A line that counts its attempts stands in a loop that ends by itself, and somebody at a terminal waits for that.
fn is_bounded(record: &Record) -> bool {
    record.attributes.iter().any(|(name, _)| name == "attempts")
}

/// Lines are the same if they differ in numbers and durations at most: attempts counted and time passed make no other trouble.
fn key(record: &Record) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    record.level.hash(&mut hasher);
    record.message.hash(&mut hasher);
    for (name, value) in &record.attributes {
        if let Value::Text(text) = value {
            (name, text).hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: Level, db: &str, count: i128) -> Record {
        Record {
            level,
            attributes: vec![
                ("db".into(), Value::Text(db.into())),
                ("consecutive_errors".into(), Value::Int(count)),
            ],
            ..super::super::samples::replicating_to()
        }
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn the_same_trouble_is_written_once_in_a_while() {
        let mut repeats = Repeats::default();
        let mut judge = |level, db: &str, n, s| repeats.judge(&line(level, db, n), at(s));
        assert_eq!(judge(Level::ERROR, "a", 1, 0), Verdict::Write(0));
        assert_eq!(judge(Level::ERROR, "a", 2, 1), Verdict::LeaveOut);
        assert_eq!(judge(Level::ERROR, "a", 3, 29), Verdict::LeaveOut);
        // Another database, another level.
        assert_eq!(judge(Level::ERROR, "b", 3, 29), Verdict::Write(0));
        assert_eq!(judge(Level::WARN, "a", 3, 29), Verdict::Write(0));
        assert_eq!(judge(Level::ERROR, "a", 4, 30), Verdict::Write(2));
        assert_eq!(judge(Level::ERROR, "a", 5, 59), Verdict::LeaveOut);
        assert_eq!(judge(Level::ERROR, "a", 6, 60), Verdict::Write(1));
        assert_eq!(judge(Level::INFO, "a", 6, 60), Verdict::Write(0));
        assert_eq!(judge(Level::INFO, "a", 6, 60), Verdict::Write(0));
    }

    #[test]
    fn attempts_that_end_are_all_written() {
        let mut repeats = Repeats::default();
        for n in 1..4 {
            let mut line = line(Level::WARN, "a", 0);
            line.attributes.push(("attempts".into(), Value::Int(n)));
            assert_eq!(repeats.judge(&line, at(0)), Verdict::Write(0));
        }
    }

    #[test]
    fn memory_is_bounded_and_nothing_new_is_lost() {
        let mut repeats = Repeats::default();
        for n in 0..KEPT_MAX + 10 {
            let line = line(Level::WARN, &n.to_string(), 0);
            assert_eq!(repeats.judge(&line, at(0)), Verdict::Write(0));
        }
        assert_eq!(repeats.seen.len(), KEPT_MAX);
        let late = line(Level::WARN, "late", 0);
        assert_eq!(repeats.judge(&late, at(31)), Verdict::Write(0));
        assert_eq!(repeats.seen.len(), 1);
        assert_eq!(repeats.judge(&late, at(32)), Verdict::LeaveOut);
    }
}
