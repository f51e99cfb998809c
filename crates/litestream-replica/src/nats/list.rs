//! What is in a bucket. There is one list for all levels and all databases in it, since names are under subjects that can't be asked for
//! by their beginnings; it is kept until something in the bucket has changed, which costs one small request to find out.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::api::{Bucket, From, State};
use super::meta::{Meta, meta_subjects};
use crate::env::UnixMillis;
use crate::{Error, ErrorKind, Result};

/// Descriptions asked for at a time: each is about 500 bytes.
const BATCH: u64 = 2000;

/// An object.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) nuid: String,
    pub(super) size: u64,
    pub(super) created: UnixMillis,
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Listing {
    known: Mutex<Option<(State, Arc<Vec<Entry>>)>>,
}

impl Listing {
    /// All objects, by name. Whoever asks meanwhile waits, and mostly finds then that nothing has changed.
    pub(super) async fn all(&self, bucket: &Bucket) -> Result<Arc<Vec<Entry>>> {
        let mut known = self.known.lock().await;
        let state = bucket.state("list").await?;
        if let Some((then, entries)) = &*known
            && *then == state
        {
            return Ok(Arc::clone(entries));
        }
        let entries = Arc::new(read(bucket).await?);
        *known = Some((state, Arc::clone(&entries)));
        Ok(entries)
    }

    /// All objects as they are now, whatever was known.
    pub(super) async fn fresh(&self, bucket: &Bucket) -> Result<Arc<Vec<Entry>>> {
        *self.known.lock().await = None;
        self.all(bucket).await
    }
}

async fn read(bucket: &Bucket) -> Result<Vec<Entry>> {
    let subjects = meta_subjects(&bucket.name);
    let mut reader = bucket
        .reader("list", &bucket.name, &subjects, From::LastOfEach)
        .await?;
    let mut entries = Vec::with_capacity(reader.pending as usize);
    while reader.has_more() {
        for message in &reader.next(BATCH).await? {
            let info = message.info().map_err(|e| strange(bucket, &*e))?;
            let published = info.published.unix_timestamp_nanos() / 1_000_000;
            let meta: Meta =
                serde_json::from_slice(&message.payload).map_err(|e| strange(bucket, &e))?;
            if meta.deleted {
                continue;
            }
            entries.push(Entry {
                created: meta.time().unwrap_or(UnixMillis(published as i64)),
                name: meta.name,
                nuid: meta.nuid,
                size: meta.size,
            });
        }
    }
    // One that was written again meanwhile has come twice; the later one counts.
    entries.reverse();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.dedup_by(|later, first| later.name == first.name);
    Ok(entries)
}

fn strange(bucket: &Bucket, error: &dyn std::fmt::Display) -> Error {
    let text = format!("nats: a description of an object that makes no sense: {error}");
    Error::new(ErrorKind::Other, "list", bucket.name.as_str(), text)
}
