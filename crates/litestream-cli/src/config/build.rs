//! From what is written to what is in force: checks in Litestream's order, inheritance, distinct places.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use litestream_replica::chain::retain::KeepRules;

use super::Context;
use super::document::Raw;
use super::findings::{At, Findings};
use super::types::{Config, Entry, Heartbeat, Hooks, Meta, ReplicaEntry, Source, Verify};
use super::values::{self, positive, shown};
use super::{dir, entry, pattern, removed, replica};
use crate::failure::Result;
use crate::place;

const LEVELS_MAX: usize = 8;
const TRUNCATE_PAGE_N: i64 = 121_359;
const MAX_SYNC_WAL_BYTES: i64 = 64 << 20;
const MIN_CHECKPOINT_PAGE_COUNT: i64 = 1000;

/// Makes a configuration of what is written.
pub fn build(mut raw: Raw, context: &Context, findings: &mut Findings) -> Result<Config> {
    let interval = promoted(&raw, context, "interval", |s| s.interval)?;
    let retention = promoted(&raw, context, "retention", |s| s.retention)?;
    let paths: Vec<PathBuf> = raw
        .entries
        .iter()
        .map(|entry| match entry.written() {
            // Which is refused in its turn.
            "" => Ok(PathBuf::new()),
            written => place::expand(OsStr::new(written)),
        })
        .collect::<Result<_>>()?;
    own_snapshots(&raw, &paths, context)?;
    let interval = raw
        .snapshot
        .interval
        .or(interval)
        .map_or(values::SNAPSHOT_INTERVAL, |(n, _)| n);
    let retention = raw
        .snapshot
        .retention
        .or(retention)
        .map_or(values::SNAPSHOT_RETENTION, |(n, _)| n);
    let levels = globals(&raw, interval, retention, context)?;
    entries(&raw, &paths, context)?;
    for warning in &mut findings.warnings {
        warning.text = warning.text.replace(removed::RETENTION, &shown(retention));
        warning.text = warning.text.replace(removed::INTERVAL, &shown(interval));
    }
    if !raw.addr.is_empty() && !raw.addr.contains(':') {
        let text = format!(
            "has no port, so 'replicate' refuses it: must specify port for bind address: {:?}",
            raw.addr
        );
        findings.mistake(raw.place("addr"), "addr", text);
    }
    raw.defaults.resolve(context)?;
    let mut databases = Vec::new();
    for (raw_entry, path) in std::mem::take(&mut raw.entries).into_iter().zip(&paths) {
        databases.push(one(raw_entry, path, &raw.defaults, context, findings)?);
    }
    distinct(&databases, context)?;
    let or = |value: Option<i64>, default: i64| positive(value.unwrap_or(default));
    let [hourly, daily, monthly] = raw.keep.map(|nanos| positive(nanos.unwrap_or(0)));
    let standard = litestream::Policy::default();
    Ok(Config {
        path: None,
        addr: raw.addr,
        mcp_addr: raw.mcp_addr,
        exec: raw.exec,
        socket: raw.socket.unwrap_or_default(),
        logging: raw.logging.unwrap_or_default(),
        snapshot_interval: positive(interval),
        snapshot_retention: positive(retention),
        levels: levels.into_iter().map(positive).collect(),
        l0_retention: or(raw.l0_retention, values::L0_RETENTION),
        l0_retention_check_interval: or(raw.l0_retention_check_interval, values::L0_CHECK_INTERVAL),
        retention_enabled: raw.retention_enabled.unwrap_or(true),
        keep: KeepRules {
            hourly,
            daily,
            monthly,
        },
        verify_compaction: raw.verify_compaction.unwrap_or(false),
        validation_interval: raw.validation_interval.filter(|n| *n > 0).map(positive),
        verify: Verify {
            interval: raw.verify_interval.filter(|n| *n > 0).map(positive),
            max_age: raw.verify_max_age.map_or(standard.verify_age, positive),
            bandwidth: raw.verify_bandwidth.unwrap_or(standard.verify_bandwidth),
        },
        heartbeat: Heartbeat {
            url: raw.heartbeat_url,
            interval: or(raw.heartbeat_interval, values::HEARTBEAT_INTERVAL),
        },
        hooks: Hooks { alerts: raw.alerts },
        shutdown_sync_timeout: or(raw.shutdown_sync_timeout, values::SHUTDOWN_TIMEOUT),
        shutdown_sync_interval: or(raw.shutdown_sync_interval, values::SHUTDOWN_INTERVAL),
        databases,
        defaults: raw.defaults.defaults(),
    })
}

