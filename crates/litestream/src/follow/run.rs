//! The loop: restore or resume, then look at the replica again and again.
//!
//! Owns the position. Promise: an error in a tick changes nothing for readers and is tried again with the next; being
//! told to stop ends it soon, and never in the middle of an apply.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::{Disk, Env, Monotonic};
use litestream_replica::{FileInfo, SharedReplica};
use ltx::Txid;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::apply::{Applied, apply};
use super::counter;
use super::error::FollowError;
use super::next::{self, Next};
use super::position;
use super::resume::{self, Found, Position};
use super::stage::{Source, Staged, stage};
use super::{Place, Request};
use crate::restore::aside::{self, with_suffix};
use crate::restore::{self, Progress, Target, on_thread, remove_leftovers, run_prepared};

/// How often a tick lists again because a listed file had gone.
const PLANS_MAX: usize = 8;
/// The wait before that.
const PLAN_WAIT: Duration = Duration::from_millis(20);
/// How often a reader that does not end is mentioned.
const BUSY_NOTICE: Duration = Duration::from_mins(1);

/// How following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Before there was a database: nothing was changed.
    Restoring,
    /// Before it was known where the database that is there goes on: nothing was changed.
    Resuming,
    /// With the database at this TXID.
    Following(Txid),
}

type Stop<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

/// Follows until `stop` is ready. Errors after the start are logged and tried again for ever.
pub async fn run(
    request: &Request,
    replica: SharedReplica,
    env: &Env,
    progress: Progress<'_>,
    stop: impl Future<Output = ()> + Send,
) -> Result<Ended, FollowError> {
    let mut stop = std::pin::pin!(stop);
    let (place, position) = tokio::select! {
        biased;
        () = &mut stop => {
            if forget(&*env.disk, &request.output) {
                return Ok(Ended::Restoring);
            }
            info!("follow mode stopped");
            return Ok(Ended::Resuming);
        }
        begun = begin(request, &replica, env, progress) => begun?,
    };
    info!(output = %request.output.display(), txid = %position.txid, interval = ?request.interval, "entering follow mode");
    let (sign, signed) = watch::channel(false);
    let mut follower = Follower {
        source: Source {
            env: env.clone(),
            replica,
            stop: signed,
        },
        place,
        txid: position.txid,
        position: Some(position),
        staged: None,
        thorough: true,
        busy: None,
    };
    follower.follow(request.interval, stop, &sign).await;
    info!("follow mode stopped");
    Ok(Ended::Following(follower.txid))
}

/// Restores, or finds out where to go on.
async fn begin(
    request: &Request,
    replica: &SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) -> Result<(Place, Position), FollowError> {
    let place = |real| Place {
        env: env.clone(),
        output: request.output.clone(),
        real,
        vfs: request.vfs.clone(),
    };
    let disk = &*env.disk;
    let real = || {
        disk.canonicalize(&request.output)
            .unwrap_or_else(|_| request.output.clone())
    };
    let there = place(real());
    loop {
        match resume::find(&there, replica).await? {
            Found::Nothing => break,
            Found::Busy => env.clock.sleep_async(request.interval).await,
            Found::At(position) => {
                info!(output = %request.output.display(), txid = %position.txid, "resuming follow mode from crash recovery");
                remove_leftovers(disk, &there.real);
                aside::remove(disk, vec![with_suffix(&there.real, ".follow-check")]);
                check_continues(&there, replica, position.txid).await?;
                return Ok((there, position));
            }
        }
    }
    let position = first_restore(request, replica, env, progress).await?;
    Ok((place(real()), position))
}

/// A start with a position that nothing leads on from is an error at once.
async fn check_continues(
    place: &Place,
    replica: &SharedReplica,
    saved: Txid,
) -> Result<(), FollowError> {
    let output = place.output.clone();
    match next::next(replica, saved, true).await? {
        Next::Files(_) => Ok(()),
        Next::Gap(next) => Err(FollowError::Gap {
            have: saved,
            next,
            output,
        }),
        Next::Nothing => {
            let newest = next::newest(replica).await?;
            if newest < saved {
                return Err(FollowError::Ahead {
                    saved,
                    newest,
                    output,
                });
            }
            Ok(())
        }
    }
}

