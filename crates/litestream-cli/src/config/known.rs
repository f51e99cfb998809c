//! Which keys belong where: for messages about those that stand elsewhere.

use litestream_replica::settings;

use super::yaml::{Node, Value};
use crate::args::closest;

/// A kind of map in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The whole file.
    Top,
    /// An item of `dbs`.
    Database,
    /// `replica`, or an item of `replicas`.
    Replica,
    /// An item of `levels`.
    Level,
    /// Any other.
    Other,
}

const TOP: &[&str] = &[
    "addr",
    "mcp-addr",
    "exec",
    "socket",
    "logging",
    "snapshot",
    "levels",
    "l0-retention",
    "l0-retention-check-interval",
    "retention",
    "verify-compaction",
    "validation",
    "verify",
    "heartbeat-url",
    "heartbeat-interval",
    "alerts",
    "shutdown-sync-timeout",
    "shutdown-sync-interval",
    "limits",
    "dbs",
];
const DATABASE: &[&str] = &[
    "path",
    "dir",
    "pattern",
    "recursive",
    "watch",
    "meta-path",
    "meta-dir",
    "monitor-interval",
    "checkpoint-interval",
    "min-checkpoint-page-count",
    "truncate-page-n",
    "max-sync-wal-bytes",
    "busy-timeout",
    "restore-if-db-not-exists",
    "snapshot",
    "replica",
    "replicas",
];
const REPLICA: &[&str] = &[
    "sync-interval",
    "max-sync-ltx-files",
    "auto-recover",
    "age",
    "url",
    "type",
    "path",
];

/// What to say of a key that is not known where it stands. `asked` are the keys known there.
pub fn unknown(place: Place, name: &str, node: &Node, asked: &[String]) -> String {
    let nowhere = "unknown key, so it has no effect";
    let is_storage = |name: &str| settings::lookup(name).is_some() || REPLICA.contains(&name);
    let elsewhere = match place {
        Place::Replica if name == "replica" => Some(
            "the keys of the replica stand directly in the item of 'replicas', without 'replica:'",
        ),
        _ if place != Place::Database && matches!(name, "replica" | "replicas") => {
            Some("it belongs into an item of 'dbs'")
        }
        Place::Database if is_storage(name) => Some("it belongs one level down, under 'replica'"),
        Place::Replica if DATABASE.contains(&name) => {
            Some("it belongs one level up, beside 'replica'")
        }
        Place::Top if DATABASE.contains(&name) => Some("it belongs into an item of 'dbs'"),
        Place::Top if is_storage(name) => Some("it belongs under 'replica' of a database"),
        Place::Database | Place::Replica | Place::Other | Place::Level if TOP.contains(&name) => {
            Some("it belongs to the top of the file")
        }
        _ => None,
    };
    if let Some(text) = elsewhere {
        return format!("misplaced, so it has no effect: {text}");
    }
    let lower = name.to_ascii_lowercase().replace('_', "-");
    let near = closest(&lower, asked.iter().map(String::as_str));
    match near {
        Some(near) => format!("{nowhere}; did you mean '{near}'?"),
        None if matches!(node.value, Value::Map(_)) => format!("{nowhere}, nor has anything in it"),
        None => nowhere.to_owned(),
    }
}
