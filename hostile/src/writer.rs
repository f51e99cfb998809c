//! The application: a process of its own that commits without end and logs what it did.
//!
//! Promise: when a commit returned, the log says so durably; before it began, the log says what it will make of the
//! database. Commands come on standard input (`pause`, `go`, `big KIB`), answers go to standard output (`ready NODE`,
//! `paused NODE LONGEST_MS`, `error TEXT`). It ends with its input.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, RngCore as _, SeedableRng as _};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::content::{Content, SCHEMA};
use crate::history::{History, Log};

/// What the application waits for a lock; replication must never make it wait that long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Rows go when the database is larger.
const BYTES_MAX: u64 = 6 << 20;

/// How an application uses its database; given on the command line as `key=value`.
#[derive(Clone, Debug)]
pub struct Style {
    pub page_size: u32,
    pub auto_vacuum: String,
    pub synchronous: String,
    pub autocheckpoint: u32,
    /// Longest pause between two commits, in microseconds.
    pub pause_us: u64,
    /// Whether it checkpoints, vacuums and closes its database now and then.
    pub busybody: bool,
    /// A full disk is its own: rolls back and goes on.
    pub tolerant: bool,
    pub seed: u64,
}

impl Style {
    pub fn random(rng: &mut StdRng) -> Style {
        let mut one_of = |choices: &[&str]| choices[rng.random_range(0..choices.len())].to_owned();
        Style {
            page_size: one_of(&["4096", "4096", "4096", "512", "1024", "65536"])
                .parse()
                .unwrap_or(4096),
            auto_vacuum: one_of(&["NONE", "NONE", "FULL", "INCREMENTAL"]),
            synchronous: one_of(&["FULL", "NORMAL", "NORMAL"]),
            autocheckpoint: one_of(&["1000", "1000", "0", "50"]).parse().unwrap_or(0),
            pause_us: rng.random_range(0..4000),
            busybody: rng.random_bool(0.7),
            tolerant: false,
            seed: rng.random(),
        }
    }

    pub fn args(&self) -> Vec<String> {
        vec![
            format!("page-size={}", self.page_size),
            format!("auto-vacuum={}", self.auto_vacuum),
            format!("synchronous={}", self.synchronous),
            format!("autocheckpoint={}", self.autocheckpoint),
            format!("pause-us={}", self.pause_us),
            format!("busybody={}", self.busybody),
            format!("tolerant={}", self.tolerant),
            format!("seed={}", self.seed),
        ]
    }

    fn parse(args: &[String]) -> Result<Style> {
        let mut style = Style::random(&mut StdRng::seed_from_u64(0));
        for arg in args {
            let (key, value) = arg.split_once('=').context("key=value")?;
            match key {
                "page-size" => style.page_size = value.parse()?,
                "auto-vacuum" => value.clone_into(&mut style.auto_vacuum),
                "synchronous" => value.clone_into(&mut style.synchronous),
                "autocheckpoint" => style.autocheckpoint = value.parse()?,
                "pause-us" => style.pause_us = value.parse()?,
                "busybody" => style.busybody = value.parse()?,
                "tolerant" => style.tolerant = value.parse()?,
                "seed" => style.seed = value.parse()?,
                _ => bail!("unknown key {key}"),
            }
        }
        Ok(style)
    }
}

/// `write DB LOG key=value…`
pub fn run(args: &[String]) -> Result<()> {
    let [db, log, style @ ..] = args else {
        bail!("write DB LOG key=value…");
    };
    let style = Style::parse(style)?;
    let mut writer = Writer {
        rng: StdRng::seed_from_u64(style.seed),
        conn: connect(&db.into(), &style)?,
        db: db.into(),
        history: log.into(),
        log: Log::open(&PathBuf::from(log))?,
        style,
        content: Content::default(),
        next: 0,
        longest: Duration::ZERO,
    };
    writer.begin()?;
    println!("ready {}", writer.content.node);
    writer.serve(&commands())
}

fn commands() -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

fn connect(db: &PathBuf, style: &Style) -> Result<Connection> {
    let conn = Connection::open(db)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.execute_batch(&format!(
        "PRAGMA page_size = {}; PRAGMA auto_vacuum = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = {};
         PRAGMA wal_autocheckpoint = {}; PRAGMA cache_size = 200",
        style.page_size, style.auto_vacuum, style.synchronous, style.autocheckpoint
    ))?;
    Ok(conn)
}

struct Writer {
    db: PathBuf,
    history: PathBuf,
    style: Style,
    rng: StdRng,
    conn: Connection,
    log: Log,
    content: Content,
    next: u64,
    /// The longest wait for the right to write.
    longest: Duration,
}

impl Writer {
    /// Finds the state that the database has, which must be one that was committed.
    fn begin(&mut self) -> Result<()> {
        let history = History::read(&self.history)?;
        self.content = Content::read(&self.conn)?;
        self.next = history.newest() + 1;
        if self.content.node == 0 {
            return self.commit(|tx, _, _| Ok(tx.execute_batch(SCHEMA)?));
        }
        let node = self.content.node;
        ensure!(
            history.hash(node) == Some(self.content.hash()),
            "the database is not the state of commit {node}"
        );
        Ok(())
    }

