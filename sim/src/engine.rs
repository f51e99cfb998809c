//! The engine in a process of its own, and how the operator talks to it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use litestream::{Policy, Replicator, Settings, Status};
use litestream_replica::Level;
use ltx::Txid;

use crate::plan::{Feature, Plan};
use crate::sched::{self, FiberId, Nanos, Process};
use crate::vfs;
use crate::world::{DATABASE, World};

/// How often the operator looks for an answer.
const LOOK: Nanos = 3_000_000;

/// What the operator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Everything committed by now is to be in the replica.
    Sync,
    /// The same with a snapshot.
    Snapshot,
    /// What is older than this goes, as far as it is not needed.
    Retain(Duration),
    /// End in peace.
    Close,
}

/// What comes back some day.
pub type Answer = Rc<RefCell<Option<Result<Txid, String>>>>;

/// A promise of the engine: what was committed up to this state is in the replica.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// Number of the newest state when the call was made.
    pub node: usize,
    /// The TXID that the engine named.
    pub txid: Txid,
}

/// See the module.
pub struct Engine {
    world: World,
    /// Its process.
    pub process: Process,
    main: FiberId,
    asked: Rc<RefCell<VecDeque<(Ask, Answer)>>>,
    status: Rc<RefCell<Status>>,
    /// Requests under way, whether anybody still waits for an answer or not.
    open: Rc<Cell<u32>>,
}

impl Engine {
    /// Starts it with settings that the plan draws.
    pub fn start(world: &World, process: Process, acks: &Rc<RefCell<Vec<Ack>>>) -> Engine {
        Engine::start_with(world, process, acks, settings(world))
    }

    /// Starts it.
    pub fn start_with(
        world: &World,
        process: Process,
        acks: &Rc<RefCell<Vec<Ack>>>,
        settings: Settings,
    ) -> Engine {
        world.note(|| format!("engine {process:?} starts"));
        world.engine_starts(process);
        let asked: Rc<RefCell<VecDeque<(Ask, Answer)>>> = Rc::default();
        let status: Rc<RefCell<Status>> = Rc::default();
        let open: Rc<Cell<u32>> = Rc::default();
        let body = Body {
            world: world.clone(),
            process,
            settings,
            asked: Rc::clone(&asked),
            status: Rc::clone(&status),
            open: Rc::clone(&open),
            acks: Rc::clone(acks),
        };
        let main = sched::spawn(process, "engine", move || body.run());
        Engine {
            world: world.clone(),
            process,
            main,
            asked,
            status,
            open,
        }
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        sched::is_finished(self.main)
    }

    /// How it said it stood last.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Whether a request is under way.
    pub fn is_asked(&self) -> bool {
        self.open.get() > 0 || !self.asked.borrow().is_empty()
    }

    /// Lets it say soon how it stands.
    pub fn refresh(&self) {
        sched::unpark(self.main);
    }

    /// Asks, and does not wait.
    pub fn post(&self, ask: Ask) -> Answer {
        let answer: Answer = Rc::default();
        self.asked.borrow_mut().push_back((ask, Rc::clone(&answer)));
        sched::unpark(self.main);
        answer
    }

    /// Asks, and waits so long for the answer.
    pub fn ask(&self, ask: Ask, limit: Nanos) -> Option<Result<Txid, String>> {
        let answer = self.post(ask);
        let until = sched::now() + limit;
        while answer.borrow().is_none() && sched::now() < until && !self.ended() {
            sched::sleep(LOOK);
        }
        let answer = answer.borrow_mut().take();
        self.world
            .note(|| format!("engine {:?} {ask:?}: {answer:?}", self.process));
        answer
    }

    /// Ends it in peace, or kills it if that takes too long.
    pub fn close(self, limit: Nanos) -> bool {
        let closed = self.ask(Ask::Close, limit).is_some();
        vfs::kill(self.process);
        closed
    }

    /// Kills it.
    pub fn kill(self) {
        self.world
            .note(|| format!("engine {:?} killed", self.process));
        vfs::kill(self.process);
    }
}

struct Body {
    world: World,
    process: Process,
    settings: Settings,
    asked: Rc<RefCell<VecDeque<(Ask, Answer)>>>,
    status: Rc<RefCell<Status>>,
    open: Rc<Cell<u32>>,
    acks: Rc<RefCell<Vec<Ack>>>,
}

