//! Log lines in the forms of Go's `slog`, and in a short one for people.
//!
//! Events become records ([`layer`], [`record`]), records become lines ([`format`], [`json`]), unless they were written a moment ago
//! ([`repeat`]); secrets are taken out last ([`redact`]).
//!
//! The log of a daemon goes to its output by way of a thread ([`queue`]).
//!
//! Promise: a log that cannot be written (its reader has gone or has stopped reading, the disk is full) never stops the program.

mod format;
mod json;
mod layer;
mod queue;
mod record;
mod redact;
mod repeat;
#[cfg(test)]
mod samples;

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::tz::TimeZone;
use litestream_replica::env::{Clock, Env, Spawn, UnixMillis};
use parking_lot::{Mutex, RwLock};
use queue::Queue;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::layer::SubscriberExt as _;

pub use crate::config::LogKind as Kind;
use crate::config::Logging;
use record::{Attribute, Record, Source, Value};
pub use redact::{cleaned, redact};
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
    /// As a configuration says. A level given on the command line beats it, as it does `LOG_LEVEL`.
    pub fn of(logging: &Logging, flag: &str) -> Options {
        let target = if logging.stderr {
            Target::Stderr
        } else {
            Target::Stdout
        };
        Options {
            kind: logging.kind,
            source: logging.source,
            ..Options::plain(target, &level_word(flag, &logging.level))
        }
    }

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

/// The level word in force: `flag` if given, else `LOG_LEVEL`, else what the configuration says, else INFO.
pub fn level_word(flag: &str, configured: &str) -> String {
    let from_env = std::env::var("LOG_LEVEL").unwrap_or_default();
    let words = [flag, &from_env, configured, "INFO"];
    let word = words.into_iter().find(|word| !word.is_empty());
    word.unwrap_or_default().to_owned()
}

/// At the end of the program, lines that are not written yet are waited for no longer than this.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

static LOG: OnceLock<Arc<Log>> = OnceLock::new();

/// Starts logging, or has it go on in another way: when the configuration is known, and when it changed.
pub fn init(options: Options, env: &Env) {
    let mut is_new = false;
    let log = LOG.get_or_init(|| {
        is_new = true;
        let write = Output::new(env.spawn.clone());
        let (clock, zone) = (env.clock.clone(), TimeZone::system());
        Arc::new(Log::new(options, clock, zone, write))
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

/// Waits a moment for lines that are not written yet: at the end of the program.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.write.flush();
    }
}

/// Where lines end up.
trait Write: Send + Sync {
    /// Writes a line, or has it written.
    fn line(&self, target: Target, line: &[u8]);
    /// How many were lost, once that can be said.
    fn take_lost(&self) -> u64 {
        0
    }
    /// Waits a moment until all is written.
    fn flush(&self) {}
}

/// The outputs of the process.
struct Output {
    spawn: Arc<dyn Spawn>,
    /// From the first line to standard output on; `None` in it if there can be no thread.
    stdout: OnceLock<Option<Arc<Queue>>>,
}

impl Output {
    fn new(spawn: Arc<dyn Spawn>) -> Output {
        let stdout = OnceLock::new();
        Output { spawn, stdout }
    }

    fn queue(&self) -> Option<&Arc<Queue>> {
        self.stdout.get().and_then(Option::as_ref)
    }
}

impl Write for Output {
    fn line(&self, target: Target, line: &[u8]) {
        match target {
            Target::Stdout => {
                let start = || Queue::start(&*self.spawn, to_stdout);
                match self.stdout.get_or_init(start) {
                    Some(queue) => queue.put(line),
                    None => to_stdout(line),
                }
            }
            // What commands print beside it keeps its place.
            Target::Stderr => {
                let _ = std::io::stderr().lock().write_all(line);
            }
        }
    }

    fn take_lost(&self) -> u64 {
        self.queue().map_or(0, |queue| queue.take_lost())
    }

    fn flush(&self) {
        if let Some(queue) = self.queue() {
            queue.flush(FLUSH_WAIT);
        }
    }
}

fn to_stdout(lines: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(lines).and_then(|()| out.flush());
}

/// Turns what events say into lines.
struct Log {
    options: RwLock<Options>,
    clock: Arc<dyn Clock>,
    zone: TimeZone,
    repeats: Mutex<Repeats>,
    write: Box<dyn Write>,
}

impl Log {
    fn new(
        options: Options,
        clock: Arc<dyn Clock>,
        zone: TimeZone,
        write: impl Write + 'static,
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

impl Log {
    fn put(&self, options: Options, record: &Record) {
        let line = match options.kind {
            Kind::Text => format::text(record, &self.zone),
            Kind::Json => json::json(record, &self.zone),
            Kind::Pretty => format::pretty(record, &self.zone, has_colours(options.target)),
        };
        let line = redact::cleaned(&line);
        self.write.line(options.target, line.as_bytes());
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
        match self.write.take_lost() {
            0 => {}
            count => self.put(options, &lost(record.time, count)),
        }
        self.put(options, &record);
    }
}

/// What is said in place of lines that there was no room for.
fn lost(time: UnixMillis, count: u64) -> Record {
    Record {
        time,
        level: Level::WARN,
        source: None,
        message: "log lines were lost, nobody read them".into(),
        attributes: vec![("count".into(), Value::Int(count.into()))],
    }
}

fn has_colours(target: Target) -> bool {
    match target {
        Target::Stdout => std::io::stdout().is_terminal(),
        Target::Stderr => std::io::stderr().is_terminal(),
    }
}

#[cfg(test)]
mod tests;
