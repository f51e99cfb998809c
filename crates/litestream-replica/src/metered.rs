//! A replica whose operations are reported to an observer, for metrics.
//!
//! Promise: it changes nothing of what the replica inside does. What is read past it, through [`Replica::local_path`], it does not see.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ltx::{FileName, Txid};

use crate::conditional::Conditional;
use crate::env::{Clock, UnixMillis};
use crate::{Error, FileInfo, Level, Replica, Result, SharedReplica, Source, v3};

/// What was done, by the names that metrics have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Replica::write`].
    Put,
    /// [`Replica::read`] and [`Replica::read_v3`].
    Get,
    /// [`Replica::delete`].
    Delete,
    /// [`Replica::list`] and [`Replica::list_v3`].
    List,
}

impl Operation {
    /// `PUT`, `GET`, `DELETE`, `LIST`.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "PUT",
            Operation::Get => "GET",
            Operation::Delete => "DELETE",
            Operation::List => "LIST",
        }
    }
}

/// One call that has ended. Calls that were dropped before their end are not reported.
#[derive(Debug)]
pub struct Observed<'a> {
    /// What it was to do.
    pub operation: Operation,
    /// `file`, `s3`, …
    pub kind: &'static str,
    /// Files concerned: one, except for [`Operation::Delete`].
    pub files: u64,
    /// How long it took.
    pub took: Duration,
    /// Bytes moved, or why it failed.
    pub outcome: std::result::Result<u64, &'a Error>,
}

/// Learns of every operation, on the task that did it: it should be quick.
pub trait OperationObserver: Send + Sync {
    /// A call has ended.
    fn observe(&self, observed: &Observed<'_>);
}

/// See the [module](self).
pub struct Metered {
    inner: SharedReplica,
    observer: Arc<dyn OperationObserver>,
    clock: Arc<dyn Clock>,
}

impl Metered {
    /// Passes everything on to `inner`, and reports it.
    pub fn new(
        inner: SharedReplica,
        observer: Arc<dyn OperationObserver>,
        clock: Arc<dyn Clock>,
    ) -> Metered {
        Metered {
            inner,
            observer,
            clock,
        }
    }

    async fn run<T>(
        &self,
        operation: Operation,
        files: u64,
        work: impl Future<Output = Result<T>>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> Result<T> {
        let start = self.clock.monotonic();
        let result = work.await;
        self.observer.observe(&Observed {
            operation,
            kind: self.inner.kind(),
            files,
            took: self.clock.monotonic().since(start),
            outcome: result.as_ref().map(bytes),
        });
        result
    }
}

#[async_trait::async_trait]
impl Replica for Metered {
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
        let work = self.inner.list(level, seek, exact_times);
        self.run(Operation::List, 1, work, |_| 0).await
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let work = self.inner.read(level, name, offset, len);
        self.run(Operation::Get, 1, work, |b| b.len() as u64).await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let work = self.inner.write(level, name, source, created);
        self.run(Operation::Put, 1, work, |file| file.size).await
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        let work = self.inner.delete(files);
        let count = files.len() as u64;
        self.run(Operation::Delete, count, work, |()| 0).await
    }

    async fn tidy(&self) -> Result<()> {
        self.inner.tidy().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        let work = self.inner.list_v3();
        self.run(Operation::List, 1, work, |_| 0).await
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let work = self.inner.read_v3(path, offset, len);
        self.run(Operation::Get, 1, work, |b| b.len() as u64).await
    }

    fn local_path(&self, level: Level, name: FileName) -> Option<PathBuf> {
        self.inner.local_path(level, name)
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        self.inner.conditional()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::ErrorKind;
    use crate::faulty::{Faulty, Op, When};
    use crate::memory::Memory;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl OperationObserver for Notes {
        fn observe(&self, observed: &Observed<'_>) {
            let outcome = match observed.outcome {
                Ok(bytes) => bytes.to_string(),
                Err(error) => error.kind().code().to_owned(),
            };
            let (operation, files) = (observed.operation.name(), observed.files);
            self.0
                .lock()
                .push(format!("{operation} {} {files} {outcome}", observed.kind));
        }
    }

    #[tokio::test]
    async fn every_operation_is_reported_as_it_ended() {
        let env = crate::env::real::env();
        let memory = Memory::new(env.disk.clone());
        memory.put_v3("generations/x", Bytes::from_static(b"12345"), UnixMillis(1));
        let faulty = Faulty::new(Arc::new(memory));
        let notes = Arc::new(Notes::default());
        let metered = Metered::new(Arc::new(faulty.clone()), notes.clone(), env.clock.clone());
        let name = FileName::single(Txid::new(1));
        let source = Source::Bytes(Bytes::from_static(b"abc"));
        let write = || metered.write(Level::L0, name, source.clone(), UnixMillis(1));
        write().await.unwrap();
        metered.read(Level::L0, name, 1, None).await.unwrap();
        metered.list(Level::L0, None, false).await.unwrap();
        metered.list_v3().await.unwrap();
        metered.read_v3("generations/x", 0, None).await.unwrap();
        faulty.fail(Op::Write, 1, ErrorKind::NoSpace, When::Before);
        write().await.unwrap_err();
        let both = [(Level::L0, name), (Level::L1, name)];
        metered.delete(&both).await.unwrap();
        metered.read(Level::L0, name, 0, None).await.unwrap_err();
        let kind = metered.kind();
        let expected = [
            format!("PUT {kind} 1 3"),
            format!("GET {kind} 1 2"),
            format!("LIST {kind} 1 0"),
            format!("LIST {kind} 1 0"),
            format!("GET {kind} 1 5"),
            format!("PUT {kind} 1 no_space"),
            format!("DELETE {kind} 2 0"),
            format!("GET {kind} 1 not_found"),
        ];
        assert_eq!(*notes.0.lock(), expected);
    }
}
