//! A configuration with everything in force, as a file that says the same; secrets are left out.

use std::fmt::Write as _;
use std::time::Duration;

use litestream_replica::limits::Rates;
use litestream_replica::settings::{Keys, REDACTED, Value as Setting, shown_url};
use serde::{Serialize, Serializer};

use super::types::{
    AlertAction, AlertOn, Config, Entry, LogKind, Meta, ReplicaDefaults, ReplicaEntry, Source,
};
use super::values;
use crate::args::duration;

/// A document that keeps its order.
#[derive(Clone, Debug, PartialEq)]
pub enum Doc {
    /// Text.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A file mode: a number in octal.
    Mode(u32),
    /// A list.
    List(Vec<Doc>),
    /// A map.
    Map(Vec<(String, Doc)>),
}

impl Serialize for Doc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Doc::Text(text) => serializer.serialize_str(text),
            Doc::Bool(value) => serializer.serialize_bool(*value),
            Doc::Int(value) => serializer.serialize_i64(*value),
            Doc::Mode(bits) => serializer.serialize_str(&format!("0{bits:03o}")),
            Doc::List(items) => serializer.collect_seq(items),
            Doc::Map(entries) => serializer.collect_map(entries.iter().map(|(k, v)| (k, v))),
        }
    }
}

fn map<const N: usize>(entries: [(&str, Doc); N]) -> Doc {
    Doc::Map(
        entries
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn text(text: impl Into<String>) -> Doc {
    Doc::Text(text.into())
}

fn span(value: Duration) -> Doc {
    Doc::Text(duration::format(value))
}

/// All that is in force.
pub fn document(config: &Config) -> Doc {
    let levels = config
        .levels
        .iter()
        .map(|interval| map([("interval", span(*interval))]));
    let optional = |value: Option<Duration>| span(value.unwrap_or(Duration::ZERO));
    let mut entries = vec![
        ("addr", text(&config.addr)),
        ("mcp-addr", text(&config.mcp_addr)),
        ("exec", text(&config.exec)),
        ("socket", socket(config)),
        ("logging", logging(config)),
        (
            "snapshot",
            map([
                ("interval", span(config.snapshot_interval)),
                ("retention", span(config.snapshot_retention)),
            ]),
        ),
        ("levels", Doc::List(levels.collect())),
        ("l0-retention", span(config.l0_retention)),
        (
            "l0-retention-check-interval",
            span(config.l0_retention_check_interval),
        ),
        ("retention", retention(config)),
        ("verify-compaction", Doc::Bool(config.verify_compaction)),
        (
            "validation",
            map([("interval", optional(config.validation_interval))]),
        ),
        (
            "verify",
            map([
                ("interval", optional(config.verify.interval)),
                ("max-age", span(config.verify.max_age)),
                ("bandwidth", text(config.verify.bandwidth.to_string())),
            ]),
        ),
        ("heartbeat-url", text(shown_url(&config.heartbeat.url))),
        ("heartbeat-interval", span(config.heartbeat.interval)),
        ("alerts", alerts(config)),
        ("shutdown-sync-timeout", span(config.shutdown_sync_timeout)),
        (
            "shutdown-sync-interval",
            span(config.shutdown_sync_interval),
        ),
    ];
    let mut limits = Keys::new();
    config.limits.write(&mut limits);
    if config.limits != Rates::default() {
        entries.push(("limits", Doc::Map(storage(&limits))));
    }
    entries.push((
        "dbs",
        Doc::List(config.databases.iter().map(entry).collect()),
    ));
    let named = entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Doc::Map(named.chain(defaults(&config.defaults)).collect())
}

fn socket(config: &Config) -> Doc {
    map([
        ("enabled", Doc::Bool(config.socket.enabled)),
        ("path", text(config.socket.path.display().to_string())),
        ("permissions", Doc::Mode(config.socket.permissions)),
    ])
}

fn logging(config: &Config) -> Doc {
    let kind = match config.logging.kind {
        LogKind::Text => "text",
        LogKind::Json => "json",
        LogKind::Pretty => "pretty",
    };
    map([
        ("level", text(&config.logging.level)),
        ("type", text(kind)),
        ("stderr", Doc::Bool(config.logging.stderr)),
        ("source", Doc::Bool(config.logging.source)),
    ])
}

fn retention(config: &Config) -> Doc {
    let keep = map([
        ("hourly", span(config.keep.hourly)),
        ("daily", span(config.keep.daily)),
        ("monthly", span(config.keep.monthly)),
    ]);
    map([
        ("enabled", Doc::Bool(config.retention_enabled)),
        ("keep", keep),
    ])
}

fn alerts(config: &Config) -> Doc {
    let alerts = config.hooks.alerts.iter().map(|alert| {
        let on = alert.on.iter().map(|event: &AlertOn| text(event.word()));
        let action = match &alert.action {
            AlertAction::Url(_) => ("url", text(format!("https://{REDACTED}"))),
            AlertAction::Command(command) => ("command", text(command)),
        };
        map([
            ("on", Doc::List(on.collect())),
            ("max-lag", span(alert.max_lag)),
            action,
        ])
    });
    Doc::List(alerts.collect())
}

fn defaults(defaults: &ReplicaDefaults) -> Vec<(String, Doc)> {
    let mut out = storage(&defaults.keys);
    if let Some(interval) = defaults.sync_interval {
        out.push(("sync-interval".into(), span(interval)));
    }
    if let Some(files) = defaults.max_sync_ltx_files {
        out.push(("max-sync-ltx-files".into(), Doc::Int(files)));
    }
    if let Some(value) = defaults.auto_recover {
        out.push(("auto-recover".into(), Doc::Bool(value)));
    }
    out
}

fn entry(entry: &Entry) -> Doc {
    let mut out: Vec<(&str, Doc)> = match &entry.source {
        Source::Path(path) => vec![("path", text(path.display().to_string()))],
        Source::Dir {
            dir,
            pattern,
            recursive,
            watch,
            ..
        } => vec![
            ("dir", text(dir.display().to_string())),
            ("pattern", text(pattern)),
            ("recursive", Doc::Bool(*recursive)),
            ("watch", Doc::Bool(*watch)),
        ],
    };
    match &entry.meta {
        Meta::Beside => {}
        Meta::Path(path) => out.push(("meta-path", text(path.display().to_string()))),
        Meta::Dir(path) => out.push(("meta-dir", text(path.display().to_string()))),
    }
    out.extend([
        ("monitor-interval", span(entry.monitor_interval)),
        ("checkpoint-interval", span(entry.checkpoint_interval)),
        (
            "min-checkpoint-page-count",
            Doc::Int(entry.min_checkpoint_page_count.into()),
        ),
        ("truncate-page-n", Doc::Int(entry.truncate_page_n)),
        ("max-sync-wal-bytes", Doc::Int(entry.max_sync_wal_bytes)),
        ("busy-timeout", span(entry.busy_timeout)),
        (
            "restore-if-db-not-exists",
            Doc::Bool(entry.restore_if_db_not_exists),
        ),
        (
            "replicas",
            Doc::List(entry.replicas.iter().map(replica).collect()),
        ),
    ]);
    Doc::Map(
        out.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn replica(replica: &ReplicaEntry) -> Doc {
    let mut keys = replica.storage.keys();
    replica.access.write(&mut keys);
    let mut out = storage(&keys);
    out.push(("sync-interval".into(), span(replica.sync_interval)));
    out.push((
        "max-sync-ltx-files".into(),
        Doc::Int(replica.max_sync_ltx_files),
    ));
    out.push(("auto-recover".into(), Doc::Bool(replica.auto_recover)));
    Doc::Map(out)
}

fn storage(keys: &Keys) -> Vec<(String, Doc)> {
    let shown = |name: &str, value: &Setting| match value {
        Setting::Text(value) if name.contains("url") || name == "endpoint" => {
            text(shown_url(value))
        }
        Setting::Text(value) => text(value),
        Setting::Secret(_) => text(REDACTED),
        Setting::Bool(value) => Doc::Bool(*value),
        Setting::Int(value) => Doc::Int(*value),
        Setting::Duration(nanos) => text(values::shown(*nanos)),
        Setting::Size(bytes) => text(bytes.to_string()),
        Setting::List(list) => Doc::List(list.iter().map(text).collect()),
    };
    let mut out: Vec<(String, Doc)> = keys
        .iter()
        .map(|(name, value)| (name.to_owned(), shown(name, value)))
        .collect();
    // What kind it is, then where, then how.
    let rank = |name: &str| {
        ["type", "url", "bucket", "host", "path"]
            .iter()
            .position(|n| *n == name)
    };
    out.sort_by_key(|(name, _)| rank(name).unwrap_or(usize::MAX));
    out
}

/// As YAML that is read as the same.
pub fn yaml(doc: &Doc) -> String {
    let mut out = String::new();
    write(doc, 0, &mut out);
    out
}

fn write(doc: &Doc, indent: usize, out: &mut String) {
    let blanks = |n: usize| " ".repeat(n);
    match doc {
        Doc::Map(entries) => {
            for (i, (name, value)) in entries.iter().enumerate() {
                // The first line of an item of a list follows the dash.
                let margin = if i == 0 && out.ends_with("- ") {
                    String::new()
                } else {
                    blanks(indent)
                };
                let _ = write!(out, "{margin}{name}:");
                below(value, indent, out);
            }
        }
        Doc::List(items) => {
            for item in items {
                let _ = write!(out, "{}- ", blanks(indent));
                match item {
                    Doc::Map(_) => write(item, indent + 2, out),
                    scalar => {
                        let _ = writeln!(out, "{}", shown(scalar));
                    }
                }
            }
        }
        scalar => {
            let _ = writeln!(out, "{}", shown(scalar));
        }
    }
}

fn below(value: &Doc, indent: usize, out: &mut String) {
    match value {
        Doc::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            write(value, indent + 2, out);
        }
        Doc::List(items) if !items.is_empty() => {
            out.push('\n');
            write(value, indent + 2, out);
        }
        scalar => {
            let _ = writeln!(out, " {}", shown(scalar));
        }
    }
}

/// On one line. Plain where that is the same; else in double quotes, as in JSON.
fn shown(doc: &Doc) -> String {
    match doc {
        Doc::Bool(value) => value.to_string(),
        Doc::Int(value) => value.to_string(),
        Doc::Mode(bits) => format!("0{bits:03o}"),
        Doc::List(_) => "[]".to_owned(),
        Doc::Map(_) => "{}".to_owned(),
        Doc::Text(text) => {
            // A dollar would begin a variable.
            let text = text.replace('$', "${$}");
            let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-');
            let word = text.chars().all(letter)
                && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
                && super::scalar::boolean(&text).is_none()
                && !matches!(text.as_str(), "null" | "Null" | "NULL");
            let span =
                duration::parse(&text).is_some() && text.starts_with(|c: char| c.is_ascii_digit());
            if word || (span && text != "0") {
                text
            } else {
                serde_json::Value::String(text).to_string()
            }
        }
    }
}
