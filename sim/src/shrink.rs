//! Makes a failing plan smaller while it still fails.

use crate::episode;
use crate::plan::Plan;

/// Episodes tried at most.
const TRIES_MAX: u32 = 600;

/// The smallest failing plan found. Any broken promise counts as failing, as the first may hide behind another.
pub fn shrink(plan: &Plan) -> Plan {
    let mut tries = 0;
    let mut best = plan.clone();
    let fails = |candidate: &Plan, tries: &mut u32| {
        *tries += 1;
        *tries <= TRIES_MAX && !episode::run(candidate).is_good()
    };
    loop {
        let before = best.clone();
        for candidate in coarse(&best) {
            if fails(&candidate, &mut tries) {
                best = candidate;
            }
        }
        for feature in best.features.clone() {
            let mut candidate = best.clone();
            candidate.features.remove(&feature);
            if fails(&candidate, &mut tries) {
                best = candidate;
            }
        }
        best = skip_some(best, &mut |candidate| fails(candidate, &mut tries));
        if best == before || tries > TRIES_MAX {
            return best;
        }
    }
}

/// Fewer actors, fewer operations, fewer switches.
fn coarse(plan: &Plan) -> Vec<Plan> {
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut candidate = plan.clone();
        change(&mut candidate);
        candidate
    };
    let all = [
        with(&|p| p.writers = 1),
        with(&|p| p.writers = p.writers.min(2)),
        with(&|p| p.writes /= 2),
        with(&|p| p.writes -= p.writes.min(3)),
        with(&|p| p.operations /= 2),
        with(&|p| p.operations -= p.operations.min(1)),
        with(&|p| p.switch_per_mille = 5),
        with(&|p| p.switch_per_mille = 0),
        with(&|p| p.auto_vacuum = 0),
        with(&|p| p.page_size = 512),
        with(&|p| p.backend = crate::plan::Backend::Strict),
    ];
    all.into_iter()
        .filter(|candidate| candidate != plan)
        .collect()
}

/// Leaves out operations, many at once first.
fn skip_some(plan: Plan, fails: &mut dyn FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan;
    let mut all: Vec<(u32, u32)> = (0..best.operations).map(|n| (0, n)).collect();
    all.extend((1..=best.writers).flat_map(|actor| (0..best.writes).map(move |n| (actor, n))));
    all.retain(|operation| !best.skip.contains(operation));
    let mut size = all.len().div_ceil(2);
    while size > 0 {
        for part in all.chunks(size) {
            let mut candidate = best.clone();
            candidate.skip.extend(part);
            if candidate.skip != best.skip && fails(&candidate) {
                best = candidate;
            }
        }
        if size == 1 {
            break;
        }
        size = size.div_ceil(2);
        if size < all.len() / 16 {
            break;
        }
    }
    best
}
