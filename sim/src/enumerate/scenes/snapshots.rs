//! Snapshots, and what retention leaves of them.

use std::path::Path;
use std::time::Duration;

use litestream::Policy;
use litestream_replica::Level;
use litestream_replica::faulty::When;
use ltx::{FileName, Txid};

use super::super::Scene;
use super::super::stage::{Played, Stage};
use super::{ROW, files, not_played, replicated, settle, whole};
use crate::chain::Stored;
use crate::disk::{Class, Fault, Op, Rule};
use crate::engine::Ask;
use crate::operator::{SECOND, base_faults};
use crate::plan::Backend;
use crate::replica::Failure;
use crate::sched;
use crate::world::FOLDER;

pub static SCENES: &[Scene] = &[
    Scene {
        name: "snapshot",
        snapshots: true,
        setup: replicated,
        act: |stage| {
            stage.sql(ROW)?;
            stage.ask(Ask::Snapshot)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "snapshot-for-two-replicas",
        snapshots: true,
        setup: replicated,
        act: |stage| {
            // Nothing else is to be uploaded, so this is the snapshot.
            if let Some(second) = &stage.world.second {
                second.fail_nth(second.calls() + 1, Failure::Timeout, When::Before);
            }
            stage.ask(Ask::Snapshot)?;
            have_a_snapshot(stage);
            Ok(())
        },
        ..Scene::USUAL
    },
    Scene {
        name: "snapshot-beside-a-backlog",
        snapshots: true,
        backend: Backend::Folder,
        setup: backlog_and_snapshot,
        act: |stage| {
            stage.until("a snapshot", has_snapshot)?;
            // What lies below it is there, or never comes.
            stage.kill_engine();
            stage.world.disk.set_faults(base_faults());
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)?;
            if stage.point.is_none() {
                whole(stage);
            }
            Ok(())
        },
        ..Scene::USUAL
    },
    Scene {
        name: "retention",
        setup: |stage| {
            replicated(stage)?;
            several_snapshots(stage)
        },
        ..RETAINED
    },
    Scene {
        name: "retention-of-compacted-files",
        policy: || Policy {
            snapshot_retention: Duration::from_mins(30),
            ..compacted()
        },
        setup: compacted_snapshots,
        ..RETAINED
    },
    Scene {
        name: "folder-retention",
        backend: Backend::Folder,
        setup: |stage| {
            replicated(stage)?;
            several_snapshots(stage)
        },
        ..RETAINED
    },
    Scene {
        name: "retention-beside-what-is-no-snapshot",
        backend: Backend::Folder,
        policy: compacted,
        setup: |stage| {
            compacted_snapshots(stage)?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)?;
            forge(stage);
            // What is kept begins after it.
            sched::step_wall(3_600_000);
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)
        },
        ..RETAINED
    },
];

const RETAINED: Scene = Scene {
    snapshots: true,
    act: |stage| {
        stage.ask(Ask::Retain(Duration::from_mins(30)))?;
        stage.sql(ROW)?;
        stage.ask(Ask::Sync)
    },
    ..Scene::USUAL
};

/// O10: a snapshot that was asked for is in all replicas when that is answered.
fn have_a_snapshot(stage: &Stage) {
    let has = |stored: &Stored| stored.keys().any(|(level, ..)| *level == Level::SNAPSHOT);
    let all = [Some(stage.world.stored()), stage.world.stored_second()];
    if stage.spares_files() && !all.iter().flatten().all(has) {
        stage
            .world
            .violation("O10: a snapshot was promised that not every replica has".to_owned());
    }
}

/// While a slow folder takes one file, four more are staged, and a snapshot of them.
fn backlog_and_snapshot(stage: &mut Stage) -> Played {
    replicated(stage)?;
    let mut faults = base_faults();
    faults.rules.push(Rule {
        class: Some(Class::Replica),
        op: Some(Op::Sync),
        fault: Fault::Slow(SECOND),
        per_million: 1_000_000,
    });
    stage.world.disk.set_faults(faults);
    for _ in 0..5 {
        stage.sql(ROW)?;
        // Longer than the interval between two files.
        stage.pass(SECOND / 8)?;
    }
    if let Some(engine) = &stage.engine {
        drop(engine.post(Ask::Snapshot));
    }
    Ok(())
}

/// Whether a snapshot lies in the folder; cheaper than looking at all of it.
fn has_snapshot(stage: &Stage) -> bool {
    let names = stage.world.disk.list(&Path::new(FOLDER).join("ltx/9"));
    let names = names.unwrap_or_default();
    let mut names = names.iter().filter_map(|(name, _)| name.to_str());
    names.any(|name| FileName::parse(name).is_some())
}

/// Level 0 goes once it is compacted, so that the oldest states hang on snapshots.
fn compacted() -> Policy {
    Policy {
        levels: vec![(Level::L1, Duration::from_millis(500))],
        l0_retention: Duration::from_secs(1),
        deletes: true,
        ..Policy::uploads_only()
    }
}

/// One snapshot an hour, and no file of level 0 any more from which all could be restored.
fn compacted_snapshots(stage: &mut Stage) -> Played {
    replicated(stage)?;
    // The first file of level 1 holds the first TXID only.
    stage.until("compaction", |stage| files(stage, 1) > 0)?;
    several_snapshots(stage)?;
    let first = (Level::L0, Txid::new(1), Txid::new(1));
    for _ in 0..30 {
        stage.pass(2 * SECOND)?;
        if !stage.world.stored().contains_key(&first) {
            return Ok(());
        }
    }
    not_played(stage, "level 0 is not trimmed");
    Ok(())
}

/// One an hour.
fn several_snapshots(stage: &mut Stage) -> Played {
    for _ in 0..3 {
        stage.sql(ROW)?;
        stage.ask(Ask::Snapshot)?;
        sched::step_wall(3_600_000);
    }
    Ok(())
}

/// The newest file of level 0 at level 9, too, where nothing should begin so late.
fn forge(stage: &Stage) {
    let disk = &stage.world.disk;
    let (from, to) = (
        Path::new(FOLDER).join("ltx/0"),
        Path::new(FOLDER).join("ltx/9"),
    );
    let newest = disk.list(&from).unwrap_or_default().pop();
    let written = newest.and_then(|(name, _)| {
        let bytes = disk.read(&from.join(&name)).ok()?;
        let file = disk.create_new(&to.join(&name), 0o644).ok()?;
        file.write_at(&bytes, 0).ok()
    });
    if written.is_none() {
        not_played(stage, "nothing to forge");
    }
    settle(disk);
}
