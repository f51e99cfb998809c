//! From the event to the line.

use std::time::Duration;

use litestream_replica::env::{Monotonic, UnixMillis};

use super::*;

/// Noon, and a monotonic clock that is set by hand.
#[derive(Default)]
struct Noon(Mutex<Duration>);

#[async_trait::async_trait]
impl Clock for Noon {
    fn boot(&self) -> Option<u128> {
        None
    }
    fn now(&self) -> UnixMillis {
        UnixMillis(43_200_007)
    }
    fn monotonic(&self) -> Monotonic {
        Monotonic(*self.0.lock())
    }
    fn sleep(&self, _: Duration) {}
    async fn sleep_async(&self, _: Duration) {}
}

struct Bench {
    log: Arc<Log>,
    clock: Arc<Noon>,
    seen: Seen,
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Seen {
    bytes: Arc<Mutex<Vec<u8>>>,
    lost: Arc<Mutex<u64>>,
}

impl Write for Seen {
    fn line(&self, _: Target, line: &[u8]) {
        self.bytes.lock().extend_from_slice(line);
    }

    fn take_lost(&self) -> u64 {
        std::mem::take(&mut *self.lost.lock())
    }
}

impl Bench {
    fn new(options: Options) -> Bench {
        let (seen, clock) = (Seen::default(), Arc::new(Noon::default()));
        let log = Log::new(options, clock.clone(), TimeZone::UTC, seen.clone());
        let log = Arc::new(log);
        Bench { log, clock, seen }
    }

    /// What is written meanwhile.
    fn lines(&self, work: impl FnOnce()) -> String {
        let layer = layer::RecordLayer(self.log.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        String::from_utf8(std::mem::take(&mut *self.seen.bytes.lock())).unwrap()
    }
}

fn plain(level: &str) -> Options {
    Options::plain(Target::Stdout, level)
}

#[test]
fn level_words() {
    assert_eq!(level("TRACE"), LevelFilter::TRACE);
    assert_eq!(level("Warning"), LevelFilter::WARN);
    assert_eq!(level("error"), LevelFilter::ERROR);
    assert_eq!(level("bogus"), LevelFilter::INFO);
    assert_eq!(level_word("Debug", ""), "Debug");
}

#[test]
fn options_are_those_of_the_configuration() {
    let logging = Logging {
        level: "warn".into(),
        kind: Kind::Json,
        stderr: true,
        source: true,
    };
    let expected = Options {
        target: Target::Stderr,
        level: LevelFilter::WARN,
        kind: Kind::Json,
        source: true,
    };
    assert_eq!(Options::of(&logging, ""), expected);
    let level = Options::of(&logging, "trace").level;
    assert_eq!(level, LevelFilter::TRACE);
    let default = Options::of(&Logging::default(), "info");
    assert_eq!(default, plain("info"));
}

#[test]
fn lines_look_like_slog() {
    let text = Bench::new(plain("info")).lines(|| {
        tracing::info!(system = "store", db = "a b.db", txid.min = %7, "sync-interval" = %"1s", "snapshot complete");
        tracing::warn!(error = %std::io::Error::other("a=b"), n = 3, on = true, interval = ?Duration::from_mins(5), "odd");
        tracing::error!(target: "mio", "not ours");
        tracing::debug!("too little");
    });
    assert_eq!(
        text,
        "time=1970-01-01T12:00:00.007Z level=INFO msg=\"snapshot complete\" system=store db=\"a b.db\" txid.min=7 \
         sync-interval=1s\n\
         time=1970-01-01T12:00:00.007Z level=WARN msg=odd error=\"a=b\" n=3 on=true interval=5m0s\n"
    );
}

#[test]
fn fields_of_spans_come_first_and_none_comes_twice() {
    let text = Bench::new(plain("warn")).lines(|| {
        let _outer = tracing::error_span!("worker", system = "store", db = "a.db").entered();
        tracing::warn!(
            level = 1,
            db = "b.db",
            message = "of the field",
            "compaction complete"
        );
    });
    assert!(
        text.ends_with(
            "level=WARN msg=\"compaction complete\" system=store db=b.db level=1 message=\"of the field\"\n"
        ),
        "{text}"
    );
}

#[test]
fn form_and_place_are_as_the_options_say() {
    let options = Options {
        kind: Kind::Json,
        source: true,
        ..plain("trace")
    };
    let bench = Bench::new(options);
    let text = bench.lines(|| tracing::trace!(level = %2, took = %"1.5ms", "x"));
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "TRACE");
    assert_eq!(line["compaction_level"], 2);
    assert_eq!(line["took"], 1_500_000);
    assert_eq!(line["source"]["function"], module_path!());
    assert!(line["source"]["line"].is_u64());
    *bench.log.options.write() = Options {
        kind: Kind::Pretty,
        ..plain("info")
    };
    let text = bench.lines(|| {
        tracing::info!(path = "/a", "initialized db");
        tracing::debug!("not any more");
    });
    assert_eq!(text, "12:00:00 INF initialized db path=/a\n");
}

#[test]
fn trouble_that_repeats_itself_is_counted() {
    let bench = Bench::new(plain("info"));
    let fail = || tracing::error!(db = "a.db", error = "down", n = 1, "sync error");
    assert_eq!(
        bench.lines(|| (0..5).for_each(|_| fail())).lines().count(),
        1
    );
    *bench.clock.0.lock() = Duration::from_secs(30);
    let text = bench.lines(fail);
    assert!(text.ends_with("error=down n=1 repeated=4\n"), "{text}");
}

#[test]
fn secrets_stay_out_of_the_log() {
    redact("Zq8-only-here");
    let bench = Bench::new(plain("info"));
    let text = bench.lines(|| {
        tracing::info!(
            error = "signed with Zq8-only-here for https://me:pw@host/",
            "x"
        );
    });
    assert!(
        text.ends_with("error=\"signed with xxxxx for https://me:xxxxx@host/\"\n"),
        "{text}"
    );
}

#[test]
fn the_level_may_change_while_the_program_runs() {
    let env = litestream_replica::env::real::env();
    let is_shown = || tracing::enabled!(tracing::Level::DEBUG);
    init(plain("info"), &env);
    assert!(!is_shown());
    init(plain("debug"), &env);
    assert!(is_shown());
    init(plain("error"), &env);
    assert!(!is_shown() && !tracing::enabled!(tracing::Level::WARN));
}

#[test]
fn lost_lines_are_counted_in_the_log() {
    let bench = Bench::new(plain("info"));
    *bench.seen.lost.lock() = 5;
    let text = bench.lines(|| (0..2).for_each(|_| tracing::info!("next")));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].ends_with("level=WARN msg=\"log lines were lost, nobody read them\" count=5"));
    assert!(lines[1].ends_with("level=INFO msg=next"));
}
