//! Where trouble strikes, and which: every call of a scene, with all that can happen to a call of that kind.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use litestream_replica::faulty::{Op as Request, When};

use crate::disk::{Class, CutImage, Fault, Op, Seen, errno};
use crate::replica::Failure;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The process is killed before this call of disk or VFS.
    Kill,
    /// All processes are.
    KillAll,
    /// The application is, and the engine lives on.
    KillApp,
    /// The power fails before it.
    Cut(CutImage),
    /// The same, and the storage is away when all starts again.
    CutOffline(CutImage),
    /// The call fails.
    Fail(Fault),
    /// The call is a sync that fails; when all seems well again, the power fails.
    Trap,
    /// The same, and so do the calls with which it could be made good.
    TrapLong,
    /// The process is killed in this call to the storage, before or after its effect.
    StorageKill(When),
    /// The call to the storage fails.
    StorageFail(Failure, When),
}

const KINDS: [(Kind, &str); 27] = {
    use Failure::{Forbidden, NoSpace, Reset, Throttled, Timeout, Unavailable};
    use When::{After, Before};
    [
        (Kind::Kill, "kill"),
        (Kind::KillAll, "kill-all"),
        (Kind::KillApp, "kill-app"),
        (Kind::Cut(CutImage::NothingUnsynced), "cut-nothing"),
        (Kind::Cut(CutImage::AllButLast), "cut-but-last"),
        (Kind::Cut(CutImage::OnlyNames), "cut-only-names"),
        (Kind::Cut(CutImage::Random), "cut-random"),
        (
            Kind::CutOffline(CutImage::NothingUnsynced),
            "cut-nothing-offline",
        ),
        (Kind::CutOffline(CutImage::Random), "cut-random-offline"),
        (Kind::Fail(Fault::Errno(errno::EIO)), "eio"),
        (Kind::Fail(Fault::Errno(errno::ENOSPC)), "enospc"),
        (Kind::Fail(Fault::Errno(errno::EINTR)), "eintr"),
        (Kind::Fail(Fault::Errno(errno::EACCES)), "eacces"),
        (Kind::Fail(Fault::Short(errno::ENOSPC)), "short"),
        (Kind::Trap, "trap"),
        (Kind::TrapLong, "trap-long"),
        (Kind::StorageKill(Before), "storage-kill-before"),
        (Kind::StorageKill(After), "storage-kill-after"),
        (Kind::StorageFail(Timeout, Before), "timeout-before"),
        (Kind::StorageFail(Timeout, After), "timeout-after"),
        (Kind::StorageFail(Throttled, Before), "throttled-before"),
        (Kind::StorageFail(Unavailable, Before), "unavailable-before"),
        (Kind::StorageFail(Unavailable, After), "unavailable-after"),
        (Kind::StorageFail(Reset, Before), "reset-before"),
        (Kind::StorageFail(Reset, After), "reset-after"),
        (Kind::StorageFail(Forbidden, Before), "forbidden-before"),
        (Kind::StorageFail(NoSpace, Before), "no-space-before"),
    ]
};

impl Kind {
    /// Whether everything stands still before the call.
    pub fn stops(self) -> bool {
        matches!(self, Kind::Kill | Kind::KillAll | Kind::KillApp) || self.cuts()
    }

    fn cuts(self) -> bool {
        matches!(self, Kind::Cut(_) | Kind::CutOffline(_))
    }

    /// Whether it is a sync that fails, and a power cut at the end.
    pub fn traps(self) -> bool {
        matches!(self, Kind::Trap | Kind::TrapLong)
    }

    /// Whether it is about a call to the storage.
    pub fn is_storage(self) -> bool {
        matches!(self, Kind::StorageKill(_) | Kind::StorageFail(..))
    }

