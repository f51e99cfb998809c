//! The calls of [`Replica`]: what each does with its request.

use bytes::Bytes;
use litestream_replica::env::UnixMillis;
use litestream_replica::faulty::Op;
use litestream_replica::{Error, ErrorKind, FileInfo, Level, Replica, Result, Source, v3};
use ltx::{FileName, Txid};
use xxhash_rust::xxh3::xxh3_64;

use super::SimReplica;
use super::frozen::{missing, missing_v3, range};
use super::request::{Call, alive, tag, tag_v3};
use super::store::{Change, Key, Version, info, key, v3_objects};
use super::verdict::{Quirk, between};
use crate::sched::{self, Nanos};

/// Bytes of a local file that are read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// What a listing is asked for.
struct Ask {
    level: Level,
    seek: Option<Txid>,
    exact_times: bool,
}

impl SimReplica {
    fn load(&self, source: Source) -> Result<Bytes> {
        let path = match source {
            Source::Bytes(bytes) => return Ok(bytes),
            Source::File(path) => path,
        };
        let read = || {
            let file = self.env.disk.open(&path)?;
            let mut bytes = vec![0; file.metadata()?.len as usize];
            let mut offset = 0;
            for piece in bytes.chunks_mut(PIECE_BYTES) {
                file.read_exact_at(piece, offset)?;
                offset += piece.len() as u64;
            }
            Ok(bytes.into())
        };
        read().map_err(|e| Error::io("read", &path, &e))
    }

    /// What the storage's clock says when something takes effect.
    fn storage_time(call: &Call, effect: Nanos) -> UnixMillis {
        let skew = call.profile.skew_max_ms as i64;
        let skew = sched::below(2 * skew as u64 + 1) as i64 - skew;
        let later = (effect.saturating_sub(call.sent) / 1_000_000) as i64;
        // Kept in whole seconds, as most services do.
        UnixMillis((sched::wall_millis() + later + skew).div_euclid(1000) * 1000)
    }

    /// What comes out of a read of this.
    fn received(&self, call: &Call, mut found: Option<Bytes>) -> Option<Bytes> {
        // A body that breaks off costs as much as a whole one and is an error like any other.
        self.shared.lock().counts.bytes_read += found.as_ref().map_or(0, Bytes::len) as u64;
        if let (Quirk::Flip, Some(bytes)) = (call.verdict.quirk, found.as_mut())
            && !bytes.is_empty()
        {
            let mut wrong = bytes.to_vec();
            wrong[sched::below(bytes.len() as u64) as usize] ^= 1 << sched::below(8);
            *bytes = wrong.into();
        }
        found
    }

    /// One page of a listing; the key at which the next one continues, if there is one.
    fn page(
        &self,
        call: &Call,
        ask: &Ask,
        after: Option<Key>,
        into: &mut Vec<FileInfo>,
    ) -> Option<Key> {
        let mut state = self.shared.lock();
        let now = state.advance();
        state.counts.pages += 1;
        let then = || match call.verdict.quirk {
            Quirk::Stale { lag, each: true } => now.saturating_sub(sched::below(lag + 1)),
            Quirk::Stale { lag, each: false } => now.saturating_sub(lag),
            _ => now,
        };
        let max = match call.profile.page_max {
            0 => usize::MAX,
            // At least two, so that one that is shown again is no standstill.
            max => between(2, max.max(2)) as usize,
        };
        let from = into.len();
        let header_time = call.profile.keeps_times || ask.exact_times;
        let mut files = state.store.level(ask.level, after, ask.seek, then);
        let mut keys: Vec<Key> = Vec::new();
        for (key, version) in files.by_ref().take(max) {
            keys.push(key);
            into.push(info(key, version, header_time));
        }
        let more = keys.len() == max && files.next().is_some();
        drop(files);
        if ask.exact_times && !call.profile.keeps_times {
            state.counts.heads += (into.len() - from) as u64;
        }
        let back = usize::from(call.verdict.quirk == Quirk::Duplicates);
        more.then(|| keys[keys.len() - 1 - back])
    }
}

