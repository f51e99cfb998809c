//! A replica in Google Cloud Storage, by its JSON interface.
//!
//! Promise: an object is whole when it can be seen under its name, carries the time of its file, and was checked by the service against the
//! checksum of what was sent. What a broken upload leaves is a session that nobody sees and that ends after a week.

mod conditional;
mod credentials;
mod listing;
mod read;
mod service;
mod session;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use ltx::{FileName, Txid};

use self::credentials::{Everyone, Login};
use self::service::Service;
use crate::conditional::Conditional;
use crate::env::{Env, UnixMillis};
use crate::key::Names;
use crate::net::{Head, Payload};
use crate::{FileInfo, Level, Replica, Result, Source, object, settings, v3};

/// Deletions under way at once.
const DELETES_AT_ONCE: usize = 16;

/// See the [module](self).
pub struct GsReplica {
    service: Arc<Service>,
    names: Names,
    location: String,
}

impl GsReplica {
    /// Contacts nothing. An emulator is used if `STORAGE_EMULATOR_HOST` names one.
    pub fn new(settings: &settings::Gs, opening: &settings::Opening<'_>) -> Result<GsReplica> {
        let emulator = std::env::var("STORAGE_EMULATOR_HOST").ok();
        GsReplica::at(settings, emulator.as_deref(), opening)
    }

    /// In the emulator at that host, without credentials; in the real service, if that is `None` or empty.
    pub fn at(
        settings: &settings::Gs,
        emulator: Option<&str>,
        opening: &settings::Opening<'_>,
    ) -> Result<GsReplica> {
        let trust = &opening.access.trust;
        let client = opening.http(trust)?;
        let emulator = emulator.filter(|host| !host.is_empty());
        let login = match emulator {
            Some(_) => None,
            None => Some(opening.shared.get(Everyone, || Ok(Login::default()))?),
        };
        let from = (
            settings.bucket.clone(),
            emulator.map(str::to_owned),
            trust.clone(),
        );
        Ok(GsReplica {
            service: opening.shared(from, || {
                Service::new(&settings.bucket, emulator, client, login)
            })?,
            names: Names::Cleaned(settings.prefix.clone()),
            location: format!("gs://{}/{}", settings.bucket, settings.prefix),
        })
    }

    fn env(&self) -> &Env {
        self.service.env()
    }

    /// Whether there was one.
    async fn delete_one(&self, key: &str) -> Result<bool> {
        let head = Head::new(Method::DELETE, self.service.object(key));
        let answer = self.service.send("delete", key, head, Payload::empty());
        let answer = answer.await?;
        if answer.status().is_success() {
            return Ok(true);
        }
        let error = answer.refusal().await.error();
        if error.is_not_found() {
            Ok(false)
        } else {
            Err(error)
        }
    }
}

#[async_trait::async_trait]
impl Replica for GsReplica {
    fn kind(&self) -> &'static str {
        "gs"
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
        let listed = self.list_below(&self.names.level(level)).await?;
        Ok(object::ltx_files(&self.names, level, seek, listed))
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let key = self.names.file(level, name);
        self.read_object(&key, offset, len).await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let payload = Payload::of(&source, self.env()).await?;
        let size = payload.len();
        self.upload(&self.names.file(level, name), payload, created)
            .await?;
        Ok(FileInfo {
            level,
            name,
            size,
            created,
        })
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        let keys: Vec<String> = files
            .iter()
            .map(|&(level, name)| self.names.file(level, name))
            .collect();
        let found: Vec<bool> = stream::iter(keys)
            .map(|key| async move { self.delete_one(&key).await })
            .buffer_unordered(DELETES_AT_ONCE)
            .try_collect()
            .await?;
        if found.contains(&false) {
            // Missing objects are as wanted, a missing bucket is not.
            self.service.check_bucket("delete").await?;
        }
        Ok(())
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        let listed = self.list_below(&object::v3_folder(&self.names)).await?;
        Ok(object::v3_objects(&self.names, listed))
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let key = object::v3_key(&self.names, path)?;
        self.read_object(&key, offset, len).await
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
