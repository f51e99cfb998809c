//! What goes wrong only in a narrow moment: a death while a commit is published, a frame that a power failure took, an fsync that
//! failed, a file lost while it is on its way, others who write and checkpoint just then.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rusqlite::Connection;

use super::super::Scene;
use super::super::app::{all, open};
use super::super::stage::{Played, Stage};
use super::{
    CHANGE, MANY_ROWS, ROW, ROWS, another_checkpoint, checkpointed, checkpoints, ledger,
    not_played, replicated, settle, staged,
};
use crate::disk::{Class, CutImage, Fault, Faults, Op, Rule, errno};
use crate::engine::Ask;
use crate::operator::{SECOND, base_faults};
use crate::sched::{self, Nanos};
use crate::vfs::{self, CHECKPOINT_LOCK, READ_LOCK};
use crate::world::{DATABASE, STATE, World};

/// One page of another table.
const OTHER: &str = "UPDATE other SET body = randomblob(200)";
/// One page of `t`.
const ONE: &str = "UPDATE t SET body = randomblob(200) WHERE id = 1";

/// One page of `t` in the second slice of a ledger.
const LAST: &str = "UPDATE t SET body = randomblob(700) WHERE id = 60";
/// What is staged takes so long to be durable, so that the engine wants the guard back when the gate must open (after 30 ms).
const STAGED: Nanos = 12_000_000;
/// So long another checkpoint takes, so that it ends after that and before the pin is moved (10 ms later).
const FOREIGN: Nanos = 22_000_000;

