//! A replica in memory: the reference that the [`suite`](crate::suite) measures others by, and a fast one for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ltx::{FileName, Txid};
use parking_lot::Mutex;

use crate::conditional::{Conditional, Outcome, Tag, When};
use crate::env::{Disk, UnixMillis};
use crate::{Error, ErrorKind, FileInfo, Level, Replica, Result, Source, v3};

/// LTX files in memory. Cheap to clone; clones hold the same files.
#[derive(Clone)]
pub struct Memory {
    disk: Arc<dyn Disk>,
    files: Arc<Mutex<Files>>,
    v3: Arc<Mutex<BTreeMap<String, (Bytes, UnixMillis)>>>,
    small: Arc<Mutex<Small>>,
    ignores_conditions: bool,
}

/// Objects that are written on conditions, each with its version.
#[derive(Default)]
struct Small {
    objects: BTreeMap<String, (Bytes, Tag)>,
    versions: u64,
}

/// By level, min TXID and max TXID: listings come out in their order.
type Files = BTreeMap<(Level, Txid, Txid), (Bytes, UnixMillis)>;

impl Memory {
    /// An empty replica. `disk` is where [`Source::File`] is read from.
    pub fn new(disk: Arc<dyn Disk>) -> Memory {
        Memory {
            disk,
            files: Arc::default(),
            v3: Arc::default(),
            small: Arc::default(),
            ignores_conditions: false,
        }
    }

    /// As some services do, it takes conditions and writes in any case.
    pub fn ignoring_conditions(mut self) -> Memory {
        self.ignores_conditions = true;
        self
    }

    /// Puts an object of Litestream 0.3 there: nothing else writes such.
    pub fn put_v3(&self, path: &str, bytes: Bytes, created: UnixMillis) {
        self.v3.lock().insert(path.to_owned(), (bytes, created));
    }

    /// Takes one away.
    pub fn remove_v3(&self, path: &str) {
        self.v3.lock().remove(path);
    }

    /// Everything in it, by level, min TXID, max TXID.
    pub fn files(&self) -> Vec<FileInfo> {
        let files = self.files.lock();
        files
            .iter()
            .map(|(&(level, min, max), file)| info(level, FileName { min, max }, file))
            .collect()
    }
}

fn info(level: Level, name: FileName, (bytes, created): &(Bytes, UnixMillis)) -> FileInfo {
    FileInfo {
        level,
        name,
        size: bytes.len() as u64,
        created: *created,
    }
}

/// As much of the range as there is.
fn range(bytes: &Bytes, offset: u64, len: Option<u64>) -> Bytes {
    let size = bytes.len() as u64;
    let start = offset.min(size);
    let end = len.map_or(size, |len| start.saturating_add(len).min(size));
    bytes.slice(start as usize..end as usize)
}

#[async_trait::async_trait]
impl Replica for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        Some(self)
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        _exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
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
        let files = self.files.lock();
        let Some((bytes, _)) = files.get(&(level, name.min, name.max)) else {
            return Err(Error::new(
                ErrorKind::NotFound,
                "read",
                format!("{level}/{name}"),
                "no such file",
            ));
        };
        Ok(range(bytes, offset, len))
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let bytes = match source {
            Source::Bytes(bytes) => bytes,
            Source::File(path) => {
                let read = || {
                    let file = self.disk.open(&path)?;
                    let mut bytes = vec![0; file.metadata()?.len as usize];
                    file.read_exact_at(&mut bytes, 0)?;
                    Ok(bytes.into())
                };
                read().map_err(|e| Error::io("read", &path, &e))?
            }
        };
        let file = (bytes, created);
        let info = info(level, name, &file);
        self.files.lock().insert((level, name.min, name.max), file);
        Ok(info)
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        let mut held = self.files.lock();
        for (level, name) in files {
            held.remove(&(*level, name.min, name.max));
        }
        Ok(())
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        let objects = self.v3.lock();
        let listed = objects.iter().map(|(path, (bytes, created))| v3::Object {
            path: path.clone(),
            size: bytes.len() as u64,
            created: *created,
        });
        Ok(listed.collect())
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        match self.v3.lock().get(path) {
            Some((bytes, _)) => Ok(range(bytes, offset, len)),
            None => Err(Error::new(
                ErrorKind::NotFound,
                "read",
                path,
                "no such file",
            )),
        }
    }
}

#[async_trait::async_trait]
impl Conditional for Memory {
    async fn get(&self, name: &str) -> Result<Option<(Bytes, Tag)>> {
        Ok(self.small.lock().objects.get(name).cloned())
    }

    async fn put(&self, name: &str, body: Bytes, when: When) -> Result<Outcome> {
        let mut small = self.small.lock();
        let tag = small.objects.get(name).map(|(_, tag)| tag);
        let holds = match &when {
            When::Always => true,
            When::Absent => tag.is_none(),
            When::Same(same) => tag == Some(same),
        };
        if !holds && !self.ignores_conditions {
            return Ok(Outcome::Refused);
        }
        small.versions += 1;
        let tag = Tag(small.versions.to_string());
        small.objects.insert(name.to_owned(), (body, tag.clone()));
        Ok(Outcome::Done(tag))
    }

    async fn delete(&self, name: &str, when: &Tag) -> Result<Outcome> {
        let mut small = self.small.lock();
        match small.objects.get(name) {
            Some((_, tag)) if tag == when || self.ignores_conditions => {
                small.objects.remove(name);
                Ok(Outcome::Done(when.clone()))
            }
            _ => Ok(Outcome::Refused),
        }
    }
}
