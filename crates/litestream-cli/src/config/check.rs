//! Checks of what is written, in Litestream's order and with its messages. Pure.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Context;
use super::document::Raw;
use super::findings::At;
use super::values::{self, shown};
use super::{entry, replica};
use crate::failure::Result;

const LEVELS_MAX: usize = 8;

/// What databases say of snapshots, on which all that say something must agree.
pub fn promoted(
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
pub fn own_snapshots(raw: &Raw, paths: &[PathBuf], context: &Context) -> Result {
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

/// Checks the global values.
pub fn globals(raw: &Raw, interval: i64, retention: i64, context: &Context) -> Result {
    let place = |found: Option<(i64, At)>| found.map(|(_, at)| at).unwrap_or_default();
    let check = |good: bool, at: At, field: &str, text: &str, got: i64| {
        if good {
            return Ok(());
        }
        Err(context.value(at, field, text, shown(got)))
    };
    let (at, text) = (
        place(raw.snapshot.interval),
        "snapshot interval must be greater than 0",
    );
    check(interval > 0, at, "snapshot.interval", text, interval)?;
    let (at, text) = (
        place(raw.snapshot.retention),
        "snapshot retention must be greater than 0",
    );
    check(retention > 0, at, "snapshot.retention", text, retention)?;
    let named = |field: &str, value: Option<i64>, least: i64, text: &str| {
        let good = value.is_none_or(|nanos| nanos >= least);
        check(
            good,
            raw.place(field),
            field,
            text,
            value.unwrap_or_default(),
        )
    };
    let text = "l0 retention must not be negative";
    named("l0-retention", raw.l0_retention, 0, text)?;
    let text = "l0 retention check interval must be greater than 0";
    named(
        "l0-retention-check-interval",
        raw.l0_retention_check_interval,
        1,
        text,
    )?;
    let text = "shutdown-sync-timeout must be >= 0";
    named("shutdown-sync-timeout", raw.shutdown_sync_timeout, 0, text)?;
    let text = "shutdown sync interval must be greater than 0";
    named(
        "shutdown-sync-interval",
        raw.shutdown_sync_interval,
        1,
        text,
    )?;
    let url = raw.heartbeat_url.as_str();
    if !(url.is_empty() || url.starts_with("http://") || url.starts_with("https://")) {
        let text = "heartbeat URL must be a valid HTTP or HTTPS URL";
        let shown = litestream_replica::settings::shown_url(url);
        return Err(context.value(raw.place("heartbeat-url"), "heartbeat-url", text, shown));
    }
    let text = "heartbeat interval must be at least 1 minute";
    named(
        "heartbeat-interval",
        raw.heartbeat_interval,
        values::HEARTBEAT_INTERVAL_MIN,
        text,
    )?;
    levels(raw, context)
}

fn levels(raw: &Raw, context: &Context) -> Result {
    let levels = raw.levels.as_deref().unwrap_or_default();
    for (i, (nanos, at)) in levels.iter().enumerate() {
        if *nanos <= 0 {
            let field = format!("levels[{i}].interval");
            let text = "compaction interval must be greater than 0";
            return Err(context.value(*at, &field, text, shown(*nanos)));
        }
        if i >= LEVELS_MAX {
            let text = "compaction level cannot exceed 8";
            return Err(context.value(*at, "levels", text, levels.len()));
        }
    }
    Ok(())
}

/// Checks what each item says of itself, one item after the other.
pub fn entries(raw: &Raw, paths: &[PathBuf], context: &Context) -> Result {
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
