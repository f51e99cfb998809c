//! `litestream-test load`: reads and writes at a steady rate.
//!
//! Promise: the totals of the last line cover the whole run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use litestream_replica::env::{Env, Monotonic};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rusqlite::{Connection, params};
use tracing::{info, warn};

use super::{doing, existing_database, open};
use crate::args::{Parsed, duration};
use crate::failure::{Failure, Result};
use crate::signals::Signals;

const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Workers look this often whether they should end.
const NAP: Duration = Duration::from_millis(50);
/// A worker that lags further behind gives up on the ticks it missed.
const LAG_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    Constant,
    Burst,
    Random,
    Wave,
}

struct Load {
    path: PathBuf,
    interval: Duration,
    pattern: Pattern,
    payload_bytes: usize,
    read_ratio: f64,
    env: Env,
    start: Monotonic,
    stop: AtomicBool,
    writes: AtomicU64,
    reads: AtomicU64,
    errors: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// Runs until the duration is over or a signal comes.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let path = existing_database(parsed, env)?;
    let positive = |name: &str| {
        let n = u32::try_from(parsed.int(name)).ok().filter(|&n| n > 0);
        n.ok_or_else(|| Failure::new(format!("-{name} must be at least 1")))
    };
    let (rate, workers) = (positive("write-rate")?, positive("workers")?);
    let read_ratio = parsed.float("read-ratio");
    if !(0.0..=1.0).contains(&read_ratio) {
        return Err(Failure::new("-read-ratio must be between 0 and 1"));
    }
    let load = Arc::new(Load {
        interval: Duration::from_secs(1) * workers / rate,
        pattern: match parsed.utf8("pattern").as_str() {
            "burst" => Pattern::Burst,
            "random" => Pattern::Random,
            "wave" => Pattern::Wave,
            "constant" => Pattern::Constant,
            other => {
                let text =
                    format!("invalid pattern: {other}, must be constant, burst, random or wave");
                return Err(Failure::new(text));
            }
        },
        payload_bytes: usize::try_from(parsed.int("payload-size"))
            .map_err(|_| Failure::new("-payload-size must not be negative"))?,
        read_ratio,
        env: env.clone(),
        start: env.clock.monotonic(),
        stop: AtomicBool::new(false),
        writes: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        last_error: Mutex::new(None),
        path,
    });
    prepare(&load.path)?;
    let length = parsed.duration("duration");
    info!(
        db = %load.path.display(), write_rate = rate, duration = duration::format(length),
        pattern = ?load.pattern, workers, "Starting load generation"
    );
    let mut tasks = Vec::new();
    for number in 0..workers {
        let worker = load.clone();
        let work = Box::new(move || worker.work());
        tasks.push(
            env.spawn
                .spawn(&format!("load-{number}"), work)
                .map_err(|e| Failure::new(format!("start worker: {e}")))?,
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|e| Failure::new(format!("cannot start the async runtime: {e}")))?;
    let waited = runtime.block_on(load.attend(length));
    load.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.join()
            .map_err(|e| Failure::new(format!("worker: {e}")))?;
    }
    load.report("Load generation complete");
    waited?;
    match (
        load.writes.load(Ordering::Relaxed),
        load.last_error.lock().take(),
    ) {
        (0, Some(error)) => Err(Failure::new(format!(
            "not a single write succeeded: {error}"
        ))),
        _ => Ok(()),
    }
}

fn prepare(path: &Path) -> Result {
    let sql = "PRAGMA journal_mode = WAL;
        CREATE TABLE IF NOT EXISTS load_test
            (id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, text_field TEXT, int_field INTEGER, timestamp INTEGER);
        CREATE INDEX IF NOT EXISTS idx_load_test_timestamp ON load_test (timestamp);";
    open(path)?
        .execute_batch(sql)
        .map_err(doing("prepare table load_test"))
}