/// Restores the newest state. The position is written first and then the database gets its name: there is never a database
/// without a position.
async fn first_restore(
    request: &Request,
    replica: &SharedReplica,
    env: &Env,
    progress: Progress<'_>,
) -> Result<Position, FollowError> {
    let (disk, output) = (Arc::clone(&env.disk), request.output.clone());
    let prepare = move |txid: Txid, file: &dyn litestream_replica::env::File| {
        let fail = |e| restore::RestoreError::output("prepare", &output)(e);
        if file.metadata().map_err(fail)?.len > 0 {
            file.write_at(&[1, 1], counter::JOURNAL_MODE.start as u64)
                .map_err(fail)?;
            let counter = counter::of(txid).to_be_bytes();
            file.write_at(&counter, counter::COUNTER.start as u64)
                .map_err(fail)?;
        }
        position::write(&*disk, &output, txid).map_err(|e| {
            let path = position::path(&output);
            restore::RestoreError::output("write", path)(std::io::Error::other(e.to_string()))
        })
    };
    let request = restore::Request {
        output: request.output.clone(),
        target: Target::Latest,
        parallelism: request.parallelism,
        force: false,
        integrity_check: request.integrity_check,
        vfs: request.vfs.clone(),
    };
    let prepare: restore::Prepare = Arc::new(prepare);
    let restored = run_prepared(&request, replica.clone(), env, progress, Some(prepare)).await;
    let outcome = restored.inspect_err(|_| {
        forget(&*env.disk, &request.output);
    })?;
    // Only a backup of Litestream 0.3 has none, and these are not followed.
    let txid = outcome.txid.ok_or(restore::RestoreError::NoBackup)?;
    Ok(Position {
        txid,
        counter: (outcome.pages > 0).then(|| counter::of(txid)),
    })
}

/// Removes a position that there is no database for. Whether there is none.
fn forget(disk: &dyn Disk, output: &Path) -> bool {
    let absent = disk.symlink_metadata(output).is_err();
    if absent {
        aside::remove(disk, vec![position::path(output)]);
    }
    absent
}

struct Follower {
    source: Source,
    place: Place,
    /// The last position known.
    txid: Txid,
    /// `None` after an error: what state the database is in has to be found out.
    position: Option<Position>,
    /// Fetched, but somebody was reading.
    staged: Option<(Txid, Staged)>,
    /// Look at all levels, not only for what follows in level 0.
    thorough: bool,
    /// Since when readers are in the way, and when that was last mentioned.
    busy: Option<(Monotonic, Monotonic)>,
}

/// How a step of a tick ended.
enum Step {
    /// There may be more.
    More,
    /// Nothing to do until the next tick.
    Rest,
}

