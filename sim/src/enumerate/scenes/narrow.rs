//! What goes wrong only in a narrow moment: a death while a commit is published, a frame that a power failure took, an fsync that
//! failed, a file lost while it is on its way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::Scene;
use super::super::app::all;
use super::super::stage::{Played, Stage};
use super::{
    CHANGE, ROW, another_checkpoint, checkpointed, checkpoints, not_played, replicated, settle,
    staged,
};
use crate::disk::{Class, CutImage, Fault, Faults, Op, Rule, errno};
use crate::engine::Ask;
use crate::operator::{SECOND, base_faults};
use crate::vfs;
use crate::world::{DATABASE, STATE};

/// One page of another table.
const OTHER: &str = "UPDATE other SET body = randomblob(200)";
/// One page of `t`.
const ONE: &str = "UPDATE t SET body = randomblob(200) WHERE id = 1";

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
];

/// These calls on files of the engine fail.
fn failing(ops: &[Op]) -> Faults {
    let mut faults = base_faults();
    faults.rules.extend(ops.iter().map(|op| Rule {
        class: Some(Class::Ours),
        op: Some(*op),
        fault: Fault::Errno(errno::EIO),
        per_million: 1_000_000,
    }));
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
