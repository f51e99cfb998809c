//! Which file of a plan does not fit to the others, where the result of a restore is not what its newest file says.
//!
//! The files are read again, oldest first, and each is compared with what those before it give: 12 bytes of memory a page.

use std::sync::Arc;

use litestream_replica::env::Env;
use litestream_replica::{FileInfo, SharedReplica};
use parking_lot::Mutex;

use super::error::RestoreError;
use super::plan::Plan;
use crate::verify::read::{Checked, How, read};
use crate::verify::replay::{Judged, Replay, order};
use crate::verify::words::broken;

/// The error that names the first file that does not fit; `None` if that can't be found out.
pub(super) async fn blame(
    plan: &Plan,
    parallelism: usize,
    replica: &SharedReplica,
    env: &Env,
) -> Option<RestoreError> {
    let found = Arc::new(Mutex::new(None));
    let mut files = plan.files.clone();
    files.sort_unstable_by_key(order);
    let how = How {
        parallelism,
        pace: None,
        pages_max: u32::MAX,
    };
    let (mut replay, first) = (Replay::default(), Arc::clone(&found));
    let sink = move |_, file: FileInfo, checked: Checked| {
        let mut first = first.lock();
        if first.is_some() {
            return;
        }
        let sums = match checked {
            Ok(sums) => sums,
            Err(error) => {
                *first = Some(error);
                return;
            }
        };
        for (other, judged) in replay.step(sums) {
            *first = match judged {
                Judged::Fits => continue,
                Judged::Breaks(wrong) => Some(RestoreError::BrokenChain {
                    file: other,
                    what: broken(&wrong),
                }),
                Judged::Refutes(other) => Some(RestoreError::BrokenChain {
                    file: other,
                    what: format!("it is not what level {} {} says", file.level, file.name),
                }),
                Judged::Unreached => Some(RestoreError::BrokenChain {
                    file: other,
                    what: "nothing leads to where it begins".to_owned(),
                }),
            };
        }
    };
    let ended = read(files, how, Box::new(sink), replica, env, |_| {}).await;
    ended.ok()?;
    found.lock().take()
}
