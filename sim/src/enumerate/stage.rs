//! Those who play a scene: an application, the engine, restores; and the trouble that strikes while they do.
//!
//! Promise: each step of a script ends early with [`Cut`] as soon as the point of a kill or a power cut is reached; then
//! nobody makes a call any more until [`Stage::end`] has killed whom it strikes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use litestream::{Settings, Status};
use rusqlite::Connection;

use super::app::App;
use super::point::Calls;
use super::{Point, Scene};
use crate::engine::{Ack, Ask, Engine};
use crate::operator::SECOND;
use crate::sched::{self, Nanos, Process};
use crate::vfs;
use crate::world::{DATABASE, World};

/// The script stops here.
pub struct Cut;

/// How a script, or a step of it, went.
pub type Played = Result<(), Cut>;

/// Within this time after a fault everything must be in the replica (R16: three times the longest back-off).
pub const HEALED_MAX: Nanos = 3 * 300 * SECOND;
/// How long is waited for what an undisturbed engine does soon.
const SOON: Nanos = 30 * SECOND;
/// Between two looks.
const LOOK: Nanos = 2_000_000;

/// What is at the output of a restore.
#[derive(Default)]
pub struct Restoring {
    /// What should become of it; nothing while nothing is restored in the scene.
    pub wanted: Option<Vec<u8>>,
    /// What was there before.
    pub old: Option<Vec<u8>>,
    /// How the last one ended.
    pub answer: Rc<RefCell<Option<Result<(), String>>>>,
}

/// See the module.
pub struct Stage {
    /// Everything.
    pub world: World,
    /// What is played.
    pub scene: &'static Scene,
    /// Where trouble strikes.
    pub point: Option<Point>,
    /// The engine, while one runs.
    pub engine: Option<Engine>,
    /// Its promises.
    pub acks: Rc<RefCell<Vec<Ack>>>,
    /// For scenes that restore.
    pub restoring: Restoring,
    /// What was called in the act.
    pub calls: Option<Calls>,
    app: Option<App>,
    processes: u32,
    /// Processes that are tested.
    pub(super) subjects: BTreeSet<Process>,
    /// The act has begun.
    pub(super) acting: bool,
    /// Number of the newest state that a power cut must not take.
    pub(super) durable: Option<usize>,
}

impl Stage {
    /// Empty.
    pub fn new(world: &World, scene: &'static Scene, point: Option<Point>) -> Stage {
        Stage {
            world: world.clone(),
            scene,
            point,
            engine: None,
            acks: Rc::default(),
            restoring: Restoring::default(),
            calls: None,
            app: None,
            processes: 0,
            subjects: BTreeSet::new(),
            acting: false,
            durable: None,
        }
    }

    /// A number that no process had.
    pub fn process(&mut self) -> Process {
        self.processes += 1;
        Process(self.processes)
    }

    /// One that is tested.
    pub fn subject(&mut self) -> Process {
        let process = self.process();
        self.subjects.insert(process);
        process
    }

    /// Whether the point of a kill or cut is reached.
    fn is_cut(&self) -> bool {
        self.acting && (self.world.disk.is_stopped() || self.world.storage.stopped())
    }

    /// Whether nothing happens from which a local file could suffer: the scene is undisturbed, or a call to the storage is struck.
    pub fn spares_files(&self) -> bool {
        self.point.is_none_or(|point| point.kind.is_storage())
    }

    /// Waits for something; `false` if it does not come within this time.
    pub fn wait(&self, limit: Nanos, mut done: impl FnMut(&Stage) -> bool) -> Result<bool, Cut> {
        let until = sched::now() + limit;
        loop {
            if self.is_cut() {
                return Err(Cut);
            }
            if done(self) {
                return Ok(true);
            }
            let now = sched::now();
            if now >= until {
                return Ok(false);
            }
            sched::park(Some((now + LOOK).min(until)));
        }
    }

    /// Lets time pass.
    pub fn pass(&self, nanos: Nanos) -> Played {
        self.wait(nanos, |_| false).map(drop)
    }

    /// Waits for what the scene is about. Trouble may keep it from happening.
    pub fn until(&self, what: &str, done: impl FnMut(&Stage) -> bool) -> Played {
        if !self.wait(SOON, done)? && self.point.is_none() {
            self.world
                .violation(format!("the scene is not played: {what} does not happen"));
        }
        Ok(())
    }

