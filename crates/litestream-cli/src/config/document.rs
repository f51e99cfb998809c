//! The top of a configuration: its keys as written.

use super::entry::{self, Snapshot};
use super::findings::{At, Findings};
use super::known::Place;
use super::reader::Reader;
use super::types::{Alert, AlertAction, AlertOn, LogKind, Logging, Socket};
use super::values::{MAX_LAG, positive};
use super::yaml::{Node, Value};
use super::{replica, scalar};
use litestream_replica::settings::Secret;

/// The whole as written; durations in nanoseconds.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "named after the keys")]
pub struct Raw {
    pub addr: String,
    pub mcp_addr: String,
    pub exec: String,
    pub socket: Option<Socket>,
    pub logging: Option<Logging>,
    pub snapshot: Snapshot,
    /// Each with its place.
    pub levels: Option<Vec<(i64, At)>>,
    pub l0_retention: Option<i64>,
    pub l0_retention_check_interval: Option<i64>,
    pub retention_enabled: Option<bool>,
    /// Hourly, daily, monthly.
    pub keep: [Option<i64>; 3],
    pub verify_compaction: Option<bool>,
    pub validation_interval: Option<i64>,
    pub verify_interval: Option<i64>,
    pub verify_max_age: Option<i64>,
    pub verify_bandwidth: Option<u64>,
    pub heartbeat_url: String,
    pub heartbeat_interval: Option<i64>,
    pub alerts: Vec<Alert>,
    pub shutdown_sync_timeout: Option<i64>,
    pub shutdown_sync_interval: Option<i64>,
    /// Rates for all replicas together.
    pub limits: replica::Raw,
    pub entries: Vec<entry::Raw>,
    pub defaults: replica::Raw,
    /// Where keys stand whose values are checked later.
    pub places: Vec<(&'static str, At)>,
}

const CHECKED: [&str; 7] = [
    "l0-retention",
    "l0-retention-check-interval",
    "shutdown-sync-timeout",
    "shutdown-sync-interval",
    "heartbeat-url",
    "heartbeat-interval",
    "addr",
];

impl Raw {
    /// Reads the whole.
    pub fn read(node: &Node, findings: &mut Findings) -> Raw {
        let Some(mut reader) = Reader::new(node, String::new(), findings) else {
            return Raw::default();
        };
        let reader = &mut reader;
        let mut raw = Raw {
            addr: reader.text("addr", findings).unwrap_or_default(),
            mcp_addr: reader.text("mcp-addr", findings).unwrap_or_default(),
            exec: reader.text("exec", findings).unwrap_or_default(),
            socket: socket(reader, findings),
            logging: logging(reader, findings),
            snapshot: Snapshot::read(reader, findings),
            levels: levels(reader, findings),
            l0_retention: reader.duration("l0-retention", findings),
            l0_retention_check_interval: reader.duration("l0-retention-check-interval", findings),
            verify_compaction: reader.bool("verify-compaction", findings),
            heartbeat_url: reader.text("heartbeat-url", findings).unwrap_or_default(),
            heartbeat_interval: reader.duration("heartbeat-interval", findings),
            alerts: alerts(reader, findings),
            shutdown_sync_timeout: reader.duration("shutdown-sync-timeout", findings),
            shutdown_sync_interval: reader.duration("shutdown-sync-interval", findings),
            limits: limits(reader, findings),
            ..Raw::default()
        };
        raw.places = CHECKED
            .iter()
            .map(|name| (*name, reader.place(name)))
            .collect();
        if raw.l0_retention_check_interval.is_some() {
            let key = "l0-retention-check-interval";
            let text = "not needed here: level 0 is looked at when something in it is due, and not at all while nothing is";
            findings.hint(reader.place(key), key, text);
        }
        raw.retention(reader, findings);
        raw.verification(reader, findings);
        for (i, node) in reader
            .list("dbs", findings)
            .unwrap_or_default()
            .iter()
            .enumerate()
        {
            raw.entries.extend(entry::Raw::read(node, i, findings));
        }
        raw.defaults = replica::Raw::read(reader, Place::Top, findings);
        let rest = std::mem::replace(reader, Reader::empty());
        rest.finish(Place::Top, findings);
        raw
    }

