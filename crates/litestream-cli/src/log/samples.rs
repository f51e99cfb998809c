//! Records as the real program writes them, for the tests of all forms.

use std::time::Duration;

use litestream_replica::env::UnixMillis;
use tracing::Level;

use super::record::{Record, Value};

fn record(message: &str, attributes: Vec<(&str, Value)>) -> Record {
    Record {
        time: UnixMillis(1_795_168_789_967),
        level: Level::INFO,
        source: None,
        message: message.into(),
        attributes: attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

pub fn replicating_to() -> Record {
    record(
        "replicating to",
        vec![
            ("type", Value::Text("file".into())),
            ("sync-interval", Value::Duration(Duration::from_secs(1))),
            ("path", Value::Text("/data/a b".into())),
        ],
    )
}

pub fn compaction_complete() -> Record {
    record(
        "compaction complete",
        vec![
            ("system", Value::Text("store".into())),
            ("db", Value::Text("a b.db".into())),
            ("level", Value::Int(1)),
            ("txid.min", Value::Text("0000000000000001".into())),
            ("txid.max", Value::Text("0000000000000002".into())),
            ("size", Value::Int(567)),
        ],
    )
}
