//! The engine's checkpoints, and what comes after.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::Connection;

use super::super::Scene;
use super::super::app::open;
use super::super::stage::{Played, Stage};
use super::{CHANGE, ROW, ROWS, another_checkpoint, checkpointed, checkpoints};
use crate::disk::{Class, Fault, Op, Rule};
use crate::engine::Ask;
use crate::operator::{SECOND, base_faults};
use crate::sched;
use crate::world::DATABASE;

/// Commits of a busy writer, should nothing make it wait.
const BUSY_COMMITS_MAX: u32 = 60;

pub static SCENES: &[Scene] = &[
    Scene {
        name: "checkpoint",
        checkpoint_pages: 1,
        setup: checkpointed,
        act: |stage| {
            stage.sql(ROWS)?;
            let before = checkpoints(stage);
            another_checkpoint(stage, before)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "checkpoint-with-the-gate-shut",
        checkpoint_pages: 4,
        setup: slow_disk,
        act: |stage| busy(stage, false),
        ..Scene::USUAL
    },
    Scene {
        name: "checkpoint-with-a-barrier",
        checkpoint_pages: 1,
        setup: slow_disk,
        act: |stage| busy(stage, true),
        ..Scene::USUAL
    },
    Scene {
        name: "checkpoint-of-durable-commits",
        checkpoint_pages: 4,
        setup: |stage| {
            checkpointed(stage)?;
            stage.synchronous()
        },
        act: |stage| {
            stage.sql(ROW)?;
            stage.sql(CHANGE)?;
            stage.pass(3 * SECOND)?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "checkpoint-beside-a-reader",
        checkpoint_pages: 4,
        setup: checkpointed,
        act: |stage| {
            stage.app(|conn| {
                let reader = open(DATABASE)?;
                reader.execute_batch("BEGIN; SELECT count(*) FROM t")?;
                for sql in [ROWS, CHANGE] {
                    conn.execute_batch(sql)?;
                    sched::sleep(SECOND / 2);
                }
                reader.execute_batch("ROLLBACK")
            })?;
            stage.pass(6 * SECOND)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "wal-reset",
        checkpoint_pages: 4,
        setup: checkpointed,
        act: |stage| {
            stage.sql(ROW)?;
            stage.sql(CHANGE)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
];

/// Commits again and again while the disk is so slow that each checkpoint leaves something, until transactions had to
/// wait. `readers`: and always a transaction that reads.
fn busy(stage: &mut Stage, readers: bool) -> Played {
    // So long is a moment without transactions waited for before writers are barred.
    let least = Duration::from_millis(if readers { 20 } else { 0 });
    let enough = Rc::new(Cell::new(false));
    let told = Rc::clone(&enough);
    stage.app_begins(move |conn| write_and_read(conn, readers, &told));
    stage.until("holding up transactions", |stage| {
        let counters = stage.status().counters;
        !counters.held_max.is_zero() && counters.checkpoint_time > least
    })?;
    enough.set(true);
    stage.wait_app()?;
    stage.ask(Ask::Sync)
}

fn slow_disk(stage: &mut Stage) -> Played {
    checkpointed(stage)?;
    let mut faults = base_faults();
    faults.rules.push(Rule {
        class: Some(Class::Database),
        op: Some(Op::Write),
        fault: Fault::Slow(SECOND / 500),
        per_million: 1_000_000,
    });
    stage.world.disk.set_faults(faults);
    Ok(())
}

fn write_and_read(conn: &Connection, readers: bool, enough: &Cell<bool>) -> rusqlite::Result<()> {
    let mut others = [open(DATABASE)?, open(DATABASE)?];
    for _ in 0..BUSY_COMMITS_MAX {
        conn.execute_batch(ROW)?;
        if readers {
            // The next one begins before the last one ends.
            others[0].execute_batch("BEGIN; SELECT id FROM t")?;
            if !others[1].is_autocommit() {
                others[1].execute_batch("ROLLBACK")?;
            }
            others.swap(0, 1);
        }
        if enough.get() {
            break;
        }
        sched::sleep(SECOND / 300);
    }
    Ok(())
}
