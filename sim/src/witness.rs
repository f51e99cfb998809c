//! O16: what is staged outlives a power failure before the frames that it stands for may be overwritten.
//!
//! Sees every write to the database file. The engine writes it only when it checkpoints, and then all that it has staged must be
//! durable: what is in the database file by now need not be in the WAL any more.

use std::cell::Cell;
use std::path::Path;

use crate::plan::Feature;
use crate::sched;
use crate::vfs::Observer;
use crate::world::{DATABASE, STATE, World};

/// See the module. Passes on to the history what it is told.
pub struct Witness {
    world: World,
    /// It looks until it has seen something.
    looks: Cell<bool>,
}

impl Witness {
    /// Of this world.
    pub fn new(world: &World) -> Witness {
        use Feature::{JournalSwitch, OurDiskFaults, Replace};
        // Who makes a WAL database of another writes to it before. A file that is written again has a new name for a moment.
        let looks = ![JournalSwitch, OurDiskFaults, Replace]
            .iter()
            .any(|feature| world.plan.has(*feature));
        Witness {
            world: world.clone(),
            looks: Cell::new(looks),
        }
    }
}

impl Observer for Witness {
    fn published(&self, database: &Path) {
        self.world.history.published(database);
    }

    fn writes(&self, path: &Path) {
        if !self.looks.get()
            || path != Path::new(DATABASE)
            || !sched::in_world()
            || !self.world.is_engine(sched::current_process())
        {
            return;
        }
        let dir = Path::new(STATE).join("ltx/0");
        for (name, _) in self.world.disk.list(&dir).unwrap_or_default() {
            let path = dir.join(&name);
            if path.extension().is_some_and(|e| e == "ltx") && !self.world.disk.outlives(&path) {
                self.looks.set(false);
                let name = name.to_string_lossy();
                self.world.violation(format!(
                    "O16: {name} is not durable, and its frames are written to the database"
                ));
            }
        }
    }
}
