//! The one table of keys that describe storage, and the values given for them.
//!
//! Configuration files, command lines and the control socket all fill [`Keys`]; the backends read nothing else. Promise:
//! a key that is not in [`TABLE`] is read by nobody, and one that is, inherits from the defaults like all others.

use std::collections::BTreeMap;

use super::Secret;

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text.
    Text,
    /// Text that is never shown. `KEY-file` may name a file that holds it.
    Secret,
    /// A boolean.
    Bool,
    /// A whole number.
    Int,
    /// Go's syntax for durations.
    Duration,
    /// Bytes, with or without a unit.
    Size,
    /// Several texts.
    List,
}

/// A value. Its debug output shows no secret, also none that stands in a URL.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// See [`ValueKind::Text`].
    Text(String),
    /// See [`ValueKind::Secret`].
    Secret(Secret),
    /// See [`ValueKind::Bool`].
    Bool(bool),
    /// See [`ValueKind::Int`].
    Int(i64),
    /// See [`ValueKind::Duration`]; in nanoseconds.
    Duration(i64),
    /// See [`ValueKind::Size`]; in bytes.
    Size(u64),
    /// See [`ValueKind::List`].
    List(Vec<String>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(text) => super::shown_url(text).fmt(f),
            Value::Secret(secret) => secret.fmt(f),
            Value::Bool(value) => value.fmt(f),
            Value::Int(value) => value.fmt(f),
            Value::Duration(nanos) => write!(f, "{nanos} ns"),
            Value::Size(bytes) => write!(f, "{bytes} bytes"),
            Value::List(list) => list.fmt(f),
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As written in a configuration file.
    pub name: &'static str,
    /// What its value is.
    pub kind: ValueKind,
    /// The types of storage that it means something for.
    pub types: &'static [&'static str],
}

const fn key(name: &'static str, kind: ValueKind, types: &'static [&'static str]) -> Key {
    Key { name, kind, types }
}

const ALL: &[&str] = &["file", "s3", "gs", "abs", "sftp", "nats", "webdav", "oss"];

/// Those that are reached over a network.
const REMOTE: &[&str] = &["s3", "gs", "abs", "sftp", "nats", "webdav", "oss"];
/// Those that are reached by HTTP.
const HTTP: &[&str] = &["s3", "gs", "abs", "webdav", "oss"];
/// Those that can write on a condition.
const LEASE: &[&str] = &["s3", "gs", "abs"];

use ValueKind::{Bool, Duration, Int, List, Secret as Hidden, Size, Text};

/// All keys that describe storage.
pub const TABLE: &[Key] = &[
    key("type", Text, ALL),
    key("url", Text, ALL),
    key("path", Text, ALL),
    key("access-key-id", Hidden, &["s3", "oss"]),
    key("secret-access-key", Hidden, &["s3", "oss"]),
    key("bucket", Text, &["s3", "gs", "abs", "nats", "oss"]),
    key("region", Text, &["s3", "oss"]),
    key("endpoint", Text, &["s3", "abs", "oss"]),
    key("force-path-style", Bool, &["s3"]),
    key("skip-verify", Bool, HTTP),
    key("sign-payload", Bool, &["s3"]),
    key("sign-accept-encoding", Bool, &["s3"]),
    key("require-content-md5", Bool, &["s3"]),
    key("storage-class", Text, &["s3"]),
    key("part-size", Size, &["s3", "oss"]),
    key("concurrency", Int, &["s3", "oss"]),
    key("sse-customer-algorithm", Text, &["s3"]),
    key("sse-customer-key", Hidden, &["s3"]),
    key("sse-customer-key-path", Text, &["s3"]),
    key("sse-kms-key-id", Text, &["s3"]),
    key("account-name", Text, &["abs"]),
    key("account-key", Hidden, &["abs"]),
    key("sas-token", Hidden, &["abs"]),
    key("host", Text, &["sftp"]),
    key("user", Text, &["sftp"]),
    key("password", Hidden, &["sftp", "nats"]),
    key("key-path", Text, &["sftp"]),
    key("host-key", Text, &["sftp"]),
    key("concurrent-writes", Bool, &["sftp"]),
    key("webdav-url", Text, &["webdav"]),
    key("webdav-username", Text, &["webdav"]),
    key("webdav-password", Hidden, &["webdav"]),
    key("jwt", Hidden, &["nats"]),
    key("seed", Hidden, &["nats"]),
    key("creds", Text, &["nats"]),
    key("nkey", Hidden, &["nats"]),
    key("username", Text, &["nats"]),
    key("token", Hidden, &["nats"]),
    key("tls", Bool, &["nats"]),
    key("root-cas", List, &["nats"]),
    key(
        "client-cert",
        Text,
        &["nats", "s3", "gs", "abs", "webdav", "oss"],
    ),
    key(
        "client-key",
        Text,
        &["nats", "s3", "gs", "abs", "webdav", "oss"],
    ),
    key("max-reconnects", Int, &["nats"]),
    key("reconnect-wait", Duration, &["nats"]),
    key("timeout", Duration, &["nats"]),
    key("ca-file", Text, HTTP),
    key("upload-rate", Size, REMOTE),
    key("download-rate", Size, REMOTE),
    key("requests-per-second", Int, REMOTE),
    key("concurrent-requests", Int, REMOTE),
    key("lease", Bool, LEASE),
    key("lease-ttl", Duration, LEASE),
];

/// The key called `name`.
pub fn lookup(name: &str) -> Option<&'static Key> {
    TABLE.iter().find(|key| key.name == name)
}

