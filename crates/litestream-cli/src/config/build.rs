//! From what is written to what is in force: inheritance, distinct places.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use litestream_replica::chain::retain::KeepRules;
use litestream_replica::limits::Rates;

use super::Context;
use super::document::Raw;
use super::findings::Findings;
use super::types::{Config, Entry, Heartbeat, Hooks, Meta, ReplicaEntry, Source, Verify};
use super::values::{self, positive, shown};
use super::{check, dir, entry, pattern, removed, replica};
use crate::failure::Result;
use crate::place;

/// Makes a configuration of what is written.
pub fn build(mut raw: Raw, context: &Context, findings: &mut Findings) -> Result<Config> {
    let interval = check::promoted(&raw, context, "interval", |s| s.interval)?;
    let retention = check::promoted(&raw, context, "retention", |s| s.retention)?;
    let paths: Vec<PathBuf> = raw
        .entries
        .iter()
        .map(|entry| match entry.written() {
            // Which is refused in its turn.
            "" => Ok(PathBuf::new()),
            written => place::expand(OsStr::new(written)),
        })
        .collect::<Result<_>>()?;
    check::own_snapshots(&raw, &paths, context)?;
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
    check::globals(&raw, interval, retention, context)?;
    check::entries(&raw, &paths, context)?;
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
    let limits = raw.limits.as_rates(context)?;
    Ok(whole(
        raw,
        limits,
        positive(interval),
        positive(retention),
        databases,
    ))
}

/// The rest, which needs no check.
fn whole(
    raw: Raw,
    limits: Rates,
    snapshot_interval: Duration,
    snapshot_retention: Duration,
    databases: Vec<Entry>,
) -> Config {
    let levels = raw
        .levels
        .map(|levels| levels.into_iter().map(|(nanos, _)| nanos).collect());
    let levels = levels.unwrap_or_else(|| values::LEVELS.to_vec());
    let or = |value: Option<i64>, default: i64| positive(value.unwrap_or(default));
    let [hourly, daily, monthly] = raw.keep.map(|nanos| positive(nanos.unwrap_or(0)));
    let standard = litestream::Policy::default();
    Config {
        path: None,
        addr: raw.addr,
        mcp_addr: raw.mcp_addr,
        exec: raw.exec,
        socket: raw.socket.unwrap_or_default(),
        logging: raw.logging.unwrap_or_default(),
        snapshot_interval,
        snapshot_retention,
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
        limits,
        databases,
        defaults: raw.defaults.defaults(),
    }
}

fn one(
    mut raw: entry::Raw,
    path: &Path,
    defaults: &replica::Raw,
    context: &Context,
    findings: &mut Findings,
) -> Result<Entry> {
    let replicas = replicas(&mut raw, defaults, context, findings)?;
    let source = source(&raw, path, context)?;
    let expand = |text: &str| place::expand(OsStr::new(text));
    let meta = match (raw.meta_path.as_str(), raw.meta_dir.as_str()) {
        ("", "") => Meta::Beside,
        ("", dir) => Meta::Dir(expand(dir)?),
        (path, _) => Meta::Path(expand(path)?),
    };
    let or = |value: Option<i64>, default: i64| positive(value.unwrap_or(default));
    let pages = raw
        .min_checkpoint_page_count
        .unwrap_or(i64::from(values::MIN_CHECKPOINT_PAGE_COUNT));
    Ok(Entry {
        source,
        meta,
        monitor_interval: or(raw.monitor_interval, values::MONITOR_INTERVAL),
        checkpoint_interval: or(raw.checkpoint_interval, values::CHECKPOINT_INTERVAL),
        min_checkpoint_page_count: u32::try_from(pages).unwrap_or(u32::MAX),
        truncate_page_n: raw
            .truncate_page_n
            .filter(|n| *n != 0)
            .unwrap_or(values::TRUNCATE_PAGE_N),
        max_sync_wal_bytes: raw.max_sync_wal_bytes.unwrap_or(values::MAX_SYNC_WAL_BYTES),
        busy_timeout: or(raw.busy_timeout, values::BUSY_TIMEOUT),
        restore_if_db_not_exists: raw.restore_if_db_not_exists,
        replicas,
    })
}

fn replicas(
    raw: &mut entry::Raw,
    defaults: &replica::Raw,
    context: &Context,
    findings: &mut Findings,
) -> Result<Vec<ReplicaEntry>> {
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
    Ok(replicas)
}

fn source(raw: &entry::Raw, path: &Path, context: &Context) -> Result<Source> {
    if raw.dir.is_empty() {
        return Ok(Source::Path(path.to_owned()));
    }
    if !pattern::is_valid(&raw.pattern) {
        let text = format!(
            "failed to scan directory {}: syntax error in pattern",
            path.display()
        );
        return Err(context.failure(raw.at, text));
    }
    Ok(Source::Dir {
        dir: path.to_owned(),
        as_written: raw.dir.clone(),
        pattern: raw.pattern.clone(),
        recursive: raw.recursive,
        watch: raw.watch,
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
