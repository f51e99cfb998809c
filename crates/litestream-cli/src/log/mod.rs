//! Log lines in the form of Go's `slog`: `time=… level=INFO msg="…" key=value`.
//!
//! Promise: a log that cannot be written (its reader has gone, the disk is full) never stops the program.

mod layer;

use std::io::Write;

use litestream_replica::env::Env;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// For `replicate`, whose log is its output.
    Stdout,
    /// For all commands whose output is something else.
    Stderr,
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

/// Starts logging. Only the first call in a process has an effect.
pub fn init(target: Target, level_word: &str, env: &Env) {
    let write = move |line: &[u8]| match target {
        Target::Stdout => {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(line).and_then(|()| out.flush());
        }
        Target::Stderr => {
            let _ = std::io::stderr().lock().write_all(line);
        }
    };
    let layer = layer::TextLayer::new(env.clock.clone(), jiff::tz::TimeZone::system(), write);
    let subscriber = tracing_subscriber::registry()
        .with(level(level_word))
        .with(layer);
    let _ = tracing::subscriber::set_global_default(subscriber);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_words() {
        assert_eq!(level("TRACE"), LevelFilter::TRACE);
        assert_eq!(level("Warning"), LevelFilter::WARN);
        assert_eq!(level("error"), LevelFilter::ERROR);
        assert_eq!(level("bogus"), LevelFilter::INFO);
        assert_eq!(level_word("Debug"), "Debug");
    }
}