#[async_trait::async_trait]
impl Replica for SimReplica {
    fn kind(&self) -> &'static str {
        "sim"
    }

    fn location(&self) -> String {
        "sim".to_owned()
    }

    fn list_delay(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.profile().stale_max)
    }

    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
        let tag = tag(Op::List, level, seek.unwrap_or_default(), Txid::ZERO);
        let call = self.begin(Op::List, tag)?;
        self.wait_until(call.answer(0)).await;
        let ask = Ask {
            level,
            seek,
            exact_times,
        };
        let mut files = Vec::new();
        let mut after = None;
        while !call.is_refused() {
            alive(Op::List)?;
            after = self.page(&call, &ask, after, &mut files);
            if after.is_none() {
                break;
            }
            sched::yield_point(call.tag ^ 2);
            self.wait_until(sched::now() + call.profile.latency.0).await;
        }
        self.end(&call)?;
        Ok(files)
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let call = self.begin(Op::Read, tag(Op::Read, level, name.min, name.max))?;
        let carried = self
            .bytes(level, name)
            .map_or(0, |bytes| range(&bytes, offset, len).len() as u64);
        self.wait_until(call.answer(carried)).await;
        alive(Op::Read)?;
        let found = self
            .bytes(level, name)
            .map(|bytes| range(&bytes, offset, len));
        let found = self.received(&call, found);
        self.end(&call)?;
        found.ok_or_else(|| missing(level, name))
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        alive(Op::Write)?;
        let bytes = self.load(source)?;
        let size = bytes.len() as u64;
        let call = self.begin(Op::Write, tag(Op::Write, level, name.min, name.max))?;
        sched::trace(xxh3_64(&bytes));
        self.shared.lock().counts.bytes_written += size;
        let answer = call.answer(size);
        let put = |due| {
            let version = Version {
                bytes: bytes.clone(),
                created,
                modified: SimReplica::storage_time(&call, due),
            };
            (due, Change::Put(key(level, name), version))
        };
        let flight = self.send(&call, call.effects(answer).into_iter().map(put).collect());
        self.answered(&call, flight, answer).await?;
        self.end(&call)?;
        Ok(FileInfo {
            level,
            name,
            size,
            created,
        })
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        let Some((level, name)) = files.first() else {
            return Ok(());
        };
        let call = self.begin(Op::Delete, tag(Op::Delete, *level, name.min, name.max))?;
        self.shared.lock().counts.files_deleted += files.len() as u64;
        let answer = call.answer(0);
        let mut left = files.to_vec();
        if call.verdict.quirk == Quirk::Partial {
            left.remove(sched::below(files.len() as u64) as usize);
            left.retain(|_| sched::chance(500));
        }
        // Each at its own time: whoever looks meanwhile sees some of them gone.
        let removals = left.iter().flat_map(|(level, name)| {
            let change = Change::Remove(key(*level, *name));
            let times = call.effects(answer);
            times.into_iter().map(move |due| (due, change.clone()))
        });
        let flight = self.send(&call, removals.collect());
        self.answered(&call, flight, answer).await?;
        self.end(&call)?;
        if call.verdict.quirk == Quirk::Partial {
            let kind = if call.profile.transient {
                ErrorKind::Unreachable
            } else {
                ErrorKind::Other
            };
            return self.fail(
                &call,
                kind,
                "simulated: some of the files could not be deleted",
            );
        }
        Ok(())
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        let call = self.begin(Op::List, tag_v3(Op::List, ""))?;
        self.wait_until(call.answer(0)).await;
        alive(Op::List)?;
        let objects = {
            let mut state = self.shared.lock();
            state.counts.pages += 1;
            v3_objects(&state.v3)
        };
        self.end(&call)?;
        Ok(objects)
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let call = self.begin(Op::Read, tag_v3(Op::Read, path))?;
        let found = {
            let state = self.shared.lock();
            let found = state.v3.get(path);
            found.map(|(bytes, _)| range(bytes, offset, len))
        };
        let carried = found.as_ref().map_or(0, Bytes::len) as u64;
        self.wait_until(call.answer(carried)).await;
        alive(Op::Read)?;
        let found = self.received(&call, found);
        self.end(&call)?;
        found.ok_or_else(|| missing_v3(path))
    }
}
