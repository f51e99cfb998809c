//! One episode: a plan carried out from an empty disk to the last oracle.

use std::cell::RefCell;
use std::rc::Rc;

use crate::chain;
use crate::engine::{Ask, Engine};
use crate::log;
use crate::operator::{Operator, SECOND, base_faults};
use crate::oracle;
use crate::plan::{Backend, Feature, Plan};
use crate::replica::SimReplica;
use crate::sched::{self, Config, Report};
use crate::vfs;
use crate::witness::Witness;
use crate::world::World;

/// Within this time after the last fault everything must be in the replica (R16: three times the longest back-off).
const HEALED_MAX: sched::Nanos = 3 * 300 * SECOND;

/// Calls to the storage in an episode: several times what any takes.
const REQUESTS_MAX: u64 = 5_000;

/// How an episode went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the scheduler says.
    pub report: Report,
    /// Broken promises.
    pub violations: Vec<String>,
    /// Commits of the applications.
    pub commits: u64,
    /// States of the database.
    pub states: usize,
    /// Successful calls of `sync`.
    pub acks: usize,
    /// TXIDs that are in no file of the replica but snapshots.
    pub holes: Vec<(ltx::Txid, ltx::Txid)>,
    /// Calls to disk and VFS, and to the storage.
    pub calls: (u64, u64),
}

impl Outcome {
    /// Whether every promise was kept.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Runs a plan.
pub fn run(plan: &Plan) -> Outcome {
    vfs::register();
    log::keep();
    let outcome: Rc<RefCell<Outcome>> = Rc::default();
    let (result, plan) = (Rc::clone(&outcome), Rc::new(plan.clone()));
    let own_words = OwnWords::of(&plan);
    let config = Config {
        switch_per_mille: plan.switch_per_mille,
        steps_max: 4_000_000,
        ..Config::new(plan.seed)
    };
    let report = sched::run(config, move || stage(plan, &result));
    vfs::uninstall();
    let mut outcome = outcome.take();
    if let Some(panic) = &report.panic {
        outcome.violations.push(format!("panic: {panic}"));
    }
    if let Some(deadlock) = &report.deadlock {
        outcome.violations.push(format!("deadlock: {deadlock}"));
    }
    if report.steps_exceeded {
        outcome
            .violations
            .push("too many steps: something never ends".to_owned());
    }
    if report.leaked > 0 {
        outcome
            .violations
            .push(format!("{} fibers did not die", report.leaked));
    }
    if outcome.calls.1 > REQUESTS_MAX {
        outcome.violations.push(format!(
            "O11: {} calls to the storage: somebody tries again and again without a pause",
            outcome.calls.1
        ));
    }
    let said = log::said();
    outcome.violations.extend(own_words.judge(&said));
    outcome
        .violations
        .extend(own_words.complete(&said, &outcome.holes));
    outcome.report = report;
    outcome
}

/// What the engine must not say of itself.
struct OwnWords {
    /// Nothing but SQLite touches the files, no call fails, and one engine runs all the time.
    calm: bool,
    /// And the storage does not fail, and nothing is lost.
    steady: bool,
    /// Nothing that was staged can be lost, and the storage shows what it has: there is but one history.
    single: bool,
    /// Nothing that was staged can be lost, and nothing is deleted.
    whole: bool,
}

impl OwnWords {
    fn of(plan: &Plan) -> OwnWords {
        use Feature::{
            AppDiskFaults, DamagedReplica, DamagedState, DiskFull, EngineKill, EngineRestart,
            JournalSwitch, LoseState, OperatorRetention, OurDiskFaults, Outage, PowerCut, Replace,
            SecondDaemon, StorageFaults,
        };
        let none = |features: &[Feature]| !features.iter().any(|feature| plan.has(*feature));
        let calm = none(&[
            OurDiskFaults,
            AppDiskFaults,
            DiskFull,
            DamagedState,
            Replace,
            JournalSwitch,
            // Between its start and its first file an engine may meet a WAL that is all in the database already.
            EngineKill,
            EngineRestart,
            PowerCut,
            SecondDaemon,
        ]);
        // Where local files may take little, they are given up soon.
        let roomy = crate::engine::local_bytes_max(plan) > 1 << 20;
        let steady = calm && roomy && none(&[StorageFaults, Outage, LoseState, DamagedReplica]);
        let kept = roomy
            && none(&[
                OurDiskFaults,
                AppDiskFaults,
                DiskFull,
                DamagedState,
                Replace,
                JournalSwitch,
                PowerCut,
                LoseState,
                DamagedReplica,
            ]);
        let shown = matches!(plan.backend, Backend::Strict | Backend::Folder);
        let deletes = crate::engine::policy(plan).deletes || plan.has(OperatorRetention);
        OwnWords {
            calm,
            steady,
            single: kept && shown,
            whole: kept && !deletes,
        }
    }