    fn retention(&mut self, reader: &mut Reader, findings: &mut Findings) {
        if let Some(node) = reader.node("retention")
            && let Value::Scalar { text, .. } = &node.value
        {
            let text = format!(
                "a map is needed, not {}; retention: is now snapshot: {{retention: …}}, and retention: {{enabled: …}} is something else",
                scalar::shown(text)
            );
            findings.error(node.at, "retention", &text);
            return;
        }
        let Some(mut map) = reader.map("retention", findings) else {
            return;
        };
        self.retention_enabled = map.bool("enabled", findings);
        if let Some(mut keep) = map.map("keep", findings) {
            self.keep = ["hourly", "daily", "monthly"].map(|name| keep.duration(name, findings));
            for (name, value) in ["hourly", "daily", "monthly"].iter().zip(self.keep) {
                if value.is_some_and(|nanos| nanos < 0) {
                    findings.error(keep.place(name), &keep.name(name), "must not be negative");
                }
            }
            keep.finish(Place::Other, findings);
        }
        map.finish(Place::Other, findings);
    }

    fn verification(&mut self, reader: &mut Reader, findings: &mut Findings) {
        if let Some(mut map) = reader.map("validation", findings) {
            self.validation_interval = map.duration("interval", findings);
            map.finish(Place::Other, findings);
        }
        let Some(mut map) = reader.map("verify", findings) else {
            return;
        };
        self.verify_interval = map.duration("interval", findings);
        self.verify_max_age = map.duration("max-age", findings);
        if let Some(text) = map.text("bandwidth", findings) {
            match scalar::size(&text) {
                Ok(bytes) if bytes > 0 => self.verify_bandwidth = Some(bytes),
                Ok(_) => findings.error(
                    map.place("bandwidth"),
                    "verify.bandwidth",
                    "must be greater than 0",
                ),
                Err(e) => findings.error(map.place("bandwidth"), "verify.bandwidth", &e),
            }
        }
        map.finish(Place::Other, findings);
    }

    /// Where a key whose value is checked stands.
    pub fn place(&self, name: &str) -> At {
        self.places
            .iter()
            .find(|(n, _)| *n == name)
            .map_or_else(At::default, |(_, at)| *at)
    }
}

fn socket(reader: &mut Reader, findings: &mut Findings) -> Option<Socket> {
    let mut map = reader.map("socket", findings)?;
    let mut socket = Socket::default();
    socket.enabled = map.bool("enabled", findings).unwrap_or(socket.enabled);
    if let Some(path) = map.text("path", findings) {
        socket.path = path.into();
    }
    if let Some(bits) = permissions(&mut map, findings) {
        socket.permissions = bits;
    }
    map.finish(Place::Other, findings);
    Some(socket)
}

/// A file mode, in octal also with quotes.
fn permissions(map: &mut Reader, findings: &mut Findings) -> Option<u32> {
    let node = map.node("permissions")?;
    let Value::Scalar { text, plain } = &node.value else {
        map.wrong(node, "permissions", "a file mode such as 0600", findings);
        return None;
    };
    let value = if *plain {
        scalar::integer(text).and_then(|n| u32::try_from(n).ok())
    } else {
        u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8).ok()
    };
    let Some(bits) = value else {
        map.wrong(node, "permissions", "a file mode such as 0600", findings);
        return None;
    };
    let octal = !*plain || text.starts_with('0');
    if bits & 0o600 != 0o600 || bits > 0o777 || !octal {
        let mode = bits & 0o777;
        let text =
            format!("{text} is the mode 0{mode:03o}; a mode is written in octal, such as 0600");
        findings.mistake(node.at, &map.name("permissions"), text);
    }
    Some(bits & 0o777)
}

