//! A replica in an object store of NATS JetStream.
//!
//! Promise: what is written is found by any client of object stores, and the other way round; all replicas in a bucket share a connection
//! and a listing; the bucket must exist.

mod api;
mod connect;
mod fail;
mod get;
mod list;
mod meta;
mod put;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ltx::{FileName, Txid};

use self::api::Bucket;
use self::connect::Server;
use self::get::{Indexes, Reading};
use self::list::Listing;
use self::meta::{chunk_subject, chunk_subjects, meta_subject, nuid_of};
use crate::env::UnixMillis;
use crate::limits::Limits;
use crate::settings::{Nats, Opening, Storage};
use crate::{Error, FileInfo, Level, Replica, Result, Source, key, v3};

/// Removals under way at once.
const AT_ONCE: usize = 16;
/// Chunks without a description are somebody's write that is under way, unless they are this old.
const STALE: Duration = Duration::from_hours(24);

/// LTX files in an object store of NATS JetStream.
pub struct NatsReplica {
    location: String,
    prefix: String,
    limits: Arc<Limits>,
    place: Arc<Place>,
}

/// What all replicas in one bucket share.
struct Place {
    bucket: Arc<Bucket>,
    listing: Listing,
    indexes: Indexes,
    tidied: AtomicBool,
}

impl NatsReplica {
    /// Contacts nothing. Replicas on one server share their connection.
    pub fn new(settings: &Nats, opening: &Opening<'_>) -> Result<NatsReplica> {
        let (env, shared) = (opening.env, &opening.shared);
        let name = settings.bucket.as_str();
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !name.chars().all(is_letter) {
            let text = format!("nats: invalid bucket name: {name:?}");
            return Err(Error::invalid(text).with_hint(
                "a bucket's name has letters, digits, \"-\" and \"_\"; what comes below it is said by \"path\"",
            ));
        }
        let server = shared.get(connect::key(settings), || Ok(Server::new(settings, env)))?;
        let place_key = Nats {
            path: String::new(),
            ..settings.clone()
        };
        let place = shared.get(place_key, || {
            Ok(Place {
                bucket: Arc::new(Bucket::new(name, server, env)),
                listing: Listing::default(),
                indexes: Indexes::default(),
                tidied: AtomicBool::new(false),
            })
        })?;
        Ok(NatsReplica {
            location: Storage::Nats(settings.clone()).location(),
            prefix: settings.path.clone(),
            limits: opening.limits(),
            place,
        })
    }

    async fn read_object(&self, object: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let reading = Reading {
            bucket: &self.place.bucket,
            indexes: &self.place.indexes,
            limits: &self.limits,
        };
        reading.read(object, offset, len).await
    }

    async fn delete_object(&self, object: &str) -> Result<()> {
        let bucket = &self.place.bucket;
        let _place = self.limits.begin().await;
        let Some((meta, sequence)) = bucket.meta("delete", object).await? else {
            return Ok(());
        };
        if meta.deleted {
            return Ok(());
        }
        // Not only marked as deleted: marks would stay for ever, and be read with every listing.
        let subject = meta_subject(&bucket.name, object);
        // Another writer may have put a newer one there meanwhile.
        bucket
            .purge_until("delete", object, &subject, sequence)
            .await?;
        let subject = chunk_subject(&bucket.name, &meta.nuid);
        bucket.purge("delete", object, &subject).await
    }

    /// Removes chunks of our form that are old and belong to nothing.
    async fn remove_strays(&self) -> Result<()> {
        let bucket = &self.place.bucket;
        let subjects = bucket
            .subjects("tidy", &chunk_subjects(&bucket.name))
            .await?;
        let oldest = bucket.env.clock.now().0 - STALE.as_millis() as i64;
        let is_old = |id: &str| key::chunks_begun_ms(id).is_some_and(|begun| begun < oldest);
        let mut strays: Vec<(&str, &String)> = subjects
            .iter()
            .filter_map(|subject| Some((nuid_of(&bucket.name, subject)?, subject)))
            .filter(|(id, _)| is_old(id))
            .collect();
        // What is removed belongs to nothing in two listings, each read for this from the first to the last.
        for _ in 0..2 {
            if strays.is_empty() {
                return Ok(());
            }
            let objects = self.place.listing.fresh(bucket).await?;
            let used: std::collections::HashSet<&str> =
                objects.iter().map(|o| o.nuid.as_str()).collect();
            strays.retain(|(id, _)| !used.contains(id));
        }
        for (_, subject) in strays {
            tracing::debug!(subject, "removing chunks that belong to nothing");
            bucket.purge("tidy", "", subject).await?;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Replica for NatsReplica {
    fn kind(&self) -> &'static str {
        "nats"
    }

    fn location(&self) -> String {
        self.location.clone()
    }

    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        _exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
        let _place = self.limits.begin().await;
        let folder = key::ltx_folder(&self.prefix, level);
        let objects = self.place.listing.all(&self.place.bucket).await?;
        let mut files: Vec<FileInfo> = objects
            .iter()
            .filter_map(|object| {
                let name = object.name.strip_prefix(&folder)?.strip_prefix('/')?;
                Some(FileInfo {
                    level,
                    name: FileName::parse(name)?,
                    size: object.size,
                    created: object.created,
                })
            })
            .filter(|file| seek.is_none_or(|seek| file.name.max >= seek))
            .collect();
        files.sort_unstable_by_key(|f| (f.name.min, f.name.max));
        Ok(files)
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let object = key::ltx_object(&self.prefix, level, name);
        self.read_object(&object, offset, len).await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let object = key::ltx_object(&self.prefix, level, name);
        let bucket = &self.place.bucket;
        let size = put::write(bucket, &self.limits, &object, &source, created).await?;
        Ok(FileInfo {
            level,
            name,
            size,
            created,
        })
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        let removals = files.iter().copied().map(|(level, name)| async move {
            let object = key::ltx_object(&self.prefix, level, name);
            self.delete_object(&object).await
        });
        let mut removals = stream::iter(removals).buffer_unordered(AT_ONCE);
        // All are tried; the first failure is told.
        let mut result = Ok(());
        while let Some(removed) = removals.next().await {
            result = result.and(removed);
        }
        result
    }

    /// Once a process and bucket: all replicas in it would do the same.
    async fn tidy(&self) -> Result<()> {
        if self.place.tidied.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let done = self.remove_strays().await;
        if done.is_err() {
            self.place.tidied.store(false, Ordering::Relaxed);
        }
        done
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        let _place = self.limits.begin().await;
        let folder = format!("{}/", key::below(&self.prefix, v3::FOLDER));
        let objects = self.place.listing.all(&self.place.bucket).await?;
        let of_v3 = objects.iter().filter_map(|object| {
            let rest = object.name.strip_prefix(&folder)?;
            Some(v3::Object {
                path: format!("{}/{rest}", v3::FOLDER),
                size: object.size,
                created: object.created,
            })
        });
        Ok(of_v3.collect())
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let object = key::v3_object(&self.prefix, path)?;
        self.read_object(&object, offset, len).await
    }
}
