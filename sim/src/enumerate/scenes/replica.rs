//! Outages, a replica in a folder, restores.

use std::path::Path;
use std::time::Duration;

use super::super::Scene;
use super::super::app::{all, open};
use super::super::ending::{OUTPUT, restore};
use super::super::stage::{Played, Stage};
use super::{CHANGE, ROW, ROWS, replicated, settle};
use crate::engine::Ask;
use crate::operator::SECOND;
use crate::plan::Backend;
use crate::vfs;
use crate::world::DATABASE;

pub static SCENES: &[Scene] = &[
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
