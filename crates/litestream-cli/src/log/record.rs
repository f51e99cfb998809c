//! What one log line says, before it has a form.
//!
//! Promise: no attribute of a record has the name of another.

use std::fmt;
use std::time::Duration;

use litestream_replica::env::UnixMillis;
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};

use crate::args::duration;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Anything that is none of the others.
    Text(String),
    /// A whole number.
    Int(i128),
    /// Another number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// How long something takes: shown as `5m0s`, in JSON as nanoseconds.
    Duration(Duration),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Int(number) => number.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Bool(yes) => yes.fmt(f),
            Value::Duration(d) => f.write_str(&duration::format(*d)),
        }
    }
}

/// An attribute: its name, in which dots separate groups, and its value.
pub type Attribute = (String, Value);

/// One line.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub time: UnixMillis,
    /// How bad.
    pub level: Level,
    /// Where in the program, if that was asked for.
    pub source: Option<Source>,
    /// What happened.
    pub message: String,
    /// To what: those of the spans around it first, then its own.
    pub attributes: Vec<Attribute>,
}

/// A place in the program.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The room.
    pub module: &'static str,
    /// The file, from the root of the source.
    pub file: &'static str,
    /// Its line.
    pub line: u32,
}

impl Source {
    /// Where an event stands.
    pub fn of(metadata: &Metadata<'static>) -> Option<Source> {
        Some(Source {
            module: metadata.module_path()?,
            file: metadata.file()?,
            line: metadata.line()?,
        })
    }

    /// `worker.rs:372`.
    pub fn short(self) -> String {
        let name = self.file.rsplit(['/', '\\']).next().unwrap_or(self.file);
        format!("{name}:{}", self.line)
    }
}

/// Collects the message and the attributes of an event or a span.
#[derive(Debug, Default)]
pub struct Fields {
    /// The message, once it was seen.
    pub message: Option<String>,
    /// All else.
    pub attributes: Vec<Attribute>,
}

/// Attributes that hold a duration. Events give them as text, since `tracing` knows no durations.
const DURATIONS: [&str; 11] = [
    "backoff",
    "duration",
    "elapsed",
    "interval",
    "max_backoff",
    "remaining",
    "retention",
    "sync-interval",
    "threshold",
    "timeout",
    "took",
];

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        // The message comes first; a field of that name that follows it is an attribute.
        if field.name() == "message" && self.message.is_none() {
            self.message = Some(value.to_string());
        } else {
            put(&mut self.attributes, (field.name().to_owned(), value));
        }
    }

    fn add_text(&mut self, field: &Field, text: String) {
        let span = DURATIONS
            .contains(&field.name())
            .then(|| duration::parse(&text))
            .flatten();
        let span = span.and_then(|nanos| u64::try_from(nanos).ok());
        let value = span.map_or(Value::Text(text), |nanos| {
            Value::Duration(Duration::from_nanos(nanos))
        });
        self.add(field, value);
    }
}

/// Adds an attribute; one of the same name keeps its place and gets the new value.
pub fn put(attributes: &mut Vec<Attribute>, (name, value): Attribute) {
    match attributes.iter_mut().find(|(n, _)| *n == name) {
        Some(there) => there.1 = value,
        None => attributes.push((name, value)),
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, format!("{value:?}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Int(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Int(value.into()));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.add(field, Value::Int(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match i128::try_from(value) {
            Ok(number) => self.add(field, Value::Int(number)),
            Err(_) => self.add(field, Value::Text(value.to_string())),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }
}
