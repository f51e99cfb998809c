//! Damage at rest in a replica that the engine verifies in the background: whatever is flipped, cut or lost, the newest state can
//! be restored again by itself, and nothing that is sound is deleted.

use std::time::Duration;

use litestream::Policy;
use litestream_replica::Level;
use ltx::FileName;

use super::super::Scene;
use super::super::ending::healed;
use super::super::stage::{Played, Stage};
use super::{CHANGE, ROW, ROWS, not_played, replicated};
use crate::engine::Ask;
use crate::operator::SECOND;
use crate::plan::Backend;

/// Between two verifications.
const PERIOD: Duration = Duration::from_secs(2);

pub static SCENES: &[Scene] = &[
    Scene {
        name: "heal-a-flipped-file",
        setup: |stage| damaged(stage, 0, Which::Second, Some(FLIPPED)),
        ..GUARDED
    },
    Scene {
        name: "heal-the-newest-file-cut-short",
        setup: |stage| damaged(stage, 0, Which::Last, Some(CUT)),
        ..GUARDED
    },
    Scene {
        name: "heal-a-lost-file",
        setup: |stage| damaged(stage, 0, Which::Second, None),
        ..GUARDED
    },
    Scene {
        name: "heal-the-newest-file-lost",
        setup: |stage| damaged(stage, 0, Which::Last, None),
        ..GUARDED
    },
    Scene {
        name: "heal-the-first-file-lost",
        backend: Backend::Object,
        setup: |stage| damaged(stage, 0, Which::First, None),
        ..GUARDED
    },
    Scene {
        name: "heal-a-compacted-file-cut-short",
        policy: guarded_levels,
        setup: |stage| damaged(stage, 1, Which::First, Some(CUT)),
        ..GUARDED
    },
    Scene {
        name: "heal-a-flipped-snapshot",
        policy: guarded_snapshots,
        setup: |stage| damaged(stage, 9, Which::Last, Some(FLIPPED)),
        ..GUARDED
    },
    Scene {
        name: "heal-what-stands-in-lost",
        setup: |stage| {
            damaged(stage, 0, Which::First, Some(CUT))?;
            healed(stage)?;
            // So that the first damage has been told of once more.
            stage.pass(3 * SECOND)?;
            damage(stage, 9, Which::Last, None);
            Ok(())
        },
        ..GUARDED
    },
];

const GUARDED: Scene = Scene {
    snapshots: true,
    policy: guarded,
    act: |stage| {
        healed(stage)?;
        stage.sql(ROW)?;
        stage.ask(Ask::Sync)
    },
    ..Scene::USUAL
};

fn guarded() -> Policy {
    Policy {
        verify_interval: PERIOD,
        verify_age: Duration::ZERO,
        verify_bandwidth: 1 << 30,
        ..Policy::uploads_only()
    }
}

/// The same with a compacted level, and level 0 goes soon.
fn guarded_levels() -> Policy {
    Policy {
        levels: vec![(Level::L1, Duration::from_millis(500))],
        l0_retention: Duration::from_millis(500),
        deletes: true,
        ..guarded()
    }
}

/// The same, and what is older than the newest snapshot goes.
fn guarded_snapshots() -> Policy {
    Policy {
        snapshot_retention: Duration::ZERO,
        ..guarded_levels()
    }
}

/// One of the files of a level, by their numbers.
#[derive(Clone, Copy)]
enum Which {
    First,
    Second,
    Last,
}

const FLIPPED: fn(&mut Vec<u8>) = |bytes| {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
};

const CUT: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() - 20);

/// A replica of a few files, one of which is damaged.
fn damaged(stage: &mut Stage, level: u8, which: Which, change: Option<fn(&mut Vec<u8>)>) -> Played {
    replicated(stage)?;
    for sql in [ROW, ROWS, CHANGE] {
        stage.sql(sql)?;
        stage.ask(Ask::Sync)?;
    }
    match level {
        0 => {}
        1 => stage.pass(SECOND)?,
        // Nothing else leads to the newest state.
        _ => {
            stage.ask(Ask::Snapshot)?;
            stage.pass(SECOND)?;
            stage.ask(Ask::Retain(Duration::ZERO))?;
        }
    }
    damage(stage, level, which, change);
    Ok(())
}

fn damage(stage: &Stage, level: u8, which: Which, change: Option<fn(&mut Vec<u8>)>) {
    let stored = stage.world.stored();
    let files = stored.keys().filter(|(at, ..)| at.get() == level);
    let mut names = files.map(|&(at, min, max)| (at, FileName { min, max }));
    let found = match which {
        Which::First => names.next(),
        Which::Second => names.nth(1),
        Which::Last => names.last(),
    };
    match found {
        Some((level, name)) => stage.world.damage(level, name, change),
        None => not_played(stage, "no such file"),
    }
}