    fn serve(&mut self, commands: &Receiver<String>) -> Result<()> {
        use std::sync::mpsc::TryRecvError;
        loop {
            let command = match commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {
                    self.step(None)?;
                    let pause = self.rng.random_range(0..=self.style.pause_us);
                    std::thread::sleep(Duration::from_micros(pause));
                    continue;
                }
            };
            match command.split(' ').collect::<Vec<_>>()[..] {
                ["pause"] => {
                    let longest = self.longest.as_millis();
                    println!("paused {} {longest}", self.content.node);
                    let Ok(next) = commands.recv() else {
                        return Ok(());
                    };
                    ensure!(next == "go", "{next} while paused");
                }
                ["big", kib] => self.step(Some(kib.parse()?))?,
                _ => bail!("unknown command {command:?}"),
            }
        }
    }

    /// Something that an application does.
    fn step(&mut self, big_kib: Option<usize>) -> Result<()> {
        let done = match big_kib {
            Some(kib) => self.commit(|tx, content, rng| insert(tx, content, rng, kib, 1024)),
            None => self.something(),
        };
        let Err(error) = done else { return Ok(()) };
        let code = error
            .downcast_ref::<rusqlite::Error>()
            .and_then(rusqlite::Error::sqlite_error_code);
        if self.style.tolerant
            && matches!(code, Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
        {
            std::thread::sleep(Duration::from_millis(20));
            return self.again();
        }
        Err(error)
    }

    /// After an error of its own disk: what is in the database now?
    fn again(&mut self) -> Result<()> {
        for _ in 0..500 {
            if let Ok(conn) = connect(&self.db, &self.style) {
                self.conn = conn;
                return self.begin();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the database cannot be opened for ten seconds")
    }

    fn something(&mut self) -> Result<()> {
        let pages: i64 = self
            .conn
            .query_row("PRAGMA page_count", [], |row| row.get(0))?;
        if pages as u64 * u64::from(self.style.page_size) > BYTES_MAX {
            return self.commit(|tx, content, _| delete(tx, content, 5));
        }
        match self.rng.random_range(0..200) {
            0 => self.commit(|tx, content, rng| insert(tx, content, rng, 2000, 1500)),
            1..10 => self.commit(|tx, content, _| delete(tx, content, 2)),
            10..60 => self.commit(update),
            60..70 => {
                let tx = self.conn.unchecked_transaction()?;
                tx.execute("UPDATE t SET n = n + 1", [])?;
                Ok(tx.rollback()?)
            }
            70..75 if self.style.busybody => {
                let modes = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
                let mode = modes[self.rng.random_range(0..4)];
                let sql = format!("PRAGMA wal_checkpoint({mode})");
                Ok(self.conn.query_row(&sql, [], |_| Ok(()))?)
            }
            75..78 if self.style.busybody => {
                self.conn = Connection::open_in_memory()?;
                self.conn = connect(&self.db, &self.style)?;
                Ok(())
            }
            78 if self.style.busybody => Ok(self.conn.execute_batch("VACUUM")?),
            _ => self.commit(|tx, content, rng| insert(tx, content, rng, 3, 600)),
        }
    }

    /// One logged commit.
    fn commit(
        &mut self,
        work: impl FnOnce(&Transaction, &mut Content, &mut StdRng) -> Result<()>,
    ) -> Result<()> {
        let (parent, node) = (self.content.node, self.next);
        let start = Instant::now();
        let tx = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        self.longest = self.longest.max(start.elapsed());
        work(&tx, &mut self.content, &mut self.rng)?;
        tx.execute("UPDATE meta SET node = ?1", [node as i64])?;
        self.content.node = node;
        self.log.intend(node, parent, self.content.hash())?;
        self.next = node + 1;
        tx.commit()?;
        self.log.committed(node)
    }
}

fn insert(
    tx: &Transaction,
    content: &mut Content,
    rng: &mut StdRng,
    rows: usize,
    bytes: usize,
) -> Result<()> {
    let first = content.t.last_key_value().map_or(0, |(id, _)| *id) + 1;
    let mut statement = tx.prepare_cached("INSERT INTO t(id, b, n) VALUES(?1, ?2, ?3)")?;
    for id in (first..).take(rows) {
        let mut blob = vec![0; bytes];
        rng.fill_bytes(&mut blob);
        let n = rng.random_range(0..1000);
        statement.execute((id, &blob, n))?;
        content.put_t(id, &blob, n);
    }
    let k = format!("key {}", rng.random_range(0..200));
    let v = first.to_le_bytes();
    tx.execute("INSERT OR REPLACE INTO u VALUES(?1, ?2)", (&k, &v[..]))?;
    content.put_u(k, &v);
    Ok(())
}

fn update(tx: &Transaction, content: &mut Content, rng: &mut StdRng) -> Result<()> {
    let Some((&last, _)) = content.t.last_key_value() else {
        return Ok(());
    };
    let from = rng.random_range(0..=last);
    let ids: Vec<i64> = content.t.range(from..).take(5).map(|(id, _)| *id).collect();
    for id in ids {
        let mut blob = vec![0; rng.random_range(0..2000)];
        rng.fill_bytes(&mut blob);
        tx.execute("UPDATE t SET b = ?2, n = 7 WHERE id = ?1", (id, &blob))?;
        content.put_t(id, &blob, 7);
    }
    Ok(())
}

/// Leaves one row of `keep`.
fn delete(tx: &Transaction, content: &mut Content, keep: i64) -> Result<()> {
    tx.execute("DELETE FROM t WHERE id % ?1 > 0", [keep])?;
    let gone: Vec<i64> = content
        .t
        .keys()
        .copied()
        .filter(|id| id % keep > 0)
        .collect();
    for id in gone {
        content.remove_t(id);
    }
    if let Some(k) = content.u.keys().next().cloned() {
        tx.execute("DELETE FROM u WHERE k = ?1", [&k])?;
        content.remove_u(&k);
    }
    Ok(())
}
