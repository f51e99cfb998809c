//! What must hold, checked against the history.

use std::collections::BTreeSet;
use std::path::Path;

use litestream::restore::Target;
use litestream_replica::Level;
use rusqlite::{Connection, OpenFlags};

use crate::chain;
use crate::damage;
use crate::engine::Ack;
use crate::history::{StateHash, state_of_file};
use crate::plan::{Backend, Feature};
use crate::restore;
use crate::sched::{self, Process};
use crate::world::{DATABASE, STATE, World};

/// O1, O2: a restored file is a state that was committed, and not older than what was promised.
pub fn restored(world: &World, who: &str, bytes: &[u8], acked: Option<usize>) {
    let state = state_of_file(bytes);
    let nodes = world.history.nodes();
    let Some(place) = nodes.iter().rposition(|node| node.state == state) else {
        world.violation(format!(
            "O1: {who} gave {} bytes that are no committed state",
            bytes.len()
        ));
        return;
    };
    if Some(place) < acked {
        world.violation(format!(
            "O2: {who} gave state {place}, but {acked:?} was promised"
        ));
    }
}

/// O3, O5, O6: what lies in the replica is a list of committed states in their order, and every promise is kept.
pub fn replica(world: &World, acks: &[Ack]) -> Vec<(ltx::Txid, StateHash)> {
    chain_of(world, &world.sound(), acks)
}

fn chain_of(world: &World, stored: &chain::Stored, acks: &[Ack]) -> Vec<(ltx::Txid, StateHash)> {
    let states = match chain::states(stored) {
        Ok(states) => states,
        Err(what) => {
            world.violation(format!("O5: {what}"));
            return Vec::new();
        }
    };
    let nodes: Vec<StateHash> = world
        .history
        .nodes()
        .iter()
        .map(|node| node.state)
        .collect();
    if let Err(what) = chain::place(&states, &nodes) {
        world.violation(format!("O3: {what}"));
        return states;
    }
    for ack in acks {
        // Its own number may lie in a hole that a snapshot bridged.
        let promised = states.iter().find(|(txid, _)| *txid >= ack.txid);
        let place = promised.and_then(|(_, state)| nodes.iter().rposition(|node| node == state));
        if place < Some(ack.node) {
            world.violation(format!(
                "O2: sync promised state {} at TXID {}, which is {place:?}",
                ack.node, ack.txid
            ));
        }
    }
    states
}

/// All is quiet and the last `sync` has returned: the replica gives exactly the source, and each of its TXIDs what it should.
pub fn quiet(world: &World, acks: &[Ack]) {
    let states = replica(world, acks);
    let env = crate::env::env(Process(0), world.disk.clone());
    let frozen = restore::frozen(&env, &world.stored());
    match restore::latest(&env, frozen.clone(), 1) {
        Ok(bytes) if Some(state_of_file(&bytes)) == world.history.last() => {}
        Ok(bytes) => {
            restored(world, "the last restore", &bytes, None);
            world.violation(
                "O1: after the last sync the newest restore is not the source".to_owned(),
            );
        }
        Err(error) => world.violation(format!(
            "O1: after the last sync there is no restore: {error}"
        )),
    }
    second(world, acks, &env);
    let frozen = restore::frozen(&env, &world.sound());
    // All of them stand in the chain already; the product's restore is asked for some.
    let mut rng = world.plan.rng(901, 0);
    let some: BTreeSet<usize> = (0..3)
        .map(|_| rng.below(states.len() as u64) as usize)
        .collect();
    for index in some {
        let Some((txid, state)) = states.get(index) else {
            continue;
        };
        match restore::target(&env, frozen.clone(), Target::Txid(*txid), 2 + index as u64) {
            Ok(bytes) if state_of_file(&bytes) == *state => {}
            Ok(_) => world.violation(format!(
                "O3: the restore of TXID {txid} is not what its files say"
            )),
            // Below a hole that a snapshot bridged a TXID may be out of reach.
            Err(error) => {
                let mut gone = error.contains("contiguous") || error.contains("no matching backup");
                // The snapshot that went with a change of the page size is older than what is promised.
                gone |= error.contains("its page size is") && world.policy.deletes;
                // What lies below the oldest snapshot that is kept is not promised any more.
                if !gone && !world.plan.has(Feature::OperatorRetention) {
                    world.violation(format!("O3: no restore of TXID {txid}: {error}"));
                }
            }
        }
    }
    window(world);
    damage::times(world, &states);
    damage::check(world);
    unharmed(world, acks);
}

