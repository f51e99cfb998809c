//! How far long work is, on stderr: a bar for people, lines of JSON for programs.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use litestream_replica::env::{Clock, Monotonic};
use parking_lot::Mutex;
use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::out;

/// JSON lines of events that come all the time come at most this often.
const PAUSE: Duration = Duration::from_millis(200);

/// The value of `-progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    None,
    /// A bar that redraws itself.
    Bar,
    /// A JSON object per line.
    Json,
}

impl Mode {
    /// `auto` is a bar if stderr is a terminal.
    pub fn parse(word: &str) -> Result<Mode> {
        match word {
            "auto" if std::io::stderr().is_terminal() => Ok(Mode::Bar),
            "auto" | "none" => Ok(Mode::None),
            "bar" => Ok(Mode::Bar),
            "json" => Ok(Mode::Json),
            other => Err(Failure::new(format!(
                "invalid -progress value: {other}, must be auto, none, bar or json"
            ))),
        }
    }
}

/// Something that happened to long work.
pub trait Event {
    /// It comes all the time.
    fn is_frequent(&self) -> bool;
    /// Shows it to people.
    fn draw(&self, bar: &ProgressBar);
    /// Tells it to programs.
    fn object(&self) -> Value;
}

/// Shows events.
pub struct Display {
    mode: Mode,
    clock: Arc<dyn Clock>,
    bar: ProgressBar,
    last_line: Mutex<Option<Monotonic>>,
}

impl Display {
    /// Shows nothing yet.
    pub fn new(mode: Mode, clock: Arc<dyn Clock>) -> Display {
        let target = if mode == Mode::Bar {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) =
            ProgressStyle::with_template("{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec}")
        {
            bar.set_style(style);
        }
        Display {
            mode,
            clock,
            bar,
            last_line: Mutex::new(None),
        }
    }

    /// Shows an event; frequent ones only now and then.
    pub fn show(&self, event: &impl Event) {
        match self.mode {
            Mode::None => {}
            Mode::Bar => event.draw(&self.bar),
            Mode::Json => {
                if event.is_frequent() {
                    let now = self.clock.monotonic();
                    let mut last = self.last_line.lock();
                    if last.is_some_and(|last| now.since(last) < PAUSE) {
                        return;
                    }
                    *last = Some(now);
                }
                out::complain(&event.object().to_string());
            }
        }
    }

    /// Takes the bar away, so that it doesn't stand in front of what is printed next.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Work that is interrupted takes its bar along.
impl Drop for Display {
    fn drop(&mut self) {
        self.finish();
    }
}
