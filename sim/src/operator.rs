//! The operator: starts and stops everything, breaks things, restores in between.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use ltx::{FileName, Txid};
use rusqlite::{Connection, OpenFlags};

use crate::app::{App, Shared};
use crate::disk::Class as Files;
use crate::disk::errno;
use crate::disk::{CutImage, Fault, Faults, Op, Rule};
use crate::engine::{Ack, Ask, Engine};
use crate::oracle;
use crate::plan::{Backend, Feature};
use crate::restore;
use crate::rng::Rng;
use crate::sched::{self, FiberId, Nanos, Process};
use crate::vfs;
use crate::world::{DATABASE, STATE, World};

/// How old a snapshot is when it may go.
const KEEP: std::time::Duration = std::time::Duration::from_secs(2);
/// A second.
pub const SECOND: Nanos = 1_000_000_000;

/// See the module.
pub struct Operator {
    world: World,
    apps: Vec<App>,
    running: Vec<(Process, FiberId)>,
    /// The engine, while one runs.
    pub engine: Option<Engine>,
    /// Its promises.
    pub acks: Rc<RefCell<Vec<Ack>>>,
    /// What applications saw.
    pub seen: Rc<RefCell<Shared>>,
    processes: u32,
}

impl Operator {
    /// With everything started.
    pub fn new(world: &World) -> Operator {
        let seen: Rc<RefCell<Shared>> = Rc::default();
        let apps = (1..=world.plan.writers)
            .map(|actor| App::new(world, actor, &seen))
            .collect();
        let mut operator = Operator {
            world: world.clone(),
            apps,
            running: Vec::new(),
            engine: None,
            acks: Rc::default(),
            seen,
            processes: 0,
        };
        operator.start_apps();
        operator.start_engine();
        operator
    }

    /// A number that no process had.
    pub fn process(&mut self) -> Process {
        self.processes += 1;
        Process(self.processes)
    }

    /// Starts the engine if none runs.
    pub fn start_engine(&mut self) {
        if self.engine.as_ref().is_none_or(Engine::ended) {
            let process = self.process();
            self.engine = Some(Engine::start(&self.world, process, &self.acks));
        }
    }

    fn start_apps(&mut self) {
        for index in 0..self.apps.len() {
            if self.running.len() <= index {
                let started = self.start_app(index);
                self.running.push(started);
            } else if sched::is_finished(self.running[index].1) {
                self.running[index] = self.start_app(index);
            }
        }
    }

    fn start_app(&mut self, index: usize) -> (Process, FiberId) {
        let (app, process) = (self.apps[index].clone(), self.process());
        let name = format!("app {}", app.actor);
        (process, sched::spawn(process, &name, move || app.run()))
    }

    fn kill_apps(&mut self) {
        for (process, _) in &self.running {
            vfs::kill(*process);
        }
    }