/// Whether the newest state can be made of files that no damage has touched: they lead to it without a hole, and with the page size that
/// it has.
pub fn is_newest_sound(world: &World) -> bool {
    let sound = world.sound();
    let Some(page_size) = sound
        .iter()
        .max_by_key(|((.., max), _)| *max)
        .and_then(|(_, bytes)| chain::page_size(bytes))
    else {
        return false;
    };
    let mut reached = ltx::Txid::ZERO;
    while let Some(further) = sound
        .iter()
        .filter(|((_, min, max), _)| *min <= reached.next() && *max > reached)
        .filter(|(_, bytes)| chain::page_size(bytes) == Some(page_size))
        .map(|(key, _)| key)
        .map(|(.., max)| *max)
        .max()
    {
        reached = further;
    }
    let states = chain::states(&sound).unwrap_or_default();
    let newest = world.stored().into_keys().map(|(.., max)| max).max();
    Some(reached) == newest && states.last().map(|(_, state)| *state) == world.history.last()
}

/// The second replica is as good as the first.
fn second(world: &World, acks: &[Ack], env: &litestream_replica::env::Env) {
    let Some(stored) = world.stored_second() else {
        return;
    };
    chain_of(world, &stored, acks);
    match restore::latest(env, restore::frozen(env, &stored), 3) {
        Ok(bytes) if Some(state_of_file(&bytes)) == world.history.last() => {}
        Ok(_) => world.violation("O1: the second replica's newest state is not the source".into()),
        Err(error) => world.violation(format!("O1: the second replica has no restore: {error}")),
    }
}

/// O13: the second line of defence was not needed, where nothing but SQLite touches the database and no call fails.
pub fn undoubted(said: &[String]) -> Option<String> {
    let doubt = |text: &&String| text.contains("changed while it was read");
    let what = said.iter().find(doubt)?;
    Some(format!("O13: the WAL was not held: {what}"))
}

/// O5: whatever was deleted, the newest state from before each moment that is promised is still there.
fn window(world: &World) {
    let (policy, plan) = (&world.policy, &world.plan);
    if [
        Feature::OperatorRetention,
        Feature::ClockSteps,
        Feature::DamagedReplica,
    ]
    .iter()
    .any(|feature| plan.has(*feature))
    {
        return;
    }
    let (now, wall) = (sched::now(), sched::wall_millis());
    for (when, oldest) in world.storage.losses() {
        let then = wall - ((now - when) / 1_000_000) as i64;
        let promised = then - policy.snapshot_retention.as_millis() as i64;
        // Such a storage tells its own times, and not exactly.
        let vague = match plan.backend {
            Backend::Strict | Backend::Folder => 0,
            Backend::Object => 5_000,
            Backend::Eventual => 65_000,
        };
        if oldest > promised + vague {
            world.violation(format!(
                "O5: deletions left nothing older than {oldest}, {promised} is promised"
            ));
        }
    }
}

/// O7, O11: where nothing goes wrong, nothing is copied twice and nobody waits.
fn unharmed(world: &World, acks: &[Ack]) {
    let plan = &world.plan;
    if !plan.classes().is_empty() || acks.is_empty() {
        return;
    }
    let snapshots = world
        .stored()
        .keys()
        .filter(|(level, ..)| *level == Level::SNAPSHOT)
        .count();
    // Where local files may take little, they are given up soon, and a snapshot follows.
    let roomy = crate::engine::local_bytes_max(plan) > 1 << 20;
    let by_itself = !roomy || !world.policy.snapshot_interval.is_zero();
    if snapshots > 0 && !by_itself && !plan.has(Feature::OperatorSnapshot) {
        world.violation(format!("O11: {snapshots} snapshots that nobody asked for"));
    }
}

