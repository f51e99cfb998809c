//! Writing an object: its chunks, many on the way at once, then its description, which makes it visible.
//!
//! Promise: readers see the old version or the new one; chunks that no description names are removed, at the latest by tidying up.

use std::error::Error as _;
use std::sync::Arc;

use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::api::Bucket;
use super::connect::Session;
use super::meta::{Digesting, Meta, Options, chunk_subject, meta_subject, time_text};
use crate::blocks::Blocks;
use crate::env::{Monotonic, UnixMillis};
use crate::limits::{Direction, Limits};
use crate::{Error, ErrorKind, Result, Source, key};

/// The size of a chunk, as all clients have it.
const CHUNK_BYTES: u64 = 128 << 10;
/// Room for what a server counts with a message beside its bytes.
const MESSAGE_REST_BYTES: u64 = 1 << 10;
/// Chunks that are not yet acknowledged.
const UNACKNOWLEDGED_MAX: usize = 64;
/// Writers that get in between.
const TRIES_MAX: u32 = 16;

/// Writes an object; its size.
pub(super) async fn write(
    bucket: &Arc<Bucket>,
    limits: &Arc<Limits>,
    object: &str,
    source: &Source,
    created: UnixMillis,
) -> Result<u64> {
    let _place = limits.begin().await;
    let blocks = Blocks::open(source, &bucket.env).await?;
    let size = blocks.len();
    let session = bucket.session().await?;
    let id = key::chunks_id(bucket.env.clock.now().0, bucket.env.entropy.next_u64());
    let mut chunks = Chunks {
        bucket: Arc::clone(bucket),
        subject: Some(chunk_subject(&bucket.name, &id)),
        unacknowledged: FuturesUnordered::new(),
    };
    let put = Put {
        bucket,
        session: &session,
        limits,
        object,
        begun: bucket.env.clock.monotonic(),
    };
    let (chunk_bytes, count, digest) = put.chunks(&mut chunks, blocks).await?;
    let mut meta = Meta {
        name: object.to_owned(),
        options: Some(Options {
            max_chunk_size: chunk_bytes,
        }),
        bucket: bucket.name.clone(),
        nuid: id,
        size,
        mtime: time_text(bucket.env.clock.now()),
        chunks: count,
        digest,
        ..Meta::default()
    };
    meta.set_time(created);
    put.describe(chunks, &meta).await?;
    Ok(size)
}

struct Put<'a> {
    bucket: &'a Bucket,
    session: &'a Session,
    limits: &'a Limits,
    object: &'a str,
    begun: Monotonic,
}

