//! One writer at a time: a replica that is written only while its lease is held.
//!
//! Owns the lease and its renewal. Promise: nothing is written, deleted or listed for writing while another has the lease, nor with what was
//! known before it was got: who got it must list first. A holder that was paused or cut off writes nothing more once others may.

mod keeper;
mod record;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ltx::{FileName, Txid};
use parking_lot::Mutex;

use self::keeper::{Keeper, Step};
use self::record::{NAME, Record};
use crate::conditional::{Conditional, Outcome, Tag, When};
use crate::env::{Env, Running, UnixMillis};
use crate::{
    Error, ErrorKind, FileInfo, Level, Replica, Result, SharedReplica, Source, limits, v3,
};

/// Renewed so many times in the time that it holds.
const RENEWALS: u32 = 3;
/// Giving it back is a courtesy.
const RELEASE_MAX: Duration = Duration::from_secs(2);

/// This process as the owner of a lease: `<host>:<pid>`, or `pid-<pid>` where the host has no name.
pub fn owner() -> String {
    let name = rustix::system::uname();
    let (host, pid) = (name.nodename().to_string_lossy(), std::process::id());
    if host.is_empty() {
        format!("pid-{pid}")
    } else {
        format!("{host}:{pid}")
    }
}

/// See the [module](self).
pub struct Leased {
    held: Arc<Held>,
    renewing: Box<dyn Running>,
}

struct Held {
    inner: SharedReplica,
    env: Env,
    ttl: Duration,
    keeper: Mutex<Keeper>,
    /// The holding in which each level was listed last; the first is 1.
    listed: Mutex<[u64; 10]>,
    /// One request for the lease at a time.
    turn: tokio::sync::Mutex<()>,
    /// The storage was seen to keep its word.
    is_proved: AtomicBool,
    /// It was given back, and nobody has begun to write since: a new writer begins by listing.
    is_closed: AtomicBool,
    /// Changes that were dropped before they ended: they may still arrive.
    adrift: AtomicU32,
}

impl Leased {
    /// Writes to `inner` under a lease that lasts `ttl` without renewal. `owner` is for others to read: `<host>:<pid>`. An error if the
    /// storage can't write on a condition.
    pub fn new(inner: SharedReplica, owner: String, ttl: Duration, env: &Env) -> Result<Leased> {
        if inner.conditional().is_none() {
            return Err(impossible(&*inner));
        }
        let mut random = [0; 16];
        env.entropy.fill(&mut random);
        let token = format!("{:032x}", u128::from_le_bytes(random));
        let held = Arc::new(Held {
            inner,
            env: env.clone(),
            ttl,
            keeper: Mutex::new(Keeper::new(owner, token, ttl)),
            listed: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            is_proved: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            adrift: AtomicU32::new(0),
        });
        let renewal = Arc::clone(&held).renew();
        Ok(Leased {
            renewing: env.spawn.task("lease", Box::pin(renewal)),
            held,
        })
    }
}