/// What databases say of snapshots, on which all that say something must agree.
fn promoted(
    raw: &Raw,
    context: &Context,
    what: &str,
    value: impl Fn(&entry::Snapshot) -> Option<(i64, At)>,
) -> Result<Option<(i64, At)>> {
    let mut first: Option<(&entry::Raw, (i64, At))> = None;
    for entry in &raw.entries {
        let Some(own) = value(&entry.snapshot) else {
            continue;
        };
        match first {
            Some((other, theirs)) if theirs.0 != own.0 => {
                let text = format!(
                    "conflicting database snapshot {what}s: {} has {}, {} has {}",
                    other.written(),
                    shown(theirs.0),
                    entry.written(),
                    shown(own.0)
                );
                return Err(context.failure(own.1, text));
            }
            Some(_) => {}
            None => first = Some((entry, own)),
        }
    }
    Ok(first.map(|(_, value)| value))
}

/// Before the global values, which may come from here: the message names what is written.
fn own_snapshots(raw: &Raw, paths: &[PathBuf], context: &Context) -> Result {
    for (entry, path) in raw.entries.iter().zip(paths) {
        let values = [
            ("interval", entry.snapshot.interval),
            ("retention", entry.snapshot.retention),
        ];
        for (what, value) in values {
            if let Some((nanos, at)) = value.filter(|(nanos, _)| *nanos <= 0) {
                let field = format!("dbs[{}].snapshot.{what}", path.display());
                let text = format!("snapshot {what} must be greater than 0");
                return Err(context.value(at, &field, &text, shown(nanos)));
            }
        }
    }
    Ok(())
}

/// Checks the global values and gives the intervals of the levels.
fn globals(raw: &Raw, interval: i64, retention: i64, context: &Context) -> Result<Vec<i64>> {
    let place = |found: Option<(i64, At)>| found.map(|(_, at)| at).unwrap_or_default();
    let or = |value: Option<i64>, default: i64| value.unwrap_or(default);
    let l0 = or(raw.l0_retention, values::L0_RETENTION);
    let l0_check = or(raw.l0_retention_check_interval, values::L0_CHECK_INTERVAL);
    let timeout = or(raw.shutdown_sync_timeout, values::SHUTDOWN_TIMEOUT);
    let pause = or(raw.shutdown_sync_interval, values::SHUTDOWN_INTERVAL);
    let beat = or(raw.heartbeat_interval, values::HEARTBEAT_INTERVAL);
    let beat_at = raw.place("heartbeat-interval");
    let url = raw.heartbeat_url.as_str();
    let is_url = url.is_empty() || url.starts_with("http://") || url.starts_with("https://");
    for (good, at, field, text, got) in [
        (
            interval > 0,
            place(raw.snapshot.interval),
            "snapshot.interval",
            "snapshot interval must be greater than 0",
            interval,
        ),
        (
            retention > 0,
            place(raw.snapshot.retention),
            "snapshot.retention",
            "snapshot retention must be greater than 0",
            retention,
        ),
        (
            l0 >= 0,
            raw.place("l0-retention"),
            "l0-retention",
            "l0 retention must not be negative",
            l0,
        ),
        (
            l0_check > 0,
            raw.place("l0-retention-check-interval"),
            "l0-retention-check-interval",
            "l0 retention check interval must be greater than 0",
            l0_check,
        ),
        (
            timeout >= 0,
            raw.place("shutdown-sync-timeout"),
            "shutdown-sync-timeout",
            "shutdown-sync-timeout must be >= 0",
            timeout,
        ),
        (
            pause > 0,
            raw.place("shutdown-sync-interval"),
            "shutdown-sync-interval",
            "shutdown sync interval must be greater than 0",
            pause,
        ),
    ] {
        if !good {
            return Err(context.value(at, field, text, shown(got)));
        }
    }
    if !is_url {
        let text = "heartbeat URL must be a valid HTTP or HTTPS URL";
        let shown = litestream_replica::settings::shown_url(url);
        return Err(context.value(raw.place("heartbeat-url"), "heartbeat-url", text, shown));
    }
    if beat < values::HEARTBEAT_INTERVAL_MIN {
        let text = "heartbeat interval must be at least 1 minute";
        return Err(context.value(beat_at, "heartbeat-interval", text, shown(beat)));
    }
    let Some(levels) = &raw.levels else {
        return Ok(values::LEVELS.to_vec());
    };
    for (i, (nanos, at)) in levels.iter().enumerate() {
        if *nanos <= 0 {
            let field = format!("levels[{i}].interval");
            return Err(context.value(
                *at,
                &field,
                "compaction interval must be greater than 0",
                shown(*nanos),
            ));
        }
        if i >= LEVELS_MAX {
            return Err(context.value(
                *at,
                "levels",
                "compaction level cannot exceed 8",
                levels.len(),
            ));
        }
    }
    Ok(levels.iter().map(|(nanos, _)| *nanos).collect())
}