/// O8: everything is closed: nothing is left over, and the source is what it should be.
pub fn closed(world: &World) {
    let staged = world
        .disk
        .list(Path::new(&format!("{STATE}/ltx/0")))
        .unwrap_or_default();
    if staged.len() > 1 && world.policy.levels.is_empty() {
        world.violation(format!("O8: {} files are still staged", staged.len()));
    }
    // What can't be removed when the memory of verifications can't be written goes at the next start.
    let faulty = [Feature::OurDiskFaults, Feature::DiskFull];
    let faulty = faulty.iter().any(|feature| world.plan.has(*feature));
    for entry in world.disk.dump() {
        let name = entry.path.file_name().unwrap_or_default();
        let is_memory = name.to_string_lossy().starts_with("verified-");
        let is_temporary = entry.path.extension().is_some_and(|e| e == "tmp");
        if is_temporary && !(is_memory && faulty) && entry.path.starts_with(STATE) {
            world.violation(format!("O8: {} is left over", entry.path.display()));
        }
    }
    if !world.plan.has(Feature::AppDiskFaults)
        && let Err(what) = source(world)
    {
        world.violation(format!("O7: the source is not its own history: {what}"));
    }
}

/// TXIDs between the first and the last of the replica that are in none of its files but snapshots: first and last of each hole.
pub fn holes(world: &World) -> Vec<(ltx::Txid, ltx::Txid)> {
    let files: BTreeSet<(ltx::Txid, ltx::Txid)> = world
        .stored()
        .into_keys()
        .filter(|(level, ..)| *level != Level::SNAPSHOT)
        .map(|(_, min, max)| (min, max))
        .collect();
    let (mut holes, mut end) = (Vec::new(), None::<ltx::Txid>);
    for (min, max) in files {
        if let Some(end) = end.filter(|end| min > end.next()) {
            holes.push((end.next(), ltx::Txid::new(min.get() - 1)));
        }
        end = end.max(Some(max));
    }
    holes
}

/// Whether a snapshot waits for a replica.
pub fn snapshots_staged(world: &World) -> bool {
    staged_snapshots(world) > 0
}

/// How many snapshots lie in the state folder.
pub fn staged_snapshots(world: &World) -> usize {
    let files = world.disk.dump().into_iter();
    let snapshots = files.filter(|entry| {
        entry.path.starts_with(format!("{STATE}/ltx/9"))
            && entry.path.extension().is_some_and(|e| e == "ltx")
    });
    snapshots.count()
}

/// O8: local copies of what the replica has stay within the budget.
pub fn copies(world: &World) {
    let limit = crate::engine::local_bytes_max(&world.plan);
    let mut files: Vec<_> = world.disk.dump();
    files.retain(|entry| {
        entry.path.starts_with(STATE)
            && entry.path.extension().is_some_and(|e| e == "ltx")
            && !entry.path.starts_with(format!("{STATE}/ltx/9"))
    });
    files.sort_by(|a, b| a.path.file_name().cmp(&b.path.file_name()));
    // The newest stays, whatever its size.
    files.pop();
    let bytes: u64 = files.iter().map(|entry| entry.len).sum();
    if bytes > limit {
        world.violation(format!(
            "O8: {bytes} bytes of local copies, the limit is {limit}"
        ));
    }
}

/// The application's own view after everything is in the database file.
fn source(world: &World) -> Result<(), String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn =
        Connection::open_with_flags_and_vfs(DATABASE, flags, "sim").map_err(|e| e.to_string())?;
    let busy: i64 = conn
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(|e| e.to_string())?;
    if busy != 0 {
        return Err("it can't be checkpointed".to_owned());
    }
    let ok: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .map_err(|e| e.to_string())?;
    if ok != "ok" {
        return Err(ok);
    }
    let bytes = world
        .disk
        .read(Path::new(DATABASE))
        .map_err(|e| e.to_string())?;
    if Some(state_of_file(&bytes)) == world.history.last() {
        Ok(())
    } else {
        Err("its bytes are not the newest state".to_owned())
    }
}