/// There is no lease on this kind of storage.
pub(crate) fn impossible(replica: &dyn Replica) -> Error {
    Error::invalid(format_args!(
        "a lease needs storage that can write on a condition, which {} can't: remove \"lease\", and make sure yourself that only one \
         process writes to {}",
        replica.kind(),
        replica.location()
    ))
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Held {
    /// Renews what is held, until the task is aborted.
    async fn renew(self: Arc<Self>) {
        loop {
            self.env.clock.sleep_async(self.ttl / RENEWALS).await;
            let holds = self.keeper.lock().tag().is_some();
            if holds
                && let Err(error) = self.advance().await
                && error.kind() != ErrorKind::Interrupted
            {
                tracing::warn!(replica = %self.inner.location(), %error, "lease is not renewed");
            }
        }
    }

    fn store(&self) -> Result<&dyn Conditional> {
        let store = self.inner.conditional();
        store.ok_or_else(|| Error::invalid("the storage can't write on a condition any more"))
    }

    /// The holding in which one may write now. Gets the lease if it is to be had.
    async fn hold(&self) -> Result<u64> {
        let now = self.env.clock.awake_or_not();
        if self.is_proved.load(Ordering::Relaxed)
            && let Some(epoch) = self.keeper.lock().holds(now)
        {
            return Ok(epoch);
        }
        self.advance().await?;
        let now = self.env.clock.awake_or_not();
        let epoch = self.keeper.lock().holds(now);
        epoch.ok_or_else(|| self.error(ErrorKind::Unreachable, "got the lease too late to use it"))
    }

    /// Gets the lease, or renews it.
    async fn advance(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(self.error(ErrorKind::Interrupted, "the lease was given back"));
        }
        // Behind what is uploaded it would come too late.
        limits::urgent(self.advance_in_turn()).await
    }

    async fn advance_in_turn(&self) -> Result<()> {
        let store = self.store()?;
        let clock = &self.env.clock;
        let renewal = self
            .keeper
            .lock()
            .renewal(clock.awake_or_not(), clock.now());
        let step = match renewal {
            Some(step) => step,
            None => self.look(store).await?,
        };
        let (record, when) = match step {
            Step::Put(record, when) => (record, when),
            Step::Held(record) => return Err(self.error(ErrorKind::Held, &record.holder())),
        };
        let asked = clock.awake_or_not();
        let body = Bytes::from(record.encode());
        let outcome = store.put(NAME, body, when).await?;
        let (had, has) = {
            let mut keeper = self.keeper.lock();
            let had = keeper.holds(asked);
            let got = keeper.put(&record, outcome, asked);
            (had, got.then(|| keeper.holds(asked)).flatten())
        };
        match has {
            Some(_) if had == has && self.is_proved.load(Ordering::Relaxed) => Ok(()),
            Some(_) => {
                tracing::info!(replica = %self.inner.location(), generation = record.generation, "lease acquired");
                let proved = self.prove(store).await;
                if proved.is_err() {
                    self.keeper.lock().lost();
                }
                proved
            }
            None => Err(self.error(ErrorKind::Held, "another writer was faster")),
        }
    }

    async fn look(&self, store: &dyn Conditional) -> Result<Step> {
        let clock = &self.env.clock;
        let asked = clock.awake_or_not();
        let found = match store.get(NAME).await? {
            Some((bytes, tag)) => Some((self.read(&bytes)?, tag)),
            None => None,
        };
        let (answered, wall) = (clock.awake_or_not(), clock.now());
        Ok(self.keeper.lock().found(found, asked, answered, wall))
    }

    fn read(&self, bytes: &[u8]) -> Result<Record> {
        Record::decode(bytes).map_err(|e| {
            self.error(ErrorKind::Invalid, &format!("not a lease: {e}"))
                .with_hint("see what it is, and remove it if no writer uses this replica")
        })
    }

    /// A storage that takes conditions and ignores them protects nothing.
    async fn prove(&self, store: &dyn Conditional) -> Result<()> {
        if self.is_proved.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some((record, _)) = store.get(NAME).await? else {
            return Err(self.error(ErrorKind::Held, "the lease was taken away"));
        };
        let refused = store.put(NAME, record.clone(), When::Absent).await? == Outcome::Refused;
        let other = When::Same(Tag("\"0123456789abcdef0123456789abcdef\"".to_owned()));
        if refused && store.put(NAME, record, other).await? == Outcome::Refused {
            self.is_proved.store(true, Ordering::Relaxed);
            return Ok(());
        }
        Err(self
            .error(
                ErrorKind::Invalid,
                "this service takes conditional writes and ignores the condition, so a lease would protect nothing",
            )
            .with_hint("remove \"lease\", and make sure yourself that only one process writes there"))
    }

    fn error(&self, kind: ErrorKind, text: &str) -> Error {
        Error::new(kind, "lease", self.inner.location(), text)
    }

    /// Does what changes the replica: only in the holding in which was listed, and no longer than it lasts.
    async fn change<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let epoch = self.hold().await?;
        if self.listed.lock().iter().any(|listed| *listed != epoch) {
            return Err(self
                .error(
                    ErrorKind::Held,
                    "the lease was just got; what another wrote meanwhile must be looked at first",
                )
                .with_hint("nothing: this comes next"));
        }
        // As long as it is not known what became of it.
        self.adrift.fetch_add(1, Ordering::SeqCst);
        let mut work = std::pin::pin!(work);
        loop {
            let now = self.env.clock.awake_or_not();
            let usable = {
                let keeper = self.keeper.lock();
                let holds = keeper.holds(now) == Some(epoch);
                if holds {
                    keeper.usable(now)
                } else {
                    Duration::ZERO
                }
            };
            if usable.is_zero() {
                let text = "the lease was lost while something was being written";
                return Err(self.error(ErrorKind::Held, text));
            }
            tokio::select! {
                done = &mut work => {
                    self.adrift.fetch_sub(1, Ordering::SeqCst);
                    return done;
                }
                // It may have been renewed until then.
                () = self.env.clock.sleep_async(usable) => {}
            }
        }
    }

    /// Gives it back, if nothing of ours can arrive any more; else it ends by itself.
    async fn release(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.is_closed.store(true, Ordering::Relaxed);
        let tag = self.keeper.lock().tag().cloned();
        self.keeper.lock().lost();
        let (Some(tag), 0) = (tag, self.adrift.load(Ordering::SeqCst)) else {
            return Ok(());
        };
        let store = self.store()?;
        if store.delete(NAME, &tag).await? == Outcome::Refused
            // Renewed by a request whose answer nobody waited for.
            && let Some((bytes, tag)) = store.get(NAME).await?
            && self.keeper.lock().wrote(&self.read(&bytes)?)
        {
            store.delete(NAME, &tag).await?;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Replica for Leased {
    fn kind(&self) -> &'static str {
        self.held.inner.kind()
    }

    fn location(&self) -> String {
        self.held.inner.location()
    }

    fn list_delay(&self) -> Duration {
        self.held.inner.list_delay()
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        self.held.inner.conditional()
    }

    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
        self.held.is_closed.store(false, Ordering::Relaxed);
        let epoch = self.held.hold().await?;
        let files = self.held.inner.list(level, seek, exact_times).await?;
        self.held.listed.lock()[usize::from(level.get())] = epoch;
        Ok(files)
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        self.held.inner.read(level, name, offset, len).await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let work = self.held.inner.write(level, name, source, created);
        self.held.change(work).await
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        self.held.change(self.held.inner.delete(files)).await
    }

    async fn tidy(&self) -> Result<()> {
        self.held.change(self.held.inner.tidy()).await
    }

    async fn close(&self) {
        tokio::select! {
            released = limits::urgent(self.held.release()) => {
                if let Err(error) = released {
                    tracing::warn!(%error, "lease is not given back; it ends by itself");
                }
            }
            () = self.held.env.clock.sleep_async(RELEASE_MAX) => {}
        }
        self.held.inner.close().await;
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        self.held.inner.list_v3().await
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        self.held.inner.read_v3(path, offset, len).await
    }

    fn local_path(&self, level: Level, name: FileName) -> Option<PathBuf> {
        self.held.inner.local_path(level, name)
    }
}

#[cfg(test)]
mod tests;