/// Checks what each item says of itself, one item after the other.
fn entries(raw: &Raw, paths: &[PathBuf], context: &Context) -> Result {
    let mut seen = HashMap::new();
    for (i, (entry, path)) in raw.entries.iter().zip(paths).enumerate() {
        let number = i + 1;
        if let Some(text) = misfit(entry) {
            let text = format!("database config #{number}: {text}");
            return Err(context.failure(entry.at, text));
        }
        if !entry.path.is_empty()
            && let Some(earlier) = seen.insert(path, number)
        {
            let text = format!(
                "database config #{number}: duplicate path {:?} (already used by database config #{earlier}); each database can be listed only once",
                path.display().to_string()
            );
            return Err(context.failure(entry.at, text));
        }
        values_of(entry, path, &raw.defaults, context)?;
    }
    Ok(())
}

/// Keys that don't go together.
fn misfit(entry: &entry::Raw) -> Option<&'static str> {
    let (path, dir) = (!entry.path.is_empty(), !entry.dir.is_empty());
    let (meta_path, meta_dir) = (!entry.meta_path.is_empty(), !entry.meta_dir.is_empty());
    let rules = [
        (path && dir, "cannot specify both 'path' and 'dir'"),
        (!path && !dir, "must specify either 'path' or 'dir'"),
        (
            dir && entry.pattern.is_empty(),
            "'pattern' is required when using 'dir'",
        ),
        (
            entry.watch && !dir,
            "'watch' can only be enabled with a directory",
        ),
        (
            meta_dir && !dir,
            "'meta-dir' can only be used with a directory",
        ),
        (
            meta_dir && meta_path,
            "cannot specify both 'meta-path' and 'meta-dir'",
        ),
    ];
    rules
        .into_iter()
        .find(|(bad, _)| *bad)
        .map(|(_, text)| text)
}

fn values_of(
    entry: &entry::Raw,
    path: &Path,
    defaults: &replica::Raw,
    context: &Context,
) -> Result {
    let path = path.display();
    let list = entry
        .replicas
        .iter()
        .enumerate()
        .map(|(i, r)| (format!("replicas[{i}]"), r));
    for (name, replica) in entry
        .replica
        .iter()
        .map(|r| ("replica".to_owned(), r))
        .chain(list)
    {
        let nanos = replica.sync_interval(defaults);
        if nanos <= 0 {
            let field = format!("dbs[{path}].{name}.sync-interval");
            let text = "sync interval must be greater than 0";
            return Err(context.value(replica.at, &field, text, shown(nanos)));
        }
    }
    let pages = entry.min_checkpoint_page_count;
    match pages.filter(|n| !(1..=i64::from(u32::MAX)).contains(n)) {
        Some(count) => {
            let field = format!("dbs[{path}].min-checkpoint-page-count");
            Err(context.value(
                entry.at,
                &field,
                "minimum checkpoint page count required",
                count,
            ))
        }
        None => Ok(()),
    }
}