/// Values given for keys of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(BTreeMap<&'static str, Value>);

impl Keys {
    /// Nothing given.
    pub fn new() -> Keys {
        Keys::default()
    }

    /// Only a URL.
    pub fn url(url: &str) -> Keys {
        let mut keys = Keys::new();
        keys.set_text("url", url);
        keys
    }

    /// Sets a key of the table. A value of another kind than the key's, or an unknown key, is a mistake in the program.
    pub fn set(&mut self, name: &str, value: Value) {
        let key = lookup(name).expect("the key is in the table");
        assert_eq!(key.kind, kind_of(&value), "{name}");
        self.0.insert(key.name, value);
    }

    pub(super) fn set_text(&mut self, name: &str, value: impl Into<String>) {
        self.set(name, Value::Text(value.into()));
    }

    pub(super) fn set_some(&mut self, name: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.set_text(name, value.as_str());
        }
    }

    pub(super) fn set_secret(&mut self, name: &str, value: Option<&Secret>) {
        if let Some(value) = value {
            self.set(name, Value::Secret(value.clone()));
        }
    }

    /// All that is given, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// Whether a key is given, empty or not.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes a key away.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// These values, and those of `defaults` where nothing (or an empty text or list) is given. `type`, `path` and `url` are
    /// never inherited; `skip-verify` holds if either says so.
    pub fn over(&self, defaults: &Keys) -> Keys {
        let mut all = self.clone();
        for (name, value) in defaults.iter() {
            let own = all.0.get(name);
            let replaced = match (name, own) {
                ("type" | "path" | "url", _) => false,
                ("skip-verify", _) => *value == Value::Bool(true) || own.is_none(),
                (_, own) => own.is_none_or(is_empty),
            };
            if replaced {
                all.0.insert(name, value.clone());
            }
        }
        // Two ways to give one thing: what the replica says itself beats what it would inherit.
        if self.is_given("sse-customer-key") && !self.is_given("sse-customer-key-path") {
            all.remove("sse-customer-key-path");
        }
        all
    }

    /// Whether a key is given and not empty.
    pub fn is_given(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !is_empty(value))
    }

    /// A text that is not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.get(name, Text)? {
            Value::Text(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    /// A secret that is not empty.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        match self.get(name, Hidden)? {
            Value::Secret(secret) if !secret.is_empty() => Some(secret.clone()),
            _ => None,
        }
    }

    /// A boolean.
    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.get(name, Bool)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.get(name, Int)? {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A duration; zero if negative.
    pub fn duration(&self, name: &str) -> Option<std::time::Duration> {
        match self.get(name, Duration)? {
            Value::Duration(nanos) => Some(std::time::Duration::from_nanos((*nanos).max(0) as u64)),
            _ => None,
        }
    }

    /// A number of bytes.
    pub fn size(&self, name: &str) -> Option<u64> {
        match self.get(name, Size)? {
            Value::Size(bytes) => Some(*bytes),
            _ => None,
        }
    }

    /// Several texts.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.get(name, List) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    /// A key read as another kind than the table says is a mistake that any test finds.
    fn get(&self, name: &str, kind: ValueKind) -> Option<&Value> {
        debug_assert_eq!(lookup(name).map(|key| key.kind), Some(kind), "{name}");
        self.0.get(name)
    }
}

fn kind_of(value: &Value) -> ValueKind {
    match value {
        Value::Text(_) => Text,
        Value::Secret(_) => Hidden,
        Value::Bool(_) => Bool,
        Value::Int(_) => Int,
        Value::Duration(_) => Duration,
        Value::Size(_) => Size,
        Value::List(_) => List,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.is_empty(),
        Value::Secret(secret) => secret.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Bool(_) | Value::Int(_) | Value::Duration(_) | Value::Size(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_all_types_exist() {
        for (i, key) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..i].iter().all(|k| k.name != key.name),
                "{}",
                key.name
            );
            assert!(!key.types.is_empty() && key.types.iter().all(|t| ALL.contains(t)));
        }
    }

    #[test]
    fn empty_texts_inherit_and_false_does_not() {
        let (mut own, mut defaults) = (Keys::new(), Keys::new());
        own.set_text("region", "");
        own.set("sign-payload", Value::Bool(false));
        own.set("skip-verify", Value::Bool(false));
        own.set("concurrency", Value::Int(0));
        for (name, value) in [
            ("region", Value::Text("r".into())),
            ("path", Value::Text("p".into())),
            ("sign-payload", Value::Bool(true)),
            ("skip-verify", Value::Bool(true)),
            ("concurrency", Value::Int(9)),
            ("part-size", Value::Size(7)),
            ("root-cas", Value::List(vec!["a".into()])),
        ] {
            defaults.set(name, value);
        }
        let all = own.over(&defaults);
        assert_eq!(all.text("region").as_deref(), Some("r"));
        assert_eq!(all.text("path"), None);
        assert_eq!(all.bool("sign-payload"), Some(false));
        assert_eq!(all.bool("skip-verify"), Some(true));
        assert_eq!(
            (all.int("concurrency"), all.size("part-size")),
            (Some(0), Some(7))
        );
        assert_eq!(all.list("root-cas"), ["a"]);
    }
}
