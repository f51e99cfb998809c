//! Log lines as JSON: one object each, groups nested, durations in nanoseconds.
//!
//! Pure. Promise: no name occurs twice in an object, so that no reader loses one of the values.

use std::fmt;

use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::record::{Record, Value};
use crate::time::log_time;

/// `{"time":"…","level":"INFO","msg":"…",…}`.
pub fn json(record: &Record, zone: &TimeZone) -> String {
    let mut object = Object::default();
    object.put("time", json_time(record, zone).into());
    object.put("level", record.level.as_str().into());
    if let Some(source) = record.source {
        object.put("source.function", source.module.into());
        object.put("source.file", source.file.into());
        object.put("source.line", source.line.into());
    }
    object.put("msg", record.message.as_str().into());
    for (name, value) in &record.attributes {
        let (name, value) = renamed(name, value);
        object.put(&name, value);
    }
    format!("{object}\n")
}

/// RFC 3339 with as many digits as there are.
fn json_time(record: &Record, zone: &TimeZone) -> String {
    let time = log_time(record.time, zone);
    // Exactly three digits stand between the point and the zone.
    let Some((seconds, (digits, zone))) = time
        .split_once('.')
        .and_then(|(seconds, rest)| Some((seconds, rest.split_at_checked(3)?)))
    else {
        return time;
    };
    match digits.trim_end_matches('0') {
        "" => format!("{seconds}{zone}"),
        digits => format!("{seconds}.{digits}{zone}"),
    }
}

/// Names of the fixed fields are not free for attributes. A `level` beside the severity would make most readers lose the
/// severity: with a number it is a level of compaction (a number here, too, where the event gave it as text), else
/// that of logging.
fn renamed(name: &str, value: &Value) -> (String, Json) {
    let level = value.to_string().parse::<u8>();
    match (name, level) {
        ("level", Ok(level)) => ("compaction_level".into(), level.into()),
        ("level", Err(_)) => ("log_level".into(), plain(value)),
        ("time" | "msg" | "source", _) => (format!("{name}_"), plain(value)),
        _ => (name.to_owned(), plain(value)),
    }
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Bool(yes) => (*yes).into(),
        Value::Duration(d) => u64::try_from(d.as_nanos()).unwrap_or(u64::MAX).into(),
        // What JSON has no number for is text.
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .map_or_else(|| number.to_string().into(), Json::Number),
        Value::Int(number) => match (i64::try_from(*number), u64::try_from(*number)) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) => number.into(),
            _ => number.to_string().into(),
        },
    }
}

/// An object that keeps the order in which names came.
#[derive(Default)]
struct Object(Vec<(String, Node)>);

enum Node {
    Leaf(Json),
    Group(Object),
}

impl Object {
    /// Puts a value under its name; dots lead into groups. Where a plain value has the name of a group the name stays whole.
    fn put(&mut self, name: &str, value: Json) {
        let mut object = self;
        let mut rest = name;
        while let Some((group, member)) = rest.split_once('.') {
            let at = object.0.iter().position(|(n, _)| n == group);
            let at = at.unwrap_or_else(|| {
                object
                    .0
                    .push((group.to_owned(), Node::Group(Object::default())));
                object.0.len() - 1
            });
            if matches!(object.0[at].1, Node::Leaf(_)) {
                break;
            }
            let Node::Group(inner) = &mut object.0[at].1 else {
                return;
            };
            (object, rest) = (inner, member);
        }
        object.put_leaf(rest, value);
    }

    fn put_leaf(&mut self, name: &str, value: Json) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            None => self.0.push((name.to_owned(), Node::Leaf(value))),
            Some((_, Node::Leaf(there))) => *there = value,
            // The group has the name; an underscore tells them apart.
            Some((_, Node::Group(_))) => self.put_leaf(&format!("{name}_"), value),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, node)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}:", Json::from(name.as_str()))?;
            match node {
                Node::Leaf(value) => write!(f, "{value}")?,
                Node::Group(object) => write!(f, "{object}")?,
            }
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use litestream_replica::env::UnixMillis;

    use super::super::record::Source;
    use super::super::samples;
    use super::*;

    fn shown(record: &Record) -> String {
        json(record, &TimeZone::UTC)
    }

    #[test]
    fn lines_are_what_litestream_writes() {
        assert_eq!(
            shown(&samples::replicating_to()),
            "{\"time\":\"2026-11-20T09:59:49.967Z\",\"level\":\"INFO\",\"msg\":\"replicating to\",\"type\":\"file\",\
             \"sync-interval\":1000000000,\"path\":\"/data/a b\"}\n"
        );
    }

    #[test]
    fn severity_stays_the_only_level() {
        assert_eq!(
            shown(&samples::compaction_complete()),
            "{\"time\":\"2026-11-20T09:59:49.967Z\",\"level\":\"INFO\",\"msg\":\"compaction complete\",\
             \"system\":\"store\",\"db\":\"a b.db\",\"compaction_level\":1,\
             \"txid\":{\"min\":\"0000000000000001\",\"max\":\"0000000000000002\"},\"size\":567}\n"
        );
        let first = Record {
            attributes: vec![("level".into(), Value::Text("debug".into()))],
            ..samples::replicating_to()
        };
        assert!(shown(&first).ends_with(",\"log_level\":\"debug\"}\n"));
    }

    #[test]
    fn no_name_occurs_twice() {
        let odd = ["time", "msg", "source", "a", "a.b", "c.d", "c", "c.d.e"];
        let record = Record {
            source: Some(Source {
                module: "litestream::worker",
                file: "crates/litestream/src/worker.rs",
                line: 372,
            }),
            time: UnixMillis(1_795_168_789_000),
            attributes: odd.map(|name| (name.into(), Value::Bool(true))).to_vec(),
            ..samples::replicating_to()
        };
        assert_eq!(
            shown(&record),
            "{\"time\":\"2026-11-20T09:59:49Z\",\"level\":\"INFO\",\"source\":{\"function\":\"litestream::worker\",\
             \"file\":\"crates/litestream/src/worker.rs\",\"line\":372},\"msg\":\"replicating to\",\"time_\":true,\
             \"msg_\":true,\"source_\":true,\"a\":true,\"a.b\":true,\"c\":{\"d\":true,\"d.e\":true},\"c_\":true}\n"
        );
    }

    #[test]
    fn every_value_is_json() {
        let values = [
            Value::Text("\"\\\n\u{1}\u{2028}é".into()),
            Value::Int(i128::MAX),
            Value::Int(u64::MAX.into()),
            Value::Int(-1),
            Value::Float(f64::NAN),
            Value::Float(0.5),
            Value::Duration(Duration::from_micros(43)),
        ];
        let named = values.into_iter().enumerate();
        let record = Record {
            attributes: named.map(|(n, value)| (format!("v{n}"), value)).collect(),
            ..samples::replicating_to()
        };
        let read: Json = serde_json::from_str(&shown(&record)).unwrap();
        assert_eq!(read["v0"], "\"\\\n\u{1}\u{2028}é");
        assert_eq!(read["v1"], i128::MAX.to_string());
        assert_eq!(read["v2"], u64::MAX);
        assert_eq!(read["v3"], -1);
        assert_eq!(read["v4"], "NaN");
        assert_eq!(read["v5"], 0.5);
        assert_eq!(read["v6"], 43_000);
    }
}