fn one(
    mut raw: entry::Raw,
    path: &Path,
    defaults: &replica::Raw,
    context: &Context,
    findings: &mut Findings,
) -> Result<Entry> {
    if raw.replica.is_some() && !raw.replicas.is_empty() {
        return Err(context.failure(
            raw.at,
            "cannot specify 'replica' and 'replicas' on a database",
        ));
    }
    let mut all: Vec<replica::Raw> = raw
        .replica
        .take()
        .into_iter()
        .chain(std::mem::take(&mut raw.replicas))
        .collect();
    if all.is_empty() {
        return Err(context.failure(raw.at, "must specify replica for database"));
    }
    let mut replicas: Vec<ReplicaEntry> = Vec::new();
    for written in &mut all {
        let replica = written.entry(defaults, context, findings)?;
        if replicas
            .iter()
            .any(|r| r.storage.same_place(&replica.storage))
        {
            let text = format!(
                "{}: another replica of this database lies at the same place, {}",
                written.key,
                replica.storage.location()
            );
            return Err(context.failure(written.at, text));
        }
        replicas.push(replica);
    }
    let source = if raw.dir.is_empty() {
        Source::Path(path.to_owned())
    } else {
        if !pattern::is_valid(&raw.pattern) {
            let text = format!(
                "failed to scan directory {}: syntax error in pattern",
                path.display()
            );
            return Err(context.failure(raw.at, text));
        }
        Source::Dir {
            dir: path.to_owned(),
            as_written: raw.dir.clone(),
            pattern: raw.pattern.clone(),
            recursive: raw.recursive,
            watch: raw.watch,
        }
    };
    let expand = |text: &str| place::expand(OsStr::new(text));
    let meta = match (raw.meta_path.as_str(), raw.meta_dir.as_str()) {
        ("", "") => Meta::Beside,
        ("", dir) => Meta::Dir(expand(dir)?),
        (path, _) => Meta::Path(expand(path)?),
    };
    let or = |value: Option<i64>, default: i64| positive(value.unwrap_or(default));
    let pages = raw
        .min_checkpoint_page_count
        .unwrap_or(MIN_CHECKPOINT_PAGE_COUNT);
    Ok(Entry {
        source,
        meta,
        monitor_interval: or(raw.monitor_interval, values::MONITOR_INTERVAL),
        checkpoint_interval: or(raw.checkpoint_interval, values::CHECKPOINT_INTERVAL),
        min_checkpoint_page_count: u32::try_from(pages).unwrap_or(u32::MAX),
        truncate_page_n: raw
            .truncate_page_n
            .filter(|n| *n != 0)
            .unwrap_or(TRUNCATE_PAGE_N),
        max_sync_wal_bytes: raw.max_sync_wal_bytes.unwrap_or(MAX_SYNC_WAL_BYTES),
        busy_timeout: or(raw.busy_timeout, values::BUSY_TIMEOUT),
        restore_if_db_not_exists: raw.restore_if_db_not_exists,
        replicas,
    })
}

/// Two databases at one place, or one database twice, would destroy each other's replica. What lies in folders is looked at
/// when they are scanned; here is what can be said without.
fn distinct(databases: &[Entry], context: &Context) -> Result {
    let mut places = HashMap::new();
    let mut states = HashMap::new();
    for (i, entry) in databases.iter().enumerate() {
        let Source::Path(path) = &entry.source else {
            continue;
        };
        let fail = |text: String| {
            Err(context.failure_of_file(format_args!("database config #{}: {text}", i + 1)))
        };
        for replica in &entry.replicas {
            if let Some(earlier) = places.insert(replica.storage.identity(), i + 1) {
                return fail(format!(
                    "its replica lies at the same place as that of database config #{earlier}, {}; give each database a path of its own",
                    replica.storage.location()
                ));
            }
        }
        if let Some(earlier) = states.insert(entry.meta_folder(path), i + 1) {
            return fail(format!(
                "meta-path collision: it shares its state folder {} with database config #{earlier}",
                entry.meta_folder(path).display()
            ));
        }
        let in_folder = databases.iter().position(|other| {
            matches!(other.source, Source::Dir { .. }) && dir::relative(other, path).is_some()
        });
        if let Some(other) = in_folder {
            return fail(format!(
                "{} is also found by the 'dir' of database config #{}; a database can be listed only once",
                path.display(),
                other + 1
            ));
        }
    }
    Ok(())
}
