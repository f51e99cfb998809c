//! A replica in Azure Blob Storage.
//!
//! Promise: a blob is whole when it can be seen under its name, carries the time of its file, and was checked by the service against the
//! digest of what was sent. What a broken upload leaves are blocks that nobody sees and that the service throws away after a week.

mod conditional;
mod credentials;
mod listing;
mod managed;
mod read;
mod service;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Method, StatusCode};
use ltx::{FileName, Txid};

use self::service::Service;
use crate::conditional::Conditional;
use crate::env::{Env, UnixMillis};
use crate::key::Names;
use crate::net::{Head, Payload};
use crate::{FileInfo, Level, Replica, Result, Source, object, settings, v3};

/// Deletions under way at once: the service has no request for many that every kind of key may send.
const DELETES_AT_ONCE: usize = 16;

/// See the [module](self).
pub struct AbsReplica {
    service: Arc<Service>,
    names: Names,
    location: String,
}

impl AbsReplica {
    /// Contacts nothing.
    pub fn new(settings: &settings::Abs, opening: &settings::Opening<'_>) -> Result<AbsReplica> {
        let trust = &opening.access.trust;
        let client = opening.http(trust)?;
        let container = settings::Abs {
            prefix: String::new(),
            ..settings.clone()
        };
        Ok(AbsReplica {
            service: opening.shared((container, trust.clone()), || {
                Service::new(settings, client)
            })?,
            names: Names::Cleaned(settings.prefix.clone()),
            location: settings.location(),
        })
    }

    fn env(&self) -> &Env {
        self.service.env()
    }

    async fn delete_one(&self, key: &str) -> Result<()> {
        let request = Head::new(Method::DELETE, self.service.blob(key));
        let answer = self
            .service
            .send("delete", key, request, Payload::empty())
            .await?;
        if answer.status().is_success() {
            return Ok(());
        }
        let refusal = answer.refusal().await;
        if refusal.status == StatusCode::NOT_FOUND && refusal.is("BlobNotFound") {
            return Ok(());
        }
        Err(refusal.error())
    }
}

#[async_trait::async_trait]
impl Replica for AbsReplica {
    fn kind(&self) -> &'static str {
        "abs"
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
        self.read_blob(&key, offset, len).await
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
        stream::iter(keys)
            .map(|key| async move { self.delete_one(&key).await })
            .buffer_unordered(DELETES_AT_ONCE)
            .try_collect()
            .await
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        let listed = self.list_below(&object::v3_folder(&self.names)).await?;
        Ok(object::v3_objects(&self.names, listed))
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let key = object::v3_key(&self.names, path)?;
        self.read_blob(&key, offset, len).await
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
