//! What the engine makes of a replica by itself: compaction, snapshots, retention, and what it merges before it can upload it.

use std::time::Duration;

use litestream::Policy;
use litestream_replica::Level;

use super::super::Scene;
use super::super::stage::{Played, Stage};
use super::{CHANGE, ROW, ROWS, replicated};
use crate::engine::Ask;
use crate::operator::SECOND;
use crate::plan::Backend;

pub static SCENES: &[Scene] = &[
    Scene {
        name: "compaction",
        snapshots: true,
        policy: levels,
        setup: replicated,
        act: |stage| {
            commits(stage, 3)?;
            let compacted = |stage: &Stage| files(stage, 2) > 0;
            stage.until("compaction", compacted)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "compaction-in-a-folder",
        snapshots: true,
        backend: Backend::Folder,
        policy: levels,
        setup: replicated,
        act: |stage| {
            commits(stage, 3)?;
            stage.until("compaction", |stage| files(stage, 2) > 0)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "snapshots-by-the-clock",
        snapshots: true,
        policy: snapshots,
        setup: replicated,
        act: |stage| {
            commits(stage, 1)?;
            stage.until("a snapshot", |stage| files(stage, 9) > 0)?;
            commits(stage, 1)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "levels-snapshots-and-retention",
        snapshots: true,
        backend: Backend::Object,
        policy: everything,
        setup: |stage| {
            replicated(stage)?;
            commits(stage, 2)
        },
        act: |stage| {
            commits(stage, 2)?;
            stage.pass(4 * SECOND)?;
            commits(stage, 1)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "retention-in-a-folder",
        snapshots: true,
        backend: Backend::Folder,
        policy: everything,
        setup: |stage| {
            replicated(stage)?;
            commits(stage, 2)
        },
        act: |stage| {
            commits(stage, 2)?;
            stage.pass(4 * SECOND)?;
            commits(stage, 1)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "merged-before-the-upload",
        snapshots: true,
        backend: Backend::Object,
        policy: levels,
        setup: |stage| {
            replicated(stage)?;
            stage.world.storage.outage(Duration::from_secs(8));
            for _ in 0..4 {
                stage.sql(ROW)?;
                stage.pass(SECOND)?;
            }
            Ok(())
        },
        act: |stage| {
            stage.pass(2 * SECOND)?;
            stage.sql(CHANGE)?;
            stage.ask(Ask::Sync)?;
            stage.pass(2 * SECOND)
        },
        ..Scene::USUAL
    },
];

fn levels() -> Policy {
    let level = |n| Level::new(n).unwrap_or(Level::L0);
    Policy {
        levels: vec![
            (level(1), Duration::from_millis(500)),
            (level(2), Duration::from_secs(1)),
        ],
        l0_retention: Duration::from_secs(1),
        ..Policy::uploads_only()
    }
}

fn snapshots() -> Policy {
    Policy {
        snapshot_interval: Duration::from_secs(1),
        ..Policy::uploads_only()
    }
}

fn everything() -> Policy {
    Policy {
        snapshot_interval: Duration::from_secs(1),
        snapshot_retention: Duration::from_secs(2),
        deletes: true,
        ..levels()
    }
}

/// So many, each in a file of its own.
fn commits(stage: &mut Stage, count: u32) -> Played {
    for number in 0..count {
        stage.sql([ROWS, ROW, CHANGE][number as usize % 3])?;
        stage.ask(Ask::Sync)?;
    }
    Ok(())
}

/// So many files lie at a level of the replica.
fn files(stage: &Stage, level: u8) -> usize {
    let stored = stage.world.stored();
    let there = stored.keys().filter(|(at, ..)| at.get() == level);
    there.count()
}
