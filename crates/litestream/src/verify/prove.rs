//! The full proof of one state: all its pages are read as a restore does, with all checksums, and go nowhere.

use std::path::PathBuf;
use std::sync::Arc;

use litestream_replica::SharedReplica;
use litestream_replica::env::Env;
use ltx::Header;

use crate::restore::RestoreError;
use crate::restore::fetch;
use crate::restore::pace::Pace;
use crate::restore::plan::{Plan, Target};
use crate::restore::run::{check_size, named};
use crate::restore::sink::Sink;
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
        file: Arc::new(Sink(|_: &[u8], _| Ok(()))),
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
