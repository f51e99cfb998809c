//! A replica in a folder of a WebDAV server.
//!
//! Promise: a file gets its name when it is whole, where the server can move files; reads ask for what is wanted only; there is no limit on
//! how long a transfer may take that moves.

mod digest;
mod folders;
mod get;
mod put;
mod request;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ltx::{FileName, Txid};
use parking_lot::Mutex;

use self::put::{Moving, NotPut};
use self::request::{Asking, Server};
use crate::env::{Env, UnixMillis};
use crate::header_times::HeaderTimes;
use crate::net::Payload;
use crate::settings::{Opening, Storage, Webdav};
use crate::temporary::{Temporary, is_leftover};
use crate::{FileInfo, Level, Replica, Result, Source, key, v3};

/// Small requests under way at once, such as removals and the reading of headers.
const AT_ONCE: usize = 16;

/// LTX files in a folder of a WebDAV server.
pub struct WebdavReplica {
    location: String,
    prefix: String,
    env: Env,
    server: Arc<Server>,
    moving: Moving,
    times: HeaderTimes,
    /// Which level folders are known to exist.
    ready: Mutex<[bool; 10]>,
    /// Some servers stumble over a folder that is made twice at once.
    making: tokio::sync::Mutex<()>,
}

impl WebdavReplica {
    /// Contacts nothing.
    pub fn new(settings: &Webdav, opening: &Opening<'_>) -> Result<WebdavReplica> {
        Ok(WebdavReplica {
            location: Storage::Webdav(settings.clone()).location(),
            prefix: settings.path.clone(),
            env: opening.env.clone(),
            server: Arc::new(Server::new(settings, opening)?),
            moving: Moving::default(),
            times: HeaderTimes::default(),
            ready: Mutex::default(),
            making: tokio::sync::Mutex::default(),
        })
    }

    /// Makes the folder of a level exist, once.
    async fn ready_level(&self, level: Level) -> Result<()> {
        let at = usize::from(level.get());
        if self.ready.lock()[at] {
            return Ok(());
        }
        let _making = self.making.lock().await;
        if !self.ready.lock()[at] {
            folders::make(&self.server, &key::ltx_folder(&self.prefix, level)).await?;
            self.ready.lock()[at] = true;
        }
        Ok(())
    }

    async fn put(
        &self,
        level: Level,
        name: FileName,
        payload: &Payload,
    ) -> std::result::Result<(), NotPut> {
        self.ready_level(level).await.map_err(NotPut::Other)?;
        // Another one each time: the removal of one that was given up may be under way.
        let temporary = Temporary::new(name, &self.env);
        let folder = key::ltx_folder(&self.prefix, level);
        let temporary_path = format!("{folder}/{}", temporary.name());
        let path = key::ltx_object(&self.prefix, level, name);
        put::put(
            &self.server,
            &self.moving,
            &self.env,
            (&temporary_path, &path),
            payload.clone(),
        )
        .await
    }

    async fn remove(&self, path: &str) -> Result<()> {
        let asking = Asking::new("delete", "DELETE", path);
        let answer = self.server.expect(asking, &[200, 202, 204, 404, 410]);
        match answer.await?.status().as_u16() {
            404 | 410 => self.server.check_base("delete").await,
            _ => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Replica for WebdavReplica {
    fn kind(&self) -> &'static str {
        "webdav"
    }

    fn location(&self) -> String {
        self.location.clone()
    }

    /// The server has only the time of the upload; headers are read for the true one.
    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
        let folder = key::ltx_folder(&self.prefix, level);
        let entries = folders::list(&self.server, &folder).await?;
        let mut files: Vec<FileInfo> = entries
            .into_iter()
            .filter(|entry| !entry.is_folder)
            .filter_map(|entry| {
                Some(FileInfo {
                    level,
                    name: FileName::parse(&entry.name)?,
                    size: entry.size,
                    created: entry.modified,
                })
            })
            .filter(|file| seek.is_none_or(|seek| file.name.max >= seek))
            .collect();
        files.sort_unstable_by_key(|f| (f.name.min, f.name.max));
        if !exact_times {
            return Ok(files);
        }
        let header = async |level, name| {
            self.read(level, name, 0, Some(ltx::HEADER_SIZE as u64))
                .await
        };
        self.times.apply(files, AT_ONCE, header).await
    }

    async fn read(
        &self,
        level: Level,
        name: FileName,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let path = key::ltx_object(&self.prefix, level, name);
        get::read(&self.server, &path, offset, len).await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let payload = Payload::of(&source, &self.env).await?;
        let size = payload.len();
        match self.put(level, name, &payload).await {
            // Somebody has removed it.
            Err(NotPut::NoFolder(_)) => {
                self.ready.lock()[usize::from(level.get())] = false;
                self.put(level, name, &payload)
                    .await
                    .map_err(NotPut::error)?;
            }
            other => other.map_err(NotPut::error)?,
        }
        self.times.forget(level, name);
        Ok(FileInfo {
            level,
            name,
            size,
            created,
        })
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        let removals = files.iter().copied().map(|(level, name)| async move {
            self.times.forget(level, name);
            self.remove(&key::ltx_object(&self.prefix, level, name))
                .await
        });
        let mut removals = stream::iter(removals).buffer_unordered(AT_ONCE);
        // All are tried; the first failure is told.
        let mut result = Ok(());
        while let Some(removed) = removals.next().await {
            result = result.and(removed);
        }
        result
    }

    async fn tidy(&self) -> Result<()> {
        let now = self.env.clock.now();
        for level in Level::all() {
            let folder = key::ltx_folder(&self.prefix, level);
            for entry in folders::list(&self.server, &folder).await? {
                if !entry.is_folder && is_leftover(&entry.name, now) {
                    let path = format!("{folder}/{}", entry.name);
                    tracing::debug!(path, "removing what a killed writer left");
                    // What can't be removed does no harm.
                    let _ = self.remove(&path).await;
                }
            }
        }
        Ok(())
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        folders::list_v3(&self.server, &self.prefix).await
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let path = key::v3_object(&self.prefix, path)?;
        get::read(&self.server, &path, offset, len).await
    }
}

#[cfg(test)]
mod tests;
