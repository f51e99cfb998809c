//! Followers that are killed and lose power at any step, while others read what they follow.
//!
//! Promise: no engine writes here; the replica holds files made from the exact states of a real database. The oracle is
//! exact: a reader finds both of its sums equal in every transaction, what lies there after a kill is one of the states, never
//! older than the position, and a follower that is started again never refuses and ends with the newest state.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use litestream::follow::{self, Ended};
use litestream::restore::IntegrityCheck;
use litestream_replica::env::{Env, UnixMillis};
use litestream_replica::memory::Memory;
use litestream_replica::{Level, Replica as _, SharedReplica, Source};
use ltx::{Encoder, FileName, Header, PageNo, PageSize, Txid};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::disk::{CutImage, SimDisk};
use crate::env::env;
use crate::sched::{self, Config, Process};
use crate::vfs;

const SOURCE: &str = "/d/source.db";
const COPY: &str = "/d/copy.db";
const JOURNAL: &str = "/d/copy.db-journal";
const POSITION: &str = "/d/copy.db-txid";
const TXIDS: usize = 24;
const ROUNDS: u32 = 6;
const MILLISECOND: u64 = 1_000_000;
/// Between two looks at the replica.
const INTERVAL: Duration = Duration::from_millis(5);
const SUMS: &str =
    "SELECT (SELECT sum(n) FROM a) + (SELECT sum(n) FROM b), (SELECT count(*) FROM c)";

/// What an episode came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Followers that were killed, by a power cut too.
    pub kills: u32,
    /// Those among them that left an update behind that had to be rolled back.
    pub hot: u32,
    /// Transactions of readers.
    pub reads: u32,
    /// What was wrong, if anything.
    pub failure: Option<String>,
    /// The same for the same seed.
    pub trace_hash: u64,
}

/// A database image, and the file that leads to it from the one before.
type State = (Vec<u8>, Vec<u8>);

/// What all fibers share.
#[derive(Clone)]
struct Shared {
    disk: SimDisk,
    outcome: Rc<RefCell<Outcome>>,
    /// By TXID, from 1 on.
    states: Rc<RefCell<Vec<State>>>,
}

impl Shared {
    fn note<T, E: std::fmt::Display>(&self, who: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            // A dead fiber fails at everything.
            Err(_) if sched::is_dead() => None,
            Err(error) => {
                let text = format!("{who}: {error}");
                self.outcome.borrow_mut().failure.get_or_insert(text);
                None
            }
        }
    }

    fn check(&self, what: bool, text: impl FnOnce() -> String) {
        self.note("oracle", if what { Ok(()) } else { Err(text()) });
    }
}

fn open(path: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags_and_vfs(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        vfs::NAME,
    )?;
    connection.busy_timeout(Duration::from_mins(1))?;
    Ok(connection)
}

/// Makes the history: what table `a` gains `b` loses; `c` makes the database grow and shrink.
fn make(shared: &Shared) -> Result<(), Box<dyn std::error::Error>> {
    let page_size = [512, 1024, 4096][sched::below(3) as usize];
    let connection = open(SOURCE)?;
    connection.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA auto_vacuum=FULL;
         CREATE TABLE a(id INTEGER PRIMARY KEY, n, pad); CREATE TABLE b(id INTEGER PRIMARY KEY, n, pad); CREATE TABLE c(x);
         WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 30) INSERT INTO a SELECT i, 0, zeroblob(200) FROM r;
         INSERT INTO b SELECT * FROM a"
    ))?;
    let mut before = Vec::new();
    for txid in 1..=TXIDS as u64 {
        let (id, amount) = (sched::below(30), sched::below(1000));
        let fate = match sched::below(3) {
            0 => "DELETE FROM c WHERE rowid % 2",
            _ => "INSERT INTO c VALUES(randomblob(3000))",
        };
        connection.execute_batch(&format!(
            "BEGIN; UPDATE a SET n = n + {amount} WHERE id > {id}; UPDATE b SET n = n - {amount} WHERE id > {id}; {fate}; COMMIT"
        ))?;
        let mut image = shared.disk.read(Path::new(SOURCE))?;
        image[18..20].fill(2);
        let file = encode(&before, &image, page_size, txid)?;
        shared.states.borrow_mut().push((image.clone(), file));
        before = image;
    }
    Ok(())
}