    fn kill_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.kill();
        }
    }

    /// Does what the plan says, until all applications have done their work.
    pub fn run(&mut self) {
        self.world.trouble_storage();
        self.world.disk.set_faults(self.usual_faults());
        for number in 0..self.world.plan.operations {
            if self.world.plan.skips(0, number) {
                continue;
            }
            let mut rng = self.world.plan.rng(0, number);
            let pause = rng.pick(&[0, 5, 50, 400, 2500]) * rng.range(1, 1000) * 1000;
            sched::sleep(pause);
            self.operate(&mut rng);
            self.start_apps();
        }
        self.world.disk.set_faults(base_faults());
        for (_, fiber) in self.running.clone() {
            sched::join(fiber);
        }
    }

    /// One more commit after everything, which also makes a database where there is none any more.
    pub fn last_words(&mut self) {
        let (world, process) = (self.world.clone(), self.process());
        let fiber = sched::spawn(process, "last words", move || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let write = || -> rusqlite::Result<()> {
                let conn = Connection::open_with_flags_and_vfs(DATABASE, flags, "sim")?;
                conn.busy_timeout(std::time::Duration::from_mins(1))?;
                conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
                conn.execute_batch(
                    "CREATE TABLE IF NOT EXISTS last(n); INSERT INTO last VALUES (1)",
                )
            };
            let mut result = write();
            for _ in 0..3 {
                // Two who switch to WAL mode at the same time would wait for each other: SQLite refuses one of them at once.
                if result.is_err() {
                    sched::sleep(SECOND);
                    result = write();
                }
            }
            if let Err(error) = result {
                world.note(sched::who_waits);
                world.violation(format!("O7: the last commit failed: {error}"));
            }
        });
        sched::join(fiber);
    }

    fn operate(&mut self, rng: &mut Rng) {
        let possible = self.possible();
        let feature = rng.pick(&possible);
        self.world.note(|| format!("operator: {}", feature.name()));
        match feature {
            Feature::OperatorSync => drop(self.ask(Ask::Sync, rng)),
            Feature::OperatorSnapshot => drop(self.ask(Ask::Snapshot, rng)),
            Feature::OperatorRetention => drop(self.ask(Ask::Retain(KEEP), rng)),
            Feature::DamagedState => self.damage_state(rng),
            Feature::DamagedReplica => self.damage_replica(rng),
            Feature::MidRestore => self.restore(rng),
            Feature::AppCrash => {
                let index = rng.below(self.running.len() as u64) as usize;
                vfs::kill(self.running[index].0);
            }
            Feature::EngineKill => {
                self.kill_engine();
                sched::sleep(rng.below(4) * rng.below(SECOND));
                self.start_engine();
            }
            Feature::EngineRestart => {
                if let Some(engine) = self.engine.take() {
                    if rng.chance(500) {
                        let _ = engine.ask(Ask::Sync, 20 * SECOND);
                    }
                    engine.close(60 * SECOND);
                }
                sched::sleep(rng.below(4) * rng.below(SECOND));
                self.start_engine();
            }
            Feature::PowerCut => self.power_cut(rng),
            Feature::SecondDaemon => self.second_daemon(rng),
            Feature::ClockSteps => {
                let millis = rng.below(7_200_000) as i64 - 3_600_000;
                sched::step_wall(millis);
            }
            Feature::LoseState => {
                self.kill_engine();
                self.wait_for_late_writes();
                remove_tree(&self.world, STATE);
                self.start_engine();
            }
            Feature::Outage => {
                let nanos = rng.below(40) * rng.below(SECOND);
                let storage = match &self.world.second {
                    Some(second) if rng.chance(500) => second,
                    _ => &self.world.storage,
                };
                storage.outage(std::time::Duration::from_nanos(nanos));
            }
            Feature::OurDiskFaults | Feature::AppDiskFaults | Feature::DiskFull => {
                self.trouble_disk(feature, rng);
            }
            Feature::Replace => self.replace(rng),
            _ => {}
        }
    }

    fn possible(&self) -> Vec<Feature> {
        use Feature::{
            AppCrash, AppDiskFaults, ClockSteps, DamagedReplica, DamagedState, DiskFull,
            EngineKill, EngineRestart, LoseState, MidRestore, OperatorRetention, OperatorSnapshot,
            OperatorSync, OurDiskFaults, Outage, PowerCut, Replace, SecondDaemon,
        };
        let mut all = vec![
            OperatorSync,
            OperatorSnapshot,
            MidRestore,
            AppCrash,
            EngineKill,
            EngineRestart,
            PowerCut,
            SecondDaemon,
            ClockSteps,
            LoseState,
            Outage,
            OurDiskFaults,
            AppDiskFaults,
            DiskFull,
            Replace,
            OperatorRetention,
            DamagedState,
            DamagedReplica,
        ];
        all.retain(|feature| self.world.plan.has(*feature));
        // Who remembers nothing and sees an old listing gives numbers twice.
        all.retain(|feature| *feature != LoseState || self.world.plan.backend != Backend::Eventual);
        if all.is_empty() {
            all.push(Feature::Updates); // nothing to do but wait
        }
        all
    }

    fn ask(&mut self, ask: Ask, rng: &mut Rng) -> Option<Txid> {
        let engine = self.engine.as_ref()?;
        let limit = rng.pick(&[1, 5, 40]) * SECOND;
        engine.ask(ask, limit)?.ok()
    }

    /// A restore by somebody else, while everything goes on.
    fn restore(&mut self, rng: &mut Rng) {
        let process = self.process();
        let acked = self.acks.borrow().iter().map(|ack| ack.node).max();
        // A listing that is old shows an old replica.
        let shown = self.world.plan.backend != Backend::Eventual;
        // What is lost at rest may have been promised.
        let acked = acked.filter(|_| shown && !self.world.plan.has(Feature::DamagedReplica));
        let world = self.world.clone();
        let target = rng.draw();
        let fiber = sched::spawn(process, "restore", move || {
            let env = crate::env::env(process, world.disk.clone());
            let replica = world.replica(&env);
            match restore::latest(&env, replica, target) {
                Ok(bytes) => oracle::restored(&world, "a restore meanwhile", &bytes, acked),
                Err(error) => world.note(|| format!("restore: {error}")),
            }
        });
        let until = sched::now() + rng.range(1, 60) * SECOND;
        while !sched::is_finished(fiber) && sched::now() < until {
            sched::sleep(10_000_000);
        }
        vfs::kill(process);
    }

    fn power_cut(&mut self, rng: &mut Rng) {
        self.kill_engine();
        self.kill_apps();
        let image = rng.pick(&[
            CutImage::NothingUnsynced,
            CutImage::AllButLast,
            CutImage::Random,
            CutImage::Random,
        ]);
        vfs::power_cut(&self.world.disk, image);
        if rng.chance(500) {
            self.start_engine();
        } else {
            self.start_apps();
        }
        sched::sleep(rng.below(2) * rng.below(SECOND));
        self.start_engine();
    }

    fn second_daemon(&mut self, rng: &mut Rng) {
        let process = self.process();
        let second = Engine::start(&self.world, process, &self.acks);
        sched::sleep(rng.below(12) * rng.below(SECOND));
        if rng.chance(300) {
            // It takes over.
            self.kill_engine();
            self.engine = Some(second);
        } else if rng.chance(500) {
            second.kill();
        } else {
            second.close(60 * SECOND);
        }
    }

    fn trouble_disk(&mut self, feature: Feature, rng: &mut Rng) {
        let mut faults = self.usual_faults();
        let per_million = rng.pick(&[500, 5_000, 50_000]);
        let rule = |class, op, fault| Rule {
            class: Some(class),
            op,
            fault,
            per_million,
        };
        let failed = rng.pick(&[errno::EIO, errno::EACCES, errno::ENOSPC, errno::EINTR]);
        match feature {
            Feature::OurDiskFaults => {
                faults
                    .rules
                    .push(rule(Files::Ours, None, Fault::Errno(failed)));
                faults.rules.push(rule(
                    Files::Ours,
                    Some(Op::Write),
                    Fault::Short(errno::ENOSPC),
                ));
                if self.world.plan.backend == Backend::Folder {
                    faults
                        .rules
                        .push(rule(Files::Replica, None, Fault::Errno(failed)));
                }
            }
            Feature::AppDiskFaults => {
                // Never a sync: after a failed one even SQLite's own database may be damaged by a power cut.
                for op in [Op::Read, Op::Write, Op::Resize] {
                    for class in [Files::Database, Files::Wal] {
                        faults
                            .rules
                            .push(rule(class, Some(op), Fault::Errno(errno::EIO)));
                    }
                }
            }
            _ => faults.space = Some(self.world.disk.used() + rng.below(60_000)),
        }
        let nanos = rng.below(10) * rng.below(SECOND);
        if feature == Feature::OurDiskFaults && rng.chance(500) {
            // Seldom called, and worse than anything else.
            faults.rules.push(Rule {
                per_million: 300_000,
                ..rule(Files::Ours, Some(Op::Sync), Fault::Errno(errno::EIO))
            });
        }
        self.world.disk.set_faults(faults);
        sched::sleep(nanos);
        self.world.disk.set_faults(self.usual_faults());
    }

    /// What the disk does all the time.
    fn usual_faults(&self) -> Faults {
        let mut faults = base_faults();
        if self.world.plan.has(Feature::SlowDisk) {
            let mut rng = self.world.plan.rng(906, 0);
            let nanos = rng.pick(&[2, 30, 60]) * (SECOND / 1000);
            for class in [Files::Database, Files::Wal, Files::Ours] {
                faults.rules.push(Rule {
                    class: Some(class),
                    op: rng.pick(&[None, Some(Op::Write), Some(Op::Sync)]),
                    fault: Fault::Slow(nanos),
                    per_million: rng.pick(&[5_000, 50_000, 300_000]),
                });
            }
        }
        faults
    }

    /// A write that is still under way would put an old file in the place of a new one of that number: without conditional
    /// writes nobody who remembers nothing can know.
    fn wait_for_late_writes(&self) {
        while self.world.storage.pending() > 0 {
            sched::sleep(SECOND);
        }
    }

    /// One of the engine's own files is damaged while it is not running. Level 0 goes on from what the replica has.
    fn damage_state(&mut self, rng: &mut Rng) {
        self.kill_engine();
        self.wait_for_late_writes();
        let all = self.world.disk.dump();
        let ours: Vec<_> = all
            .iter()
            .filter(|e| e.kind == crate::disk::Kind::File && e.len > 0 && e.path.starts_with(STATE))
            .collect();
        if !ours.is_empty() {
            let path = &ours[rng.below(ours.len() as u64) as usize].path;
            self.world.note(|| format!("damages {}", path.display()));
            let (cut, at, bit) = (rng.chance(300), rng.draw(), rng.below(8));
            let disk = &self.world.disk;
            let mut bytes = disk.read(path).unwrap_or_default();
            let at = (at % bytes.len().max(1) as u64) as usize;
            if cut {
                bytes.truncate(at);
            } else if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
            // As a new file: a folder as replica may have the old one under a second name.
            let _ = disk.remove(path);
            if let Ok(file) = disk.create_new(path, 0o644) {
                let _ = file.write_at(&bytes, 0);
                file.sync();
            }
        }
        self.start_engine();
    }

    /// A file of the replica is damaged at rest, whatever the engine does meanwhile.
    fn damage_replica(&mut self, rng: &mut Rng) {
        let stored = self.world.sound();
        let names: Vec<_> = stored.into_keys().collect();
        if names.is_empty() {
            return;
        }
        let (level, min, max) = rng.pick(&names);
        let how: Option<fn(&mut Vec<u8>)> = match rng.below(3) {
            0 => None,
            1 => Some(|bytes| bytes.truncate(bytes.len() / 2)),
            _ => Some(|bytes| {
                let at = bytes.len() * 2 / 3;
                bytes[at] ^= 4;
            }),
        };
        self.world.damage(level, FileName { min, max }, how);
    }

    /// Another database takes the place of this one, as when a backup is copied back by hand.
    fn replace(&mut self, rng: &mut Rng) {
        self.kill_apps();
        let copies = self.world.history.copies();
        let removed = copies.is_empty() || rng.chance(333);
        // Replaced while the engine is opening it: SQLite itself may then mix two databases.
        let settled = self
            .engine
            .as_ref()
            .is_some_and(|engine| engine.status().position.is_some());
        if !(settled && rng.chance(400)) {
            self.kill_engine();
        }
        let disk = &self.world.disk;
        for suffix in ["-wal", "-shm", "-journal"] {
            let _ = disk.remove(Path::new(&format!("{DATABASE}{suffix}")));
        }
        let fresh = Path::new("/db/other.db");
        if removed {
            let _ = disk.remove(Path::new(DATABASE)); // recreated by the application
        } else {
            let bytes = &copies[rng.below(copies.len() as u64) as usize];
            let _ = disk.remove(fresh);
            if let Ok(file) = disk.create_new(fresh, 0o644)
                && file.write_at(bytes, 0).is_ok()
            {
                file.sync();
                let _ = disk.rename(fresh, Path::new(DATABASE));
            }
        }
        let _ = disk.sync_dir(Path::new("/db"));
        self.world.history.look();
        self.start_apps();
        sched::sleep(rng.below(2) * rng.below(SECOND));
        self.start_engine();
    }
}

/// No faults, but the disk knows whose files are whose.
pub fn base_faults() -> Faults {
    Faults {
        ours: vec![STATE.into(), crate::world::RESTORES.into()],
        replica: vec![crate::world::FOLDER.into()],
        ..Faults::default()
    }
}

fn remove_tree(world: &World, path: &str) {
    for (name, kind) in world.disk.list(Path::new(path)).unwrap_or_default() {
        let below = format!("{path}/{}", name.to_string_lossy());
        if kind == crate::disk::Kind::Dir {
            remove_tree(world, &below);
        } else {
            let _ = world.disk.remove(Path::new(&below));
        }
    }
    let _ = world.disk.remove_dir(Path::new(path));
}
