//! A folder for one measurement, and the files in it: gone afterwards, kept for a look if the result was wrong.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};

use crate::check;
use crate::program::Program;

/// Folders made so far, for their names.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// One database, its replica and its restored copy. The folder goes with it.
pub struct Scratch {
    /// The folder.
    pub dir: PathBuf,
    /// The database.
    pub db: PathBuf,
    /// Root of the replica.
    pub replica: PathBuf,
    /// Where the copy is restored.
    pub restored: PathBuf,
    /// Output of the programs.
    pub log: PathBuf,
    keep: Cell<bool>,
}

impl Scratch {
    /// An empty folder in `parent`.
    pub fn new(parent: &Path, name: &str) -> Result<Scratch> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("run-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
        Ok(Scratch {
            db: dir.join("app.db"),
            replica: dir.join("replica"),
            restored: dir.join("restored.db"),
            log: dir.join("log"),
            keep: Cell::new(false),
            dir,
        })
    }

    /// The same, with a copy of a database in it.
    pub fn with_copy(parent: &Path, name: &str, template: &Path) -> Result<Scratch> {
        let scratch = Scratch::new(parent, name)?;
        std::fs::copy(template, &scratch.db)?;
        // Whatever is still to be written to the disk would be part of the next measurement.
        rustix::fs::sync();
        Ok(scratch)
    }

    /// Restores the replica and compares it with the database, which nobody may have open any more.
    pub fn restore_and_compare(&self, program: &Program) -> Result<()> {
        if self.restored.exists() {
            std::fs::remove_file(&self.restored)?;
        }
        self.compare(|| {
            program.restore(&self.replica, &self.restored, &self.log)?;
            check::same_bytes(&self.db, &self.restored)
        })
    }

    /// Does the comparison; if it fails the folder stays, and the error says where.
    pub fn compare(&self, comparison: impl FnOnce() -> Result<()>) -> Result<()> {
        comparison().map_err(|error| {
            self.keep.set(true);
            error.context(format!("{}", self.dir.display()))
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep.get() {
            // A folder left behind costs only space.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
