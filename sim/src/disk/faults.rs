//! What goes wrong: faults by chance for each kind of call and path, and one fault or a stop at a numbered call.
//!
//! The doors to the disk ask [`SimDisk::admit`] before each call and carry out the verdict. The raw operations fail
//! only for a full disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::SimDisk;
use crate::sched::{self, FiberId, Nanos, Process};

/// What a call does. Every call counts; those of the last group never fail by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Opens an existing file.
    Open,
    /// Creates a file.
    Create,
    /// Reads from an open file.
    Read,
    /// Writes to an open file.
    Write,
    /// Cuts, extends or reserves.
    Resize,
    /// Makes a file durable.
    Sync,
    /// Makes the names in a directory durable.
    SyncDir,
    /// Removes a file or directory.
    Remove,
    /// Renames.
    Rename,
    /// Adds a second name.
    Link,
    /// Lists a directory.
    List,
    /// Asks about a path or an open file.
    Stat,
    /// Creates a directory.
    MakeDir,
    /// Closes a file.
    Close,
    /// Locks, shared memory, memory barriers.
    Memory,
}

impl Op {
    fn may_fail(self) -> bool {
        self < Op::Close
    }
}

/// Whose file a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A database of the application.
    Database,
    /// Its WAL.
    Wal,
    /// Its WAL index.
    Shm,
    /// Its rollback journal.
    Journal,
    /// The engine's own files.
    Ours,
    /// A replica in a folder.
    Replica,
}

/// One way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails without effect, with this error number. A failed sync is a trap: see [`super::FileHandle::sync_failed`].
    Errno(i32),
    /// Part of a write happens before it fails with this error number; a read returns less.
    Short(i32),
    /// The call takes that long.
    Slow(Nanos),
}

/// A fault by chance.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// For these files; `None`: all.
    pub class: Option<Class>,
    /// For this kind of call; `None`: all that can fail.
    pub op: Option<Op>,
    /// What happens.
    pub fault: Fault,
    /// In so many of a million calls.
    pub per_million: u32,
}

/// A call as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who made it.
    pub process: Process,
    /// What it does.
    pub op: Op,
    /// Whose file it is about.
    pub class: Class,
    /// Which.
    pub path: PathBuf,
}

/// The plan of faults.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Faults by chance; the first that strikes counts.
    pub rules: Vec<Rule>,
    /// Size of the disk in bytes.
    pub space: Option<u64>,
    /// Folders of the engine.
    pub ours: Vec<PathBuf>,
    /// Folders of replicas.
    pub replica: Vec<PathBuf>,
}

impl Faults {
    /// Whose file `path` is.
    pub fn class(&self, path: &Path) -> Class {
        let under = |folders: &[PathBuf]| folders.iter().any(|folder| path.starts_with(folder));
        if under(&self.replica) {
            return Class::Replica;
        }
        if under(&self.ours) {
            return Class::Ours;
        }
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        match name {
            name if name.ends_with(b"-wal") => Class::Wal,
            name if name.ends_with(b"-shm") => Class::Shm,
            name if name.ends_with(b"-journal") => Class::Journal,
            _ => Class::Database,
        }
    }

    fn draw(&self, op: Op, path: &Path) -> Option<Fault> {
        if self.rules.is_empty() || !op.may_fail() {
            return None;
        }
        let class = self.class(path);
        let fits = |rule: &&Rule| {
            rule.class.is_none_or(|wanted| wanted == class)
                && rule.op.is_none_or(|wanted| wanted == op)
        };
        let strikes = |rule: &&Rule| sched::below(1_000_000) < u64::from(rule.per_million);
        let struck = self.rules.iter().filter(fits).find(strikes);
        struck.map(|rule| rule.fault)
    }
}

/// What a call is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its work.
    Go,
    /// Fail with this error number, without effect.
    Fail(i32),
    /// A part (of a thousand) of its work: a write then fails with the error number, a read returns less.
    Part {
        /// The part of the data.
        per_mille: u32,
        /// What a write fails with.
        errno: i32,
    },
}

#[derive(Default)]
pub(super) struct Plan {
    faults: Faults,
    fail_at: Option<(u64, Fault)>,
    /// From this call on so many of the engine's own fail.
    fail_from: Option<(u64, u32, i32)>,
    stop_at: Option<(u64, FiberId)>,
    stopped: bool,
    /// Who waits for the end of a stop.
    waiting: Vec<FiberId>,
    seen: Option<Vec<Seen>>,
}

impl Plan {
    fn idle(&self) -> bool {
        self.faults.rules.is_empty()
            && self.fail_at.is_none()
            && self.fail_from.is_none()
            && self.stop_at.is_none()
            && self.seen.is_none()
    }
}

impl SimDisk {
    fn plan(&self, change: impl FnOnce(&mut Plan)) {
        let mut plan = self.0.shared.plan.lock();
        change(&mut plan);
        let space = plan.faults.space.unwrap_or(u64::MAX);
        self.0.shared.space.store(space, Ordering::Relaxed);
        self.0.shared.planned.store(!plan.idle(), Ordering::Relaxed);
    }