impl Body {
    fn run(self) {
        let env = crate::env::env(self.process, self.world.disk.clone());
        let replicas = self.world.replicas(&env);
        let replicator = match Replicator::start(self.settings.clone(), replicas, env) {
            Ok(replicator) => Rc::new(replicator),
            Err(error) => {
                self.world
                    .violation(format!("the engine does not start: {error}"));
                return;
            }
        };
        loop {
            let next = self.asked.borrow_mut().pop_front();
            *self.status.borrow_mut() = replicator.status();
            let Some((ask, answer)) = next else {
                sched::park(Some(sched::now() + 1_000_000_000));
                if sched::is_dead() {
                    return;
                }
                continue;
            };
            if ask == Ask::Close {
                sched::block_on(replicator.close());
                *answer.borrow_mut() = Some(Ok(Txid::ZERO));
                return;
            }
            let (world, acks) = (self.world.clone(), Rc::clone(&self.acks));
            let replicator = Rc::clone(&replicator);
            let open = Rc::clone(&self.open);
            open.update(|n| n + 1);
            sched::spawn(self.process, "ask", move || {
                let node = world.history.len().saturating_sub(1);
                let result = sched::block_on(async {
                    match ask {
                        Ask::Snapshot => replicator.snapshot().await.map(|info| info.name.max),
                        Ask::Retain(keep) => {
                            replicator.enforce_retention(keep).await.map(|_| Txid::ZERO)
                        }
                        Ask::Sync | Ask::Close => replicator.sync().await,
                    }
                });
                if let Ok(txid) = result
                    && !matches!(ask, Ask::Retain(_))
                    && !world.history.is_empty()
                {
                    acks.borrow_mut().push(Ack { node, txid });
                    check_honest(&world, &replicator.status(), txid);
                }
                *answer.borrow_mut() = Some(result.map_err(|e| e.to_string()));
                open.update(|n| n - 1);
            });
        }
    }
}

/// O10: what was just promised is in the storage.
fn check_honest(world: &World, status: &Status, txid: Txid) {
    let stored = world.stored();
    let highest = stored.keys().map(|(_, _, max)| *max).max();
    // What was there and is lost at rest was no lie.
    let highest = highest.max(world.damaged_up_to());
    if highest < Some(txid) {
        world.violation(format!(
            "O10: sync promised TXID {txid}, the replica ends at {highest:?}"
        ));
    }
    if status.replica_position > highest {
        world.violation(format!(
            "O10: status says {:?}, the replica ends at {highest:?}",
            status.replica_position
        ));
    }
}

/// What the replica is to hold: everything, or little, changing fast.
pub fn policy(plan: &Plan) -> Policy {
    let mut policy = upkeep(plan);
    if plan.has(Feature::Guarded) {
        let mut rng = plan.rng(913, 0);
        policy.verify_interval = Duration::from_millis(rng.pick(&[300, 2000, 10_000]));
        // Damage changes neither name nor size: where it may come, everything is read each time.
        let ages: &[u64] = if plan.has(Feature::DamagedReplica) {
            &[0]
        } else {
            &[0, 1, 3600]
        };
        policy.verify_age = Duration::from_secs(rng.pick(ages));
        policy.verify_bandwidth = rng.pick(&[100_000, 1 << 30]);
    }
    policy
}

fn upkeep(plan: &Plan) -> Policy {
    let mut rng = plan.rng(911, 0);
    if rng.below(4) == 0 {
        return Policy::uploads_only();
    }
    let levels = 1 + rng.below(4) as u8;
    let mut interval = rng.pick(&[50, 200, 1000]);
    let mut policy = Policy::uploads_only();
    for n in 1..=levels {
        let level = Level::new(n).expect("at most 8");
        policy.levels.push((level, Duration::from_millis(interval)));
        interval *= rng.pick(&[1, 2, 5]);
    }
    policy.snapshot_interval = Duration::from_millis(rng.pick(&[0, 300, 1000, 5000, 60_000]));
    policy.snapshot_retention = Duration::from_millis(rng.pick(&[0, 500, 2000, 10_000, 3_600_000]));
    policy.l0_retention = Duration::from_millis(rng.pick(&[0, 1, 200, 2000, 300_000]));
    policy.deletes = rng.below(4) != 0;
    policy
}

/// What local files may take.
pub fn local_bytes_max(plan: &Plan) -> u64 {
    let mut rng = plan.rng(910, 0);
    rng.pick(&[20_000, 200_000, 1 << 30, 1 << 30])
}

fn settings(world: &World) -> Settings {
    let mut rng = world.plan.rng(900, 0);
    let mut settings = Settings::for_database(DATABASE);
    settings.policy = Policy::clone(&world.policy);
    settings.local_bytes_max = local_bytes_max(&world.plan);
    settings.vfs = Some("sim".to_owned());
    settings.sync_interval = Duration::from_millis(rng.pick(&[10, 100, 1000, 1000, 5000]));
    settings.monitor_interval = Duration::from_millis(rng.pick(&[100, 1000, 1000]));
    settings.checkpoint_interval = Duration::from_secs(rng.pick(&[1, 5, 60]));
    settings.min_checkpoint_page_count = rng.pick(&[2, 5, 10, 30, 1000]);
    settings.capture_bytes_max = rng.pick(&[4096, 64 << 10, 16 << 20]);
    if world.plan.has(Feature::SlicedLedger) {
        settings.ledger_slice_bytes = world.plan.rng(914, 0).pick(&[1024, 4096, 16 << 10]);
    }
    settings.busy_timeout = Duration::from_millis(rng.pick(&[0, 100, 1000]));
    settings
}
