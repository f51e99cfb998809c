//! The engine in a process of its own, so that its memory and processor time can be told from the harness's.
//!
//! The program reads no configuration yet; this takes the policy that is to be measured.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use litestream::{Policy, Replicator, Settings};
use litestream_replica::Level;
use litestream_replica::env::real;
use litestream_replica::file::FileReplica;
use tokio::signal::unix::{SignalKind, signal};

use crate::scratch::Scratch;

/// The hidden word of the command line.
pub const WORD: &str = "engine";

/// What it is to do beside uploading.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many levels there are.
    pub levels: u8,
    /// How often snapshots are taken, seconds; zero for never.
    pub snapshots: u64,
}

/// What its last line of output begins with: the longest time that it held transactions up, ms.
const HELD: &str = "held_max_ms=";

/// What the process said of the time that it held transactions up, ms; the original says nothing.
pub fn held_max_ms(scratch: &Scratch) -> Option<f64> {
    let text = std::fs::read_to_string(&scratch.log).ok()?;
    text.lines()
        .rev()
        .find_map(|line| line.strip_prefix(HELD))?
        .parse()
        .ok()
}

/// A level is due at once if it is empty, and then not again while we look.
const LEVEL_INTERVAL: Duration = Duration::from_hours(24 * 30);

impl Plan {
    /// The command that does it.
    pub fn command(self, scratch: &Scratch) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(WORD)
            .args([&scratch.db, &scratch.replica])
            .args([self.levels.to_string(), self.snapshots.to_string()]);
        Ok(command)
    }

    /// The same for the original: a configuration file.
    pub fn config(self, scratch: &Scratch) -> Result<PathBuf> {
        let path = scratch.dir.join("litestream.yml");
        let level = format!("  - interval: {}h\n", LEVEL_INTERVAL.as_secs() / 3600);
        let snapshots = match self.snapshots {
            0 => LEVEL_INTERVAL.as_secs(),
            seconds => seconds,
        };
        let text = format!(
            "dbs:\n  - path: {}\n    replica:\n      url: file://{}\nlevels:\n{}snapshot:\n  interval: {snapshots}s\n",
            scratch.db.display(),
            scratch.replica.display(),
            level.repeat(usize::from(self.levels)),
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }

    fn policy(self) -> Policy {
        let levels = (1..=self.levels).filter_map(Level::new);
        Policy {
            levels: levels.map(|level| (level, LEVEL_INTERVAL)).collect(),
            snapshot_interval: Duration::from_secs(self.snapshots),
            ..Policy::default()
        }
    }
}

/// The process: runs until it is asked to stop, then brings the replica up to date.
pub fn run(words: &[String]) -> Result<()> {
    let [db, replica, levels, snapshots] = words else {
        anyhow::bail!("{WORD} DB REPLICA LEVELS SNAPSHOT-SECONDS");
    };
    let plan = Plan {
        levels: levels.parse()?,
        snapshots: snapshots.parse()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut end = signal(SignalKind::terminate())?;
        let env = real::env();
        let replica = FileReplica::new(replica.into(), env.clone(), Some(db.into()));
        let mut settings = Settings::for_database(db);
        settings.policy = plan.policy();
        let replicator = Replicator::start(settings, vec![Arc::new(replica)], env)?;
        end.recv().await.context("no more signals")?;
        let synced = replicator.sync().await;
        println!(
            "{HELD}{}",
            replicator.status().counters.held_max.as_secs_f64() * 1e3
        );
        replicator.close().await;
        synced?;
        Ok(())
    })
}
