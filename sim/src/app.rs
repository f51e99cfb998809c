//! An application: a process with a connection that does what people do with SQLite.
//!
//! Every operation is drawn from the plan by its own number, so an operation can be left out or done again after a crash
//! without changing the others.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use crate::plan::Feature;
use crate::rng::Rng;
use crate::sched;
use crate::world::{DATABASE, World};

/// Waiting for a lock longer than this is somebody's fault.
const BUSY: Duration = Duration::from_secs(10);

/// How often one that waits for others looks.
const PAUSE: sched::Nanos = 1_000_000;

/// What all applications share.
#[derive(Default)]
pub struct Shared {
    /// Commits that returned without an error.
    pub commits: u64,
    /// Refused because of locks.
    pub busy: u64,
    /// Longest time that a statement took, in virtual time.
    pub wait_max: sched::Nanos,
    /// Applications in the middle of an operation.
    operating: u32,
    /// One of them is leaving WAL mode.
    switching: bool,
}

/// Notes something in what all share, and takes it back when the application is done, or dead.
struct Noted<'a>(&'a RefCell<Shared>, fn(&mut Shared));

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.1(&mut self.0.borrow_mut());
    }
}

/// One application; survives the death of its process.
#[derive(Clone)]
pub struct App {
    world: World,
    /// From 1 on.
    pub actor: u32,
    /// The next operation.
    next: Rc<RefCell<u32>>,
    shared: Rc<RefCell<Shared>>,
}

impl App {
    /// Has done nothing yet.
    pub fn new(world: &World, actor: u32, shared: &Rc<RefCell<Shared>>) -> App {
        App {
            world: world.clone(),
            actor,
            next: Rc::default(),
            shared: Rc::clone(shared),
        }
    }

    /// Works until all operations are done or the process dies.
    pub fn run(&self) {
        let plan = Rc::clone(&self.world.plan);
        let mut conn: Option<Connection> = None;
        while *self.next.borrow() < plan.writes && !sched::is_dead() {
            let number = *self.next.borrow();
            if sched::is_dead() {
                return;
            }
            *self.next.borrow_mut() += 1;
            if plan.skips(self.actor, number) {
                continue;
            }
            let mut rng = plan.rng(self.actor, number);
            while self.shared.borrow().switching && !sched::is_dead() {
                sched::sleep(PAUSE);
            }
            let began = sched::now();
            self.shared.borrow_mut().operating += 1;
            let operating = Noted(&self.shared, |shared| shared.operating -= 1);
            let result = self.operate(&mut conn, &mut rng);
            drop(operating);
            if sched::is_dead() {
                return;
            }
            match result {
                Ok(()) => {
                    let took = sched::now() - began;
                    let mut shared = self.shared.borrow_mut();
                    shared.wait_max = shared.wait_max.max(took);
                }
                Err(error) => self.judge(number, &error, &mut conn),
            }
            App::pause(&mut rng);
        }
        if !sched::is_dead() {
            drop(conn);
        }
    }

    fn pause(rng: &mut Rng) {
        let millis = match rng.below(10) {
            0..=4 => 0,
            5..=7 => rng.below(40),
            8 => rng.below(1500),
            _ => rng.below(8000),
        };
        if millis > 0 {
            sched::sleep(millis * 1_000_000);
        }
    }