    /// Replaces the plan of faults by chance.
    pub fn set_faults(&self, faults: Faults) {
        self.plan(|plan| plan.faults = faults);
    }

    /// The call with number `n` (see [`SimDisk::calls`]) fails; then all is well again.
    pub fn fail_nth(&self, n: u64, fault: Fault) {
        self.plan(|plan| plan.fail_at = Some((n, fault)));
    }

    /// From the call with number `n` on, `count` calls on files of the engine or of a replica fail; then all is well again.
    pub fn fail_from(&self, n: u64, count: u32, errno: i32) {
        self.plan(|plan| plan.fail_from = Some((n, count, errno)));
    }

    /// The call with number `n`, and all that come after, wait for ever, and `manager` is unparked: it may then kill
    /// processes and cut the power.
    pub fn stop_at_nth(&self, n: u64, manager: FiberId) {
        self.plan(|plan| {
            plan.stop_at = Some((n, manager));
            plan.stopped = false;
        });
    }

    /// Whether [`SimDisk::stop_at_nth`] has struck.
    pub fn is_stopped(&self) -> bool {
        self.0.shared.plan.lock().stopped
    }

    /// Ends a stop, whose survivors go on, and forgets planned single faults.
    pub fn resume(&self) {
        let mut waiting = Vec::new();
        self.plan(|plan| {
            plan.stop_at = None;
            plan.fail_at = None;
            plan.fail_from = None;
            plan.stopped = false;
            waiting = std::mem::take(&mut plan.waiting);
        });
        for fiber in waiting {
            sched::unpark(fiber);
        }
    }

    /// Keeps a list of all calls from now on.
    pub fn record(&self) {
        self.plan(|plan| plan.seen = Some(Vec::new()));
    }

    /// Ends the list, and gives it.
    pub fn recorded(&self) -> Vec<Seen> {
        let mut seen = None;
        self.plan(|plan| seen = plan.seen.take());
        seen.unwrap_or_default()
    }

    /// Number of calls so far, through all doors.
    pub fn calls(&self) -> u64 {
        self.0.shared.calls.load(Ordering::Relaxed)
    }

    /// Counts a call and says what is to become of it. May let others run (a slow call, a stop); afterwards the
    /// caller must ask whether it is dead.
    pub fn admit(&self, op: Op, path: &Path) -> Verdict {
        let shared = &self.0.shared;
        let number = shared.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if !shared.planned.load(Ordering::Relaxed) {
            return Verdict::Go;
        }
        self.note(op, path);
        self.wait_if_stopped(number);
        match self.decide(number, op, path) {
            None => Verdict::Go,
            Some(Fault::Errno(errno)) => Verdict::Fail(errno),
            Some(Fault::Short(errno)) => Verdict::Part {
                per_mille: sched::below(1000) as u32,
                errno,
            },
            Some(Fault::Slow(nanos)) => {
                sched::sleep(nanos);
                Verdict::Go
            }
        }
    }

    fn note(&self, op: Op, path: &Path) {
        let mut plan = self.0.shared.plan.lock();
        let Plan { faults, seen, .. } = &mut *plan;
        if let Some(seen) = seen {
            seen.push(Seen {
                process: sched::current_process(),
                op,
                class: faults.class(path),
                path: path.to_owned(),
            });
        }
    }

    fn decide(&self, number: u64, op: Op, path: &Path) -> Option<Fault> {
        let mut plan = self.0.shared.plan.lock();
        if plan.fail_at.is_some_and(|(n, _)| n == number) {
            let (_, fault) = plan.fail_at.take()?;
            let idle = plan.idle();
            self.0.shared.planned.store(!idle, Ordering::Relaxed);
            return Some(fault);
        }
        if let Some((n, count, errno)) = plan.fail_from
            && n <= number
            && op.may_fail()
            && matches!(plan.faults.class(path), Class::Ours | Class::Replica)
        {
            plan.fail_from = (count > 1).then_some((n, count - 1, errno));
            let idle = plan.idle();
            self.0.shared.planned.store(!idle, Ordering::Relaxed);
            return Some(Fault::Errno(errno));
        }
        plan.faults.draw(op, path)
    }

    fn wait_if_stopped(&self, number: u64) {
        let wake = {
            let mut plan = self.0.shared.plan.lock();
            match plan.stop_at {
                Some((n, _)) if number < n => return,
                Some((_, manager)) if sched::current() != manager => {
                    let first = !plan.stopped;
                    plan.stopped = true;
                    plan.waiting.push(sched::current());
                    first.then_some(manager)
                }
                _ => return,
            }
        };
        if let Some(manager) = wake {
            sched::unpark(manager);
        }
        while !sched::is_dead() && self.is_stopped() {
            sched::park(None);
        }
    }

    /// Changes the bytes of a file at rest: on the disk and in the cache.
    pub fn corrupt(&self, path: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> std::io::Result<()> {
        let inode = self.0.tree.lock().find_file(path)?;
        let mut bytes = inode.state.lock().live.to_vec();
        damage(&mut bytes);
        inode.overlay(&self.0.shared, &bytes);
        Ok(())
    }
}
