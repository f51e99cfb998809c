//! What everybody in an episode knows: the plan, the disk, the storage, the history, and what went wrong.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use litestream::Policy;
use litestream_replica::env::Env;
use litestream_replica::file::FileReplica;
use litestream_replica::{Level, SharedReplica};
use ltx::FileName;

use crate::chain::{self, Stored};
use crate::disk::{Kind, SimDisk};
use crate::history::History;
use crate::plan::{Backend, Feature, Plan};
use crate::replica::{Faults, Profile, SimReplica};
use crate::sched::Process;

/// The database.
pub const DATABASE: &str = "/db/app.db";
/// The engine's state beside it.
pub const STATE: &str = "/db/.app.db-litestream";
/// The replica of [`Backend::Folder`].
pub const FOLDER: &str = "/replica";
/// Where restores go.
pub const RESTORES: &str = "/restored";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct World {
    /// What is to happen.
    pub plan: Rc<Plan>,
    /// The machine's disk.
    pub disk: SimDisk,
    /// The storage, unless the replica is a folder.
    pub storage: SimReplica,
    /// Another replica, in some plans.
    pub second: Option<SimReplica>,
    /// What was committed.
    pub history: History,
    /// What the engine is told to make of the replica.
    pub policy: Rc<Policy>,
    violations: Rc<RefCell<Vec<String>>>,
    /// Files of the replica that were damaged at rest, as damage left them.
    damaged: Rc<RefCell<Stored>>,
    lost: Rc<Cell<Option<ltx::Txid>>>,
    /// Processes in which the engine runs or ran.
    engines: Rc<RefCell<BTreeSet<Process>>>,
}

/// Whether there are two replicas.
fn has_second(plan: &Plan) -> bool {
    plan.rng(912, 0).below(5) == 0
}

fn content(storage: &SimReplica) -> Stored {
    let files = storage.fork();
    let all = files.files().into_iter();
    all.filter_map(|f| {
        Some((
            (f.level, f.name.min, f.name.max),
            files.bytes(f.level, f.name)?,
        ))
    })
    .collect()
}

impl World {
    /// An empty world. Must be called in an episode.
    pub fn new(plan: Rc<Plan>) -> World {
        let policy = crate::engine::policy(&plan);
        World::with_policy(plan, policy)
    }

    /// The same, with a policy that the plan does not draw.
    pub fn with_policy(plan: Rc<Plan>, policy: Policy) -> World {
        let disk = SimDisk::new();
        for dir in ["/db", FOLDER, RESTORES] {
            // An empty disk has room for three folders.
            let _ = disk.stage_dir(Path::new(dir));
        }
        let profile = match plan.backend {
            Backend::Strict | Backend::Folder => Profile::strict(),
            Backend::Object => Profile::object_store(),
            Backend::Eventual => Profile::eventual(),
        };
        let env = crate::env::env(Process(0), disk.clone());
        World {
            storage: SimReplica::new(env.clone(), profile),
            second: has_second(&plan).then(|| SimReplica::new(env, Profile::strict())),
            history: History::new(disk.clone(), Path::new(DATABASE)),
            plan,
            disk,
            policy: Rc::new(policy),
            violations: Rc::default(),
            damaged: Rc::default(),
            lost: Rc::default(),
            engines: Rc::default(),
        }
    }

    /// The replica as a process sees it.
    pub fn replica(&self, env: &Env) -> SharedReplica {
        match self.plan.backend {
            Backend::Folder => Arc::new(FileReplica::new(FOLDER.into(), env.clone(), None)),
            _ => Arc::new(self.storage.used_by(env.clone())),
        }
    }

    /// The engine runs in this process.
    pub fn engine_starts(&self, process: Process) {
        self.engines.borrow_mut().insert(process);
    }

    /// Whether it is one of the engine's.
    pub fn is_engine(&self, process: Process) -> bool {
        self.engines.borrow().contains(&process)
    }

    /// All replicas as a process sees them.
    pub fn replicas(&self, env: &Env) -> Vec<SharedReplica> {
        let mut replicas = vec![self.replica(env)];
        if let Some(second) = &self.second {
            replicas.push(Arc::new(second.used_by(env.clone())));
        }
        replicas
    }

    /// What the second replica really holds.
    pub fn stored_second(&self) -> Option<Stored> {
        self.second.as_ref().map(content)
    }

    /// What the replica really holds.
    pub fn stored(&self) -> Stored {
        if self.plan.backend != Backend::Folder {
            return content(&self.storage);
        }
        let mut stored = Stored::new();
        for level in Level::all() {
            let dir = Path::new(FOLDER).join("ltx").join(level.to_string());
            for (name, kind) in self.disk.list(&dir).unwrap_or_default() {
                let parsed = name.to_str().and_then(ltx::FileName::parse);
                if let (Some(parsed), Kind::File) = (parsed, kind)
                    && let Ok(bytes) = self.disk.read(&dir.join(&name))
                {
                    stored.insert((level, parsed.min, parsed.max), bytes.into());
                }
            }
        }
        stored
    }

    /// Damages a file of the replica at rest; without a change it is lost.
    pub fn damage(&self, level: Level, name: FileName, change: Option<fn(&mut Vec<u8>)>) {
        let done = match change {
            Some(change) => self.storage.damage(level, name, change),
            None => self.storage.lose(level, name),
        };
        self.note(|| format!("damage at rest: {level}/{name}: {done}"));
        self.lost.set(self.lost.get().max(Some(name.max)));
        // A bit of compressed data may change and nothing of what it stands for.
        if let Some(bytes) = self.storage.bytes(level, name)
            && !chain::is_whole(&bytes)
        {
            let key = (level, name.min, name.max);
            self.damaged.borrow_mut().insert(key, bytes);
        }
    }

    /// What the replica holds without what damage left of some files, unless they were written anew.
    pub fn sound(&self) -> Stored {
        let mut stored = self.stored();
        let damaged = self.damaged.borrow();
        stored.retain(|key, bytes| damaged.get(key) != Some(bytes));
        stored
    }

    /// The highest TXID that damage has hit or may have taken.
    pub fn damaged_up_to(&self) -> Option<ltx::Txid> {
        self.lost.get()
    }

    /// Faults of the storage on.
    pub fn trouble_storage(&self) {
        if self.plan.has(Feature::StorageFaults) {
            self.storage.set_faults(Faults::random());
            if let Some(second) = &self.second {
                second.set_faults(Faults::random());
            }
        }
    }

    /// Whether calls on the application's files may fail in this plan.
    pub fn disk_may_fail(&self) -> bool {
        [Feature::AppDiskFaults, Feature::DiskFull]
            .iter()
            .any(|f| self.plan.has(*f))
    }

    /// Notes that a promise was broken.
    pub fn violation(&self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        self.violations.borrow_mut().push(what);
    }

    /// All broken promises so far.
    pub fn violations(&self) -> Vec<String> {
        self.violations.borrow().clone()
    }

    /// Notes what happens, for those who look at one episode.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if crate::log::is_on() {
            crate::log::line(&what());
        }
    }
}
