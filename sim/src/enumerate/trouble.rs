//! The trouble of a scene: when it begins, whom it strikes, and how it ends.

use std::path::Path;

use super::point::Calls;
use super::stage::{Played, Stage};
use super::{Kind, Point};
use crate::disk::{CutImage, Fault, errno};
use crate::operator::base_faults;
use crate::plan::Backend;
use crate::sched;
use crate::vfs;
use crate::world::DATABASE;

/// A sync, what tries to write the file again, and what tries to remove it.
const TRAP_CALLS: u32 = 12;

impl Stage {
    /// The setup is over: from here on calls count, and trouble may strike.
    pub fn begin(&mut self) {
        let (disk, storage) = (&self.world.disk, &self.world.storage);
        self.world
            .note(|| format!("the act begins after call {}", disk.calls()));
        self.acting = true;
        self.calls = Some(Calls {
            before: disk.calls(),
            storage_before: storage.calls(),
            may_be_offline: self.scene.backend != Backend::Folder
                && self.restoring.wanted.is_none(),
            ..Calls::default()
        });
        let Some(Point { number, kind }) = self.point else {
            disk.record();
            return;
        };
        match kind {
            Kind::Kill | Kind::KillAll | Kind::KillApp | Kind::Cut(_) | Kind::CutOffline(_) => {
                disk.stop_at_nth(number, sched::current());
            }
            Kind::Fail(fault) => disk.fail_nth(number, fault),
            Kind::Trap => disk.fail_nth(number, Fault::Errno(errno::EIO)),
            Kind::TrapLong => disk.fail_from(number, TRAP_CALLS, errno::EIO),
            Kind::StorageKill(when) => storage.stop_at_nth(number, when, sched::current()),
            Kind::StorageFail(failure, when) => storage.fail_nth(number, failure, when),
        }
    }

    /// The act is over, or was cut short: whoever the trouble strikes dies, and all trouble ends.
    pub fn end(&mut self, cut: bool) {
        self.acting = false;
        let calls = self.world.disk.calls();
        self.world
            .note(|| format!("the act ends after call {calls}"));
        self.take_calls();
        if let Some(point) = self.point {
            self.strike(point, cut, calls);
        }
        self.world.disk.resume();
        self.world.disk.set_faults(base_faults());
        self.world.storage.heal();
    }

    fn take_calls(&mut self) {
        let Some(calls) = &mut self.calls else { return };
        let seen = self.world.disk.recorded().into_iter();
        calls.disk = seen
            .map(|seen| {
                let subject = self.subjects.contains(&seen.process);
                (seen, subject)
            })
            .collect();
        calls.storage = self.world.storage.ops();
        calls.storage.drain(..calls.storage_before as usize);
    }

    fn strike(&mut self, point: Point, cut: bool, calls: u64) {
        let reached = match point.kind {
            kind if kind.is_storage() => self.world.storage.calls() >= point.number,
            // After the last call, too.
            _ => calls + 1 >= point.number,
        };
        if !reached {
            self.world.violation(
                "the scene is not the same each time: the point was not reached".to_owned(),
            );
        }
        match point.kind {
            Kind::Kill => self.kill_subjects(),
            Kind::KillAll => {
                self.kill_subjects();
                self.kill_app();
            }
            Kind::KillApp => self.kill_app(),
            Kind::Cut(image) | Kind::CutOffline(image) => self.power_cut(image),
            Kind::Trap | Kind::TrapLong => self.power_cut(CutImage::NothingUnsynced),
            Kind::StorageKill(_) if cut => self.kill_subjects(),
            Kind::StorageKill(_) | Kind::Fail(_) | Kind::StorageFail(..) => {}
        }
    }

    fn kill_subjects(&mut self) {
        self.engine = None;
        for process in std::mem::take(&mut self.subjects) {
            self.world.note(|| format!("{process:?} killed"));
            vfs::kill(process);
        }
    }

    /// The power fails, and everybody is gone.
    pub(super) fn power_cut(&mut self, image: CutImage) {
        self.kill_subjects();
        self.kill_app();
        self.world.note(|| format!("power cut {image:?}"));
        let before = self.world.history.nodes();
        vfs::power_cut(&self.world.disk, image);
        let last = self.world.history.last();
        let place = before.iter().rposition(|node| Some(node.state) == last);
        // The database may be so new that there is none any more.
        if place.is_none()
            && vfs::committed_image(&self.world.disk, Path::new(DATABASE))
                .is_some_and(|i| !i.bytes.is_empty())
        {
            self.world.violation(
                "O7: after the power cut the source is no state that was committed".to_owned(),
            );
        }
        if place < self.durable {
            self.world.violation(format!(
                "O7: the power cut took durable commits: {:?} of state {place:?}",
                self.durable
            ));
        }
    }

    /// From now on a commit of the application is durable when it is done.
    pub fn synchronous(&mut self) -> Played {
        self.sql("PRAGMA synchronous = FULL; INSERT INTO t(body) VALUES (randomblob(20))")?;
        self.durable = self.world.history.len().checked_sub(1);
        Ok(())
    }
}
