//! Starts on what an earlier run, and others, left.

use std::path::Path;
use std::time::Duration;

use litestream::Policy;
use litestream_replica::Level;

use super::super::Scene;
use super::super::app::all;
use super::super::stage::{Played, Stage};
use super::{CHANGE, ROW, ROWS, not_played, replace, replicated, staged};
use crate::disk::{Kind, SimDisk};
use crate::engine::Ask;
use crate::operator::SECOND;
use crate::vfs;
use crate::world::{DATABASE, STATE};

pub static SCENES: &[Scene] = &[
    Scene {
        name: "start-before-the-database",
        setup: |_| Ok(()),
        act: |stage| {
            stage.start_engine();
            stage.pass(2 * SECOND)?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "start-with-a-hot-wal",
        setup: |stage| {
            replicated(stage)?;
            stage.kill_engine();
            stage.sql(ROW)?;
            stage.sql(CHANGE)?;
            stage.kill_app();
            Ok(())
        },
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
    Scene {
        name: "start-after-the-state-was-lost",
        setup: |stage| {
            replicated(stage)?;
            stage.close_engine()?;
            stage.sql(ROW)?;
            remove_tree(&stage.world.disk, Path::new(STATE));
            Ok(())
        },
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
    Scene {
        name: "start-after-the-wal-was-restarted",
        setup: |stage| {
            replicated(stage)?;
            stage.close_engine()?;
            stage.sql(ROWS)?;
            stage.app(|conn| all(conn, "PRAGMA wal_checkpoint(RESTART)"))?;
            stage.sql(CHANGE)
        },
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
    Scene {
        name: "start-with-an-older-database",
        setup: |stage| {
            replicated(stage)?;
            let old = vfs::committed_image(&stage.world.disk, Path::new(DATABASE));
            stage.sql(ROWS)?;
            stage.ask(Ask::Sync)?;
            stage.close_engine()?;
            stage.disconnect()?;
            replace(stage, &old.unwrap_or_default().bytes);
            Ok(())
        },
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
    Scene {
        name: "restart",
        setup: replicated,
        act: |stage| {
            stage.sql(ROW)?;
            stage.close_engine()?;
            stage.sql(CHANGE)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "page-size",
        snapshots: true,
        setup: |stage| {
            replicated(stage)?;
            stage.close_engine()?;
            let other = if stage.world.plan.page_size == 4096 {
                512
            } else {
                4096
            };
            stage.app(move |conn| {
                conn.pragma_update(None, "journal_mode", "delete")?;
                conn.pragma_update(None, "page_size", other)?;
                conn.execute_batch("VACUUM")?;
                conn.pragma_update(None, "journal_mode", "wal")
            })
        },
        act: |stage| {
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "bridge-over-a-lost-file",
        snapshots: true,
        setup: |stage| {
            unsent(stage)?;
            lose_or_damage(stage, |disk, path| drop(disk.remove(path)));
            Ok(())
        },
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
    Scene {
        name: "another-history-and-its-witness-lost",
        snapshots: true,
        setup: |stage| {
            replicated(stage)?;
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)?;
            stage.kill_engine();
            remove_tree(&stage.world.disk, Path::new(STATE));
            // The same numbers are given to other content, and one file more.
            stage.world.storage.outage(Duration::from_mins(1));
            if let Some(second) = &stage.world.second {
                second.outage(Duration::from_mins(1));
            }
            stage.start_engine();
            for sql in [ROWS, ROW, ROW, ROW] {
                stage.pass(7 * SECOND)?;
                stage.sql(sql)?;
            }
            stage.pass(SECOND)?;
            stage.kill_engine();
            lose_or_damage(stage, |disk, path| drop(disk.remove(path)));
            stage.pass(60 * SECOND)
        },
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
    Scene {
        name: "start-without-the-newest-after-a-merge",
        snapshots: true,
        policy: merging,
        setup: |stage| {
            replicated(stage)?;
            stage.pass(3 * SECOND)?;
            stage.world.storage.outage(Duration::from_mins(1));
            if let Some(second) = &stage.world.second {
                second.outage(Duration::from_mins(1));
            }
            for _ in 0..10 {
                stage.sql(ROW)?;
                stage.pass(3 * SECOND / 2)?;
                if all_but_newest_merged(stage) {
                    break;
                }
            }
            stage.until("a merge", all_but_newest_merged)?;
            stage.kill_engine();
            lose_newest(stage);
            stage.pass(60 * SECOND)
        },
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
    Scene {
        name: "bridge-over-a-damaged-file",
        snapshots: true,
        setup: |stage| {
            unsent(stage)?;
            lose_or_damage(stage, |disk, path| {
                let _ = disk.corrupt(path, |bytes| bytes.truncate(bytes.len() / 2));
            });
            Ok(())
        },
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
];

/// A few files that are staged and not in the replica, and no engine.
fn unsent(stage: &mut Stage) -> Played {
    replicated(stage)?;
    stage.world.storage.outage(Duration::from_mins(1));
    for _ in 0..3 {
        stage.sql(ROW)?;
        stage.pass(SECOND)?;
    }
    stage.kill_engine();
    stage.pass(60 * SECOND)
}

/// Does something bad to the second of the staged files.
fn lose_or_damage(stage: &mut Stage, bad: fn(&SimDisk, &Path)) {
    let folder = Path::new(STATE).join("ltx/0");
    let mut files = stage
        .world
        .disk
        .list(&folder)
        .unwrap_or_default()
        .into_iter();
    match files.nth(1) {
        Some((name, _)) => bad(&stage.world.disk, &folder.join(name)),
        None => not_played(stage, "nothing is staged"),
    }
}

/// What waits is merged after a second.
fn merging() -> Policy {
    Policy {
        levels: vec![(Level::L1, Duration::from_millis(500))],
        l0_retention: Duration::from_secs(1),
        ..Policy::uploads_only()
    }
}

/// Whether of level 0 only the newest file lies above what was merged.
fn all_but_newest_merged(stage: &Stage) -> bool {
    let Some(end) = staged(stage, 1).iter().map(|name| name.max).max() else {
        return false;
    };
    let files = staged(stage, 0).into_iter();
    files.filter(|name| name.max > end).count() == 1
}

/// The newest staged file is gone, for good.
fn lose_newest(stage: &Stage) {
    let folder = Path::new(STATE).join("ltx/0");
    let disk = &stage.world.disk;
    let newest = staged(stage, 0).pop();
    let removed = newest.is_some_and(|name| disk.remove(&folder.join(name.to_string())).is_ok());
    if !removed {
        not_played(stage, "nothing is staged");
    }
    let _ = disk.sync_dir(&folder);
}

fn remove_tree(disk: &SimDisk, path: &Path) {
    for (name, kind) in disk.list(path).unwrap_or_default() {
        let below = path.join(name);
        match kind {
            Kind::Dir => remove_tree(disk, &below),
            Kind::File => drop(disk.remove(&below)),
        }
    }
    let _ = disk.remove_dir(path);
}
