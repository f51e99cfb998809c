//! What was proved before, so that it need not be read again.
//!
//! Objects in a replica are never changed: a file of the same level, name, size, time and header is the same. What only reading finds,
//! damage at rest, changes none of these; so what was proved long ago is read again, if asked for.
//!
//! Promise: what is not understood is forgotten, never trusted.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use litestream_replica::env::{Disk, Env, UnixMillis};
use litestream_replica::{FileInfo, Level};
use ltx::{FileName, Txid};
use serde::{Deserialize, Serialize};

/// Format of the file.
const VERSION: u32 = 1;

/// What was proved of one replica.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    location: String,
    proved: Option<ProvedState>,
    files: BTreeMap<(Level, FileName), ProvedFile>,
}

/// The newest state that was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProvedState {
    pub txid: Txid,
    pub time: UnixMillis,
    pub chained: bool,
    /// Zero if not known.
    pub checksum: u64,
    pub at: UnixMillis,
}

#[derive(Clone, Copy, Debug)]
struct ProvedFile {
    size: u64,
    created: UnixMillis,
    /// Checksum of its header.
    header: u64,
    at: UnixMillis,
}

/// Why the memory can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct MemoryError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl MemoryError {
    fn of(action: &'static str, path: &Path) -> impl Fn(io::Error) -> MemoryError {
        let path = path.to_owned();
        move |source| MemoryError {
            action,
            path: path.clone(),
            source,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    replica: String,
    /// TXID, its time, whether confirmed by a chain, checksum of the database, when that was proved.
    proved: Option<(u64, i64, bool, u64, i64)>,
    files: Vec<Row>,
}

/// Level, first and last TXID, size, time, checksum of the header, when it was proved.
type Row = (u8, u64, u64, u64, i64, u64, i64);

impl Memory {
    /// What a file of [`Memory::save`] says; nothing if there is none, or it is not understood.
    pub fn load(env: &Env, path: &Path) -> Result<Memory, MemoryError> {
        let bytes = match read(&*env.disk, path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
            Err(e) => return Err(MemoryError::of("read", path)(e)),
        };
        match serde_json::from_slice::<Document>(&bytes) {
            Ok(document) if document.version == VERSION => Ok(Memory::from(document)),
            Ok(_) | Err(_) => {
                tracing::warn!(path = %path.display(), "what was verified before can't be understood and is not used");
                Ok(Memory::default())
            }
        }
    }

    /// Replaces the file.
    pub fn save(&self, env: &Env, path: &Path) -> Result<(), MemoryError> {
        let document = Document {
            version: VERSION,
            replica: self.location.clone(),
            proved: self
                .proved
                .map(|p| (p.txid.get(), p.time.0, p.chained, p.checksum, p.at.0)),
            files: self.files.iter().map(row).collect(),
        };
        let fail = |action| MemoryError::of(action, path);
        let bytes = serde_json::to_vec(&document).map_err(|e| fail("encode")(e.into()))?;
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{:016x}.tmp", env.entropy.next_u64()));
        let temporary = PathBuf::from(name);
        let file = env.disk.create_new(&temporary, 0o600);
        let file = file.map_err(fail("create"))?;
        let written = file.write_at(&bytes, 0).and_then(|()| file.sync());
        let placed = written.and_then(|()| env.disk.rename(&temporary, path));
        placed.map_err(|e| {
            // It is only in the way.
            let _ = env.disk.remove(&temporary);
            fail("write")(e)
        })
    }

    /// Forgets everything if it is about another replica.
    pub(super) fn begin(&mut self, location: &str) {
        if self.location != location {
            *self = Memory {
                location: location.to_owned(),
                ..Memory::default()
            };
        }
    }

    pub(super) fn state(&self) -> Option<ProvedState> {
        self.proved
    }

    pub(super) fn prove_state(&mut self, state: ProvedState) {
        // A replica that went back is told of until it reaches as far again.
        if self.proved.is_none_or(|before| before.txid <= state.txid) {
            self.proved = Some(state);
        }
    }

    /// Forgets what is not listed any more.
    pub(super) fn retain(&mut self, files: &[FileInfo]) {
        let listed: std::collections::BTreeSet<_> =
            files.iter().map(|f| (f.level, f.name)).collect();
        self.files.retain(|key, _| listed.contains(key));
    }

    pub(super) fn prove(&mut self, file: &FileInfo, header: u64, now: UnixMillis) {
        let proved = ProvedFile {
            size: file.size,
            created: file.created,
            header,
            at: now,
        };
        self.files.insert((file.level, file.name), proved);
    }

    pub(super) fn forget(&mut self, file: &FileInfo) {
        self.files.remove(&(file.level, file.name));
    }

    /// The checksum of the header that a file must have, if it was proved lately enough and looks the same.
    pub(super) fn knows(
        &self,
        file: &FileInfo,
        now: UnixMillis,
        max_age: Option<Duration>,
    ) -> Option<u64> {
        let known = self.files.get(&(file.level, file.name))?;
        let age = now.0.saturating_sub(known.at.0);
        let young = max_age.is_none_or(|max| {
            // What was proved in the future was proved by a clock that was wrong.
            (0..i64::try_from(max.as_millis()).unwrap_or(i64::MAX)).contains(&age)
        });
        let same = known.size == file.size && known.created == file.created;
        (young && same).then_some(known.header)
    }
}

fn row((&(level, name), file): (&(Level, FileName), &ProvedFile)) -> Row {
    (
        level.get(),
        name.min.get(),
        name.max.get(),
        file.size,
        file.created.0,
        file.header,
        file.at.0,
    )
}

impl From<Document> for Memory {
    fn from(document: Document) -> Memory {
        let files = document.files.into_iter().filter_map(
            |(level, min, max, size, created, header, at)| {
                let name = FileName::new(Txid::new(min), Txid::new(max));
                let file = ProvedFile {
                    size,
                    created: UnixMillis(created),
                    header,
                    at: UnixMillis(at),
                };
                Some(((Level::new(level)?, name), file))
            },
        );
        Memory {
            location: document.replica,
            proved: document
                .proved
                .map(|(txid, time, chained, checksum, at)| ProvedState {
                    txid: Txid::new(txid),
                    time: UnixMillis(time),
                    chained,
                    checksum,
                    at: UnixMillis(at),
                }),
            files: files.collect(),
        }
    }
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; file.metadata()?.len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litestream_replica::env::real;

    fn file(size: u64) -> FileInfo {
        FileInfo {
            level: Level::L1,
            name: FileName::new(Txid::new(3), Txid::new(9)),
            size,
            created: UnixMillis(77),
        }
    }

    #[test]
    fn what_was_proved_is_known_until_it_is_old_or_changed() {
        let (env, folder) = (real::env(), tempfile::tempdir().unwrap());
        let path = folder.path().join("verified.json");
        let mut memory = Memory::load(&env, &path).unwrap();
        memory.begin("here");
        memory.prove(&file(10), 5, UnixMillis(1000));
        memory.save(&env, &path).unwrap();
        let mut memory = Memory::load(&env, &path).unwrap();
        memory.begin("here");
        let second = Some(Duration::from_secs(1));
        assert_eq!(memory.knows(&file(10), UnixMillis(1999), second), Some(5));
        assert_eq!(memory.knows(&file(10), UnixMillis(9999), None), Some(5));
        assert_eq!(memory.knows(&file(10), UnixMillis(2000), second), None);
        assert_eq!(memory.knows(&file(10), UnixMillis(999), second), None);
        assert_eq!(memory.knows(&file(11), UnixMillis(1000), second), None);
        memory.begin("there");
        assert_eq!(memory.knows(&file(10), UnixMillis(1000), None), None);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test writes a file")]
    fn nonsense_is_forgotten() {
        let (env, folder) = (real::env(), tempfile::tempdir().unwrap());
        let path = folder.path().join("verified.json");
        std::fs::write(&path, "{\"version\":1,\"files\":[[").unwrap();
        assert!(Memory::load(&env, &path).unwrap().files.is_empty());
    }
}
