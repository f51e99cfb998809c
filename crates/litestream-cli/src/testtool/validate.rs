//! `litestream-test validate`: restores a database and compares it with its source.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use litestream::restore::{Target, plan};
use litestream_replica::env::Env;
use litestream_replica::url;
use tracing::{error, info};

use super::compare::{self, Verdict};
use super::{beside, open, remove_database};
use crate::args::Parsed;
use crate::failure::{Failure, Result};

struct Job<'a> {
    source: PathBuf,
    restored: PathBuf,
    url: String,
    config: OsString,
    env: &'a Env,
}

/// Restores and checks; all checks are made even if one fails.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let source = parsed.text("source-db");
    if source.is_empty() {
        return Err(Failure::new("source database path required"));
    }
    let (url, config) = (parsed.utf8("replica-url"), parsed.text("config"));
    if url.is_empty() && config.is_empty() {
        return Err(Failure::new("replica URL or config file required"));
    }
    let source = PathBuf::from(source);
    let restored = match parsed.text("restored-db") {
        path if path.is_empty() => beside(&source, ".restored"),
        path => path.into(),
    };
    if env.disk.metadata(&source).is_err() {
        return Err(Failure::new(format!(
            "source database does not exist: {}",
            source.display()
        )));
    }
    let job = Job {
        source,
        restored,
        url,
        config,
        env,
    };
    info!(source = %job.source.display(), restored = %job.restored.display(), "Starting validation");
    let kind = parsed.utf8("check-type");
    if !matches!(
        kind.as_str(),
        "quick" | "integrity" | "checksum" | "compare" | "full"
    ) {
        return Err(Failure::new(format!(
            "invalid check type: {kind}, must be quick, integrity, checksum, compare or full"
        )));
    }
    job.restore()?;
    let wants = |check: &str| kind == check || kind == "full";
    let mut passed = true;
    let mut judge = |check: &str, verdict: Verdict| match verdict {
        Ok(()) => info!(check_type = check, "Check passed"),
        Err(error) => {
            passed = false;
            error!(check_type = check, error, "Validation failed");
        }
    };
    // Before SQLite opens the restored file and may write to it.
    if wants("checksum") {
        judge("checksum", compare::bytes(&job.source, &job.restored, env));
    }
    for (check, pragma) in [("quick", "quick_check"), ("integrity", "integrity_check")] {
        if wants(check) {
            judge(check, pragma_is_ok(&job.restored, pragma));
        }
    }
    if wants("compare") {
        judge("compare", compare::rows(&job.source, &job.restored));
    }
    if parsed.bool("ltx-continuity") {
        judge("ltx-continuity", job.continuity());
    }
    if !passed {
        return Err(Failure::new("validation failed"));
    }
    info!("All validation checks passed");
    Ok(())
}

fn pragma_is_ok(path: &Path, pragma: &str) -> Verdict {
    let db = open(path).map_err(|f| f.message)?;
    let first: String = db
        .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
        .map_err(|e| e.to_string())?;
    if first == "ok" { Ok(()) } else { Err(first) }
}

impl Job<'_> {
    fn restore(&self) -> Result {
        remove_database(&self.restored, self.env)?;
        let program = self.litestream();
        let mut command = Command::new(&program);
        command.arg("restore").stdin(Stdio::null());
        if self.url.is_empty() {
            command
                .arg("-config")
                .arg(&self.config)
                .arg("-o")
                .arg(&self.restored)
                .arg(&self.source);
        } else {
            command.arg("-o").arg(&self.restored).arg(&self.url);
        }
        let status = command.status();
        let status = status.map_err(|e| Failure::new(format!("run {}: {e}", program.display())))?;
        if status.success() {
            return Ok(());
        }
        error!(check_type = "restore", error = %status, "Validation failed");
        Err(Failure::new("validation failed"))
    }

    /// The one beside this program, so that a build is checked with itself.
    fn litestream(&self) -> PathBuf {
        let beside = std::env::current_exe()
            .ok()
            .map(|exe| exe.with_file_name("litestream"));
        beside
            .filter(|p| self.env.disk.metadata(p).is_ok())
            .unwrap_or_else(|| "litestream".into())
    }

    /// The files in the replica lead from the first TXID to the last.
    fn continuity(&self) -> Verdict {
        if self.url.is_empty() {
            return Err("-ltx-continuity needs -replica-url".into());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let replica = url::open(&self.url, self.env, None).map_err(|e| e.to_string())?;
        runtime
            .block_on(plan(Target::Latest, &replica))
            .map(drop)
            .map_err(|e| e.to_string())
    }
}
