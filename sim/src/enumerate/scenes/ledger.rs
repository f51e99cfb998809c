//! Starts on a page ledger that does not belong to what else is there.

use std::path::Path;

use super::super::Scene;
use super::super::app::all;
use super::super::stage::Stage;
use super::{CHANGE, MANY_ROWS, ROW, ledger, not_played, replicated};
use crate::engine::Ask;
use crate::operator::SECOND;
use crate::world::DATABASE;

/// Two contents of the same size for the same row, so that its page is byte for byte as it was when it gets the first one again.
const ONES: &str =
    "UPDATE t SET body = CAST(replace(hex(zeroblob(125)), '0', '1') AS BLOB) WHERE id = 1";
const SEVENS: &str =
    "UPDATE t SET body = CAST(replace(hex(zeroblob(125)), '0', '7') AS BLOB) WHERE id = 1";

/// Where the entries of a ledger begin, and what one takes: see the engine's `ledger.rs`.
const ENTRIES_AT: usize = 4096;
const ENTRY_BYTES: usize = 16;

pub static SCENES: &[Scene] = &[
    Scene {
        name: "start-with-a-damaged-ledger",
        setup: |stage| {
            replicated(stage)?;
            stage.close_engine()?;
            damage(stage);
            Ok(())
        },
        act: |stage| {
            stage.sql(CHANGE)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
    Scene {
        name: "start-with-an-older-ledger",
        setup: |stage| {
            replicated(stage)?;
            stage.sql(ONES)?;
            stage.ask(Ask::Sync)?;
            let older = stage.world.disk.read(&ledger()).unwrap_or_default();
            stage.sql(SEVENS)?;
            stage.ask(Ask::Sync)?;
            // As if it had died before it wrote the newer one.
            stage.kill_engine();
            let put = stage.world.disk.corrupt(&ledger(), |bytes| *bytes = older);
            if put.is_err() {
                not_played(stage, "there is no ledger");
            }
            // The page is again as the older ledger says, and what came in between is not in the WAL any more.
            stage.sql(ONES)?;
            stage.app(|conn| all(conn, "PRAGMA wal_checkpoint(TRUNCATE)"))
        },
        act: |stage| stage.ask(Ask::Sync),
        ..Scene::USUAL
    },
    Scene {
        name: "start-behind-a-checkpoint",
        setup: |stage| {
            stage.sql(MANY_ROWS)?;
            stage.app(|conn| all(conn, "PRAGMA wal_checkpoint(TRUNCATE)"))?;
            // Up to the position the WAL holds few of the pages.
            stage.sql(ROW)?;
            stage.ask(Ask::Sync)?;
            stage.kill_engine();
            let _ = stage.world.disk.remove(&ledger());
            // In the database file, and nobody is left who knows.
            stage.sql(CHANGE)?;
            stage.app(|conn| all(conn, "PRAGMA wal_checkpoint(PASSIVE)"))?;
            stage.kill_app();
            // Who could not open the database for some time does not capture at once.
            let away = Path::new("/db/away.db");
            let moved = stage.world.disk.rename(Path::new(DATABASE), away);
            stage.start_engine();
            stage.pass(3 * SECOND)?;
            let back = stage.world.disk.rename(away, Path::new(DATABASE));
            let _ = stage.world.disk.sync_dir(Path::new("/db"));
            if moved.is_err() || back.is_err() {
                not_played(stage, "the database does not move");
            }
            Ok(())
        },
        act: |stage| {
            stage.pass(2 * SECOND)?;
            stage.ask(Ask::Sync)
        },
        ..Scene::USUAL
    },
];

/// The checksum of every page is wrong in the ledger, each in its own way, so that no few of them cancel out. Its head is as it was.
fn damage(stage: &Stage) {
    let damaged = stage.world.disk.corrupt(&ledger(), |bytes| {
        let entries = bytes.get_mut(ENTRIES_AT..).unwrap_or_default();
        for (entry, number) in entries.chunks_mut(ENTRY_BYTES).zip(1u32..) {
            let change = number.wrapping_mul(0x9e37_79b9).to_le_bytes();
            for (byte, change) in entry.iter_mut().zip(change) {
                *byte ^= change;
            }
        }
    });
    if damaged.is_err() {
        not_played(stage, "there is no ledger");
    }
}
