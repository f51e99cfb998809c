//! The application as seen from outside.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::Process;
use crate::writer::Style;

/// The longest that a commit, with all waits for locks, may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running writer.
pub struct App {
    process: Process,
    lines: Receiver<String>,
    errors: PathBuf,
    /// The longest time that it waited for the right to write, in milliseconds.
    pub longest_ms: u64,
}

impl App {
    /// Starts it and waits until it has looked at its database.
    pub fn start(db: &Path, log: &Path, errors: PathBuf, style: &Style) -> Result<App> {
        let process = Process::spawn(
            Command::new(std::env::current_exe()?)
                .arg("write")
                .args([db, log])
                .args(style.args())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(File::create(&errors)?),
        );
        let mut process = process?;
        let out = process.child().stdout.take().context("no output")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                if line.is_ok_and(|l| send.send(l).is_err()) {
                    return;
                }
            }
        });
        let mut app = App {
            process,
            lines,
            errors,
            longest_ms: 0,
        };
        app.answer("ready")?;
        Ok(app)
    }

    /// Waits for a line that begins with `word`; its other words.
    fn answer(&mut self, word: &str) -> Result<Vec<u64>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                let rest = line.strip_prefix(word).context(line.clone())?;
                rest.split_whitespace().map(|w| Ok(w.parse()?)).collect()
            }
            Err(RecvTimeoutError::Timeout) => bail!("the application hangs"),
            Err(RecvTimeoutError::Disconnected) => bail!("{}", self.error()),
        }
    }

    fn error(&self) -> String {
        let text = std::fs::read_to_string(&self.errors).unwrap_or_default();
        format!("the application got an error: {}", text.trim())
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let input = self.process.child().stdin.as_mut().context("no input")?;
        if writeln!(input, "{line}").is_err() {
            bail!("{}", self.error());
        }
        Ok(())
    }

    /// Lets it finish its commit and wait; the state of its database.
    pub fn pause(&mut self) -> Result<u64> {
        self.say("pause")?;
        match self.answer("paused")?[..] {
            [node, longest] => {
                self.longest_ms = longest.max(self.longest_ms);
                Ok(node)
            }
            _ => bail!("paused where?"),
        }
    }

    pub fn go(&mut self) -> Result<()> {
        self.say("go")
    }

    /// One transaction of this size, soon.
    pub fn big(&mut self, kib: usize) -> Result<()> {
        self.say(&format!("big {kib}"))
    }

    /// An error if it has ended.
    pub fn must_live(&mut self) -> Result<()> {
        match self.process.ended()? {
            None => Ok(()),
            Some(_) => bail!("{}", self.error()),
        }
    }

    pub fn kill(mut self) -> Result<()> {
        self.process.kill().map(drop)
    }
}
