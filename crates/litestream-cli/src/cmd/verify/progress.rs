//! How far a verification is, on stderr: a bar for people, lines of JSON for programs.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use litestream::verify::Event;
use litestream_replica::env::{Clock, Monotonic};
use parking_lot::Mutex;
use serde_json::json;

use super::Mode;
use crate::out;

/// JSON lines come at most this often.
const PAUSE: Duration = Duration::from_millis(200);

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
            Event::Listed { .. } => self.bar.set_message("verifying"),
            Event::Reading { bytes, .. } => self.bar.set_length(bytes),
            Event::Progress { bytes_read } => self.bar.set_position(bytes_read),
        }
    }

    fn line(&self, event: Event) {
        let object = match event {
            Event::Listed { files, bytes } => {
                json!({"event": "listed", "files": files, "bytes": bytes})
            }
            Event::Reading { files, bytes } => {
                json!({"event": "reading", "files": files, "bytes": bytes})
            }
            Event::Progress { bytes_read } => {
                let now = self.clock.monotonic();
                let mut last = self.last_line.lock();
                if last.is_some_and(|last| now.since(last) < PAUSE) {
                    return;
                }
                *last = Some(now);
                json!({"event": "progress", "bytes_read": bytes_read})
            }
        };
        out::complain(&object.to_string());
    }

    /// Takes the bar away, so that it doesn't stand in front of what is printed next.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.finish();
    }
}