fn logging(reader: &mut Reader, findings: &mut Findings) -> Option<Logging> {
    let mut map = reader.map("logging", findings)?;
    let mut logging = Logging {
        level: map.text("level", findings).unwrap_or_default(),
        ..Logging::default()
    };
    let words = ["", "trace", "debug", "info", "warn", "warning", "error"];
    if !words.contains(&logging.level.to_ascii_lowercase().as_str()) {
        let text = format!(
            "{:?} is no level, so info is in force; there are trace, debug, info, warn, error",
            logging.level
        );
        findings.mistake(map.place("level"), &map.name("level"), text);
    }
    let kind = map.text("type", findings).unwrap_or_default();
    match kind.as_str() {
        "" | "text" => {}
        "json" => logging.kind = LogKind::Json,
        "pretty" => logging.kind = LogKind::Pretty,
        _ => {
            let text = format!(
                "{} is no type of log; there are text, json, pretty",
                scalar::shown(&kind)
            );
            findings.error(map.place("type"), &map.name("type"), &text);
        }
    }
    logging.stderr = map.bool("stderr", findings).unwrap_or(false);
    logging.source = map.bool("source", findings).unwrap_or(false);
    map.finish(Place::Other, findings);
    Some(logging)
}

fn levels(reader: &mut Reader, findings: &mut Findings) -> Option<Vec<(i64, At)>> {
    let items = reader.list("levels", findings)?;
    let mut levels = Vec::new();
    for (i, node) in items.iter().enumerate() {
        let key = format!("levels[{i}]");
        if node.is_null() {
            findings.error(
                node.at,
                &key,
                "nothing is given; remove the item or write interval:",
            );
        } else if let Some(mut map) = Reader::new(node, key, findings) {
            levels.push((map.duration("interval", findings).unwrap_or(0), node.at));
            map.finish(Place::Level, findings);
        }
    }
    if items.is_empty() {
        findings.hint(
            reader.place("levels"),
            "levels",
            "is empty, so nothing is compacted",
        );
    }
    Some(levels)
}

fn alerts(reader: &mut Reader, findings: &mut Findings) -> Vec<Alert> {
    let items = reader.list("alerts", findings).unwrap_or_default();
    let mut alerts = Vec::new();
    for (i, node) in items.iter().enumerate() {
        if let Some(mut map) = Reader::new(node, format!("alerts[{i}]"), findings) {
            alerts.extend(alert(&mut map, findings));
            map.finish(Place::Other, findings);
        }
    }
    alerts
}

fn alert(map: &mut Reader, findings: &mut Findings) -> Option<Alert> {
    let words = map.texts("on", findings);
    let (url, command) = (map.text("url", findings), map.text("command", findings));
    let max_lag = map.duration("max-lag", findings).unwrap_or(MAX_LAG);
    let mut on = Vec::new();
    for word in words.iter().flatten() {
        match AlertOn::parse(word) {
            Some(event) => on.push(event),
            None => findings.error(
                map.place("on"),
                &map.name("on"),
                &format!(
                    "{} is unknown; there are lag, verification, error, recovered",
                    scalar::shown(word)
                ),
            ),
        }
    }
    let mut error = |name: &str, text: &str| {
        findings.error(map.place(name), &map.name(name), text);
        None
    };
    if on.is_empty() && words.is_none_or(|words| words.is_empty()) {
        return error(
            "on",
            "must name what to tell of: lag, verification, error, recovered",
        );
    }
    if max_lag <= 0 {
        return error("max-lag", "must be greater than 0");
    }
    let action = match (url, command) {
        (Some(url), None) if url.starts_with("http://") || url.starts_with("https://") => {
            AlertAction::Url(Secret::new(url))
        }
        (Some(_), None) => return error("url", "must begin with http:// or https://"),
        (None, Some(command)) if !command.trim().is_empty() => AlertAction::Command(command),
        _ => return error("url", "exactly one of 'url' and 'command' must be given"),
    };
    Some(Alert {
        on,
        max_lag: positive(max_lag),
        action,
    })
}

fn limits(reader: &mut Reader, findings: &mut Findings) -> replica::Raw {
    let Some(mut map) = reader.map("limits", findings) else {
        return replica::Raw::default();
    };
    let limits = replica::Raw::rates(&mut map, findings);
    map.finish(Place::Other, findings);
    limits
}
