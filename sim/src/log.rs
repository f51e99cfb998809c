//! What happens in an episode, line by line, for those who look at one: our own notes and what the engine logs.

use std::cell::Cell;
use std::fmt::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry};

use crate::sched;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
}

/// From now on, on this thread.
pub fn set(on: bool) {
    ON.set(on);
}

/// Whether lines are wanted.
pub fn is_on() -> bool {
    ON.get()
}

/// Writes a line with the virtual time if lines are wanted.
pub fn line(line: &str) {
    if is_on() {
        eprintln!("{:>12.6} {line}", sched::now() as f64 / 1e9);
    }
}

/// Shows what the engine logs, too; once for the OS process.
pub fn show_engine() {
    // Somebody else may have set one already: then theirs stays.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(Lines));
}

struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if is_on() {
            let mut text = String::new();
            event.record(&mut Text(&mut text));
            line(&format!("  {} {text}", event.metadata().level()));
        }
    }
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string can't fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}