impl Put<'_> {
    /// Sends all chunks: their size, how many, and their digest.
    async fn chunks(&self, chunks: &mut Chunks, mut blocks: Blocks) -> Result<(u64, u64, String)> {
        let subject = chunks.subject.clone().unwrap_or_default();
        let room = (self.session.client.max_payload() as u64).saturating_sub(MESSAGE_REST_BYTES);
        let chunk_bytes = CHUNK_BYTES.min(room.max(1));
        let (mut digest, mut count) = (Digesting::default(), 0);
        while let Some((_, block)) = blocks.next(chunk_bytes).await? {
            self.limits.pass(Direction::Up, block.len() as u64).await;
            digest.add(&block);
            count += 1;
            let sending = self.session.stream.publish(subject.clone(), block);
            let sent = self.bucket.patient("write", self.object, sending).await?;
            let acknowledged = match sent {
                Ok(acknowledged) => acknowledged,
                Err(error) => return Err(self.not_stored(&error).await),
            };
            chunks.unacknowledged.push(acknowledged.into_future());
            if chunks.unacknowledged.len() >= UNACKNOWLEDGED_MAX {
                self.next(chunks).await?;
            }
        }
        while !chunks.unacknowledged.is_empty() {
            self.next(chunks).await?;
        }
        Ok((chunk_bytes, count, digest.text()))
    }

    /// The next acknowledgement of any chunk.
    async fn next(&self, chunks: &mut Chunks) -> Result<()> {
        let subject = chunks.subject.clone().unwrap_or_default();
        match self.hear(&subject, chunks.unacknowledged.next()).await? {
            Some(Err(error)) => Err(self.not_stored(&error).await),
            _ => Ok(()),
        }
    }

    /// Waits for what the server says of something that was published.
    async fn hear<T>(&self, subject: &str, work: impl Future<Output = T>) -> Result<T> {
        let (op, bucket) = (("write", self.object), self.bucket);
        let work = bucket.patient(op.0, op.1, work);
        let to = (subject, self.begun);
        bucket.unless_forbidden(self.session, op, to, work).await?
    }

    /// Nobody listens where a bucket should: the question what is with the bucket has a better answer.
    async fn not_stored(&self, error: &PublishError) -> Error {
        if error.kind() == PublishErrorKind::StreamNotFound
            && let Err(better) = self.bucket.state("write").await
        {
            return better;
        }
        Bucket::not_stored("write", self.object, error)
    }

    /// Makes the chunks an object, and removes those of the object that was there before.
    async fn describe(&self, mut chunks: Chunks, meta: &Meta) -> Result<()> {
        let subject = meta_subject(&self.bucket.name, self.object);
        let unwritable = |e| Bucket::failed("write", self.object, &e);
        let text = serde_json::to_vec(meta).map_err(unwritable)?;
        for _ in 0..TRIES_MAX {
            let before = self.bucket.meta("write", self.object).await?;
            // Two writers must not both replace the same version, or the chunks of one would stay for ever.
            let sequence = before.as_ref().map_or(0, |(_, sequence)| *sequence);
            let message = PublishMessage::build()
                .header("Nats-Rollup", "sub")
                .expected_last_subject_sequence(sequence)
                .payload(text.clone().into());
            // From here on the description may be stored, whatever is heard of it.
            let own = chunks.subject.take();
            let stored = async {
                let sent = self
                    .session
                    .stream
                    .send_publish(subject.clone(), message)
                    .await?;
                sent.await
            };
            let stored = self.hear(&subject, stored).await;
            let error = match stored {
                Ok(Ok(_)) => None,
                Ok(Err(error)) if is_overtaken(&error) => {
                    chunks.subject = own;
                    continue;
                }
                Ok(Err(error)) => {
                    if is_refusal(&error) {
                        chunks.subject = own;
                    }
                    Some(self.not_stored(&error).await)
                }
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                // If it is not there it may be yet: then its chunks stay, and tidying up finds out what they are.
                match self.bucket.meta("write", self.object).await {
                    Ok(Some((now, _))) if now.nuid == meta.nuid => chunks.subject = None,
                    _ => return Err(error),
                }
            }
            let others = |before: &Meta| !before.nuid.is_empty() && before.nuid != meta.nuid;
            if let Some((before, _)) = before.filter(|(before, _)| others(before)) {
                self.forget(&before.nuid).await;
            }
            return Ok(());
        }
        let text = "nats: other writers of the same object always get in between";
        Err(Error::new(
            ErrorKind::Unreachable,
            "write",
            self.object,
            text,
        ))
    }

    async fn forget(&self, nuid: &str) {
        let subject = chunk_subject(&self.bucket.name, nuid);
        if let Err(error) = self.bucket.purge("write", self.object, &subject).await {
            tracing::warn!(%error, "chunks of a replaced object stay behind");
        }
    }
}

/// Another writer has replaced the version that was to be replaced.
fn is_overtaken(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence
}

/// The server, or the client before it sent anything, said no: nothing was stored, nor will be.
fn is_refusal(error: &PublishError) -> bool {
    match error.kind() {
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::MaxPayloadExceeded => true,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => false,
        // An error that the server told, among others.
        PublishErrorKind::Other => {
            let told: Option<&jetstream::Error> = error.source().and_then(|e| e.downcast_ref());
            told.is_some()
        }
    }
}

/// Chunks that no description names yet: removed when this is dropped.
struct Chunks {
    bucket: Arc<Bucket>,
    subject: Option<String>,
    unacknowledged: FuturesUnordered<Acknowledged>,
}

type Acknowledged = BoxFuture<'static, std::result::Result<PublishAck, PublishError>>;

impl Drop for Chunks {
    fn drop(&mut self) {
        let Some(subject) = self.subject.take() else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let bucket = Arc::clone(&self.bucket);
        let spawn = Arc::clone(&bucket.env.spawn);
        let mut unacknowledged = std::mem::take(&mut self.unacknowledged);
        let purge = async move {
            // What is still on its way would come after the purge.
            while let Ok(Some(_)) = bucket.patient("write", "", unacknowledged.next()).await {}
            if let Err(error) = bucket.purge("write", "", &subject).await {
                tracing::debug!(%error, "chunks of an unfinished object stay behind for now");
            }
        };
        spawn.task("nats purge", Box::pin(purge));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_refused_is_certainly_not_stored() {
        for kind in [PublishErrorKind::TimedOut, PublishErrorKind::BrokenPipe] {
            assert!(!is_refusal(&PublishError::new(kind)), "{kind}");
        }
        let strange = std::io::Error::other("not JSON");
        let strange = PublishError::with_source(PublishErrorKind::Other, strange);
        assert!(!is_refusal(&strange));
        let told = r#"{"code":400,"err_code":10077,"description":"maximum bytes exceeded"}"#;
        let told: jetstream::Error = serde_json::from_str(told).unwrap();
        let told = PublishError::with_source(PublishErrorKind::Other, told);
        assert!(is_refusal(&told));
        assert!(is_refusal(&PublishError::new(
            PublishErrorKind::MaxPayloadExceeded
        )));
    }
}
