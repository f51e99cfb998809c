//! A replica that counts what it is asked for.

use std::path::PathBuf;

use bytes::Bytes;
use litestream_replica::env::UnixMillis;
use litestream_replica::{FileInfo, Level, Replica, Result, SharedReplica, Source, v3};
use ltx::{FileName, Txid};
use parking_lot::Mutex;

/// Requests, by level where that matters.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Listings.
    pub list: u64,
    /// Listings that have to ask for the time of each file.
    pub list_exact: u64,
    /// Reads.
    pub get: u64,
    /// Bytes that they gave.
    pub get_bytes: u64,
    /// Writes by level.
    pub put: [u64; 10],
    /// Bytes in them.
    pub put_bytes: [u64; 10],
    /// The largest of them.
    pub put_max: [u64; 10],
    /// Deletes.
    pub delete: u64,
    /// Files in them.
    pub deleted: u64,
}

impl Requests {
    /// Requests of any kind.
    pub fn all(&self) -> u64 {
        self.list + self.get + self.put.iter().sum::<u64>() + self.delete
    }
}

/// See the module.
pub(super) struct Meter {
    inner: SharedReplica,
    seen: Mutex<Requests>,
}

impl Meter {
    /// Has counted nothing yet.
    pub fn new(inner: SharedReplica) -> Meter {
        Meter {
            inner,
            seen: Mutex::default(),
        }
    }

    /// What was asked for since the last call.
    pub fn take(&self) -> Requests {
        std::mem::take(&mut self.seen.lock())
    }
}

#[async_trait::async_trait]
impl Replica for Meter {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn list_delay(&self) -> std::time::Duration {
        self.inner.list_delay()
    }

    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
        {
            let mut seen = self.seen.lock();
            seen.list += 1;
            seen.list_exact += u64::from(exact_times);
        }
        self.inner.list(level, seek, exact_times).await
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let bytes = self.inner.read(level, name, offset, len).await?;
        let mut seen = self.seen.lock();
        seen.get += 1;
        seen.get_bytes += bytes.len() as u64;
        Ok(bytes)
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let info = self.inner.write(level, name, source, created).await?;
        let (mut seen, at) = (self.seen.lock(), usize::from(level.get()));
        seen.put[at] += 1;
        seen.put_bytes[at] += info.size;
        seen.put_max[at] = seen.put_max[at].max(info.size);
        Ok(info)
    }

    async fn tidy(&self) -> Result<()> {
        self.inner.tidy().await
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        {
            let mut seen = self.seen.lock();
            seen.delete += 1;
            seen.deleted += files.len() as u64;
        }
        self.inner.delete(files).await
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        self.seen.lock().list += 1;
        self.inner.list_v3().await
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        self.seen.lock().get += 1;
        self.inner.read_v3(path, offset, len).await
    }

    fn local_path(&self, level: Level, name: FileName) -> Option<PathBuf> {
        self.inner.local_path(level, name)
    }
}