    fn judge(&self, number: u32, error: &rusqlite::Error, conn: &mut Option<Connection>) {
        let plan = &self.world.plan;
        if let Some(conn) = conn
            && !conn.is_autocommit()
        {
            let _ = conn.execute_batch("ROLLBACK");
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                self.shared.borrow_mut().busy += 1;
                let alone = plan.writers == 1
                    && ![
                        Feature::ForeignCheckpoint,
                        Feature::AutoCheckpoint,
                        Feature::JournalSwitch,
                        Feature::LongReaders,
                        Feature::Vacuum,
                        Feature::Reopen,
                        Feature::AppCrash,
                        Feature::PowerCut,
                        Feature::Replace,
                        Feature::SecondDaemon,
                        Feature::EngineKill,
                        Feature::EngineRestart,
                        Feature::OurDiskFaults,
                        Feature::AppDiskFaults,
                    ]
                    .iter()
                    .any(|f| plan.has(*f));
                // Not yet connected: whoever creates a database, or its WAL, excludes everybody else.
                if alone && !self.was_glimpse(conn.as_ref()) {
                    self.world.violation(format!(
                        "O7: the only application was refused a lock at operation {}:{number}: {error}",
                        self.actor
                    ));
                }
            }
            _ if self.world.disk_may_fail() => *conn = None,
            // Replaced beneath our feet.
            _ if plan.has(Feature::Replace) || plan.has(Feature::JournalSwitch) => *conn = None,
            _ => self.world.violation(format!(
                "O7: an application failed at operation {}:{number}: {error}",
                self.actor
            )),
        }
    }

    /// A read that meets a commit being published takes the WRITE lock to look again, any read of any program (SQLite's
    /// `walIndexReadHdr`): who has no busy timeout may then be refused the next transaction, for that moment only. Also `true` if there
    /// is no connection yet.
    fn was_glimpse(&self, conn: Option<&Connection>) -> bool {
        conn.is_none_or(|conn| {
            self.world.plan.has(Feature::BusyZero) && {
                sched::sleep(100_000);
                conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
            }
        })
    }

    fn connect(&self, rng: &mut Rng) -> rusqlite::Result<Connection> {
        let plan = &self.world.plan;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags_and_vfs(DATABASE, flags, "sim")?;
        conn.busy_timeout(if plan.has(Feature::BusyZero) && rng.chance(700) {
            Duration::ZERO
        } else {
            BUSY
        })?;
        conn.pragma_update(None, "page_size", plan.page_size)?;
        conn.pragma_update(None, "auto_vacuum", plan.auto_vacuum)?;
        conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        let synchronous = if plan.has(Feature::SyncFull) && rng.chance(500) {
            "FULL"
        } else if plan.has(Feature::SyncOff) && !plan.has(Feature::PowerCut) && rng.chance(500) {
            // With a power cut SQLite promises nothing.
            "OFF"
        } else {
            "NORMAL"
        };
        conn.pragma_update(None, "synchronous", synchronous)?;
        if plan.has(Feature::TinyCache) {
            conn.pragma_update(None, "cache_size", 2 + rng.below(8) as i64)?;
        }
        let auto = if plan.has(Feature::AutoCheckpoint) {
            rng.pick(&[1, 4, 20, 1000])
        } else {
            0
        };
        conn.pragma_update(None, "wal_autocheckpoint", auto)?;
        // Of a generator of its own, so that older plans stay what they are.
        let mut own = plan.rng(905, self.actor);
        if own.chance(200) {
            // After a restart the WAL is cut to this.
            let bytes: i64 = own.pick(&[0, 2000, 20_000]);
            conn.pragma_update_and_check(None, "journal_size_limit", bytes, |_| Ok(()))?;
        }
        conn.execute_batch(
            "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, actor INT, n INT, body BLOB)",
        )?;
        Ok(conn)
    }

    fn operate(&self, conn: &mut Option<Connection>, rng: &mut Rng) -> rusqlite::Result<()> {
        let plan = Rc::clone(&self.world.plan);
        let has = |feature| plan.has(feature);
        if conn.is_none() {
            *conn = Some(self.connect(rng)?);
        }
        let Some(open) = conn.as_mut() else {
            return Ok(());
        };
        match rng.below(100) {
            0..=5 if has(Feature::Reopen) => *conn = None,
            6..=12 if has(Feature::ForeignCheckpoint) => checkpoint(open, rng)?,
            13..=16 if has(Feature::Vacuum) => vacuum(open, rng)?,
            17..=21 if has(Feature::LongReaders) => long_read(open, rng)?,
            22..=24 if has(Feature::JournalSwitch) => self.switch_alone(open, rng)?,
            25..=29 if has(Feature::Schema) => schema(open, rng)?,
            30..=34 if has(Feature::BigTransactions) => {
                self.transaction(open, rng, 30 + rng.clone().below(120))?;
            }
            _ => {
                let rows = 1 + rng.below(4);
                self.transaction(open, rng, rows)?;
            }
        }
        Ok(())
    }

    /// SQLite leaves WAL mode in two steps: in between it lets others in, who still find WAL mode, and then it writes the first page
    /// as it was before. And what it has in its cache it checks by the database's change counter, which connections in WAL mode
    /// give twice. So as not to see SQLite damage the database, the others wait outside, and nothing is in the cache.
    fn switch_alone(&self, conn: &Connection, rng: &mut Rng) -> rusqlite::Result<()> {
        if std::mem::replace(&mut self.shared.borrow_mut().switching, true) {
            return Ok(());
        }
        let _switching = Noted(&self.shared, |shared| shared.switching = false);
        while self.shared.borrow().operating > 1 {
            sched::sleep(PAUSE);
            if sched::is_dead() {
                return Ok(());
            }
        }
        conn.execute_batch("PRAGMA shrink_memory")?;
        switch_journal(conn, rng)
    }

    fn transaction(&self, conn: &mut Connection, rng: &mut Rng, rows: u64) -> rusqlite::Result<()> {
        let plan = &self.world.plan;
        let begin = if rng.chance(500) {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN"
        };
        conn.execute_batch(begin)?;
        let wrote = self.statements(conn, rng, rows);
        if wrote.is_ok() && !(plan.has(Feature::Savepoints) && rng.chance(150)) {
            conn.execute_batch("COMMIT")?;
            self.shared.borrow_mut().commits += 1;
        } else if !conn.is_autocommit() {
            conn.execute_batch("ROLLBACK")?;
        }
        wrote
    }

    fn statements(&self, conn: &Connection, rng: &mut Rng, rows: u64) -> rusqlite::Result<()> {
        let plan = &self.world.plan;
        for n in 0..rows {
            let size = if plan.has(Feature::Blobs) && rng.chance(150) {
                rng.below(6 * u64::from(plan.page_size).min(4096))
            } else {
                rng.below(90)
            };
            let mut body = vec![0; size as usize];
            body.fill_with(|| rng.draw() as u8);
            if plan.has(Feature::Savepoints) && rng.chance(150) {
                conn.execute_batch("SAVEPOINT s")?;
            }
            match rng.below(10) {
                0..=1 if plan.has(Feature::Updates) => {
                    conn.prepare_cached(
                        "UPDATE t SET n = ?1, body = ?2 WHERE id IN (SELECT id FROM t ORDER BY (id * ?3) % 1009 LIMIT 2)",
                    )?
                    .execute(params![n as i64, body, rng.below(1000) as i64])?;
                }
                2..=3 if plan.has(Feature::Updates) => {
                    conn.prepare_cached("DELETE FROM t WHERE id % 7 = ?1 AND n % 3 = ?2")?
                        .execute(params![rng.below(7) as i64, rng.below(3) as i64])?;
                }
                _ => {
                    conn.prepare_cached("INSERT INTO t(actor, n, body) VALUES (?1, ?2, ?3)")?
                        .execute(params![self.actor, rng.below(1 << 20) as i64, body])?;
                }
            }
            if plan.has(Feature::Savepoints) && rng.chance(100) {
                let _ = conn.execute_batch("ROLLBACK TO s");
            }
        }
        Ok(())
    }
}

