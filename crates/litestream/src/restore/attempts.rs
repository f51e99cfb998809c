//! The plans of a restore, one after the other: where the replica changes meanwhile, and around files that are damaged.
//!
//! Promise: looking for the newest state a new plan is never older than the last, and one around a damaged file leads to the state that
//! was planned first, or the error names the file and what can be restored without it.

use std::time::Duration;

use litestream_replica::chain::before::Times;
use litestream_replica::chain::points::restorable;
use litestream_replica::{FileInfo, SharedReplica};
use ltx::Txid;

use super::choose::{Backup, choose_with};
use super::error::RestoreError;
use super::plan::{Target, list, plan_with};

/// How often a restore begins anew with a plan that was tried before: waiting may help, if listings lag behind.
const SAME_MAX: usize = 8;
/// How often it begins anew at all. Each new plan shows that the replica was compacted meanwhile, so this is only reached by
/// a restore that takes longer than files are kept, again and again.
const PLANS_MAX: usize = 100;
/// The first wait before that; it doubles while the plan stays the same.
const PLAN_WAIT: Duration = Duration::from_millis(20);

/// The plans of a restore, one after the other.
#[derive(Default)]
pub(super) struct Attempts {
    only_ltx: bool,
    times: Times,
    last: Option<Backup>,
    all: usize,
    same: usize,
    detour: Option<Detour>,
}

/// A way around files that are damaged.
struct Detour {
    damaged: Vec<FileInfo>,
    /// What was wrong first.
    error: RestoreError,
    /// Where the way must lead.
    goal: Txid,
}

impl Attempts {
    /// What is to be prepared is told by its TXID, so backups of Litestream 0.3, which have none, may have to be passed over.
    pub(super) fn new(only_ltx: bool) -> Attempts {
        Attempts {
            only_ltx,
            ..Attempts::default()
        }
    }

    /// The next.
    pub(super) async fn choose(
        &mut self,
        target: Target,
        replica: &SharedReplica,
    ) -> Result<Backup, RestoreError> {
        if let Some(detour) = self.detour.take() {
            return self.around(detour, target, replica).await;
        }
        let backup = if self.only_ltx {
            Backup::Ltx(plan_with(target, replica, &mut self.times, &[]).await?)
        } else {
            choose_with(target, replica, &mut self.times).await?
        };
        self.check(target, &backup)?;
        Ok(backup)
    }

    fn check(&mut self, target: Target, backup: &Backup) -> Result<(), RestoreError> {
        if let (Target::Latest, Some(last)) = (target, &self.last) {
            check_order(last, backup)?;
        }
        if self.last.as_ref() != Some(backup) {
            self.same = 0;
            self.last = Some(backup.clone());
        }
        Ok(())
    }

    /// Plans without the damaged files.
    async fn around(
        &mut self,
        detour: Detour,
        target: Target,
        replica: &SharedReplica,
    ) -> Result<Backup, RestoreError> {
        let planned = plan_with(target, replica, &mut self.times, &detour.damaged).await;
        match planned {
            Ok(plan) if plan.max() >= detour.goal => {
                let backup = Backup::Ltx(plan);
                self.detour = Some(detour);
                self.check(target, &backup)?;
                Ok(backup)
            }
            Err(error)
                if !error.is_no_backup()
                    && !error.is_damage()
                    && !matches!(error, RestoreError::NonContiguous { .. }) =>
            {
                self.detour = Some(detour);
                Err(error)
            }
            _ => Err(detour.end(replica).await),
        }
    }

    /// How long to wait before the next; the error, if there should be none.
    pub(super) fn after(&mut self, error: RestoreError) -> Result<Duration, RestoreError> {
        self.all += 1;
        if let RestoreError::Late(late) = &error {
            let known = self.times.len();
            let late = late.iter().map(|(f, made)| ((f.level, f.name), *made));
            self.times.extend(late);
            return if self.times.len() > known && self.all < PLANS_MAX {
                Ok(Duration::ZERO)
            } else {
                Err(error)
            };
        }
        if let Some(file) = error.damaged_file() {
            return self.detour(file, error);
        }
        self.same += 1;
        if !error.plan_is_stale() || self.same >= SAME_MAX || self.all >= PLANS_MAX {
            return Err(error);
        }
        // A name may stand for another file now.
        self.times.clear();
        tracing::info!(%error, attempt = self.all, "planning the restore again");
        Ok(PLAN_WAIT * (1 << (self.same - 1)))
    }

    /// A file is damaged: others may lead to the same state.
    fn detour(&mut self, file: FileInfo, error: RestoreError) -> Result<Duration, RestoreError> {
        let goal = match &self.last {
            Some(Backup::Ltx(plan)) => plan.max(),
            Some(Backup::V3(_)) | None => return Err(error),
        };
        tracing::warn!(%error, "a file is damaged; looking for others that lead to the same state");
        let detour = self.detour.get_or_insert(Detour {
            damaged: Vec::new(),
            error,
            goal,
        });
        if detour.damaged.contains(&file) || self.all >= PLANS_MAX {
            let nothing = RestoreError::Cancelled;
            return Err(std::mem::replace(&mut detour.error, nothing));
        }
        detour.damaged.push(file);
        Ok(Duration::ZERO)
    }
}

impl Detour {
    /// There is no way around.
    async fn end(self, replica: &SharedReplica) -> RestoreError {
        let files = list(replica, false).await.unwrap_or_default();
        let files: Vec<FileInfo> = files
            .into_iter()
            .filter(|f| !self.damaged.contains(f))
            .collect();
        let points = restorable(&files);
        let below = points.partition_point(|p| *p <= self.goal);
        RestoreError::NoOtherWay {
            error: Box::new(self.error),
            good: points[..below].last().copied(),
        }
    }
}

/// The newest state must not become older from one listing to the next.
fn check_order(last: &Backup, backup: &Backup) -> Result<(), RestoreError> {
    let is_older = backup.created() < last.created();
    match (last, backup) {
        (Backup::Ltx(last), Backup::Ltx(plan)) if plan.max() < last.max() => {
            let (before, now) = (last.max(), plan.max());
            Err(RestoreError::WentBack { before, now })
        }
        (Backup::Ltx(_), Backup::V3(_)) if is_older => Err(RestoreError::Vanished("LTX files")),
        (Backup::V3(_), Backup::Ltx(_)) if is_older => {
            Err(RestoreError::Vanished("objects of Litestream 0.3"))
        }
        _ => Ok(()),
    }
}
