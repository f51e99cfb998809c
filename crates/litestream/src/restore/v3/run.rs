//! A restore from a backup of 0.3, from its plan to the finished file.
//!
//! Promise: as that of the other restore: dropping the future ends the thread soon and leaves nothing behind, and no failure
//! changes what is at the output.

use std::sync::Arc;

use litestream_replica::SharedReplica;
use litestream_replica::env::Env;
use tokio::sync::watch;

use super::feed::Feed;
use super::fill::Fill;
use super::plan::V3Plan;
use crate::restore::error::RestoreError;
use crate::restore::request::{Event, Outcome, Progress, Request};
use crate::restore::run::{finish, on_thread};
use crate::restore::tally::Tally;
use crate::restore::target::Destination;
use crate::restore::temp::Temp;

/// Restores what the plan says.
pub async fn restore(
    request: &Request,
    plan: &V3Plan,
    destination: &Destination,
    replica: &SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) -> Result<Outcome, RestoreError> {
    let (files, bytes) = (1 + plan.segments.len(), plan.bytes());
    tracing::info!(
        generation = %plan.generation, position = %plan.last(), files, bytes,
        "restoring from a backup of Litestream 0.3"
    );
    if let Some(other) = plan.newer_elsewhere {
        tracing::warn!(
            generation = %plan.generation, %other,
            "another generation has newer WAL but an older snapshot: did two programs back up to the same place?"
        );
    }
    // How large the database is shows when it is unpacked.
    progress(Event::Planned {
        files,
        bytes,
        pages: 0,
        txid: None,
        time: plan.newest(),
    });
    destination.create_dir(&*env.disk)?;
    let temp = Temp::create(env, destination)?;
    let aside = if plan.segments.is_empty() {
        None
    } else {
        Some(Temp::create_another(env, destination)?)
    };

    let (alive, ends) = watch::channel(());
    let tally = Arc::new(Tally::new(0));
    let fill = Fill {
        plan: plan.clone(),
        feed: Feed::new(
            env.clone(),
            Arc::clone(replica),
            plan.objects().cloned().collect(),
            request.parallelism,
            ends,
            Arc::clone(&tally),
        ),
        out: (temp.file(), temp.path().to_owned()),
        aside: aside.as_ref().map(|t| (t.file(), t.path().to_owned())),
        tally: Arc::clone(&tally),
    };
    let (page_size, pages) = attend(fill, &tally, env, progress).await?;
    drop((alive, aside));
    finish(request, &temp, env, progress).await?;
    destination.replace(env, request.vfs.as_deref(), temp)?;
    progress(Event::Done { proved: false });
    Ok(Outcome {
        txid: None,
        time: plan.newest(),
        page_size,
        pages,
        files,
        bytes_read: bytes,
        proved: false,
    })
}

/// Tells of progress until the database is made.
async fn attend(
    fill: Fill,
    tally: &Tally,
    env: &Env,
    progress: Progress<'_>,
) -> Result<(ltx::PageSize, u64), RestoreError> {
    let work = on_thread(env, move || fill.run());
    tokio::pin!(work);
    let mut told = (0, 0);
    loop {
        let done = tokio::select! {
            biased;
            result = &mut work => Some(result),
            () = tally.changed.notified() => None,
        };
        let now = tally.progress();
        if now != told {
            told = now;
            progress(Event::Progress {
                bytes_read: now.0,
                bytes_written: now.1,
            });
        }
        if let Some(result) = done {
            return result;
        }
    }
}