/// The file that leads from one state to the next.
fn encode(before: &[u8], image: &[u8], page_size: u32, txid: u64) -> Result<Vec<u8>, String> {
    let size = PageSize::new(page_size).ok_or("page size")?;
    let commit = (image.len() / size.bytes()) as u32;
    let header = Header::new(size, commit, Txid::new(txid), Txid::new(txid), 0);
    let mut encoder = Encoder::new(Vec::new(), header).map_err(|e| e.to_string())?;
    let mut old = before.chunks(size.bytes());
    for (page, number) in image.chunks(size.bytes()).zip(1..) {
        if old.next() != Some(page) {
            let number = PageNo::new(number).ok_or("page")?;
            encoder
                .write_page(number, page)
                .map_err(|e| e.to_string())?;
        }
    }
    encoder
        .finish(0)
        .map(|(bytes, _)| bytes)
        .map_err(|e| e.to_string())
}

/// Puts what leads to `txid` into the replica, now and then as one file for several.
fn publish(shared: &Shared, replica: &Memory, txid: u64) {
    let states = shared.states.borrow();
    let put = |level, name, bytes: Vec<u8>| {
        let written = replica.write(level, name, Source::Bytes(bytes.into()), UnixMillis(0));
        shared.note("replica", sched::block_on(written).map(drop));
    };
    let single = |t: u64| FileName::single(Txid::new(t));
    put(Level::L0, single(txid), states[txid as usize - 1].1.clone());
    if !txid.is_multiple_of(4) {
        return;
    }
    let first = if sched::chance(300) { 1 } else { txid - 3 };
    let inputs =
        (first..=txid).filter_map(|t| ltx::Decoder::new(&states[t as usize - 1].1[..]).ok());
    let Some((bytes, ..)) = shared.note("merge", ltx::merge(inputs.collect(), Vec::new())) else {
        return;
    };
    let level = Level::new(if first == 1 { 9 } else { 1 }).unwrap_or(Level::L0);
    put(
        level,
        FileName::new(Txid::new(first), Txid::new(txid)),
        bytes,
    );
    let gone: Vec<_> = (first..txid).map(|t| (Level::L0, single(t))).collect();
    shared.note("delete", sched::block_on(replica.delete(&gone)));
}

fn follower(shared: &Shared, env: &Env, replica: SharedReplica, stop: &AtomicBool) {
    let request = follow::Request {
        output: PathBuf::from(COPY),
        interval: INTERVAL,
        parallelism: 1,
        integrity_check: IntegrityCheck::None,
        vfs: Some(vfs::NAME.to_owned()),
    };
    let clock = Arc::clone(&env.clock);
    let stopped = async {
        while !stop.load(Ordering::Relaxed) {
            clock.sleep_async(INTERVAL).await;
        }
    };
    let ended = sched::block_on(follow::run(&request, replica, env, &|_| {}, stopped));
    if let Some(ended) = shared.note("follower", ended) {
        shared.check(matches!(ended, Ended::Following(_)), || {
            format!("{ended:?}")
        });
    }
}

/// Reads until it is killed.
fn reader(shared: &Shared) {
    while !sched::is_dead() {
        if shared.disk.read(Path::new(COPY)).is_err() {
            sched::sleep(MILLISECOND);
            continue;
        }
        let read = || {
            let connection = open(COPY)?;
            for _ in 0..sched::below(8) {
                let sums = connection.query_row(SUMS, [], |r| r.get::<_, i64>(0))?;
                shared.check(sums == 0, || format!("a reader found a mix: {sums}"));
                shared.outcome.borrow_mut().reads += 1;
                sched::sleep(sched::below(3 * MILLISECOND));
            }
            Ok(())
        };
        match read() {
            Err(rusqlite::Error::SqliteFailure(e, _)) if e.code == ErrorCode::DatabaseBusy => {}
            result => drop(shared.note("reader", result)),
        }
        sched::sleep(sched::below(4 * MILLISECOND));
    }
}