impl Load {
    /// Reports now and then until the end.
    async fn attend(&self, length: Duration) -> Result {
        let mut signals = Signals::new(self.env.disk.as_ref(), false)
            .map_err(|e| Failure::new(format!("cannot handle signals: {e}")))?;
        let end = self.start + length;
        loop {
            let left = end.since(self.env.clock.monotonic());
            if left.is_zero() {
                return Ok(());
            }
            tokio::select! {
                () = self.env.clock.sleep_async(left.min(REPORT_INTERVAL)) => {}
                signal = signals.next() => {
                    info!(signal = signal.name(), "Received signal, stopping load generation");
                    return Ok(());
                }
            }
            self.report("Load statistics");
        }
    }

    fn report(&self, message: &str) {
        let elapsed = self.env.clock.monotonic().since(self.start);
        let writes = self.writes.load(Ordering::Relaxed);
        info!(
            total_writes = writes,
            total_reads = self.reads.load(Ordering::Relaxed),
            errors = self.errors.load(Ordering::Relaxed),
            writes_per_second = format!("{:.1}", writes as f64 / elapsed.as_secs_f64().max(0.001)),
            duration = duration::format(elapsed),
            "{message}"
        );
    }

    /// One connection's work.
    fn work(&self) {
        let clock = &self.env.clock;
        let mut random = SmallRng::seed_from_u64(self.env.entropy.next_u64());
        let db = match open(&self.path).and_then(|db| {
            db.execute_batch("PRAGMA synchronous = NORMAL")
                .map_err(doing("set up connection"))?;
            Ok(db)
        }) {
            Ok(db) => db,
            Err(failure) => return self.failed(failure.message),
        };
        let mut data = vec![0; self.payload_bytes];
        let mut next = self.start;
        while !self.stop.load(Ordering::Relaxed) {
            let now = clock.monotonic();
            if now < next {
                clock.sleep(next.since(now).min(NAP));
                continue;
            }
            next = if now.since(next) > LAG_MAX {
                now
            } else {
                next + self.interval
            };
            if !self.is_active(now.since(self.start), &mut random) {
                continue;
            }
            let done = if random.random_bool(self.read_ratio) {
                self.read(&db).map(|()| &self.reads)
            } else {
                random.fill_bytes(&mut data);
                self.write(&db, &data, &mut random).map(|()| &self.writes)
            };
            match done {
                Ok(counter) => {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) => self.failed(e.to_string()),
            }
        }
    }

    fn failed(&self, error: String) {
        if self.errors.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!(error, "Operation failed");
        }
        *self.last_error.lock() = Some(error);
    }

    fn is_active(&self, elapsed: Duration, random: &mut SmallRng) -> bool {
        match self.pattern {
            Pattern::Constant => true,
            Pattern::Burst => elapsed.as_secs() % 10 < 3,
            Pattern::Random => random.random_range(0.0..2.0f64) > random.random::<f64>(),
            Pattern::Wave => {
                random.random::<f64>() < 1.0 + 0.4 * (elapsed.as_secs_f64() / 10.0).sin()
            }
        }
    }

    fn read(&self, db: &Connection) -> rusqlite::Result<()> {
        let since = self.env.clock.now().0 / 1000 - 3600;
        let mut statement =
            db.prepare_cached("SELECT COUNT(*) FROM load_test WHERE timestamp > ?")?;
        statement
            .query_row([since], |row| row.get::<_, i64>(0))
            .map(drop)
    }

    fn write(&self, db: &Connection, data: &[u8], random: &mut SmallRng) -> rusqlite::Result<()> {
        let sql =
            "INSERT INTO load_test (data, text_field, int_field, timestamp) VALUES (?, ?, ?, ?)";
        let time = self.env.clock.now();
        let text = format!("load_{}", time.0);
        let number = i64::from(random.random::<u32>());
        db.prepare_cached(sql)?
            .execute(params![data, text, number, time.0 / 1000])
            .map(drop)
    }
}