    /// `last`: what the call before did.
    fn fits(self, seen: &Seen, subject: bool, last: Option<Op>) -> bool {
        if self.stops() {
            // Locks are lost with the power anyway: the image is that before the next call of another kind.
            let is_lock = seen.op == Op::Memory && last == Some(Op::Memory);
            let whose = self != Kind::KillApp || !subject;
            return whose && !(self.cuts() && is_lock);
        }
        let ours = matches!(seen.class, Class::Ours | Class::Replica);
        let named = matches!(
            seen.op,
            Op::Open
                | Op::Create
                | Op::Remove
                | Op::Rename
                | Op::Link
                | Op::List
                | Op::Stat
                | Op::MakeDir
        );
        let grows = matches!(
            seen.op,
            Op::Create | Op::Write | Op::Resize | Op::Rename | Op::Link | Op::MakeDir | Op::Sync
        );
        let fails = !matches!(seen.op, Op::Close | Op::Memory);
        let fits = match self {
            Kind::Fail(Fault::Errno(errno::EACCES)) => named,
            Kind::Fail(Fault::Errno(errno::ENOSPC)) => grows,
            Kind::Fail(Fault::Errno(errno::EINTR)) => seen.op == Op::Read,
            Kind::Fail(Fault::Short(_)) => matches!(seen.op, Op::Read | Op::Write),
            Kind::Trap => ours && matches!(seen.op, Op::Sync | Op::SyncDir),
            Kind::TrapLong => ours && seen.op == Op::Sync,
            Kind::Fail(_) => true,
            _ => false,
        };
        subject && fails && fits
    }

    fn fits_storage(self, op: Request) -> bool {
        match self {
            Kind::StorageFail(Failure::NoSpace, _) => op == Request::Write,
            kind => kind.is_storage(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(kind, _)| kind == self);
        f.write_str(name.map_or("?", |(_, name)| name))
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Kind> {
        let kind = KINDS.iter().find(|(_, name)| *name == text);
        let all: Vec<&str> = KINDS.iter().map(|(_, name)| *name).collect();
        kind.map(|(kind, _)| *kind)
            .with_context(|| format!("--kind is one of {}", all.join(" ")))
    }
}

/// One call, and what happens at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Number of the call, of disk and VFS or of the storage.
    pub number: u64,
    /// What happens.
    pub kind: Kind,
}

/// The calls of a scene that was played undisturbed.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// Number of the last call of disk and VFS before them.
    pub before: u64,
    /// What each of them was, and whether whoever is tested made it.
    pub disk: Vec<(Seen, bool)>,
    /// Whether the storage can be away for those who start again.
    pub may_be_offline: bool,
    /// Number of the last call to the storage before them.
    pub storage_before: u64,
    /// What each of these was.
    pub storage: Vec<Request>,
}

/// All points of a scene.
pub fn points(calls: &Calls) -> Vec<Point> {
    let possible = |kind: &Kind| calls.may_be_offline || !matches!(kind, Kind::CutOffline(_));
    let kinds = || KINDS.iter().map(|(kind, _)| *kind).filter(possible);
    let mut points = Vec::new();
    let ops: Vec<Op> = calls.disk.iter().map(|(seen, _)| seen.op).collect();
    for (index, (seen, subject)) in calls.disk.iter().enumerate() {
        if is_repeated(&ops, index) {
            continue;
        }
        let number = calls.before + 1 + index as u64;
        let last = index.checked_sub(1).map(|last| ops[last]);
        let fitting = kinds().filter(|kind| kind.fits(seen, *subject, last));
        points.extend(fitting.map(|kind| Point { number, kind }));
    }
    // After the last call: what is done must last.
    let number = calls.before + calls.disk.len() as u64 + 1;
    let last = kinds().filter(|kind| kind.stops());
    points.extend(last.map(|kind| Point { number, kind }));
    for (number, op) in (calls.storage_before + 1..).zip(&calls.storage) {
        let fitting = kinds().filter(|kind| kind.fits_storage(*op));
        points.extend(fitting.map(|kind| Point { number, kind }));
    }
    points
}

/// Within a long wait for a lock one try is like the next: only its beginning and its end are looked at.
fn is_repeated(ops: &[Op], index: usize) -> bool {
    const LOOKED_AT: usize = 16;
    let from = index.saturating_sub(LOOKED_AT);
    let around = ops.get(from..=index + LOOKED_AT).unwrap_or_default();
    around.len() == 2 * LOOKED_AT + 1 && around.iter().all(|op| *op == Op::Memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_name() {
        for (kind, name) in KINDS {
            assert_eq!(name.parse::<Kind>().unwrap(), kind);
            assert_eq!(kind.to_string(), name);
        }
    }
}
