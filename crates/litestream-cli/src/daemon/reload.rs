//! A configuration that has changed takes the place of the one in force.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use litestream::fleet::Ending;
use tracing::{info, warn};

use super::restore::restore_if_missing;
use super::{Daemon, place};
use crate::config::{Config, Entry};
use crate::control::ReloadReport;
use crate::{log, monitor};

/// What is to be done to come from one set of databases to another.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    added: Vec<PathBuf>,
    removed: Vec<PathBuf>,
    changed: Vec<PathBuf>,
    unchanged: usize,
}

impl Daemon {
    /// Reads the configuration file again and puts it into force.
    pub async fn reload_file(self: &Arc<Self>) -> Result<ReloadReport, String> {
        let Some(origin) = &self.origin else {
            return Err("there is no configuration file: it was given on the command line".into());
        };
        // A file system that hangs must not hold up those who want to end.
        let (origin, env) = (origin.clone(), self.env.clone());
        let loaded = self.env.spawn.offloaded(move || origin.load(&env)).await;
        let loaded = loaded
            .map_err(|e| format!("cannot read the configuration: {e}"))?
            .map_err(|failure| failure.message)?;
        loaded.log_warnings();
        monitor::Options::of(&loaded.config).map_err(|failure| failure.message)?;
        let logging = loaded.config.logging.clone();
        let report = self.reload(loaded.config).await?;
        log::init(log::Options::of(&logging, &self.log_level), &self.env);
        Ok(report)
    }

    /// Ends what is not named any more, starts what is new, restarts what has changed. Nothing happens if the new configuration cannot be
    /// set up at all.
    pub async fn reload(self: &Arc<Self>, new: Config) -> Result<ReloadReport, String> {
        let _turn = self.turn.lock().await;
        let wanted: HashMap<PathBuf, Entry> = self
            .expanded(&new)
            .await
            .map_err(|failure| failure.message)?
            .into_iter()
            .collect();
        for (path, entry) in &wanted {
            // Before anything is ended.
            place::spec(&new, entry, path, self.on_demand, &self.clients, &self.env)
                .map_err(|failure| format!("{}: {}", path.display(), failure.message))?;
        }
        // One whose file went and came back is started anew.
        self.none_leaves().await;
        let changes = self.compare(&new, &wanted);
        let old = self.config();
        let before = self.placed.lock().clone();
        let mut report = ReloadReport {
            unchanged: changes.unchanged,
            problems: at_next_start(&self.config(), &new),
            ..ReloadReport::default()
        };
        // A database that comes into a folder now is seen by those who watch it next.
        self.stop_folders();
        let ends = changes.removed.iter().chain(&changes.changed);
        let ended = futures_util::future::join_all(ends.map(|path| async move {
            let ending = Ending {
                interrupt: self.hurry.subscribe(),
                ..self.ending(None)
            };
            (path, self.unplace(path, &ending).await)
        }))
        .await;
        let mut kept = Vec::new();
        for (path, ended) in ended {
            match ended {
                Ok(()) if changes.removed.contains(path) => {
                    report.removed.push(path.clone());
                }
                Ok(()) => {}
                Err(error) => {
                    kept.push(path.clone());
                    let text = format!("{}: goes on as it was: {error}", path.display());
                    report.problems.push(text);
                }
            }
        }
        for path in changes.added.iter().chain(&changes.changed) {
            let Some(entry) = wanted.get(path).filter(|_| !kept.contains(path)) else {
                continue;
            };
            // One that goes on as it was may be where this one is to go.
            let restored = match self.check_apart(path, entry) {
                Ok(()) if entry.restore_if_db_not_exists => {
                    restore_if_missing(path, entry, &self.clients, &self.env).await
                }
                apart => apart,
            };
            match restored.and_then(|()| self.place(&new, path.clone(), entry.clone())) {
                Ok(()) if changes.added.contains(path) => {
                    report.added.push(path.clone());
                }
                Ok(()) => report.changed.push(path.clone()),
                Err(failure) => {
                    let mut text = format!("{}: {}", path.display(), failure.message);
                    if let Some(entry) = before.get(path) {
                        match self.place(&old, path.clone(), entry.clone()) {
                            Ok(()) => text.push_str("; it goes on as it was"),
                            Err(failure) => text = format!("{text}; {}", failure.message),
                        }
                    }
                    report.problems.push(text);
                }
            }
        }
        *self.config.lock() = Arc::new(new.clone());
        if let Err(failure) = self.watch_folders(&new) {
            report.problems.push(failure.message);
        }
        log(&report);
        Ok(report)
    }

    fn compare(&self, new: &Config, wanted: &HashMap<PathBuf, Entry>) -> Changes {
        let placed = self.placed.lock();
        let mut changes = Changes::default();
        for path in placed.keys() {
            if !wanted.contains_key(path) {
                changes.removed.push(path.clone());
            }
        }
        for (path, entry) in wanted {
            let member = self.fleet.get(path);
            let Some(old) = placed.get(path) else {
                // The configuration says more than whoever registered it meanwhile.
                let list = match member {
                    Some(_) => &mut changes.changed,
                    None => &mut changes.added,
                };
                list.push(path.clone());
                continue;
            };
            let settings = new.settings(entry, path);
            let same = member.is_some_and(|member| member.spec().settings == settings)
                && old.replicas == entry.replicas;
            if same {
                changes.unchanged += 1;
            } else {
                changes.changed.push(path.clone());
            }
        }
        for list in [
            &mut changes.added,
            &mut changes.removed,
            &mut changes.changed,
        ] {
            list.sort();
        }
        changes
    }
}

/// Keys of what is set up once.
fn at_next_start(old: &Config, new: &Config) -> Vec<String> {
    let keys = [
        ("addr", old.addr == new.addr),
        ("mcp-addr", old.mcp_addr == new.mcp_addr),
        ("exec", old.exec == new.exec),
        ("socket", old.socket == new.socket),
        ("heartbeat-url", old.heartbeat == new.heartbeat),
        ("alerts", old.hooks == new.hooks),
        ("limits", old.limits == new.limits),
    ];
    let changed = keys.into_iter().filter(|(_, same)| !same);
    changed
        .map(|(key, _)| format!("{key}: this takes effect when litestream is started again"))
        .collect()
}

fn log(report: &ReloadReport) {
    for text in &report.problems {
        warn!(error = text, "configuration is not completely in force");
    }
    info!(
        added = report.added.len(),
        removed = report.removed.len(),
        changed = report.changed.len(),
        unchanged = report.unchanged,
        "configuration reloaded"
    );
}
