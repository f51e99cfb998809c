//! Reads the headers of files, some at once.

use futures_util::stream::{StreamExt as _, iter};
use litestream_replica::env::Env;
use litestream_replica::retry::{Subject, read_all_retrying};
use litestream_replica::{FileInfo, SharedReplica};
use ltx::{HEADER_SIZE, Header};

use crate::restore::RestoreError;
use crate::restore::fetch::{PATIENCE, fetch_error};
use crate::restore::layout::check_name;
use crate::restore::pace::Pace;

/// Headers read at once.
const READS_MAX: usize = 16;

/// A header and the checksum of its bytes, or why there is none.
pub(super) type Read = Result<(Header, u64), RestoreError>;

/// The headers, in any order.
pub(super) async fn read_all(
    files: &[FileInfo],
    pace: Option<&Pace>,
    replica: &SharedReplica,
    env: &Env,
) -> Vec<(FileInfo, Read)> {
    let reads: Vec<_> = files
        .iter()
        .map(|file| read(*file, pace, replica, env))
        .collect();
    iter(reads).buffer_unordered(READS_MAX).collect().await
}

async fn read(
    file: FileInfo,
    pace: Option<&Pace>,
    replica: &SharedReplica,
    env: &Env,
) -> (FileInfo, Read) {
    if let Some(pace) = pace {
        let wait = pace.take(HEADER_SIZE as u64);
        if !wait.is_zero() {
            env.clock.sleep_async(wait).await;
        }
    }
    (file, header(file, replica, env).await)
}

async fn header(file: FileInfo, replica: &SharedReplica, env: &Env) -> Read {
    if file.size < HEADER_SIZE as u64 {
        return Err(RestoreError::TooSmall(file));
    }
    let subject = Subject::Ltx(file.level, file.name);
    let len = Some(HEADER_SIZE as u64);
    let read = read_all_retrying(&**replica, subject, 0, len, &*env.clock, PATIENCE).await;
    let bytes = read.map_err(|source| fetch_error(file, source))?;
    let header = Header::decode(&bytes).map_err(RestoreError::damaged(file))?;
    check_name(file, &header)?;
    Ok((header, ltx::crc64(&bytes)))
}
