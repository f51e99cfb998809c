//! Log lines in the forms of Go's `slog`, and in a short one for people.
//!
//! Events become records ([`layer`], [`record`]), records become lines ([`format`], [`json`]), unless they were written a moment ago
//! ([`repeat`]); secrets are taken out last ([`redact`]).
//!
//! Promise: a log that cannot be written (its reader has gone, the disk is full) never stops the program.

mod format;
mod json;
mod layer;
mod record;
mod redact;
mod repeat;
#[cfg(test)]
mod samples;

use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, OnceLock};

use jiff::tz::TimeZone;
use litestream_replica::env::{Clock, Env};
use parking_lot::{Mutex, RwLock};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

pub use format::{Kind, UnknownKind};
use record::{Attribute, Record, Source, Value};
pub use redact::redact;
use repeat::{Repeats, Verdict};

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// For `replicate`, whose log is its output.
    Stdout,
    /// For all commands whose output is something else.
    Stderr,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// What is below this is left out.
    pub level: LevelFilter,
    /// The form of lines.
    pub kind: Kind,
    /// Whether they name the place in the program.
    pub source: bool,
}

impl Options {
    /// As it is before a configuration was read, and where none is.
    pub fn plain(target: Target, level_word: &str) -> Options {
        Options {
            target,
            level: level(level_word),
            kind: Kind::Text,
            source: false,
        }
    }
}

/// The level that a word means; unknown words mean INFO.
pub fn level(word: &str) -> LevelFilter {
    match word.to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "warn" | "warning" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

/// The level word in force: `flag` if given, else `LOG_LEVEL`, else INFO.
pub fn level_word(flag: &str) -> String {
    let from_env = || std::env::var("LOG_LEVEL").ok().filter(|v| !v.is_empty());
    if flag.is_empty() {
        from_env().unwrap_or_else(|| "INFO".into())
    } else {
        flag.into()
    }
}

static LOG: OnceLock<Arc<Log>> = OnceLock::new();

/// Starts logging, or has it go on in another way: when the configuration is known, and when it changed.
pub fn init(options: Options, env: &Env) {
    let mut is_new = false;
    let log = LOG.get_or_init(|| {
        is_new = true;
        Arc::new(Log::new(
            options,
            env.clock.clone(),
            TimeZone::system(),
            write_to,
        ))
    });
    if is_new {
        redact::redact_environment();
        let layer = layer::RecordLayer(log.clone());
        // Somebody else who has set one in this process (a test) keeps it.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
    } else {
        *log.options.write() = options;
        // What places in the program know of the level is told to them anew.
        tracing::callsite::rebuild_interest_cache();
    }
}

type Write1 = Box<dyn Fn(Target, &[u8]) + Send + Sync>;

/// Turns what events say into lines.
struct Log {
    options: RwLock<Options>,
    clock: Arc<dyn Clock>,
    zone: TimeZone,
    repeats: Mutex<Repeats>,
    write: Write1,
}

impl Log {
    fn new(
        options: Options,
        clock: Arc<dyn Clock>,
        zone: TimeZone,
        write: impl Fn(Target, &[u8]) + Send + Sync + 'static,
    ) -> Log {
        Log {
            options: RwLock::new(options),
            clock,
            zone,
            repeats: Mutex::default(),
            write: Box::new(write),
        }
    }
}

impl layer::Sink for Arc<Log> {
    fn level(&self) -> LevelFilter {
        self.options.read().level
    }

    fn line(&self, metadata: &Metadata<'static>, message: String, attributes: Vec<Attribute>) {
        let options = *self.options.read();
        let mut record = Record {
            time: self.clock.now(),
            level: *metadata.level(),
            source: options.source.then(|| Source::of(metadata)).flatten(),
            message,
            attributes,
        };
        let now = self.clock.monotonic();
        match self.repeats.lock().judge(&record, now) {
            Verdict::LeaveOut => return,
            Verdict::Write(0) => {}
            Verdict::Write(repeated) => {
                let repeated = Value::Int(repeated.into());
                record::put(&mut record.attributes, ("repeated".into(), repeated));
            }
        }
        let line = match options.kind {
            Kind::Text => format::text(&record, &self.zone),
            Kind::Json => json::json(&record, &self.zone),
            Kind::Pretty => format::pretty(&record, &self.zone, has_colours(options.target)),
        };
        (self.write)(options.target, redact::cleaned(&line).as_bytes());
    }
}

fn has_colours(target: Target) -> bool {
    match target {
        Target::Stdout => std::io::stdout().is_terminal(),
        Target::Stderr => std::io::stderr().is_terminal(),
    }
}

fn write_to(target: Target, line: &[u8]) {
    match target {
        Target::Stdout => {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(line).and_then(|()| out.flush());
        }
        Target::Stderr => {
            let _ = std::io::stderr().lock().write_all(line);
        }
    }
}

#[cfg(test)]
mod tests;
