//! How far a restore is, on stderr: a bar for people, lines of JSON for programs.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use litestream::restore::Event;
use litestream_replica::env::{Clock, Monotonic};
use parking_lot::Mutex;
use serde_json::json;

use crate::failure::{Failure, Result};
use crate::{out, time};

/// JSON lines come at most this often.
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

/// Shows events.
pub struct Display {
    mode: Mode,
    clock: Arc<dyn Clock>,
    bar: ProgressBar,
    last_line: Mutex<Option<Monotonic>>,
}

impl Display {
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

    /// Shows an event; progress only now and then.
    pub fn show(&self, event: Event) {
        match self.mode {
            Mode::None => {}
            Mode::Bar => self.draw(event),
            Mode::Json => self.line(event),
        }
    }

    fn draw(&self, event: Event) {
        match event {
            Event::Planned { bytes, .. } => {
                self.bar.set_length(bytes);
                self.bar.set_position(0);
                self.bar.set_message("restoring");
            }
            Event::Progress { bytes_read, .. } => self.bar.set_position(bytes_read),
            Event::Checking => self.bar.set_message("checking"),
            Event::Done { .. } => {}
        }
    }

    fn line(&self, event: Event) {
        let object = match event {
            Event::Planned {
                files,
                bytes,
                pages,
                txid,
                time,
            } => {
                json!({"event": "planned", "files": files, "bytes": bytes, "pages": pages,
                    "txid": super::txid_text(txid), "time": time::utc_exact(time)})
            }
            Event::Progress {
                bytes_read,
                bytes_written,
            } => {
                let now = self.clock.monotonic();
                let mut last = self.last_line.lock();
                if last.is_some_and(|last| now.since(last) < PAUSE) {
                    return;
                }
                *last = Some(now);
                json!({"event": "progress", "bytes_read": bytes_read, "bytes_written": bytes_written})
            }
            Event::Checking => json!({"event": "checking"}),
            Event::Done { proved } => json!({"event": "done", "proved": proved}),
        };
        out::complain(&object.to_string());
    }

    /// Takes the bar away, so that it doesn't stand in front of what is printed next.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// An interrupted restore takes its bar along.
impl Drop for Display {
    fn drop(&mut self) {
        self.finish();
    }
}
