//! The full proof of one state: all its pages are read as a restore does, with all checksums, and go nowhere.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use litestream_replica::SharedReplica;
use litestream_replica::env::{Env, File, Kind, Metadata, UnixMillis};
use ltx::Header;

use crate::restore::RestoreError;
use crate::restore::fetch;
use crate::restore::pace::Pace;
use crate::restore::plan::{Plan, Target};
use crate::restore::run::{check_size, named};
use crate::restore::threads::{Filled, How, Output, fill};

/// Reads a plan to its end; the header of its newest file, and the checksum of the database.
pub(super) async fn prove(
    plan: &Plan,
    target: Target,
    (parallelism, pace): (usize, Option<Arc<Pace>>),
    replica: &SharedReplica,
    env: &Env,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(Header, Filled), RestoreError> {
    plan.check_sizes()?;
    let header = fetch::header(replica, env, plan.newest()).await?;
    check_size(plan, &header)?;
    let how = How {
        target,
        parallelism,
        pace,
        checksum: true,
    };
    let out = Output {
        file: Arc::new(Nowhere),
        path: PathBuf::from("nowhere"),
    };
    let told = |event| {
        if let crate::restore::Event::Progress { bytes_read, .. } = event {
            progress(bytes_read);
        }
    };
    match fill(how, plan, &header, out, replica, env, &told).await {
        Ok(filled) => Ok((header, filled)),
        Err(error) => Err(named(error, plan, parallelism, replica, env).await),
    }
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl File for Nowhere {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn start_writeback(&self, _: u64, _: u64) {}

    fn metadata(&self) -> io::Result<Metadata> {
        Ok(Metadata {
            kind: Kind::Other,
            len: 0,
            modified: UnixMillis(0),
            mode: 0,
            uid: 0,
            gid: 0,
            id: (0, 0),
        })
    }

    fn set_modified(&self, _: UnixMillis) -> io::Result<()> {
        Ok(())
    }
}
