//! The two programs under test, run the same way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::engine::Plan;
use crate::process::{Running, Usage};
use crate::scratch::Scratch;

/// A restore that takes longer is given up.
const RESTORE_MAX: Duration = Duration::from_mins(5);

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// This project.
    Ours,
    /// The original.
    Theirs,
    /// Neither: the bare copy, or an application without replication.
    Base,
}

impl Who {
    /// As in tables and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Who::Ours => "ours",
            Who::Theirs => "theirs",
            Who::Base => "base",
        }
    }
}

/// A program that speaks Litestream's command line.
#[derive(Clone, Debug)]
pub struct Program {
    /// Whose it is.
    pub who: Who,
    /// Where it is.
    pub path: PathBuf,
}

impl Program {
    /// Starts `replicate DB URL`; its output goes to `LOG`.
    pub fn replicate(&self, db: &Path, replica: &Path, log: &Path) -> Result<Running> {
        let mut command = Command::new(&self.path);
        command.arg("replicate").arg(db).arg(url(replica));
        Running::start(&mut command, log)
    }

    /// Starts `replicate -config FILE`; its output goes to `log`.
    pub fn replicate_config(&self, config: &Path, log: &Path) -> Result<Running> {
        let mut command = Command::new(&self.path);
        command.arg("replicate").arg("-config").arg(config);
        Running::start(&mut command, log)
    }

    /// Starts replication by a policy: ours in a process that takes it, the original with a configuration file.
    pub fn replicate_as(&self, plan: Plan, scratch: &Scratch) -> Result<Running> {
        let mut command = match self.who {
            Who::Theirs => {
                let mut command = Command::new(&self.path);
                command
                    .arg("replicate")
                    .arg("-config")
                    .arg(plan.config(scratch)?);
                command
            }
            Who::Ours | Who::Base => plan.command(scratch)?,
        };
        Running::start(&mut command, &scratch.log)
    }

    /// Runs `restore` to its end and fails if it fails.
    pub fn restore(&self, replica: &Path, output: &Path, log: &Path) -> Result<Usage> {
        let mut command = Command::new(&self.path);
        command
            .arg("restore")
            .arg("-o")
            .arg(output)
            .arg(url(replica));
        let (code, usage) = Running::start(&mut command, log)?.wait(RESTORE_MAX)?;
        if code != Some(0) {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let last = text.lines().last().unwrap_or_default();
            bail!("{} restore: exit code {code:?}: {last}", self.who.name());
        }
        Ok(usage)
    }
}

fn url(replica: &Path) -> String {
    format!("file://{}", replica.display())
}
