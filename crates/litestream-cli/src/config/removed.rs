//! Keys of Litestream 0.3 that mean nothing any more, and what is in force instead.

use super::known::Place;

/// Replaced by the global value when the whole is known.
pub const RETENTION: &str = "{snapshot.retention}";
/// The same.
pub const INTERVAL: &str = "{snapshot.interval}";

/// What to say of a key that was removed.
pub fn reason(place: Place, name: &str) -> Option<&'static str> {
    Some(match (place, name) {
        (Place::Replica, "retention") => {
            "NOT IN FORCE: Litestream 0.5 has no retention for each replica; what is in force is \
             snapshot.retention: {snapshot.retention}, at the top of the file. Set it there"
        }
        (Place::Replica, "snapshot-interval") => {
            "NOT IN FORCE: Litestream 0.5 has no snapshot interval for each replica; what is in force is \
             snapshot.interval: {snapshot.interval}, at the top of the file. Set it there"
        }
        (Place::Replica, "retention-check-interval") => {
            "not in force: it was removed in Litestream 0.5; retention is enforced with each snapshot"
        }
        (Place::Level, "retention") => {
            "NOT IN FORCE: levels have no retention of their own; compacted files are kept as long as \
             snapshot.retention: {snapshot.retention} says"
        }
        (Place::Database, "max-checkpoint-page-count") => {
            "not in force: it was removed in Litestream 0.5; see min-checkpoint-page-count"
        }
        (Place::Replica, "synchronous" | "snapshot-retention") => {
            "not in force: there is no such key any more"
        }
        _ => return None,
    })
}
