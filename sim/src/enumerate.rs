//! Every call of a scene, one after the other: what if the process dies there, the power fails, or the call?
//!
//! A [`Scene`] is played once undisturbed, which counts its calls. Then it is played again for each [`Point`], up to which
//! it is the same, and everything has to come right afterwards. Promise: no chance but that of the scene's seed.

mod app;
pub mod command;
mod ending;
mod point;
mod scenes;
mod stage;
mod trouble;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use litestream::Policy;

use crate::operator::base_faults;
use crate::oracle;
use crate::plan::{Backend, Feature, Plan};
use crate::sched::{self, Config};
use crate::vfs;
use crate::witness::Witness;
use crate::world::World;
use point::Calls;
pub use point::{Kind, Point, points};
use stage::{Played, Stage};

/// A short play.
pub struct Scene {
    /// Its name.
    pub name: &'static str,
    /// Where the replica lies.
    pub backend: Backend,
    /// Page size of the database.
    pub page_size: u32,
    /// Chance of a switch at each call, in a thousand.
    pub switch_per_mille: u32,
    /// Pages in the WAL at which the engine checkpoints.
    pub checkpoint_pages: u32,
    /// Page content that the engine keeps in memory.
    pub capture_bytes_max: usize,
    /// Whether snapshots belong to it.
    pub snapshots: bool,
    /// There is no second replica, whatever the seed says.
    pub alone: bool,
    /// Undisturbed, nothing but SQLite touches the database and no call fails: the engine never has to doubt the WAL.
    pub calm: bool,
    /// A checkpoint at least this often; zero: never by time.
    pub checkpoint_interval: Duration,
    /// Bytes of the database that are read at a time while its page ledger is built.
    pub ledger_slice_bytes: u32,
    /// What the engine makes of the replica.
    pub policy: fn() -> Policy,
    /// What comes before.
    setup: fn(&mut Stage) -> Played,
    /// What is looked at.
    act: fn(&mut Stage) -> Played,
}

impl Scene {
    /// What most scenes are.
    const USUAL: Scene = Scene {
        name: "",
        backend: Backend::Strict,
        page_size: 1024,
        switch_per_mille: 0,
        checkpoint_pages: 1000,
        capture_bytes_max: 16 << 20,
        snapshots: false,
        alone: false,
        calm: false,
        checkpoint_interval: Duration::ZERO,
        ledger_slice_bytes: 32 << 20,
        policy: Policy::uploads_only,
        setup: |_| Ok(()),
        act: |_| Ok(()),
    };
}

/// How often and where.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Of all scenes.
    pub seed: u64,
    /// Page size instead of the scene's own.
    pub page_size: Option<u32>,
}

/// How a scene went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The calls that were made in it.
    pub calls: Calls,
    /// Broken promises.
    pub violations: Vec<String>,
    /// Identity of the episode.
    pub trace_hash: u64,
}

/// Plays a scene, undisturbed or with trouble at one point.
pub fn play(scene: &'static Scene, point: Option<Point>, options: Options) -> Outcome {
    vfs::register();
    crate::log::keep();
    let outcome: Rc<RefCell<Outcome>> = Rc::default();
    let result = Rc::clone(&outcome);
    let config = Config {
        switch_per_mille: scene.switch_per_mille,
        steps_max: 3_000_000,
        ..Config::new(options.seed)
    };
    let plan = plan(scene, point, options);
    let report = sched::run(config, move || {
        let mut world = World::with_policy(Rc::new(plan), (scene.policy)());
        if scene.alone {
            world.second = None;
        }
        world.disk.set_faults(base_faults());
        vfs::install(world.disk.clone(), Some(Rc::new(Witness::new(&world))));
        let mut stage = Stage::new(&world, scene, point);
        perform(&mut stage);
        let mut outcome = result.borrow_mut();
        outcome.calls = stage.calls.take().unwrap_or_default();
        outcome.violations = world.violations();
    });
    vfs::uninstall();
    let said = crate::log::said();
    let mut outcome = outcome.take();
    outcome.trace_hash = report.trace_hash;
    if scene.calm && point.is_none() {
        outcome.violations.extend(oracle::undoubted(&said));
    }
    let ends = [
        report.panic.map(|what| format!("panic: {what}")),
        report.deadlock.map(|what| format!("deadlock: {what}")),
        report
            .steps_exceeded
            .then(|| "too many steps: something never ends".to_owned()),
        (report.leaked > 0).then(|| format!("{} fibers did not die", report.leaked)),
    ];
    outcome.violations.extend(ends.into_iter().flatten());
    outcome
}

fn perform(stage: &mut Stage) {
    // Nothing stops before the act has begun.
    let _ = (stage.scene.setup)(stage);
    stage.begin();
    let played = (stage.scene.act)(stage);
    stage.end(played.is_err());
    ending::check(stage);
}

fn plan(scene: &Scene, point: Option<Point>, options: Options) -> Plan {
    // Who has to continue after another history than his own may need one.
    let forked =
        point.is_some_and(|point| matches!(point.kind, Kind::CutOffline(_)) || point.kind.traps());
    Plan {
        page_size: options.page_size.unwrap_or(scene.page_size),
        auto_vacuum: 2,
        switch_per_mille: scene.switch_per_mille,
        backend: scene.backend,
        features: (scene.snapshots || forked)
            .then_some(Feature::OperatorSnapshot)
            .into_iter()
            .collect(),
        skip: BTreeSet::new(),
        ..Plan::of_seed(options.seed)
    }
}
