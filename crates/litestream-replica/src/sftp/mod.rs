//! A replica in a folder of a server that is reached by SSH.
//!
//! Promise: a file is whole, durable where the server can make it so, and carries its time before it gets its name; a server whose key is
//! not the one known is refused; one connection serves all, and is made again when it broke.

mod address;
mod connect;
mod file;
mod folders;
mod host_key;
mod login;
mod session;
mod transfer;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ltx::{FileName, Txid};
use parking_lot::Mutex;

use self::connect::Link;
use self::file::Unfinished;
use self::session::Session;
use self::transfer::{Download, PIECES_MAX};
use crate::blocks::Blocks;
use crate::env::{Env, UnixMillis};
use crate::header_times::HeaderTimes;
use crate::limits::Limits;
use crate::retry::resumed;
use crate::settings::{Opening, Sftp, Storage};
use crate::temporary::{Temporary, is_leftover};
use crate::{FileInfo, Level, Replica, Result, Source, key, v3};

/// Small requests under way at once, such as removals and the reading of headers.
const AT_ONCE: usize = 32;

/// LTX files in a folder of a server that is reached by SSH.
pub struct SftpReplica {
    location: String,
    prefix: String,
    concurrent_writes: bool,
    env: Env,
    limits: Arc<Limits>,
    link: Arc<Link>,
    times: HeaderTimes,
    /// Which level folders are known to exist.
    ready: Mutex<[bool; 10]>,
}

impl SftpReplica {
    /// Contacts nothing. Replicas on one server share their connection.
    pub fn new(settings: &Sftp, opening: &Opening<'_>) -> Result<SftpReplica> {
        let env = opening.env;
        let make = || Link::new(settings, env);
        Ok(SftpReplica {
            location: Storage::Sftp(settings.clone()).location(),
            prefix: settings.path.clone(),
            concurrent_writes: settings.concurrent_writes,
            env: env.clone(),
            limits: opening.limits(),
            link: opening.shared.get(connect::key(settings), make)?,
            times: HeaderTimes::default(),
            ready: Mutex::default(),
        })
    }

    async fn read_path(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let download = Download {
            link: &self.link,
            limits: &self.limits,
            path,
        };
        if len == Some(0) {
            // Says whether it is there.
            file::open(&self.link.session().await?, path).await?;
            return Ok(Bytes::new());
        }
        resumed(&download, offset, len, &*self.env.clock).await
    }

    /// Makes the folder of a level exist, once.
    async fn ready_level(&self, session: &Arc<Session>, level: Level) -> Result<()> {
        let at = usize::from(level.get());
        if !self.ready.lock()[at] {
            folders::make(session, &key::ltx_folder(&self.prefix, level)).await?;
            self.ready.lock()[at] = true;
        }
        Ok(())
    }

    /// Creates a file in the folder of a level; the folder, too, should somebody have removed it.
    async fn create(&self, session: &Arc<Session>, level: Level, path: &str) -> Result<Unfinished> {
        self.ready_level(session, level).await?;
        match file::create(session, path).await {
            Err(e) if e.is_not_found() => {
                self.ready.lock()[usize::from(level.get())] = false;
                self.ready_level(session, level).await?;
                file::create(session, path).await
            }
            other => other,
        }
    }
}

#[async_trait::async_trait]
impl Replica for SftpReplica {
    fn kind(&self) -> &'static str {
        "sftp"
    }

    fn location(&self) -> String {
        self.location.clone()
    }

    /// The protocol has whole seconds; headers are read for the rest.
    async fn list(
        &self,
        level: Level,
        seek: Option<Txid>,
        exact_times: bool,
    ) -> Result<Vec<FileInfo>> {
        let place = self.limits.begin().await;
        let session = self.link.session().await?;
        let entries = folders::list(&session, &key::ltx_folder(&self.prefix, level)).await?;
        drop(place);
        let mut files: Vec<FileInfo> = entries
            .into_iter()
            .filter(|entry| entry.is_file)
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
            self.times.apply_known(&mut files);
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
        self.read_path(&path, offset, len).await
    }

    async fn write(
        &self,
        level: Level,
        name: FileName,
        source: Source,
        created: UnixMillis,
    ) -> Result<FileInfo> {
        let _place = self.limits.begin().await;
        let blocks = Blocks::open(&source, &self.env).await?;
        let size = blocks.len();
        let session = self.link.session().await?;
        let temporary = Temporary::new(name, &self.env);
        let folder = key::ltx_folder(&self.prefix, level);
        let path = format!("{folder}/{}", temporary.name());
        let unfinished = self.create(&session, level, &path).await?;
        let file = unfinished.file()?;
        let at_once = if self.concurrent_writes {
            PIECES_MAX
        } else {
            1
        };
        transfer::upload(file, blocks, &self.limits, at_once).await?;
        file.set_times(created).await?;
        file.sync().await?;
        self.times.forget(level, name);
        let path = key::ltx_object(&self.prefix, level, name);
        unfinished.finish(&path).await?;
        Ok(FileInfo {
            level,
            name,
            size,
            created,
        })
    }

    async fn delete(&self, files: &[(Level, FileName)]) -> Result<()> {
        let removals = files.iter().copied().map(|(level, name)| async move {
            let _place = self.limits.begin().await;
            self.times.forget(level, name);
            let path = key::ltx_object(&self.prefix, level, name);
            self.link.session().await?.remove(&path).await
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
        let session = self.link.session().await?;
        let now = self.env.clock.now();
        for level in Level::all() {
            let folder = key::ltx_folder(&self.prefix, level);
            for entry in folders::list(&session, &folder).await? {
                if entry.is_file && is_leftover(&entry.name, now) {
                    let path = format!("{folder}/{}", entry.name);
                    tracing::debug!(path, "removing what a killed writer left");
                    // What can't be removed does no harm.
                    let _ = session.remove(&path).await;
                }
            }
        }
        Ok(())
    }

    async fn list_v3(&self) -> Result<Vec<v3::Object>> {
        let _place = self.limits.begin().await;
        let session = self.link.session().await?;
        folders::list_v3(&session, &self.prefix).await
    }

    async fn read_v3(&self, path: &str, offset: u64, len: Option<u64>) -> Result<Bytes> {
        let path = key::v3_object(&self.prefix, path)?;
        self.read_path(&path, offset, len).await
    }
}
