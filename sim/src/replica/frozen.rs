//! A copy of the storage at one moment, for those who judge: it never changes, fails, waits or yields.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use litestream_replica::env::UnixMillis;
use litestream_replica::{Error, ErrorKind, FileInfo, Level, Replica, Result, Source, v3};
use ltx::{FileName, Txid};

use super::store::{Key, V3, Version, info, key, v3_objects};

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Frozen {
    files: Arc<BTreeMap<Key, Version>>,
    v3: Arc<V3>,
}

impl Frozen {
    pub(super) fn new<'a>(files: impl Iterator<Item = (Key, &'a Version)>, v3: V3) -> Frozen {
        Frozen {
            files: Arc::new(files.map(|(key, version)| (key, version.clone())).collect()),
            v3: Arc::new(v3),
        }
    }

    /// All files, by level, min TXID, max TXID, with the times in their headers.
    pub fn files(&self) -> Vec<FileInfo> {
        self.files
            .iter()
            .map(|(key, version)| info(*key, version, true))
            .collect()
    }

    /// What a file holds.
    pub fn bytes(&self, level: Level, name: FileName) -> Option<Bytes> {
        Some(self.files.get(&key(level, name))?.bytes.clone())
    }
}

fn frozen<T>(op: &'static str) -> Result<T> {
    Err(Error::new(
        ErrorKind::Invalid,
        op,
        "",
        "this copy is for reading",
    ))
}

#[async_trait::async_trait]
impl Replica for Frozen {
    fn kind(&self) -> &'static str {
        "frozen"
    }

    fn location(&self) -> String {
        "frozen".to_owned()
    }

    async fn list(&self, level: Level, seek: Option<Txid>, _: bool) -> Result<Vec<FileInfo>> {
        let mut files = self.files();
        files.retain(|f| f.level == level && seek.is_none_or(|seek| f.name.max >= seek));
        Ok(files)
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        match self.files.get(&key(level, name)) {
            Some(version) => Ok(range(&version.bytes, offset, len)),
            None => Err(missing(level, name)),
        }
    }

    async fn write(&self, _: Level, _: FileName, _: Source, _: UnixMillis) -> Result<FileInfo> {
        frozen("write")
    }

    async fn delete(&self, _: &[(Level, FileName)]) -> Result<()> {
        frozen("delete")
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        Ok(v3_objects(&self.v3))
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        match self.v3.get(path) {
            Some((bytes, _)) => Ok(range(bytes, offset, len)),
            None => Err(missing_v3(path)),
        }
    }
}

/// As much of the range as there is.
pub(super) fn range(bytes: &Bytes, offset: u64, len: Option<u64>) -> Bytes {
    let size = bytes.len() as u64;
    let start = offset.min(size);
    let end = len.map_or(size, |len| start.saturating_add(len).min(size));
    bytes.slice(start as usize..end as usize)
}

pub(super) fn missing_v3(path: &str) -> Error {
    Error::new(ErrorKind::NotFound, "read", path, "no such file")
}

pub(super) fn missing(level: Level, name: FileName) -> Error {
    let subject = format!("{level}/{name}");
    Error::new(ErrorKind::NotFound, "read", subject, "no such file")
}
