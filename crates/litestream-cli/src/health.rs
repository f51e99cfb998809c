//! Says what is wrong with a database, and whether one is still awaited.
//!
//! Pure: a look in, the answer out. That a database was stopped, or that there is none (yet), is not wrong.

use std::fmt;
use std::time::Duration;

use litestream_replica::env::UnixMillis;

use crate::args::duration;
use crate::view::{Condition, Database, Phase};

/// How far behind a replica may be unless somebody says otherwise.
pub const MAX_LAG: Duration = Duration::from_mins(5);

/// A worker that is at a short piece of work for longer hangs.
const STUCK: Duration = Duration::from_mins(10);

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// What was committed is not in the replica for too long.
    Lag {
        /// The replica's type.
        replica: &'static str,
        /// The age of the oldest such commit.
        lag: Duration,
        /// What is allowed.
        max: Duration,
    },
    /// Nothing can be copied from the database.
    Capture(String),
    /// Nothing can be brought to the replica.
    Upload {
        /// The replica's type.
        replica: &'static str,
        /// Why.
        error: String,
    },
    /// The replica is damaged.
    Damage {
        /// The replica's type.
        replica: &'static str,
        /// How much is.
        count: usize,
        /// The first of it.
        first: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Lag { replica, lag, max } => {
                let (lag, max) = (duration::format(*lag), duration::format(*max));
                write!(f, "replica {replica} is {lag} behind, more than {max}")
            }
            Problem::Capture(error) => write!(f, "capture fails: {error}"),
            Problem::Upload { replica, error } => {
                write!(f, "upload to replica {replica} fails: {error}")
            }
            Problem::Damage {
                replica,
                count,
                first,
            } => {
                write!(f, "replica {replica} is damaged in {count} places: {first}")
            }
        }
    }
}

/// What is wrong with a database.
pub fn problems(database: &Database, max: Duration) -> Vec<Problem> {
    if database.phase == Phase::Stopped {
        return Vec::new();
    }
    let mut found = Vec::new();
    if let Some(error) = database
        .capture_error
        .as_ref()
        .filter(|_| !database.is_missing)
    {
        found.push(Problem::Capture(error.clone()));
    }
    for replica in &database.replicas {
        let kind = replica.kind;
        if let Some(lag) = replica.lag.filter(|lag| *lag > max) {
            found.push(Problem::Lag {
                replica: kind,
                lag,
                max,
            });
        }
        if let Some(error) = replica.upload_error.clone() {
            found.push(Problem::Upload {
                replica: kind,
                error,
            });
        }
        if let Some(first) = replica.damage.as_ref().and_then(|d| d.first()) {
            found.push(Problem::Damage {
                replica: kind,
                count: replica.damage.as_ref().map_or(0, Vec::len),
                first: first.clone(),
            });
        }
    }
    found
}

/// Whether a database was not opened yet, although it is there and should be.
pub fn is_awaited(database: &Database) -> bool {
    !database.was_opened && matches!(database.condition(), Condition::Opening | Condition::Error)
}

/// Whether a worker hangs that is at a short piece of work since then.
pub fn is_stuck(busy_since: Option<UnixMillis>, now: UnixMillis) -> bool {
    let millis = busy_since.map_or(0, |since| now.0.saturating_sub(since.0));
    i128::from(millis) > STUCK.as_millis() as i128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::well;

    fn said(change: impl FnOnce(&mut Database)) -> Vec<String> {
        let mut database = well("/d/a.db");
        change(&mut database);
        let found = problems(&database, Duration::from_secs(30));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_problem_is_named() {
        assert_eq!(said(|_| {}), [""; 0]);
        let behind = |millis| Some(Duration::from_millis(millis));
        assert_eq!(said(|d| d.replicas[0].lag = None), [""; 0]);
        assert_eq!(said(|d| d.replicas[0].lag = behind(30_000)), [""; 0]);
        assert_eq!(
            said(|d| d.replicas[0].lag = behind(30_500)),
            ["replica file is 30.5s behind, more than 30s"]
        );
        assert_eq!(
            said(|d| {
                d.capture_error = Some("disk I/O error".into());
                d.replicas[0].upload_error = Some("no route".into());
                d.replicas[0].damage = Some(vec!["gap".into(), "hole".into()]);
            }),
            [
                "capture fails: disk I/O error",
                "upload to replica file fails: no route",
                "replica file is damaged in 2 places: gap",
            ]
        );
    }

    #[test]
    fn what_is_meant_to_be_so_is_no_problem() {
        assert_eq!(
            said(|d| (d.is_missing, d.capture_error) = (true, Some("no such file".into()))),
            [""; 0]
        );
        assert_eq!(
            said(|d| (d.phase, d.capture_error) = (Phase::Stopped, Some("x".into()))),
            [""; 0]
        );
    }

    #[test]
    fn only_what_should_be_open_is_awaited() {
        let awaited = |change: fn(&mut Database)| {
            let mut database = well("/d/a.db");
            change(&mut database);
            is_awaited(&database)
        };
        assert!(!awaited(|_| {}));
        assert!(awaited(|d| d.was_opened = false));
        assert!(awaited(
            |d| (d.was_opened, d.capture_error) = (false, Some("locked".into()))
        ));
        // It was opened once.
        assert!(!awaited(|d| d.capture_error = Some("locked".into())));
        assert!(!awaited(|d| (d.was_opened, d.is_missing) = (false, true)));
        assert!(!awaited(
            |d| (d.was_opened, d.phase) = (false, Phase::Stopped)
        ));
    }

    #[test]
    fn work_that_never_ends_is_stuck() {
        let after = |minutes: i64| is_stuck(Some(UnixMillis(7)), UnixMillis(7 + minutes * 60_000));
        assert!(!after(10));
        assert!(after(11));
        assert!(!after(-11));
        assert!(!is_stuck(None, UnixMillis(i64::MAX)));
    }
}
