//! A replica that fails on command, for tests of everything that stands above one.
//!
//! Promise: without instructions it behaves exactly as the replica inside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ltx::{FileName, Txid};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::conditional::Conditional;
use crate::env::UnixMillis;
use crate::{Error, ErrorKind, FileInfo, Level, Replica, Result, SharedReplica, Source, v3};

/// An operation of [`Replica`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// [`Replica::list`] and [`Replica::list_v3`].
    List,
    /// [`Replica::read`] and [`Replica::read_v3`].
    Read,
    /// [`Replica::write`].
    Write,
    /// [`Replica::delete`].
    Delete,
}

/// Whether a failing call does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It fails and changes nothing.
    Before,
    /// It does its work and reports a failure all the same, as when the answer gets lost.
    After,
}

#[derive(Clone)]
enum Fault {
    Fail(ErrorKind, When),
    Stall(watch::Receiver<bool>),
}

#[derive(Default)]
struct Plan {
    /// Calls so far.
    calls: u64,
    /// What happens to the call of that number, counted from 1.
    at: BTreeMap<u64, Fault>,
    /// What happens to every other call.
    always: Option<Fault>,
    /// Calls about files of these levels wait, too.
    levels: BTreeMap<Level, watch::Receiver<bool>>,
}

/// See the [module](self). Cheap to clone; clones share their instructions.
#[derive(Clone)]
pub struct Faulty {
    inner: SharedReplica,
    plans: Arc<Mutex<BTreeMap<Op, Plan>>>,
}

/// Lets stalled calls go on, at the latest when dropped.
pub struct Stall(watch::Sender<bool>);

impl Stall {
    /// Whether a call about a stalled level waits.
    pub fn is_waited_for(&self) -> bool {
        self.0.receiver_count() > 1 // one is the instruction's
    }

    /// Lets the calls go on.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl Faulty {
    /// Passes everything on to `inner` until told otherwise.
    pub fn new(inner: SharedReplica) -> Faulty {
        Faulty {
            inner,
            plans: Arc::default(),
        }
    }

    /// The `nth` call of `op` from now on fails; 1 is the next one.
    pub fn fail(&self, op: Op, nth: u64, kind: ErrorKind, when: When) {
        self.instruct(op, nth, Fault::Fail(kind, when));
    }

    /// Every call of `op` fails from now on, until [`Faulty::heal`].
    pub fn fail_always(&self, op: Op, kind: ErrorKind, when: When) {
        self.plans.lock().entry(op).or_default().always = Some(Fault::Fail(kind, when));
    }

    /// The `nth` call of `op` from now on waits until the returned value lets it go.
    pub fn stall(&self, op: Op, nth: u64) -> Stall {
        let (sender, receiver) = watch::channel(false);
        self.instruct(op, nth, Fault::Stall(receiver));
        Stall(sender)
    }

    /// From now on calls of `op` about a file of `level` wait until the returned value lets them go.
    pub fn stall_level(&self, op: Op, level: Level) -> Stall {
        let (sender, receiver) = watch::channel(false);
        let mut plans = self.plans.lock();
        let plan = plans.entry(op).or_default();
        plan.levels.insert(level, receiver);
        Stall(sender)
    }

    /// Forgets all instructions.
    pub fn heal(&self) {
        for plan in self.plans.lock().values_mut() {
            plan.at.clear();
            plan.always = None;
            plan.levels.clear();
        }
    }

    /// How often `op` was called so far.
    pub fn calls(&self, op: Op) -> u64 {
        self.plans.lock().get(&op).map_or(0, |plan| plan.calls)
    }

    fn instruct(&self, op: Op, nth: u64, fault: Fault) {
        let mut plans = self.plans.lock();
        let plan = plans.entry(op).or_default();
        let number = plan.calls + nth.max(1);
        plan.at.insert(number, fault);
    }

    fn next_fault(&self, op: Op) -> Option<Fault> {
        let mut plans = self.plans.lock();
        let plan = plans.entry(op).or_default();
        plan.calls += 1;
        let number = plan.calls;
        plan.at.remove(&number).or_else(|| plan.always.clone())
    }

    async fn pass_level(&self, op: Op, level: Level) {
        let gate = {
            let plans = self.plans.lock();
            let plan = plans.get(&op);
            plan.and_then(|plan| plan.levels.get(&level).cloned())
        };
        if let Some(mut gate) = gate {
            // As below.
            let _ = gate.wait_for(|open| *open).await;
        }
    }