fn checkpoint(conn: &Connection, rng: &mut Rng) -> rusqlite::Result<()> {
    let mode = rng.pick(&["PASSIVE", "FULL", "RESTART", "TRUNCATE"]);
    // The lock is free for moments only: once in a while somebody tries until one of them is met.
    for _ in 0..rng.pick(&[1, 1, 1, 60]) {
        conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))?;
        sched::sleep(rng.below(100_000));
        if sched::is_dead() {
            break;
        }
    }
    Ok(())
}

fn vacuum(conn: &Connection, rng: &mut Rng) -> rusqlite::Result<()> {
    if rng.chance(500) {
        conn.execute_batch("VACUUM")
    } else {
        conn.execute_batch("PRAGMA incremental_vacuum(3)")
    }
}

fn long_read(conn: &Connection, rng: &mut Rng) -> rusqlite::Result<()> {
    conn.execute_batch("BEGIN")?;
    conn.query_row("SELECT count(*) FROM t", [], |_| Ok(()))?;
    sched::sleep(rng.below(6000) * 1_000_000);
    if sched::is_dead() {
        return Ok(());
    }
    conn.query_row("SELECT sum(n) FROM t", [], |_| Ok(()))?;
    conn.execute_batch("ROLLBACK")
}

fn switch_journal(conn: &Connection, rng: &mut Rng) -> rusqlite::Result<()> {
    let mode = rng.pick(&["DELETE", "TRUNCATE", "PERSIST"]);
    let now: String = conn.pragma_update_and_check(None, "journal_mode", mode, |row| row.get(0))?;
    if now != "wal" {
        conn.execute_batch("INSERT INTO t(n) VALUES (1)")?;
        if rng.chance(500) {
            conn.pragma_update(None, "page_size", 512 << rng.below(4))?;
            conn.execute_batch("VACUUM")?;
        }
    }
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
}

fn schema(conn: &Connection, rng: &mut Rng) -> rusqlite::Result<()> {
    let n = rng.below(4);
    let text = match rng.below(5) {
        0 => format!("CREATE TABLE IF NOT EXISTS x{n}(a, b UNIQUE)"),
        1 => format!("DROP TABLE IF EXISTS x{n}"),
        2 => "CREATE INDEX IF NOT EXISTS tn ON t(n)".to_owned(),
        3 => "DROP INDEX IF EXISTS tn".to_owned(),
        _ => format!("CREATE TABLE IF NOT EXISTS y{n} AS SELECT * FROM t"),
    };
    conn.execute_batch(&text)
}