/// What lies there is one of the states, and not older than its position.
fn judge(shared: &Shared, newest: bool) {
    let path = Path::new(COPY);
    if shared.disk.read(path).is_err() {
        return;
    }
    let sums = open(COPY).and_then(|c| c.query_row(SUMS, [], |r| r.get::<_, i64>(0)));
    let Some(sums) = shared.note("judge", sums) else {
        return;
    };
    let mask = |image: &[u8]| {
        let mut image = image.to_vec();
        image[18..20].fill(0);
        image[24..28].fill(0);
        image
    };
    let Some(found) = shared.note("judge", shared.disk.read(path)) else {
        return;
    };
    let states = shared.states.borrow();
    // Neighbours may be the same but for what is masked.
    let state = states.iter().rposition(|(s, _)| mask(s) == mask(&found));
    let text = shared.disk.read(Path::new(POSITION)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let position = text.parse::<Txid>().map_or(u64::MAX, Txid::get);
    shared.check(sums == 0 && state.is_some(), || "not a state".to_owned());
    let at = state.map_or(0, |n| n as u64 + 1);
    shared.check(position <= at && (!newest || at == TXIDS as u64), || {
        format!("state {at}, position {text}")
    });
}

fn is_updating(shared: &Shared) -> bool {
    shared.disk.read(Path::new(JOURNAL)).is_ok()
}

/// Returns while an update is under way, if one comes: time stands still as long as somebody can run, so turns are counted.
fn amid_an_update(shared: &Shared) {
    for turn in 0..6000 {
        if is_updating(shared) {
            break;
        }
        if turn % 40 == 39 {
            sched::sleep(MILLISECOND / 5);
        } else {
            sched::yield_point(turn);
        }
    }
    let more = sched::below(60);
    (0..more).for_each(sched::yield_point);
}

/// A follower and a reader until one of them, or the machine, is made to end.
fn round(shared: &Shared, replica: &Arc<Memory>, number: u32, published: &mut u64) {
    let last = number + 1 == ROUNDS;
    let (following, reading) = (Process(100 + number), Process(200 + number));
    let stop = Arc::new(AtomicBool::new(false));
    let (own, store, flag) = (shared.clone(), Arc::clone(replica), Arc::clone(&stop));
    let fiber = sched::spawn(following, "follower", move || {
        let world = env(following, own.disk.clone());
        follower(&own, &world, store, &flag);
    });
    let own = shared.clone();
    sched::spawn(reading, "reader", move || reader(&own));
    let target = if last { TXIDS as u64 } else { *published + 4 };
    while *published < target.min(TXIDS as u64) {
        sched::sleep(sched::below(12 * MILLISECOND));
        *published += 1;
        publish(shared, replica, *published);
    }
    if last {
        let text = format!("{}\n", Txid::new(TXIDS as u64));
        let done = || {
            shared
                .disk
                .read(Path::new(POSITION))
                .is_ok_and(|p| p == text.as_bytes())
        };
        let mut patience = 20_000;
        while !done() && patience > 0 && shared.outcome.borrow().failure.is_none() {
            sched::sleep(MILLISECOND);
            patience -= 1;
        }
        shared.check(done(), || "the newest state is never reached".to_owned());
        stop.store(true, Ordering::Relaxed);
        sched::join(fiber);
        vfs::kill(reading);
        return;
    }
    if sched::chance(300) {
        sched::sleep(sched::below(6 * MILLISECOND));
    } else {
        amid_an_update(shared);
    }
    vfs::kill(following);
    shared.outcome.borrow_mut().kills += 1;
    let hot = is_updating(shared);
    shared.outcome.borrow_mut().hot += u32::from(hot);
    let cut = sched::chance(500);
    if !cut && sched::chance(500) {
        sched::sleep(sched::below(10 * MILLISECOND));
    }
    vfs::kill(reading);
    if cut {
        vfs::power_cut(&shared.disk, CutImage::Random);
    }
}

fn as_process(number: u32, shared: &Shared, work: impl FnOnce(&Shared) + 'static) {
    let shared = shared.clone();
    sched::join(sched::spawn(Process(number), "helper", move || {
        work(&shared);
    }));
}

/// Runs one episode; everything follows from the seed.
pub fn episode(seed: u64) -> Outcome {
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let shared = Shared {
        disk: SimDisk::new(),
        outcome: Rc::clone(&outcome),
        states: Rc::default(),
    };
    let report = sched::run(Config::new(seed), move || {
        shared.note("stage", shared.disk.stage_dir(Path::new("/d")));
        vfs::install(shared.disk.clone(), None);
        as_process(10, &shared, |shared| {
            shared.note("make", make(shared).map_err(|e| e.to_string()));
        });
        let replica = Arc::new(Memory::new(env(Process(0), shared.disk.clone()).disk));
        let mut published = 1;
        publish(&shared, &replica, 1);
        for number in 0..ROUNDS {
            round(&shared, &replica, number, &mut published);
            if number + 1 == ROUNDS || sched::chance(500) {
                let newest = number + 1 == ROUNDS;
                as_process(20 + number, &shared, move |shared| judge(shared, newest));
            }
        }
    });
    vfs::uninstall();
    let mut outcome = outcome.borrow().clone();
    for text in [report.panic, report.deadlock].into_iter().flatten() {
        outcome.failure.get_or_insert(text);
    }
    if report.steps_exceeded {
        outcome.failure.get_or_insert("too many steps".to_owned());
    }
    outcome.trace_hash = report.trace_hash;
    outcome
}
