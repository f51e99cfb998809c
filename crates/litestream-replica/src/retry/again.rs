//! A replica that tries again what failed for a reason that may pass.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ltx::{FileName, Txid};

use super::{Backoff, rand};
use crate::conditional::Conditional;
use crate::env::{Clock, UnixMillis};
use crate::{FileInfo, Level, Replica, Result, SharedReplica, Source, v3};

/// The first wait; they double up to [`WAIT_MAX`].
const WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(15);
/// A wait that somebody may wonder about.
const WAIT_TOLD: Duration = Duration::from_secs(1);

/// How long the same request is tried again before its error is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// As long as the storage was never reached: more likely than a storage that is down is an address that is wrong.
    pub first: Duration,
    /// Once something has succeeded.
    pub later: Duration,
}

impl Patience {
    /// For a program that tries again by itself and wants to know soon.
    pub const SHORT: Patience = Patience {
        first: Duration::from_secs(2),
        later: Duration::from_secs(5),
    };
    /// For a command that somebody waits for.
    pub const COMMAND: Patience = Patience {
        first: Duration::from_secs(2),
        later: Duration::from_mins(1),
    };
    /// For a restore: what has begun should not be lost to an hour's quarter of bad network.
    pub const RESTORE: Patience = Patience {
        first: Duration::from_secs(15),
        later: Duration::from_mins(15),
    };
}

/// Calls `work` until it succeeds, fails for good, or the next wait would end later than `patience` from now.
pub(crate) async fn attempts<T, F>(
    clock: &dyn Clock,
    patience: impl Fn() -> Duration,
    work: impl Fn() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    // The first attempt takes as long as it moves; patience is for what comes after it failed.
    let mut failed = None;
    let mut backoff = Backoff::with_max(WAIT, WAIT_MAX);
    for attempt in 1_u32.. {
        let error = match work().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let wait = backoff.next(rand(clock));
        let now = clock.monotonic();
        let passed = now.since(*failed.get_or_insert(now));
        if !error.is_retryable() || passed.saturating_add(wait) > patience() {
            return Err(error.at_attempt(attempt));
        }
        if wait >= WAIT_TOLD {
            tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "storage request failed, trying again");
        } else {
            tracing::debug!(%error, "storage request failed, trying again");
        }
        clock.sleep_async(wait).await;
    }
    unreachable!("attempts are not counted to their end")
}

/// See the [module](self).
pub struct Retrying {
    inner: SharedReplica,
    clock: Arc<dyn Clock>,
    patience: Patience,
    reached: AtomicBool,
}

impl Retrying {
    /// Tries again what `inner` does.
    pub fn new(inner: SharedReplica, clock: Arc<dyn Clock>, patience: Patience) -> Retrying {
        Retrying {
            inner,
            clock,
            patience,
            reached: AtomicBool::new(false),
        }
    }

    async fn run<T, F: Future<Output = Result<T>>>(&self, work: impl Fn() -> F) -> Result<T> {
        let patience = || {
            if self.reached.load(Ordering::Relaxed) {
                self.patience.later
            } else {
                self.patience.first
            }
        };
        let result = attempts(&*self.clock, patience, work).await;
        // Only what is no use to try again was surely an answer, too.
        if !matches!(&result, Err(error) if error.is_retryable()) {
            self.reached.store(true, Ordering::Relaxed);
        }
        result
    }
}

#[async_trait::async_trait]
impl Replica for Retrying {
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
        self.run(|| self.inner.list(level, seek, exact_times)).await
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        self.run(|| self.inner.read(level, name, offset, len)).await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        self.run(|| self.inner.write(level, name, source.clone(), created))
            .await
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        self.run(|| self.inner.delete(files)).await
    }

    async fn tidy(&self) -> Result<()> {
        self.run(|| self.inner.tidy()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        self.run(|| self.inner.list_v3()).await
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        self.run(|| self.inner.read_v3(path, offset, len)).await
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
    use super::*;
    use crate::ErrorKind;
    use crate::env::real;
    use crate::faulty::{Faulty, Op, When};
    use crate::memory::Memory;

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_nothing_else() {
        let env = real::env();
        let faulty = Faulty::new(Arc::new(Memory::new(env.disk.clone())));
        let patience = Patience {
            first: Duration::from_millis(300),
            later: Duration::from_hours(1),
        };
        let replica = Retrying::new(Arc::new(faulty.clone()), env.clock.clone(), patience);
        let list = || replica.list(Level::L0, None, false);
        faulty.fail_always(Op::List, ErrorKind::Unreachable, When::Before);
        let error = list().await.unwrap_err();
        assert!(
            error.is_retryable() && error.to_string().contains("[attempt 2]"),
            "{error}"
        );
        faulty.heal();
        assert!(list().await.is_ok());
        for kind in [ErrorKind::Throttled, ErrorKind::Unreachable] {
            faulty.fail(Op::List, 1, kind, When::Before);
            assert!(list().await.unwrap().is_empty());
        }
        faulty.fail(Op::List, 1, ErrorKind::Forbidden, When::Before);
        assert!(list().await.unwrap_err().is_forbidden());
        assert!(list().await.is_ok());
    }
}
