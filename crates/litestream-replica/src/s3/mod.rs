//! Amazon S3, and what speaks its protocol.
//!
//! Promise: keys are those of Litestream 0.5.17 to the byte, signed as they are sent; each request is sent once (the parts of an upload apart);
//! no request body is chunked and none has a trailer.

mod conditional;
mod connect;
mod delete;
mod digest;
mod errors;
mod lanes;
mod link;
mod list;
mod parts;
mod put;
mod read;
mod region;
mod service;
mod sign;
mod sse;
mod talk;
mod tidy;
mod times;

use std::sync::Arc;

use bytes::Bytes;
use ltx::{FileName, Txid};

use self::service::Service;
use crate::conditional::Conditional;
use crate::env::UnixMillis;
use crate::settings::{Opening, S3};
use crate::{Error, ErrorKind, FileInfo, Level, Replica, Result, Source, v3};

/// See the [module](self).
pub struct S3Replica {
    service: Arc<Service>,
}

impl S3Replica {
    /// A replica in a bucket; contacts nothing.
    pub fn new(settings: &S3, opening: &Opening<'_>) -> Result<S3Replica> {
        let service = Service::new(settings, opening)?;
        Ok(S3Replica {
            service: Arc::new(service),
        })
    }
}

#[async_trait::async_trait]
impl Replica for S3Replica {
    fn kind(&self) -> &'static str {
        "s3"
    }

    fn location(&self) -> String {
        let settings = &self.service.settings;
        format!("s3://{}/{}", settings.bucket, settings.prefix)
    }

    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
        let files = list::level(&self.service, level, seek).await?;
        if exact_times {
            times::exact(&self.service, files).await
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
        let key = self.service.key(level, name);
        read::read(&self.service, &key, offset, len).await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let key = self.service.key(level, name);
        let size = put::write(&self.service, &key, &source, created).await?;
        Ok(FileInfo {
            level,
            name,
            size,
            created,
        })
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        let key = |&(level, name): &(Level, FileName)| self.service.key(level, name);
        let keys: Vec<String> = files.iter().map(key).collect();
        delete::delete(&self.service, &keys).await
    }

    async fn tidy(&self) -> Result<()> {
        tidy::tidy(&self.service).await
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        list::v3(&self.service).await
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let below = path.strip_prefix(v3::FOLDER);
        let inside = below.is_some_and(|rest| {
            rest.starts_with('/') && rest.split('/').all(|part| part != "." && part != "..")
        });
        if !inside {
            let text = "not a path of Litestream 0.3";
            return Err(Error::new(ErrorKind::Invalid, "read", path, text));
        }
        let key = format!("{}{path}", self.service.before_v3());
        read::read(&self.service, &key, offset, len).await
    }

    fn conditional(&self) -> Option<&dyn Conditional> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
