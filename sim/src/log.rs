//! What happens in an episode, line by line, for those who look at one: our own notes and what the engine logs. What it says
//! aloud is kept in any case: an engine that says of itself that a promise was broken must be heard.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry};

use crate::sched;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
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
    listen(LevelFilter::TRACE);
}

/// Keeps what the engine says aloud from now on; what was kept before is forgotten.
pub fn keep() {
    listen(LevelFilter::INFO);
    drop(said());
}

/// What the engine said since the last call, on this thread; nothing of what is for debugging.
pub fn said() -> Vec<String> {
    SAID.take()
}

fn listen(level: LevelFilter) {
    // Somebody may have set one already: then theirs stays.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(level).with(Lines));
}

struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let loud = *event.metadata().level() <= Level::INFO;
        if !is_on() && !loud {
            return;
        }
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        line(&format!("  {} {text}", event.metadata().level()));
        if loud {
            SAID.with_borrow_mut(|said| said.push(text));
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
