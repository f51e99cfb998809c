//! What changed since the last look, and is worth telling.
//!
//! Pure. Promise: one message when trouble begins and one when it is over, whatever happens in between.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use litestream_replica::env::UnixMillis;
use serde_json::{Value, json};

use crate::config::AlertOn as Event;
use crate::health::{self, Problem};
use crate::time::utc_exact;
use crate::view::{Database, Phase};

/// Trouble that begins and ends.
const TROUBLES: [Event; 3] = [Event::Lag, Event::Error, Event::Verification];

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What happened.
    pub event: Event,
    /// What is over, if something is.
    pub of: Option<Event>,
    /// To which database.
    pub database: PathBuf,
    /// When that was seen.
    pub time: UnixMillis,
    /// What it is about, for people.
    pub text: String,
}

impl Message {
    /// As it is sent.
    pub fn json(&self) -> String {
        let mut value = json!({
            "event": self.event.word(),
            "database": self.database.to_string_lossy(),
            "time": utc_exact(self.time),
            "message": self.text,
        });
        if let Some(of) = self.of {
            value["recovered"] = Value::from(of.word());
        }
        value.to_string()
    }
}

/// The trouble that each database is in.
#[derive(Default)]
pub struct Known(HashMap<PathBuf, [bool; TROUBLES.len()]>);

impl Known {
    /// Takes a look at all databases, and tells what is new. Databases that were stopped or unregistered are forgotten: nothing
    /// is over there.
    pub fn look(
        &mut self,
        databases: &[Database],
        now: UnixMillis,
        max_lag: Duration,
    ) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut known = HashMap::with_capacity(self.0.len());
        for database in databases.iter().filter(|d| d.phase != Phase::Stopped) {
            let mut troubles = self.0.remove(&database.path).unwrap_or_default();
            let problems = health::problems(database, max_lag);
            for (trouble, was) in TROUBLES.iter().zip(&mut troubles) {
                let text = problems.iter().find(|p| event_of(p) == *trouble);
                let is = text.is_some() || (*was && is_uncertain(*trouble, database));
                if is != *was {
                    *was = is;
                    messages.push(message(database, *trouble, text, now));
                }
            }
            if troubles.contains(&true) {
                known.insert(database.path.clone(), troubles);
            }
        }
        self.0 = known;
        messages
    }
}

fn event_of(problem: &Problem) -> Event {
    match problem {
        Problem::Lag { .. } => Event::Lag,
        Problem::Capture(_) | Problem::Upload { .. } => Event::Error,
        Problem::Damage { .. } => Event::Verification,
    }
}

/// That nothing is known is no recovery.
fn is_uncertain(trouble: Event, database: &Database) -> bool {
    let mut replicas = database.replicas.iter();
    match trouble {
        Event::Lag => replicas.any(|r| r.lag.is_none()),
        Event::Verification => replicas.any(|r| r.damage.is_none()),
        Event::Error | Event::Recovered => false,
    }
}

fn message(
    database: &Database,
    trouble: Event,
    begun: Option<&Problem>,
    now: UnixMillis,
) -> Message {
    let (event, of, text) = if let Some(problem) = begun {
        (trouble, None, problem.to_string())
    } else {
        let text = match trouble {
            Event::Lag => "all replicas have caught up",
            Event::Verification => "no damage is found any more",
            Event::Error | Event::Recovered => "replication works again",
        };
        (Event::Recovered, Some(trouble), text.to_owned())
    };
    Message {
        event,
        of,
        database: database.path.clone(),
        time: now,
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::well;

    /// Messages of a look as `event of database`.
    fn look(known: &mut Known, databases: &[Database]) -> Vec<String> {
        let messages = known.look(databases, UnixMillis(100_000), Duration::from_secs(30));
        let each = messages.iter().map(|m| {
            let of = m.of.map_or("-", Event::word);
            format!("{} {of} {}", m.event.word(), m.database.display())
        });
        each.collect()
    }

    fn troubled(change: impl FnOnce(&mut Database)) -> Vec<Database> {
        let mut databases = vec![well("/d/a.db"), well("/d/b.db")];
        change(&mut databases[1]);
        databases
    }

    /// What it is called, and how it comes.
    type Case = (&'static str, fn(&mut Database));

    #[test]
    fn trouble_is_told_when_it_begins_and_when_it_is_over() {
        let cases: [Case; 4] = [
            ("lag", |d| {
                d.replicas[0].lag = Some(Duration::from_secs(31));
            }),
            ("error", |d| d.capture_error = Some("x".into())),
            ("error", |d| d.replicas[0].upload_error = Some("x".into())),
            ("verification", |d| {
                d.replicas[0].damage = Some(vec!["x".into()]);
            }),
        ];
        let well = troubled(|d| d.replicas[0].damage = Some(Vec::new()));
        for (word, change) in cases {
            let mut known = Known::default();
            assert_eq!(look(&mut known, &well), [""; 0]);
            let broken = troubled(change);
            assert_eq!(look(&mut known, &broken), [format!("{word} - /d/b.db")]);
            assert_eq!(look(&mut known, &broken), [""; 0]);
            assert_eq!(
                look(&mut known, &well),
                [format!("recovered {word} /d/b.db")]
            );
            assert_eq!(look(&mut known, &well), [""; 0]);
        }
    }

    #[test]
    fn another_error_is_no_news() {
        let mut known = Known::default();
        let capture = troubled(|d| d.capture_error = Some("x".into()));
        let upload = troubled(|d| d.replicas[0].upload_error = Some("y".into()));
        assert_eq!(look(&mut known, &capture).len(), 1);
        assert_eq!(look(&mut known, &upload), [""; 0]);
    }

    #[test]
    fn not_knowing_is_no_recovery() {
        let mut known = Known::default();
        let behind = troubled(|d| d.replicas[0].lag = Some(Duration::from_secs(31)));
        assert_eq!(look(&mut known, &behind).len(), 1);
        let unknown = troubled(|d| d.replicas[0].lag = None);
        assert_eq!(look(&mut known, &unknown), [""; 0]);
        assert_eq!(
            look(&mut known, &troubled(|_| {})),
            ["recovered lag /d/b.db"]
        );
    }

    #[test]
    fn who_is_not_replicated_any_more_is_forgotten() {
        let mut known = Known::default();
        let broken = || troubled(|d| d.capture_error = Some("x".into()));
        assert_eq!(look(&mut known, &broken()).len(), 1);
        assert_eq!(look(&mut known, &broken()[..1]), [""; 0]);
        assert_eq!(look(&mut known, &broken()).len(), 1);
        let mut stopped = broken();
        stopped[1].phase = Phase::Stopped;
        assert_eq!(look(&mut known, &stopped), [""; 0]);
        assert!(known.0.is_empty());
    }

    #[test]
    fn messages_are_json() {
        let mut known = Known::default();
        let broken = troubled(|d| d.capture_error = Some("disk \"x\"".into()));
        let now = UnixMillis(1_795_168_789_967);
        let begun = known.look(&broken, now, Duration::from_secs(30));
        let read = |message: &Message| serde_json::from_str::<Value>(&message.json()).unwrap();
        assert_eq!(
            read(&begun[0]),
            json!({
                "event": "error", "database": "/d/b.db", "time": "2026-11-20T09:59:49.967Z",
                "message": "capture fails: disk \"x\"",
            })
        );
        let over = known.look(&troubled(|_| {}), now, Duration::from_secs(30));
        assert_eq!(read(&over[0])["event"], "recovered");
        assert_eq!(read(&over[0])["recovered"], "error");
    }
}
