//! The forms of a log line: `key=value` as Go's `slog` writes it, and a short one for people. JSON is in a room of its own.
//!
//! Pure: a record in, a line out.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::Level;

use super::record::Record;
use crate::quote::log_value;
use crate::time::log_time;

/// `time=2026-11-20T09:59:49.967Z level=INFO msg="snapshot complete" system=store db=a.db`.
pub fn text(record: &Record, zone: &TimeZone) -> String {
    let mut line = String::with_capacity(160);
    let time = log_time(record.time, zone);
    let _ = write!(line, "time={time} level={}", record.level);
    if let Some(source) = record.source {
        let _ = write!(line, " source={}", source.short());
    }
    let _ = write!(line, " msg={}", log_value(&record.message));
    for (name, value) in &record.attributes {
        let value = log_value(&value.to_string());
        let _ = write!(line, " {}={value}", log_value(name));
    }
    line.push('\n');
    line
}

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// `10:03:30 INF initialized db path=/data/a.db`.
pub fn pretty(record: &Record, zone: &TimeZone, colours: bool) -> String {
    let (dim, reset) = if colours { (DIM, RESET) } else { ("", "") };
    let mut line = String::with_capacity(160);
    let time = Timestamp::from_millisecond(record.time.0).unwrap_or(Timestamp::UNIX_EPOCH);
    let time = time.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
    let (word, colour) = match record.level {
        Level::TRACE => ("TRACE", ""),
        Level::DEBUG => ("DBG", ""),
        Level::INFO => ("INF", "\x1b[92m"),
        Level::WARN => ("WRN", "\x1b[93m"),
        Level::ERROR => ("ERR", "\x1b[91m"),
    };
    let _ = write!(line, "{dim}{time}{reset} ");
    let _ = if colours && !colour.is_empty() {
        write!(line, "{colour}{word}{RESET}")
    } else {
        write!(line, "{word}")
    };
    if let Some(source) = record.source {
        let _ = write!(line, " {dim}{}{reset}", source.short());
    }
    // A message may be of several lines, or hold what a terminal would obey: as a value it is quoted then.
    let tame = record.message.chars().all(crate::quote::is_printable);
    let message = if tame {
        record.message.clone()
    } else {
        log_value(&record.message)
    };
    let _ = write!(line, " {message}");
    for (name, value) in &record.attributes {
        let value = log_value(&value.to_string());
        let _ = write!(line, " {dim}{}={reset}{value}", log_value(name));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::super::record::{Source, Value};
    use super::super::samples;
    use super::*;

    #[test]
    fn text_is_what_litestream_writes() {
        let shown = |record: &Record| text(record, &TimeZone::UTC);
        assert_eq!(
            shown(&samples::replicating_to()),
            "time=2026-11-20T09:59:49.967Z level=INFO msg=\"replicating to\" type=file sync-interval=1s path=\"/data/a b\"\n"
        );
        assert_eq!(
            shown(&samples::compaction_complete()),
            "time=2026-11-20T09:59:49.967Z level=INFO msg=\"compaction complete\" system=store db=\"a b.db\" level=1 \
             txid.min=0000000000000001 txid.max=0000000000000002 size=567\n"
        );
        let placed = Record {
            source: Some(Source {
                module: "litestream::worker",
                file: "crates/litestream/src/worker.rs",
                line: 372,
            }),
            level: Level::TRACE,
            message: "sync".into(),
            attributes: vec![("txid".into(), Value::Text(String::new()))],
            ..samples::replicating_to()
        };
        assert_eq!(
            shown(&placed),
            "time=2026-11-20T09:59:49.967Z level=TRACE source=worker.rs:372 msg=sync txid=\"\"\n"
        );
    }

    #[test]
    fn pretty_is_what_litestream_writes() {
        let record = samples::compaction_complete();
        assert_eq!(
            pretty(&record, &TimeZone::UTC, false),
            "09:59:49 INF compaction complete system=store db=\"a b.db\" level=1 txid.min=0000000000000001 \
             txid.max=0000000000000002 size=567\n"
        );
        let short = Record {
            level: Level::WARN,
            attributes: vec![("error".into(), Value::Text("a b".into()))],
            message: "odd one".into(),
            ..record
        };
        assert_eq!(
            pretty(&short, &TimeZone::UTC, true),
            "\x1b[2m09:59:49\x1b[0m \x1b[93mWRN\x1b[0m odd one \x1b[2merror=\x1b[0m\"a b\"\n"
        );
        let tricky = Record {
            level: Level::DEBUG,
            message: "a\x1b[2Jb".into(),
            attributes: Vec::new(),
            ..short
        };
        assert_eq!(
            pretty(&tricky, &TimeZone::UTC, true),
            "\x1b[2m09:59:49\x1b[0m DBG \"a\\x1b[2Jb\"\n"
        );
    }
}