    async fn run<T>(&self, op: Op, work: impl Future<Output = Result<T>>) -> Result<T> {
        let failure = |kind| {
            let verb = match op {
                Op::List => "list",
                Op::Read => "read",
                Op::Write => "write",
                Op::Delete => "delete",
            };
            Err(Error::new(
                kind,
                verb,
                self.inner.location(),
                "failed on purpose",
            ))
        };
        match self.next_fault(op) {
            None => work.await,
            Some(Fault::Fail(kind, When::Before)) => failure(kind),
            Some(Fault::Fail(kind, When::After)) => {
                work.await?;
                failure(kind)
            }
            Some(Fault::Stall(mut gate)) => {
                // An error means that the sender is gone, which lets calls go as well.
                let _ = gate.wait_for(|open| *open).await;
                work.await
            }
        }
    }
}

#[async_trait::async_trait]
impl Replica for Faulty {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn list_delay(&self) -> Duration {
        self.inner.list_delay()
    }

    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
        self.run(Op::List, self.inner.list(level, seek, exact_times))
            .await
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        self.run(Op::Read, async {
            self.pass_level(Op::Read, level).await;
            self.inner.read(level, name, offset, len).await
        })
        .await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        self.run(Op::Write, async {
            self.pass_level(Op::Write, level).await;
            self.inner.write(level, name, source, created).await
        })
        .await
    }

    async fn tidy(&self) -> Result<()> {
        self.inner.tidy().await
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        self.run(Op::Delete, self.inner.delete(files)).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        self.run(Op::List, self.inner.list_v3()).await
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        self.run(Op::Read, self.inner.read_v3(path, offset, len))
            .await
    }

    /// None: reading past this wrapper would miss its faults.
    fn local_path(&self, _level: Level, _name: FileName) -> Option<PathBuf> {
        None
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        self.inner.conditional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    fn name(txid: u64) -> FileName {
        FileName::single(Txid::new(txid))
    }

    async fn write(faulty: &Faulty, txid: u64) -> Result<FileInfo> {
        faulty
            .write(
                Level::L0,
                name(txid),
                Source::Bytes(Bytes::from_static(b"x")),
                UnixMillis(1),
            )
            .await
    }

    #[tokio::test]
    async fn fails_the_call_it_was_told_to_before_or_after_the_effect() {
        let memory = Memory::new(crate::env::real::env().disk);
        let faulty = Faulty::new(Arc::new(memory.clone()));
        faulty.fail(Op::Write, 2, ErrorKind::Throttled, When::Before);
        faulty.fail(Op::Write, 3, ErrorKind::Unreachable, When::After);
        write(&faulty, 1).await.unwrap();
        assert_eq!(
            write(&faulty, 2).await.unwrap_err().kind(),
            ErrorKind::Throttled
        );
        assert_eq!(
            write(&faulty, 3).await.unwrap_err().kind(),
            ErrorKind::Unreachable
        );
        write(&faulty, 4).await.unwrap();
        let there: Vec<_> = memory.files().iter().map(|f| f.name).collect();
        assert_eq!(there, [name(1), name(3), name(4)]);
        assert_eq!(faulty.calls(Op::Write), 4);

        faulty.fail_always(Op::List, ErrorKind::Forbidden, When::Before);
        assert!(
            faulty
                .list(Level::L0, None, false)
                .await
                .unwrap_err()
                .is_forbidden()
        );
        assert!(
            faulty
                .list(Level::L0, None, false)
                .await
                .unwrap_err()
                .is_forbidden()
        );
        faulty.heal();
        assert_eq!(faulty.list(Level::L0, None, false).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn stalls_until_released() {
        let faulty = Faulty::new(Arc::new(Memory::new(crate::env::real::env().disk)));
        let stall = faulty.stall(Op::Write, 1);
        let waiting = tokio::spawn({
            let faulty = faulty.clone();
            async move { write(&faulty, 1).await }
        });
        while faulty.calls(Op::Write) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(
            faulty
                .list(Level::L0, None, false)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(!waiting.is_finished());
        stall.release();
        waiting.await.unwrap().unwrap();
        assert_eq!(faulty.list(Level::L0, None, false).await.unwrap().len(), 1);
    }
}
