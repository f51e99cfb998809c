//! A replica in Alibaba Cloud Object Storage.
//!
//! Promise: keys are those of Litestream 0.5.17 to the byte, each request is signed as it is sent; an object is whole when it can be seen, and
//! was checked by the service against the digest of what was sent.

mod credentials;
mod delete;
mod listing;
mod parts;
mod read;
mod service;
mod sign;
mod tidy;
mod times;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use ltx::{FileName, Txid};

use self::service::Service;
use crate::env::UnixMillis;
use crate::key::Names;
use crate::net::Payload;
use crate::settings::{Opening, Oss};
use crate::{FileInfo, Level, Replica, Result, Source, object, v3};

/// See the [module](self).
pub struct OssReplica {
    service: Arc<Service>,
    names: Names,
    location: String,
}

impl OssReplica {
    /// Contacts nothing.
    pub fn new(settings: &Oss, opening: &Opening<'_>) -> Result<OssReplica> {
        let trust = &opening.access.trust;
        let client = opening.http(trust)?;
        let bucket = Oss {
            prefix: String::new(),
            ..settings.clone()
        };
        let from = (bucket, trust.clone());
        Ok(OssReplica {
            service: opening.shared(from, || Service::new(settings, client))?,
            names: Names::Verbatim(settings.prefix.clone()),
            location: format!("oss://{}/{}", settings.bucket, settings.prefix),
        })
    }
}

#[async_trait::async_trait]
impl Replica for OssReplica {
    fn kind(&self) -> &'static str {
        "oss"
    }

    fn location(&self) -> String {
        self.location.clone()
    }

    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
        let listed = listing::below(&self.service, &self.names.level(level)).await?;
        let files = object::ltx_files(&self.names, level, seek, listed);
        if exact_times {
            times::exact(&self.service, &self.names, files).await
        } else {
            Ok(files)
        }
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let key = self.names.file(level, name);
        read::read(&self.service, &key, offset, len).await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let payload = Payload::of(&source, self.service.env()).await?;
        let key = self.names.file(level, name);
        upload::write(&self.service, &key, &payload, created).await?;
        Ok(FileInfo {
            level,
            name,
            size: payload.len(),
            created,
        })
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        let key = |&(level, name): &(Level, FileName)| self.names.file(level, name);
        let keys: Vec<String> = files.iter().map(key).collect();
        delete::delete(&self.service, &keys).await
    }

    async fn tidy(&self) -> Result<()> {
        tidy::tidy(&self.service, &self.names).await
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        let listed = listing::below(&self.service, &object::v3_folder(&self.names)).await?;
        Ok(object::v3_objects(&self.names, listed))
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let key = object::v3_key(&self.names, path)?;
        read::read(&self.service, &key, offset, len).await
    }
}

#[cfg(test)]
mod tests;
