//! Databases that change while the engine runs.

use std::path::Path;

use super::super::Scene;
use super::super::app::all;
use super::{CHANGE, MANY_ROWS, ROW, ROWS, replace, replicated};
use crate::engine::Ask;
use crate::sched;
use crate::vfs;
use crate::world::DATABASE;

pub static SCENES: &[Scene] = &[
    Scene {
        name: "first-sync",
        setup: |stage| stage.sql(ROWS),
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
    Scene {
        name: "first-sync-of-a-journal-database",
        setup: |stage| {
            stage.sql(ROWS)?;
            stage.app(|conn| conn.pragma_update(None, "journal_mode", "delete"))?;
            stage.disconnect()
        },
        act: |stage| {
            stage.ask(Ask::Sync)?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "first-sync-of-a-busy-database",
        switch_per_mille: 100,
        setup: |stage| stage.sql(MANY_ROWS),
        act: |stage| {
            stage.start_engine();
            stage.app(|conn| {
                for _ in 0..12 {
                    conn.execute_batch(CHANGE)?;
                    sched::sleep(400_000);
                }
                Ok(())
            })?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "small-sync",
        setup: replicated,
        act: |stage| {
            stage.sql(CHANGE)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "grow",
        capture_bytes_max: 4096,
        setup: replicated,
        act: |stage| {
            stage.sql(MANY_ROWS)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "shrink",
        setup: |stage| {
            stage.sql(MANY_ROWS)?;
            replicated(stage)
        },
        act: |stage| {
            stage.sql("DELETE FROM t WHERE id > 10")?;
            stage.app(|conn| all(conn, "PRAGMA incremental_vacuum(20)"))?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "vacuum",
        setup: |stage| {
            stage.sql(MANY_ROWS)?;
            stage.sql("DELETE FROM t WHERE id > 10")?;
            replicated(stage)
        },
        act: |stage| {
            stage.sql("VACUUM")?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "checkpoint-by-the-application",
        setup: replicated,
        act: |stage| {
            stage.sql(ROW)?;
            stage.app(|conn| all(conn, "PRAGMA wal_checkpoint(TRUNCATE)"))?;
            stage.sql(CHANGE)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "replaced-while-the-engine-runs",
        setup: |stage| {
            replicated(stage)?;
            stage.disconnect()?;
            let old = vfs::committed_image(&stage.world.disk, Path::new(DATABASE));
            stage.sql(ROWS)?;
            stage.ask(Ask::Sync)?;
            stage.kill_app();
            for suffix in ["-wal", "-shm"] {
                let _ = stage
                    .world
                    .disk
                    .remove(Path::new(&format!("{DATABASE}{suffix}")));
            }
            replace(stage, &old.unwrap_or_default().bytes);
            Ok(())
        },
        act: |stage| {
            stage.ask(Ask::Sync)?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "close",
        setup: replicated,
        act: |stage| {
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)?;
            stage.close_engine()?;
            stage.disconnect()
        },
        ..Scene::USUAL
    },
];