pub static SCENES: &[Scene] = &[
    Scene {
        name: "torn-index",
        setup: replicated,
        act: |stage| {
            stage.sql(ROW)?;
            let torn = vfs::tear_index(&stage.world.disk, Path::new(DATABASE));
            if !torn && stage.point.is_none() {
                not_played(stage, "there is no index");
            }
            stage.sql(CHANGE)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "start-after-a-cut-that-took-a-frame",
        setup: frame_lost,
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
    Scene {
        name: "checkpoint-after-a-failed-fsync",
        checkpoint_pages: 1,
        setup: |stage| {
            checkpointed(stage)?;
            // What is staged can be made durable as little as written again or removed.
            stage
                .world
                .disk
                .set_faults(failing(&[Op::Sync, Op::Remove]));
            stage.sql(ROW)?;
            stage.pass(SECOND / 2)
        },
        act: |stage| {
            let before = checkpoints(stage);
            stage.world.disk.set_faults(base_faults());
            another_checkpoint(stage, before)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "lost-on-its-way",
        alone: true,
        snapshots: true,
        checkpoint_interval: Duration::from_secs(3),
        setup: checkpointed,
        act: lost_on_its_way,
        ..Scene::USUAL
    },
    Scene {
        name: "passed-over-while-the-ledger-is-built",
        calm: true,
        checkpoint_pages: 1,
        ledger_slice_bytes: 48 << 10,
        setup: |stage| {
            stage.sql(MANY_ROWS)?;
            replicated(stage)?;
            stage.close_engine()?;
            if stage.world.disk.remove(&ledger()).is_err() {
                not_played(stage, "there is no ledger");
            }
            Ok(())
        },
        act: |stage| {
            stage.start_engine();
            let world = stage.world.clone();
            stage.app_begins(move |conn| pass_over(conn, &world));
            stage.wait_app()?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "checkpoint-that-lets-go",
        calm: true,
        checkpoint_pages: 4,
        setup: checkpointed,
        act: |stage| {
            let world = stage.world.clone();
            stage.app_begins(move |conn| beside_the_gate(conn, &world));
            stage.wait_app()?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
];

/// These calls on files of the engine fail.
fn failing(ops: &[Op]) -> Faults {
    let rules = ops.iter();
    always(rules.map(|op| (Class::Ours, *op, Fault::Errno(errno::EIO))))
}

/// Every call of these kinds ends like that.
fn always(rules: impl IntoIterator<Item = (Class, Op, Fault)>) -> Faults {
    let mut faults = base_faults();
    let rules = rules.into_iter().map(|(class, op, fault)| Rule {
        class: Some(class),
        op: Some(op),
        fault,
        per_million: 1_000_000,
    });
    faults.rules.extend(rules);
    faults
}

/// Four commits of one frame, all in the replica. Power fails, and the second of them is lost, though the third and fourth still
/// lie in the file. Before the engine comes, the WAL is restarted.
fn frame_lost(stage: &mut Stage) -> Played {
    let disk = stage.world.disk.clone();
    let wal = PathBuf::from(format!("{DATABASE}-wal"));
    // A longer generation, so that something older lies behind the next.
    stage.sql("CREATE TABLE other(body); INSERT INTO other VALUES (randomblob(200))")?;
    stage.app(|conn| {
        for _ in 0..12 {
            conn.execute_batch(ROW)?;
        }
        all(conn, "PRAGMA wal_checkpoint(PASSIVE)")
    })?;
    stage.ask(Ask::Sync)?;
    let older = disk.read(&wal).unwrap_or_default();
    for _ in 0..4 {
        stage.sql(OTHER)?;
    }
    stage.ask(Ask::Sync)?;
    stage.kill_engine();
    stage.kill_app();
    settle(&disk);
    let frame = 24 + stage.world.plan.page_size as usize;
    let second = 32 + frame..32 + 2 * frame;
    let lost = disk.corrupt(&wal, |bytes| {
        if let (Some(frame), Some(older)) = (bytes.get_mut(second.clone()), older.get(second)) {
            frame.copy_from_slice(older);
        }
    });
    if lost.is_err() {
        not_played(stage, "there is no WAL");
    }
    stage.power_cut(CutImage::NothingUnsynced);
    stage.app(|conn| all(conn, "PRAGMA wal_checkpoint(PASSIVE)"))?;
    stage.sql(ONE)
}

/// A checkpoint can't make a file durable that is on its way to the replica, and gives it up; then others commit.
fn lost_on_its_way(stage: &mut Stage) -> Played {
    let world = stage.world.clone();
    world.storage.delay(8 * SECOND);
    stage.sql(ROW)?;
    stage.until("an upload", |stage| stage.world.storage.pending() > 0)?;
    world.storage.delay(0);
    if let Some(newest) = staged(stage, 0).pop() {
        let path = Path::new(STATE).join("ltx/0").join(newest.to_string());
        world.disk.set_faults(failing(&[Op::Sync]));
        stage.until("the loss of what is staged", |stage| {
            stage.world.disk.metadata(&path).is_err()
        })?;
        world.disk.set_faults(base_faults());
    }
    stage.sql(CHANGE)?;
    stage.ask(Ask::Sync)?;
    stage.sql(ROW)?;
    stage.ask(Ask::Sync)
}

/// After the first slice of the ledger: a page is written, and again in the moment in which a checkpoint may copy what came before.
fn pass_over(conn: &Connection, world: &World) -> rusqlite::Result<()> {
    let until = sched::now() + 5 * SECOND;
    while world.disk.metadata(&ledger()).is_err() && sched::now() < until && !sched::is_dead() {
        sched::sleep(SECOND / 1000);
    }
    conn.execute_batch(LAST)?;
    // As long as somebody reads, the gate can't be shut, and it stays at that.
    let reader = open(DATABASE)?;
    reader.execute_batch("BEGIN; SELECT count(*) FROM t")?;
    if vfs::wait_for_unlock(CHECKPOINT_LOCK, SECOND) {
        conn.execute_batch(LAST)?;
    }
    sched::sleep(SECOND / 10);
    reader.execute_batch("ROLLBACK")
}

/// Somebody else checkpoints when the engine, with the gate shut, has opened the guard, until transactions have been let go; and once
/// more when one of them has committed.
fn beside_the_gate(conn: &Connection, world: &World) -> rusqlite::Result<()> {
    let shm = PathBuf::from(format!("{DATABASE}-shm"));
    let (told, over) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let writer = {
        let (world, shm) = (world.clone(), shm.clone());
        let (told, over) = (Rc::clone(&told), Rc::clone(&over));
        sched::spawn(sched::current_process(), "writer", move || {
            let result = write_when_let_go(&world, &shm, &told, &over);
            if let Err(error) = result
                && !sched::is_dead()
            {
                world.violation(format!("O7: the application failed: {error}"));
            }
        })
    };
    let result = checkpoint_beside(conn, world, &shm, &told);
    over.set(true);
    sched::join(writer);
    if !sched::is_dead() {
        world.disk.set_faults(base_faults());
    }
    result
}

fn checkpoint_beside(
    conn: &Connection,
    world: &World,
    shm: &Path,
    told: &Cell<bool>,
) -> rusqlite::Result<()> {
    let slow = (Class::Ours, Op::Sync, Fault::Slow(STAGED));
    // The uploader syncs, too: it may spoil one.
    for _ in 0..2 {
        world.disk.set_faults(always([slow]));
        conn.execute_batch(ROWS)?;
        for _ in 0..20 {
            if !vfs::wait_for_unlock(CHECKPOINT_LOCK, SECOND / 2) {
                break;
            }
            if !is_shut(world, shm) {
                // So that something is left for when it is.
                conn.execute_batch(ONE)?;
                continue;
            }
            told.set(true);
            let long = (Class::Wal, Op::Sync, Fault::Slow(FOREIGN));
            world.disk.set_faults(always([slow, long]));
            all(conn, "PRAGMA wal_checkpoint(PASSIVE)")?;
            world.disk.set_faults(always([slow]));
            all(conn, "PRAGMA wal_checkpoint(PASSIVE)")?;
            told.set(false);
            break;
        }
    }
    Ok(())
}

/// Whether no transaction can begin: every mark of the WAL index is taken.
fn is_shut(world: &World, shm: &Path) -> bool {
    (READ_LOCK + 1..READ_LOCK + 5).all(|slot| is_held(world, shm, slot))
}

fn is_held(world: &World, shm: &Path, slot: usize) -> bool {
    let slot = slot as u8;
    world.disk.is_locked(shm, slot..slot + 1)
}

/// One commit as soon as transactions may begin again, each time it is told.
fn write_when_let_go(
    world: &World,
    shm: &Path,
    told: &Cell<bool>,
    over: &Cell<bool>,
) -> rusqlite::Result<()> {
    let conn = open(DATABASE)?;
    while !over.get() && !sched::is_dead() {
        if told.get() && !is_held(world, shm, READ_LOCK + 1) {
            told.set(false);
            conn.execute_batch(ONE)?;
        }
        let pause = if told.get() { 10_000 } else { 1_000 };
        sched::sleep(SECOND / pause);
    }
    Ok(())
}