    /// O5: what was staged is in the replica, TXID by TXID, unless the engine says that a snapshot stands in for something.
    fn complete(&self, said: &[String], holes: &[(ltx::Txid, ltx::Txid)]) -> Option<String> {
        let bridged = |text: &String| {
            ["do not reach back", "another history", "stands in for it"]
                .iter()
                .any(|words| text.contains(words))
        };
        if !self.whole || holes.is_empty() || said.iter().any(bridged) {
            return None;
        }
        Some(format!(
            "O5: the replica has holes that nobody speaks of: {holes:?}"
        ))
    }

    /// O13; O11: no full copy without a reason.
    fn judge(&self, said: &[String]) -> Vec<String> {
        let mut violations = Vec::new();
        violations.extend(oracle::undoubted(said).filter(|_| self.calm));
        if let Some(what) = said.iter().find(|text| text.contains("another history"))
            && self.single
        {
            violations.push(format!("O11: there is no other history: {what}"));
        }
        let full: Vec<_> = said
            .iter()
            .filter(|text| text.contains("full database copy"))
            .collect();
        if full.len() > 1 && self.steady {
            violations.push(format!("O11: {} full copies: {full:?}", full.len()));
        }
        if let Some(what) = said.iter().find(|text| text.contains("do not reach back"))
            && self.steady
        {
            violations.push(format!("O11: staged files are missing: {what}"));
        }
        violations
    }
}

fn stage(plan: Rc<Plan>, result: &RefCell<Outcome>) {
    let world = World::new(plan);
    world.disk.set_faults(base_faults());
    vfs::install(world.disk.clone(), Some(Rc::new(Witness::new(&world))));
    let mut operator = Operator::new(&world);
    operator.run();
    finish(&world, &mut operator);
    let mut outcome = result.borrow_mut();
    outcome.holes = oracle::holes(&world);
    outcome.violations = world.violations();
    outcome.commits = operator.seen.borrow().commits;
    outcome.states = world.history.len();
    outcome.acks = operator.acks.borrow().len();
    outcome.calls = (world.disk.calls(), requests(&world));
}

/// Calls to the storages that somebody must have a reason for. Verification lists and reads by the clock.
fn requests(world: &World) -> u64 {
    let of = |storage: &SimReplica| {
        if world.plan.has(Feature::Guarded) {
            let counts = storage.counts();
            counts.write + counts.delete
        } else {
            storage.calls()
        }
    };
    of(&world.storage) + world.second.as_ref().map_or(0, of)
}

/// The longest interval between two looks or uploads in any settings, and what an upload takes.
const SOON: sched::Nanos = 20 * SECOND;

/// All faults end; then everything has to come right by itself.
fn finish(world: &World, operator: &mut Operator) {
    world.note(|| "faults end".to_owned());
    world.storage.heal();
    if let Some(second) = &world.second {
        second.heal();
    }
    operator.last_words();
    operator.start_engine();
    small_commits(world, operator);
    let until = sched::now() + HEALED_MAX;
    // Where nothing had to be waited out.
    let calm = OwnWords::of(&world.plan).steady;
    let soon = if calm { sched::now() + SOON } else { until };
    if world.plan.rng(902, 0).chance(500)
        && !(comes_unasked(world, operator, soon) && comes_soon(world, operator))
    {
        return;
    }
    let mut last = String::from("no answer");
    loop {
        operator.start_engine();
        let Some(engine) = &operator.engine else {
            return;
        };
        match engine.ask(Ask::Sync, 60 * SECOND) {
            Some(Ok(_)) => break,
            Some(Err(error)) => last = error,
            None => {}
        }
        if sched::now() > until {
            world.violation(format!(
                "O9: no sync succeeds after all faults have ended: {last}"
            ));
            world.note(sched::who_waits);
            return;
        }
        sched::sleep(SECOND);
    }
    healed(world);
    let acks = operator.acks.borrow().clone();
    oracle::quiet(world, &acks);
    // A retention that nobody waits for any more has reasons of its own to use the storage.
    let until = sched::now() + HEALED_MAX;
    while operator.engine.as_ref().is_some_and(Engine::is_asked) {
        if sched::now() > until {
            world.violation("O9: a request never ends".to_owned());
            break;
        }
        sched::sleep(SECOND);
    }
    // A snapshot that one replica needed goes to the other, too, though no `sync` waits for it.
    while world.second.is_some() && oracle::snapshots_staged(world) && sched::now() < until {
        sched::sleep(SECOND);
    }
    idle(world);
    if let Some(engine) = operator.engine.take()
        && !engine.close(60 * SECOND)
    {
        world.violation("O9: the engine does not close".to_owned());
    }
    oracle::closed(world);
}

/// O9: what was damaged at rest is answered by itself: the newest state does not need it any more.
fn healed(world: &World) {
    let until = sched::now() + HEALED_MAX;
    while world.plan.has(Feature::DamagedReplica) && !oracle::is_newest_sound(world) {
        if sched::now() > until {
            world.violation("O9: what is damaged at rest is not healed".to_owned());
            world.note(sched::who_waits);
            return;
        }
        sched::sleep(SECOND);
    }
}

/// Commits of one frame, each perhaps in a WAL that was restarted, so that its length shows nothing.
fn small_commits(world: &World, operator: &mut Operator) {
    let mut rng = world.plan.rng(904, 0);
    for _ in 0..rng.pick(&[0, 0, 0, 0, 2, 4]) {
        sched::sleep(rng.pick(&[1, 3, 9]) * SECOND);
        operator.last_words();
    }
}

/// O9: where everything works again, a commit comes into the replica soon, and not only with the next checkpoint.
fn comes_soon(world: &World, operator: &mut Operator) -> bool {
    let mut rng = world.plan.rng(907, 0);
    let pauses = rng.pick(&[&[][..], &[], &[], &[0], &[3], &[70, 70]]);
    pauses.iter().all(|pause| {
        sched::sleep(pause * SECOND);
        operator.last_words();
        comes_unasked(world, operator, sched::now() + SOON)
    })
}

/// O9: what was committed comes into the replica although nobody calls `sync`.
fn comes_unasked(world: &World, operator: &mut Operator, until: sched::Nanos) -> bool {
    let mut why = String::new();
    while sched::now() < until {
        operator.start_engine();
        match chain::states(&world.sound()) {
            Ok(states) => {
                let last = states.last();
                if last.map(|(_, state)| *state) == world.history.last() {
                    return true;
                }
                why = format!("it ends at {:?}", last.map(|(txid, _)| txid));
            }
            Err(what) => why = what,
        }
        sched::sleep(2 * SECOND);
    }
    world.violation(format!(
        "O9: the newest state does not come into the replica by itself: {why}"
    ));
    world.note(sched::who_waits);
    false
}

/// Where upkeep has longer intervals, nobody waits until it has nothing left to do.
const SETTLED_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// O9: a snapshot that was staged comes into the replica, although nobody waits for it.
fn snapshots_come(world: &World) {
    let until = sched::now() + HEALED_MAX;
    while oracle::staged_snapshots(world) > 0 {
        if sched::now() > until {
            world.violation("O9: a staged snapshot does not come into the replica".to_owned());
            return;
        }
        sched::sleep(SECOND);
    }
}

/// O11: while nothing is committed nothing is stored, and the storage is left alone.
fn idle(world: &World) {
    let seconds = world.plan.rng(903, 0).pick(&[3, 3, 3, 3, 3, 3, 3, 130]);
    let policy = &world.policy;
    let timers = policy.levels.iter().map(|(_, interval)| *interval);
    let timers = timers.chain([
        policy.snapshot_interval,
        policy.snapshot_retention,
        policy.l0_retention,
    ]);
    let upkeep = timers.max().unwrap_or_default();
    if !policy.levels.is_empty() {
        // What is old is old later if the clock was set back.
        if upkeep > SETTLED_MAX || world.plan.has(Feature::ClockSteps) {
            return;
        }
        // What is left to compact and to delete, level after level.
        sched::sleep(200 * SECOND);
        oracle::copies(world);
    }
    snapshots_come(world);
    let files = || world.stored().into_keys().collect::<Vec<_>>();
    if world.plan.has(Feature::DamagedReplica) {
        // What damage hit last is answered, once.
        sched::sleep(60 * SECOND);
    }
    let (before, calls) = (files(), requests(world));
    sched::sleep(seconds * SECOND);
    let after = files();
    if after != before {
        let new: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
        world.violation(format!(
            "O11: nothing was committed for {seconds} s, but there is {new:?}"
        ));
    }
    let calls = requests(world) - calls;
    if calls > 0 {
        world.violation(format!(
            "O11: {calls} storage calls in {seconds} s without a commit"
        ));
    }
}
