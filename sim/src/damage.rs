//! O14: damaged files in the replica. A restore gives what it should or an error that names the file, never anything else.

use bytes::Bytes;
use litestream::restore::Target;
use litestream_replica::Level;
use litestream_replica::env::UnixMillis;
use ltx::{FileName, Txid};

use crate::chain::Stored;
use crate::history::{StateHash, state_of_file};
use crate::plan::Feature;
use crate::restore;
use crate::rng::Rng;
use crate::sched::Process;
use crate::world::World;

const REPLACED: &str = "replaced by another file";
/// Tries in each episode.
const TRIES: u64 = 2;

/// Damages copies of the replica and restores from them.
pub fn check(world: &World) {
    let (stored, last) = (world.sound(), world.history.last());
    let mut rng = world.plan.rng(904, 0);
    for number in 0..TRIES {
        let mut copy = stored.clone();
        let Some((what, name)) = damage(&mut copy, &mut rng) else {
            return;
        };
        let env = crate::env::env(Process(0), world.disk.clone());
        let frozen = restore::frozen(&env, &copy);
        match restore::latest(&env, frozen, 100 + number) {
            Ok(bytes) if Some(state_of_file(&bytes)) == last => {}
            Ok(bytes) if what == "missing" => {
                crate::oracle::restored(world, "a restore with a file missing", &bytes, None);
            }
            Ok(_) => world.violation(format!(
                "O14: with {name} {what} the restore gave something else"
            )),
            // Which of two files that don't fit together is the wrong one can't be told.
            Err(error) if what == "missing" || what == REPLACED || names(&error, name) => {}
            // Nothing but the sizes is known when this is found, so of which of them is wrong only the range can be told.
            Err(error) if what == "cut short" && error.contains("on is cut short") => {}
            Err(error) => world.violation(format!(
                "O14: with {name} {what} the error does not name it: {error}"
            )),
        }
    }
}

/// Whether an error names a file, as one word or by both of its ends.
fn names(error: &str, name: FileName) -> bool {
    let both = error.contains(&name.min.to_string()) && error.contains(&name.max.to_string());
    // A wrong page size in the newest file's header shows as soon as the next one is opened.
    both || error.contains("that of the newest file")
}

/// Damages a file: how, and its name.
fn damage(stored: &mut Stored, rng: &mut Rng) -> Option<(&'static str, FileName)> {
    let keys: Vec<(Level, Txid, Txid)> = stored.keys().copied().collect();
    if keys.is_empty() {
        return None;
    }
    let key = rng.pick(&keys);
    let (min, max) = (key.1, key.2);
    let name = FileName { min, max };
    let mut bytes = stored.get(&key)?.to_vec();
    let what = match rng.below(5) {
        0 => {
            stored.remove(&key);
            return Some(("missing", name));
        }
        1 => {
            bytes.truncate(rng.below(bytes.len() as u64) as usize);
            "cut short"
        }
        2 => {
            let other = stored.get(&rng.pick(&keys))?.to_vec();
            if other == bytes {
                return None;
            }
            bytes = other;
            REPLACED
        }
        _ => {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
            "with a bit flipped"
        }
    };
    stored.insert(key, Bytes::from(bytes));
    Some((what, name))
}

/// O3 for times: a restore as of a time gives the newest transaction that is older, by the times in the files.
pub fn times(world: &World, states: &[(Txid, StateHash)]) {
    let stored = world.sound();
    let time = |bytes: &Bytes| ltx::Header::decode(bytes).map_or(0, |h| h.timestamp_ms);
    let level0: Vec<(Txid, i64)> = stored
        .iter()
        .filter(|((level, ..), _)| *level == Level::L0)
        .map(|((_, _, max), bytes)| (*max, time(bytes)))
        .collect();
    let whole = level0
        .iter()
        .map(|(txid, _)| txid.get())
        .eq(1..=states.len() as u64);
    let steady = level0.windows(2).all(|pair| pair[0].1 <= pair[1].1);
    let retained = world.plan.has(Feature::OperatorRetention);
    if !whole || !steady || retained || world.plan.has(Feature::ClockSteps) {
        return; // bridged by snapshots, or the clock was set back
    }
    let mut rng = world.plan.rng(905, 0);
    let asked = rng.pick(&level0).1 + 1;
    let expected = level0.iter().rposition(|(_, time)| *time < asked);
    let env = crate::env::env(Process(0), world.disk.clone());
    let frozen = restore::frozen(&env, &stored);
    let target = Target::Timestamp(UnixMillis(asked));
    match (restore::target(&env, frozen, target, 110), expected) {
        (Ok(bytes), Some(at)) if state_of_file(&bytes) == states[at].1 => {}
        (Ok(_), _) => world.violation(format!(
            "O3: a restore as of {asked} is not the newest transaction before it"
        )),
        // The snapshot that went with a change of the page size may be older than what is promised.
        (Err(error), _) if error.contains("its page size is") && world.policy.deletes => {}
        (Err(error), _) => world.violation(format!("O3: no restore as of {asked}: {error}")),
    }
}
