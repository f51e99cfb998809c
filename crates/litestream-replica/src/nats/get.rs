//! Reading an object: from the chunk on that holds the first byte, whatever the sizes of its chunks.
//!
//! Promise: all bytes are of one version of the object; one that is read whole has the digest that its writer gave it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::api::{Bucket, From};
use super::meta::{Meta, chunk_subject, fits, meta_subject};
use crate::limits::{Direction, Limits};
use crate::retry::{Fetch, resumed};
use crate::{Error, ErrorKind, Result};

/// Chunks asked for at a time: 8 MiB of full ones.
const BATCH: u64 = 64;
/// Sizes of chunks asked for at a time.
const INDEX_BATCH: u64 = 5000;
/// Objects whose places of chunks are remembered.
const INDEXES_MAX: usize = 32;
/// How often an object may be replaced while it is read, or be shown incompletely by a server that lags.
const VERSIONS_MAX: u64 = 6;
const VERSION_WAIT: Duration = Duration::from_millis(100);

/// Where an object's chunks are.
struct Index {
    /// The first byte of each chunk, and its place in the stream.
    chunks: Vec<(u64, u64)>,
}

/// The places of chunks of objects read lately, by what their chunks are told apart by.
#[derive(Default)]
pub(super) struct Indexes(Mutex<VecDeque<(String, Arc<Index>)>>);

/// What reading needs.
pub(super) struct Reading<'a> {
    pub(super) bucket: &'a Bucket,
    pub(super) indexes: &'a Indexes,
    pub(super) limits: &'a Arc<Limits>,
}

impl Bucket {
    /// An object's description and its place in the stream; `None` if there never was one.
    pub(super) async fn meta(&self, op: &'static str, object: &str) -> Result<Option<(Meta, u64)>> {
        let subject = meta_subject(&self.name, object);
        let Some(stored) = self.last(op, object, &subject).await? else {
            return Ok(None);
        };
        let meta = serde_json::from_slice(&stored.bytes).map_err(|e| {
            let text = format!("nats: a description of an object that makes no sense: {e}");
            Error::new(ErrorKind::Corrupt, op, object, text)
        })?;
        Ok(Some((meta, stored.sequence)))
    }
}

impl Reading<'_> {
    pub(super) async fn read(&self, object: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let clock = &*self.bucket.env.clock;
        let (mut attempt, mut before) = (0, None);
        loop {
            attempt += 1;
            let _place = self.limits.begin().await;
            let meta = self.bucket.meta("read", object).await?;
            let Some((meta, _)) = meta.filter(|(meta, _)| !meta.deleted) else {
                let text = "no such object";
                return Err(Error::new(ErrorKind::NotFound, "read", object, text));
            };
            let version = Version {
                reading: self,
                meta,
            };
            match resumed(&version, offset, len, clock).await {
                Ok(bytes) => return version.checked(offset, len, bytes),
                // Its chunks are gone: it was replaced, or is not yet everywhere.
                Err(e) if e.is_not_found() && attempt < VERSIONS_MAX => {}
                Err(e) if e.is_not_found() && before.as_ref() == Some(&version.meta.nuid) => {
                    let text = "chunks of it are missing";
                    return Err(Error::new(ErrorKind::Corrupt, "read", object, text));
                }
                Err(e) if e.is_not_found() => {
                    let text = "nats: it is replaced again and again";
                    return Err(Error::new(ErrorKind::Unreachable, "read", object, text));
                }
                Err(e) => return Err(e),
            }
            before = Some(version.meta.nuid);
            clock.sleep_async(VERSION_WAIT).await;
        }
    }
}

/// One version of an object.
struct Version<'a> {
    reading: &'a Reading<'a>,
    meta: Meta,
}

