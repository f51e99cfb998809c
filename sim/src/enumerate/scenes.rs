//! The scenes: each a short piece of the engine's life.

mod checkpoint;
mod heal;
mod ledger;
mod narrow;
mod replica;
mod snapshots;
mod start;
mod sync;
mod upkeep;

use std::path::{Path, PathBuf};

use ltx::FileName;

use super::Scene;
use super::stage::{Played, Stage};
use crate::disk::{Kind, SimDisk};
use crate::engine::Ask;
use crate::oracle;
use crate::world::{DATABASE, STATE};

const ROW: &str = "INSERT INTO t(body) VALUES (randomblob(200))";
const CHANGE: &str = "UPDATE t SET body = randomblob(250) WHERE id % 5 = 2";
const ROWS: &str = "WITH RECURSIVE c(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM c WHERE n < 8)
    INSERT INTO t(body) SELECT randomblob(300) FROM c";
const MANY_ROWS: &str =
    "WITH RECURSIVE c(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM c WHERE n < 60)
    INSERT INTO t(body) SELECT randomblob(700) FROM c";

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Scene> {
    [
        sync::SCENES,
        checkpoint::SCENES,
        start::SCENES,
        ledger::SCENES,
        replica::SCENES,
        snapshots::SCENES,
        upkeep::SCENES,
        heal::SCENES,
        narrow::SCENES,
    ]
    .into_iter()
    .flatten()
}

/// Rows, an engine, and all of it in the replica.
fn replicated(stage: &mut Stage) -> Played {
    stage.sql(ROWS)?;
    stage.ask(Ask::Sync)
}

/// Rows in the replica, and everything is in the database file.
fn checkpointed(stage: &mut Stage) -> Played {
    replicated(stage)?;
    another_checkpoint(stage, 0)
}

/// How often the engine brought all of the WAL into the database file.
fn checkpoints(stage: &Stage) -> u64 {
    stage.status().counters.checkpoints_complete
}

/// Waits for a complete checkpoint beyond so many.
fn another_checkpoint(stage: &Stage, before: u64) -> Played {
    stage.until("a checkpoint", |stage| checkpoints(stage) > before)
}

/// What the scene is about can't happen.
fn not_played(stage: &Stage, why: &str) {
    stage
        .world
        .violation(format!("the scene is not played: {why}"));
}

/// So many files lie at a level of the replica.
fn files(stage: &Stage, level: u8) -> usize {
    let stored = stage.world.stored();
    let there = stored.keys().filter(|(at, ..)| at.get() == level);
    there.count()
}

/// The files that lie at a level of the state folder, by name.
fn staged(stage: &Stage, level: u8) -> Vec<FileName> {
    let folder = Path::new(STATE).join(format!("ltx/{level}"));
    let names = stage.world.disk.list(&folder).unwrap_or_default();
    let names = names.iter();
    names
        .filter_map(|(name, _)| name.to_str().and_then(FileName::parse))
        .collect()
}

/// The page ledger.
fn ledger() -> PathBuf {
    Path::new(STATE).join("ledger")
}

/// O5: what was staged is in the replica TXID by TXID, and no snapshot stands in for it, unless local files may have suffered.
fn whole(stage: &Stage) {
    let holes = oracle::holes(&stage.world);
    if stage.spares_files() && !holes.is_empty() {
        stage
            .world
            .violation(format!("O5: the replica has holes: {holes:?}"));
    }
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

/// Puts another file in the place of the closed database, as when a backup is copied back by hand.
fn replace(stage: &Stage, bytes: &[u8]) {
    let disk = &stage.world.disk;
    let other = Path::new("/db/other.db");
    if let Ok(file) = disk.create_new(other, 0o644)
        && file.write_at(bytes, 0).is_ok()
    {
        file.sync();
        // The stage has room and no faults yet.
        let _ = disk.rename(other, Path::new(DATABASE));
    }
    let _ = disk.sync_dir(Path::new("/db"));
    stage.world.history.look();
}