impl Follower {
    async fn follow(&mut self, interval: Duration, mut stop: Stop<'_>, sign: &watch::Sender<bool>) {
        let clock = Arc::clone(&self.source.env.clock);
        let mut errors = 0u64;
        loop {
            let mut stopped = false;
            let ticked = {
                let mut tick = std::pin::pin!(self.tick());
                tokio::select! {
                    biased;
                    ticked = &mut tick => ticked,
                    () = &mut stop => {
                        // Fetching ends at once, an apply when it is complete.
                        let _ = sign.send(true);
                        stopped = true;
                        tick.await
                    }
                }
            };
            match ticked {
                Ok(()) => errors = 0,
                Err(FollowError::Stopped) => {}
                Err(err) => {
                    errors += 1;
                    self.position = None;
                    self.staged = None;
                    error!(%err, consecutive_errors = errors, "follow: error applying updates");
                }
            }
            if stopped {
                return;
            }
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = clock.sleep_async(interval) => {}
            }
        }
    }

    /// Everything that is new.
    async fn tick(&mut self) -> Result<(), FollowError> {
        let from = self.txid;
        let done = self.advance().await;
        if self.txid > from {
            info!(from_txid = %from, to_txid = %self.txid, "follow: applied updates");
        }
        done
    }

    async fn advance(&mut self) -> Result<(), FollowError> {
        let mut plans = 1;
        loop {
            if *self.source.stop.borrow() {
                return Err(FollowError::Stopped);
            }
            match self.step().await {
                Ok(Step::More) => plans = 1,
                Ok(Step::Rest) => return Ok(()),
                // Compaction and retention go on while we read.
                Err(error) if error.plan_is_stale() && plans < PLANS_MAX => {
                    info!(%error, "listing the replica again");
                    plans += 1;
                    self.source.env.clock.sleep_async(PLAN_WAIT).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Lists, fetches and applies once.
    async fn step(&mut self) -> Result<Step, FollowError> {
        let Some(at) = self.find().await? else {
            return Ok(Step::Rest);
        };
        if self.staged.is_none() {
            let replica = &self.source.replica;
            let files = match next::next(replica, at.txid, self.thorough).await? {
                Next::Files(files) => files,
                Next::Nothing => {
                    self.thorough = false;
                    return Ok(Step::Rest);
                }
                Next::Gap(next) => {
                    return Err(FollowError::Gap {
                        have: at.txid,
                        next,
                        output: self.place.output.clone(),
                    });
                }
            };
            let last = files[files.len() - 1].name.max;
            self.staged = Some((last, self.fetch(files).await?));
        }
        let Some((last, staged)) = self.staged.take() else {
            return Ok(Step::Rest);
        };
        let (place, disk) = (self.place.clone(), Arc::clone(&self.source.env.disk));
        let work = move || {
            let applied = apply(&place, &staged, at);
            if let Ok(Applied::Done(at)) = &applied
                && let Err(error) = position::write(&*disk, &place.output, at.txid)
            {
                return Ok((Err(error), staged));
            }
            Ok((applied, staged))
        };
        // Whatever fails in there, the state of the database has to be found out anew.
        self.position = None;
        let (applied, staged) = on_thread(&self.source.env, work).await?;
        match applied {
            Ok(Applied::Done(now)) => {
                (self.position, self.txid, self.busy) = (Some(now), now.txid, None);
                let gap = now.txid < last;
                // What else came meanwhile can wait for the next tick.
                Ok(if gap || self.thorough {
                    Step::More
                } else {
                    Step::Rest
                })
            }
            Ok(Applied::Busy) => {
                self.position = Some(at);
                self.staged = Some((last, staged));
                self.mention_reader();
                Ok(Step::Rest)
            }
            Err(FollowError::PageSize {
                from,
                to,
                file,
                output,
            }) => {
                self.position = Some(at);
                let whole = next::snapshot(&self.source.replica, at.txid).await?;
                let whole = whole.filter(|snapshot| snapshot.name != file);
                let error = FollowError::PageSize {
                    from,
                    to,
                    file,
                    output,
                };
                let snapshot = whole.ok_or(error)?;
                let last = snapshot.name.max;
                self.staged = Some((last, self.fetch(vec![snapshot]).await?));
                Ok(Step::More)
            }
            Err(error) => Err(error),
        }
    }

    /// The state of the database; `None` if that can't be told now.
    async fn find(&mut self) -> Result<Option<Position>, FollowError> {
        if self.position.is_none() {
            match resume::find(&self.place, &self.source.replica).await? {
                Found::At(position) => {
                    self.position = Some(position);
                    self.txid = position.txid;
                }
                Found::Busy => self.mention_reader(),
                Found::Nothing => {
                    return Err(FollowError::NotDatabase {
                        output: self.place.output.clone(),
                        what: "it is gone or empty; start follow mode again".into(),
                    });
                }
            }
        }
        Ok(self.position)
    }

    async fn fetch(&self, files: Vec<FileInfo>) -> Result<Staged, FollowError> {
        let (source, place) = (self.source.clone(), self.place.clone());
        let work = move || Ok(stage(&source, &place, &files));
        on_thread(&self.source.env, work).await?
    }

    fn mention_reader(&mut self) {
        let now = self.source.env.clock.monotonic();
        let (since, mentioned) = *self.busy.get_or_insert((now, now));
        if now.since(mentioned) >= BUSY_NOTICE {
            self.busy = Some((since, now));
            warn!(
                output = %self.place.output.display(), seconds = now.since(since).as_secs(),
                "follow: the database is being read without a pause, updates wait"
            );
        }
    }
}