impl Version<'_> {
    fn checked(&self, offset: u64, len: Option<u64>, bytes: Bytes) -> Result<Bytes> {
        let size = self.meta.size;
        let wanted = size.saturating_sub(offset).min(len.unwrap_or(u64::MAX));
        let damaged = |text: String| {
            Err(Error::new(
                ErrorKind::Corrupt,
                "read",
                self.meta.name.as_str(),
                text,
            ))
        };
        if bytes.len() as u64 != wanted {
            return damaged(format!("it should have {size} bytes and has not"));
        }
        if wanted == size && !fits(&bytes, &self.meta.digest) {
            return damaged("its bytes do not fit the digest that was stored with them".to_owned());
        }
        Ok(bytes)
    }

    /// Told apart from other errors by its kind: it stays in this room.
    fn gone(&self) -> Error {
        Error::new(
            ErrorKind::NotFound,
            "read",
            self.meta.name.as_str(),
            "chunks are gone",
        )
    }

    fn subject(&self) -> String {
        chunk_subject(&self.reading.bucket.name, &self.meta.nuid)
    }

    async fn reader(&self, from: From) -> Result<super::api::Reader> {
        let bucket = self.reading.bucket;
        bucket
            .reader("read", &self.meta.name, &self.subject(), from)
            .await
    }

    /// A single chunk comes in one request.
    async fn only_chunk(&self) -> Result<Bytes> {
        let bucket = self.reading.bucket;
        let stored = bucket
            .last("read", &self.meta.name, &self.subject())
            .await?;
        let stored = stored.ok_or_else(|| self.gone())?;
        self.pass(stored.bytes.len()).await;
        Ok(stored.bytes.into())
    }

    async fn pass(&self, len: usize) {
        self.reading.limits.pass(Direction::Down, len as u64).await;
    }

    /// Where to begin for the byte at `offset`, and which byte comes first then.
    async fn start(&self, offset: u64) -> Result<(From, u64, u64)> {
        let chunks = self.meta.chunks;
        if offset == 0 {
            return Ok((From::First, 0, chunks));
        }
        let index = self.index().await?;
        let after = index.chunks.partition_point(|(first, _)| *first <= offset);
        let at = after.saturating_sub(1);
        let (first, sequence) = *index.chunks.get(at).ok_or_else(|| self.gone())?;
        Ok((From::Sequence(sequence), first, chunks - at as u64))
    }

    async fn index(&self) -> Result<Arc<Index>> {
        let nuid = &self.meta.nuid;
        {
            let indexes = self.reading.indexes.0.lock();
            if let Some((_, index)) = indexes.iter().find(|(known, _)| known == nuid) {
                return Ok(Arc::clone(index));
            }
        }
        let mut reader = self.reader(From::FirstWithoutBytes).await?;
        if reader.pending < self.meta.chunks {
            return Err(self.gone());
        }
        let (mut chunks, mut first) = (Vec::new(), 0);
        while (chunks.len() as u64) < self.meta.chunks {
            let messages = reader.next(INDEX_BATCH).await?;
            if messages.is_empty() {
                return Err(self.gone());
            }
            for message in &messages {
                let (sequence, size) = place(message).ok_or_else(|| self.gone())?;
                chunks.push((first, sequence));
                first += size;
            }
        }
        let index = Arc::new(Index { chunks });
        let mut indexes = self.reading.indexes.0.lock();
        if indexes.len() >= INDEXES_MAX {
            indexes.pop_front();
        }
        indexes.push_back((nuid.clone(), Arc::clone(&index)));
        Ok(index)
    }
}

/// A chunk's place in the stream and its size, from a message without its bytes.
fn place(message: &Message) -> Option<(u64, u64)> {
    let sequence = message.info().ok()?.stream_sequence;
    let size = message.headers.as_ref()?.get("Nats-Msg-Size")?;
    Some((sequence, size.as_str().parse().ok()?))
}

#[async_trait::async_trait]
impl Fetch for Version<'_> {
    async fn fetch(&self, offset: u64, len: Option<u64>, into: &mut BytesMut) -> Result<()> {
        let size = self.meta.size;
        let end = len.map_or(size, |len| offset.saturating_add(len).min(size));
        if offset >= end {
            return Ok(());
        }
        if self.meta.chunks == 1 {
            let chunk = self.only_chunk().await?;
            if chunk.len() as u64 != size {
                return Err(self.gone());
            }
            into.extend_from_slice(&chunk[offset as usize..end as usize]);
            return Ok(());
        }
        let (from, mut at, mut left) = self.start(offset).await?;
        let mut reader = self.reader(from).await?;
        if reader.pending < left {
            return Err(self.gone());
        }
        while at < end {
            // Full chunks, as far as that is known.
            let full = self
                .meta
                .options
                .as_ref()
                .map_or(1, |o| o.max_chunk_size.max(1));
            let count = (end - at).div_ceil(full).min(BATCH).min(left).max(1);
            let messages = reader.next(count).await?;
            if messages.is_empty() {
                return Err(self.gone());
            }
            left = left.saturating_sub(messages.len() as u64);
            for message in messages {
                let chunk = &message.payload;
                self.pass(chunk.len()).await;
                let after = at + chunk.len() as u64;
                let (lo, hi) = (offset.max(at), end.min(after));
                if lo < hi {
                    into.extend_from_slice(&chunk[(lo - at) as usize..(hi - at) as usize]);
                }
                at = after;
            }
        }
        Ok(())
    }
}
