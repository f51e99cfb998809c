//! Snapshots, retention, outages, a replica in a folder, restores.

use std::path::Path;
use std::time::Duration;

use super::super::Scene;
use super::super::app::{all, open};
use super::super::ending::{OUTPUT, restore};
use super::super::stage::{Played, Stage};
use super::{CHANGE, ROW, ROWS, replicated};
use crate::disk::{Kind, SimDisk};
use crate::engine::Ask;
use crate::operator::SECOND;
use crate::plan::Backend;
use crate::sched;
use crate::vfs;
use crate::world::{DATABASE, FOLDER};

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
        name: "retention",
        snapshots: true,
        setup: |stage| {
            replicated(stage)?;
            several_snapshots(stage)
        },
        act: |stage| {
            stage.ask(Ask::Retain(Duration::from_mins(30)))?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "backlog",
        snapshots: true,
        backend: Backend::Object,
        setup: |stage| {
            replicated(stage)?;
            stage.world.storage.outage(Duration::from_secs(5));
            for _ in 0..4 {
                stage.sql(ROW)?;
                stage.pass(SECOND)?;
            }
            Ok(())
        },
        act: |stage| {
            stage.ask(Ask::Sync)?;
            stage.sql(CHANGE)?;
            stage.ask(Ask::Snapshot)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "folder",
        snapshots: true,
        backend: Backend::Folder,
        setup: |stage| stage.sql(ROWS),
        act: |stage| {
            stage.ask(Ask::Sync)?;
            stage.sql(ROW)?;
            stage.ask(Ask::Snapshot)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "folder-retention",
        snapshots: true,
        backend: Backend::Folder,
        setup: |stage| {
            replicated(stage)?;
            several_snapshots(stage)
        },
        act: |stage| {
            stage.ask(Ask::Retain(Duration::from_mins(30)))?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "retention-beside-what-is-no-snapshot",
        snapshots: true,
        backend: Backend::Folder,
        setup: |stage| {
            replicated(stage)?;
            several_snapshots(stage)?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)?;
            forge(stage);
            Ok(())
        },
        act: |stage| {
            stage.ask(Ask::Retain(Duration::from_mins(30)))?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "restore",
        setup: to_restore,
        act: |stage| restore(stage, false),
        ..Scene::USUAL
    },
    Scene {
        name: "restore-over-a-closed-one",
        setup: |stage| {
            to_restore(stage)?;
            old_database(stage, true)
        },
        act: |stage| restore(stage, true),
        ..Scene::USUAL
    },
    Scene {
        name: "restore-over-another",
        backend: Backend::Folder,
        setup: |stage| {
            to_restore(stage)?;
            old_database(stage, false)
        },
        act: |stage| restore(stage, true),
        ..Scene::USUAL
    },
];

/// A replica of a few files, and nobody who works with it.
fn to_restore(stage: &mut Stage) -> Played {
    replicated(stage)?;
    stage.ask(Ask::Snapshot)?;
    stage.sql(CHANGE)?;
    stage.ask(Ask::Sync)?;
    stage.sql(ROWS)?;
    stage.ask(Ask::Sync)?;
    stage.close_engine()?;
    stage.disconnect()?;
    let image = vfs::committed_image(&stage.world.disk, Path::new(DATABASE));
    stage.restoring.wanted = image.map(|image| image.bytes);
    settle(&stage.world.disk);
    Ok(())
}

/// Another database at the output; part of it in a WAL that a crash left, unless it was closed.
fn old_database(stage: &mut Stage, closed: bool) -> Played {
    stage.app(move |_| {
        let old = open(OUTPUT)?;
        old.pragma_update(None, "journal_mode", "wal")?;
        old.pragma_update(None, "wal_autocheckpoint", 0)?;
        old.execute_batch("CREATE TABLE old(a); INSERT INTO old VALUES (randomblob(3000))")?;
        all(&old, "PRAGMA wal_checkpoint(PASSIVE)")?;
        old.execute_batch("INSERT INTO old VALUES (randomblob(2000))")?;
        old.execute_batch("UPDATE old SET a = randomblob(1500)")?;
        if !closed {
            // As if the process died with the connection open.
            std::mem::forget(old);
        }
        Ok(())
    })?;
    stage.kill_app();
    let image = vfs::committed_image(&stage.world.disk, Path::new(OUTPUT));
    stage.restoring.old = image.map(|image| image.bytes);
    settle(&stage.world.disk);
    Ok(())
}

/// Makes everything durable.
fn settle(disk: &SimDisk) {
    for entry in disk.dump() {
        // All of it was there a moment ago.
        let _ = match entry.kind {
            Kind::File => disk.open(&entry.path).map(|file| file.sync()),
            Kind::Dir => disk.sync_dir(&entry.path),
        };
    }
    let _ = disk.sync_dir(Path::new("/"));
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
        stage
            .world
            .violation("the scene is not played: nothing to forge".to_owned());
    }
    settle(disk);
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
