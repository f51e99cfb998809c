//! `litestream` as seen from outside: its process and its log.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::process::{Process, program, until};

/// A final sync is tried for 30 seconds.
const END: Duration = Duration::from_secs(45);

/// A running `litestream replicate`.
pub struct Daemon {
    process: Process,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, as an argument of `before` (strace, prlimit, …).
    pub fn start(
        before: &[String],
        args: &[&str],
        db: &Path,
        url: &str,
        log: PathBuf,
    ) -> Result<Daemon> {
        let litestream = program("litestream")?;
        let mut words = before.iter();
        let mut command = match words.next() {
            Some(first) => Command::new(first),
            None => Command::new(&litestream),
        };
        command.args(words);
        if !before.is_empty() {
            command.arg(&litestream);
        }
        let out = File::create(&log)?;
        command
            .args(["replicate", "-log-level", "debug"])
            .args(args)
            .arg(db)
            .arg(url)
            .current_dir(log.parent().context("log")?)
            .env_remove("LOG_LEVEL")
            .env_remove("LITESTREAM_CONFIG")
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out);
        Ok(Daemon {
            process: Process::spawn(&mut command)?,
            log,
        })
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The highest TXID that it said to have brought to the replica.
    pub fn uploaded(&self) -> Option<u64> {
        let log = self.log();
        let lines = log
            .lines()
            .filter(|l| l.contains("msg=\"ltx file uploaded\"") && l.contains(" level=0 "));
        let names = lines.filter_map(|l| l.split(" name=").nth(1)?.get(17..33));
        names
            .filter_map(|max| u64::from_str_radix(max, 16).ok())
            .max()
    }

    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        until(&format!("{text:?} in the log"), limit, || {
            if self.log().contains(text) {
                return Ok(Some(()));
            }
            self.must_live()?;
            Ok(None)
        })
    }

    /// An error if it has ended, or if a part of it has.
    pub fn must_live(&mut self) -> Result<()> {
        match self.process.ended()? {
            None if self.log().contains("panicked at") => bail!("panic:\n{}", self.log()),
            None => Ok(()),
            Some(status) => bail!("litestream ended by itself: {status}\n{}", self.tail()),
        }
    }

    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.ended()
    }

    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait(limit)
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill()
    }

    /// Asks it to end and waits; the final sync must succeed.
    pub fn stop(mut self) -> Result<()> {
        self.must_live()?;
        self.signal(Signal::TERM);
        self.succeeds()
    }

    /// Waits for its end, which must be a success.
    pub fn succeeds(&mut self) -> Result<()> {
        let status = self.process.wait(END)?;
        if status.success() {
            return Ok(());
        }
        let how = status
            .signal()
            .map_or_else(|| status.to_string(), |s| format!("signal {s}"));
        bail!("litestream failed ({how}):\n{}", self.tail())
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}