    /// How the engine said it stood, a moment ago for those who look again and again.
    pub fn status(&self) -> Status {
        let status = |engine: &Engine| {
            engine.refresh();
            engine.status()
        };
        self.engine.as_ref().map(status).unwrap_or_default()
    }

    /// Starts the engine if none runs.
    pub fn start_engine(&mut self) {
        if self.engine.as_ref().is_none_or(Engine::ended) {
            let process = self.subject();
            let settings = self.settings();
            self.engine = Some(Engine::start_with(
                &self.world,
                process,
                &self.acks,
                settings,
            ));
        }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::for_database(DATABASE);
        settings.policy = (self.scene.policy)();
        settings.vfs = Some("sim".to_owned());
        settings.sync_interval = Duration::from_millis(100);
        settings.checkpoint_interval = self.scene.checkpoint_interval;
        settings.min_checkpoint_page_count = self.scene.checkpoint_pages;
        settings.capture_bytes_max = self.scene.capture_bytes_max;
        settings.ledger_slice_bytes = self.scene.ledger_slice_bytes;
        settings
    }

    /// Asks the engine until it does it, starting it if need be.
    pub fn ask(&mut self, ask: Ask) -> Played {
        let until = sched::now() + HEALED_MAX;
        let mut last = String::from("no answer");
        loop {
            self.start_engine();
            let Some(answer) = self.engine.as_ref().map(|engine| engine.post(ask)) else {
                return Ok(());
            };
            self.wait(60 * SECOND, |stage| {
                answer.borrow().is_some() || stage.engine.as_ref().is_none_or(Engine::ended)
            })?;
            let result = answer.borrow_mut().take();
            self.world.note(|| format!("engine {ask:?}: {result:?}"));
            match result {
                Some(Ok(_)) => return Ok(()),
                Some(Err(error)) => last = error,
                None => {}
            }
            if sched::now() > until {
                self.world
                    .violation(format!("O9: no {ask:?} succeeds: {last}"));
                self.world.note(sched::who_waits);
                return Ok(());
            }
            self.pass(SECOND)?;
        }
    }

    /// Ends the engine in peace.
    pub fn close_engine(&mut self) -> Played {
        let Some(engine) = self.engine.take() else {
            return Ok(());
        };
        let process = engine.process;
        let answer = engine.post(Ask::Close);
        let closed = self.wait(60 * SECOND, |_| answer.borrow().is_some() || engine.ended())?;
        if !closed {
            self.world
                .violation("O9: the engine does not close".to_owned());
        }
        self.world.note(|| "engine closed".to_owned());
        vfs::kill(process);
        Ok(())
    }

    /// Kills the engine.
    pub fn kill_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.kill();
        }
    }

    /// Lets the application do something, and waits for it.
    pub fn app(
        &mut self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<()> + 'static,
    ) -> Played {
        self.start_app().work(job);
        self.wait_app()?;
        if self.durable.is_some() {
            self.durable = self.world.history.len().checked_sub(1);
        }
        Ok(())
    }

    /// Lets the application do something meanwhile.
    pub fn app_begins(&mut self, job: impl FnOnce(&Connection) -> rusqlite::Result<()> + 'static) {
        self.start_app().work(job);
    }

    /// The same as [`Stage::app`] with statements.
    pub fn sql(&mut self, sql: &'static str) -> Played {
        self.world.note(|| format!("sql: {sql}"));
        self.app(move |connection| connection.execute_batch(sql))
    }

    /// Closes the application's connection.
    pub fn disconnect(&mut self) -> Played {
        self.start_app().disconnect();
        self.wait_app()
    }

    /// Kills the application.
    pub fn kill_app(&mut self) {
        if let Some(app) = self.app.take() {
            vfs::kill(app.process);
        }
    }

    fn start_app(&mut self) -> &App {
        let process = match &self.app {
            Some(app) => app.process,
            None => self.process(),
        };
        self.app
            .get_or_insert_with(|| App::start(&self.world, process))
    }

    /// Waits until the application has done everything.
    pub fn wait_app(&mut self) -> Played {
        let idle = |stage: &Stage| stage.app.as_ref().is_none_or(App::is_idle);
        if !self.wait(300 * SECOND, idle)? {
            self.world
                .violation("O7: the application waits for ever".to_owned());
            self.world.note(sched::who_waits);
        }
        Ok(())
    }
}
