//! What the engine makes of a replica by itself: compaction, snapshots, retention, and what it merges before it can upload it.

use std::time::Duration;

use litestream::Policy;
use litestream_replica::Level;
use litestream_replica::faulty::When;
use ltx::FileName;

use super::super::Scene;
use super::super::stage::{Played, Stage};
use super::{CHANGE, ROW, ROWS, files, not_played, replicated, whole};
use crate::engine::Ask;
use crate::operator::SECOND;
use crate::plan::Backend;
use crate::replica::Failure;

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
    Scene {
        name: "unanswered-upload",
        snapshots: true,
        backend: Backend::Object,
        policy: levels,
        setup: unanswered,
        act: |stage| {
            stage.ask(Ask::Sync)?;
            whole(stage);
            Ok(())
        },
        ..Scene::USUAL
    },
    Scene {
        name: "hole-that-is-filled-again",
        snapshots: true,
        policy: slow_levels,
        setup: |stage| {
            replicated(stage)?;
            stage.until("compaction", |stage| files(stage, 1) > 0)?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)?;
            stage.until("another one", |stage| files(stage, 1) > 1)?;
            // Of both replicas; the next one comes in more than a second.
            stage.pass(SECOND / 2)?;
            commits(stage, 3)?;
            stage.kill_engine();
            lose_uncompacted(stage);
            stage.pass(3 * SECOND)
        },
        act: |stage| {
            stage.start_engine();
            stage.pass(3 * SECOND)?;
            // Level 0 goes by whole files of level 1, up to the one that holds its newest.
            commits(stage, 1)?;
            stage.pass(4 * SECOND)?;
            if stage.point.is_none() && files(stage, 0) > 1 {
                stage
                    .world
                    .violation("O8: level 0 is not trimmed: level 1 passed over a file".to_owned());
            }
            Ok(())
        },
        ..Scene::USUAL
    },
];

/// A file arrives and nobody hears of it; then the storage is away, and what waits is merged.
fn unanswered(stage: &mut Stage) -> Played {
    replicated(stage)?;
    // Until all is compacted: the next call is that of the next file.
    stage.pass(3 * SECOND)?;
    let storage = &stage.world.storage;
    storage.fail_nth(storage.calls() + 1, Failure::Reset, When::After);
    storage.outage(Duration::from_secs(8));
    for _ in 0..6 {
        stage.sql(ROW)?;
        stage.pass(SECOND)?;
    }
    stage.until("an upload without an answer", |stage| files(stage, 0) == 2)
}

/// The first file that level 1 does not hold yet is gone from the storage. Here there is a copy of it.
fn lose_uncompacted(stage: &Stage) {
    let stored = stage.world.stored();
    let of_level_1 = stored.keys().filter(|key| key.0 == Level::L1);
    let end = of_level_1.map(|key| key.2).max();
    let next = stored
        .keys()
        .find(|key| key.0 == Level::L0 && Some(key.2) > end);
    let lost = next.is_some_and(|&(level, min, max)| {
        let name = FileName { min, max };
        stage.world.storage.lose(level, name)
    });
    if !lost {
        not_played(stage, "there is nothing to lose");
    }
}

fn slow_levels() -> Policy {
    Policy {
        levels: vec![(Level::L1, Duration::from_secs(2))],
        l0_retention: Duration::from_secs(1),
        deletes: true,
        ..Policy::uploads_only()
    }
}

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
