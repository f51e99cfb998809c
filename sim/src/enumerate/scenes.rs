//! The scenes: each a short piece of the engine's life.

mod checkpoint;
mod heal;
mod replica;
mod start;
mod sync;
mod upkeep;

use std::path::Path;

use super::Scene;
use super::stage::{Played, Stage};
use crate::engine::Ask;
use crate::world::DATABASE;

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
        replica::SCENES,
        upkeep::SCENES,
        heal::SCENES,
    ]
    .into_iter()
    .flatten()
}

/// Rows, an engine, and all of it in the replica.
fn replicated(stage: &mut Stage) -> Played {
    stage.sql(ROWS)?;
    stage.ask(Ask::Sync)
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
