//! What a replica holds at its end, fetched as something to compare the database with when local state is gone or of another history.
//!
//! Promise: the pages are those that a restore would give, checked as a restore checks them; nothing is kept of them but their
//! checksums, in a ledger of its own that lies beside the real one until it takes its place.

use std::io;
use std::path::Path;
use std::sync::Arc;

use litestream_replica::Level;
use litestream_replica::chain::plan::Target as Point;
use litestream_replica::env::{Disk, Env};
use ltx::{FileName, Header, PageNo, Txid};

use crate::error::{Error, Result};
use crate::ledger::{Entry, Ledger};
use crate::link::Link;
use crate::restore::plan::Plan;
use crate::restore::sink::Sink;
use crate::restore::threads::{How, Output, fill};
use crate::restore::{RestoreError, Target, fetch};

/// A larger file is not fetched: it shows that a full copy is nothing unusual there.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Reads at once.
const PARALLELISM: usize = 8;

/// See the module.
pub(crate) struct Base {
    /// The replica's newest file of level 0, which is to be the local one of that name.
    pub file: Vec<u8>,
    pub header: Header,
    /// Stands for that file; not at its place yet.
    pub ledger: Ledger,
}

impl Base {
    /// Up to where it goes.
    pub fn txid(&self) -> Txid {
        self.header.max_txid
    }
}

/// Fetches what a replica holds at `end`; `None` if that is not known to be its end, or can't be told.
pub(crate) async fn fetch_base(
    link: &Link,
    env: &Env,
    meta: &Path,
    end: Txid,
) -> Result<Option<Base>> {
    let files = link.list_ahead(&*env.clock).await?;
    let name = FileName::single(end);
    let newest = files.iter().map(|f| f.name.max).max();
    let Some(info) = files
        .iter()
        .find(|f| f.level == Level::L0 && f.name == name)
    else {
        return Ok(None);
    };
    if newest != Some(end) || info.size > FILE_BYTES_MAX {
        return Ok(None);
    }
    let file = link.replica.read(Level::L0, name, 0, None).await?.to_vec();
    let damaged = |source| Error::Restore(RestoreError::damaged(*info)(source));
    let decoder = ltx::Decoder::new(&file[..]).map_err(damaged)?;
    let header = *decoder.header();
    decoder.finish().map_err(damaged)?;
    if header.file_name() != name {
        return Ok(None);
    }

    let Ok(plan) = litestream_replica::chain::plan::plan(&files, Point::Txid(end)) else {
        return Ok(None);
    };
    let plan = Plan::new(plan.needed())?;
    let newest = fetch::header(&link.replica, env, plan.newest()).await?;
    if (newest.page_size, newest.commit) != (header.page_size, header.commit) {
        return Ok(None);
    }
    let failed = || Error::io("write", meta.join(Ledger::BESIDE));
    let beside = Ledger::create_beside(&*env.disk, meta, newest.page_size).map_err(failed())?;
    let (fill_ledger, size) = (Arc::new(beside.fill(newest.commit)), newest.page_size);
    let kept = Arc::clone(&fill_ledger);
    let keep = move |bytes: &[u8], offset: u64| {
        let first = (offset / u64::from(size.get())) as u32 + 1;
        let pages = bytes.chunks_exact(size.bytes()).zip(first..);
        let entries =
            pages.filter_map(|(page, number)| Some(Entry::of(PageNo::new(number)?, page)));
        kept.put(first, entries)
    };
    let out = Output {
        file: Arc::new(Sink(keep)),
        path: meta.join(Ledger::BESIDE),
    };
    let how = How {
        target: Target::Txid(end),
        parallelism: PARALLELISM,
        pace: None,
        checksum: false,
    };
    fill(how, &plan, &newest, out, &link.replica, env, &|_| {}).await?;
    let ledger = fill_ledger
        .finish(end, env.clock.boot())
        .map_err(failed())?;
    let sum = ledger.head().whole.sum.value();
    if header.chain().after.is_some_and(|after| after != sum) {
        return Ok(None);
    }
    Ok(Some(Base {
        file,
        header,
        ledger,
    }))
}

/// Removes what an earlier attempt left.
pub(crate) fn remove_leftover(disk: &dyn Disk, meta: &Path) -> io::Result<()> {
    match disk.remove(&meta.join(Ledger::BESIDE)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
