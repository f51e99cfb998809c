//! One local file on its way to one replica.
//!
//! Promise: what is sent is durable here, and stands in the catalogue when it is durable there.

use std::path::Path;
use std::sync::Arc;

use litestream_replica::env::Env;
use litestream_replica::{Level, Source};
use ltx::{FileName, Header, PageSize};

use crate::depot::Depot;
use crate::error::{Error, Result};
use crate::link::Link;
use crate::worker::created;

/// See the module.
#[derive(Clone)]
pub(crate) struct Shipper {
    pub env: Env,
    /// Which of the database's replicas it is.
    pub index: usize,
    pub link: Arc<Link>,
    pub depot: Arc<Depot>,
    pub name: String,
}

impl Shipper {
    /// Makes a local file durable and returns its header.
    pub async fn header(&self, level: Level, name: FileName) -> Result<Header> {
        let env = self.env.clone();
        let work = move |depot: &Depot| durable_header(&env, depot, &depot.path(level, name));
        let header = self.depot.offloaded(work).await;
        if matches!(header, Err(Error::NotDurable { .. })) {
            // It may be damaged: they are looked at again before the next attempt.
            *self.depot.damaged.lock().await = None;
        }
        header
    }

    /// Sends a file with this header; returns its size.
    pub async fn file(&self, level: Level, name: FileName, header: &Header) -> Result<u64> {
        self.link.sending(name.max);
        let source = Source::File(self.depot.path(level, name));
        let written = self
            .link
            .replica
            .write(level, name, source, created(header));
        let info = written.await?;
        let now = self.env.clock.monotonic();
        self.link.catalogue.lock().written(info, now);
        if level == Level::L0 {
            self.link.ages.lock().note(created(header), now);
        }
        self.link.changed.notify_one();
        tracing::debug!(db = %self.name, %level, %name, size = info.size, "ltx file uploaded");
        Ok(info.size)
    }

    /// Sends a staged snapshot, which goes once every replica has it.
    pub async fn snapshot(&self, name: FileName) -> Result<PageSize> {
        let header = self.header(Level::SNAPSHOT, name).await?;
        self.file(Level::SNAPSHOT, name, &header).await?;
        self.depot.snapshot_uploaded(self.index, name)?;
        tracing::info!(db = %self.name, txid = %name.max, "snapshot complete");
        Ok(header.page_size)
    }
}

fn durable_header(env: &Env, depot: &Depot, path: &Path) -> Result<Header> {
    depot.doubts.make_durable(path)?;
    let mut bytes = [0; ltx::HEADER_SIZE];
    let file = env.disk.open(path).map_err(Error::io("open", path))?;
    file.read_exact_at(&mut bytes, 0)
        .map_err(Error::io("read", path))?;
    Header::decode(&bytes).map_err(|source| Error::Staged {
        path: path.to_owned(),
        source,
    })
}
