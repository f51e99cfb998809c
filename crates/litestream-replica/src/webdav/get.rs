//! Reading a file, or a part of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_RANGE, ETAG};
use parking_lot::Mutex;

use super::request::{Asking, Server, refused};
use crate::net::{Answer, range};
use crate::retry::{Fetch, resumed};
use crate::{Error, ErrorKind, Result};

/// No file reaches beyond; servers stumble over larger numbers.
const OFFSET_MAX: u64 = 1 << 53;
/// By the standard a server removes a file before it moves another one to its name, so for a moment there is none.
const LOOKS_MAX: u32 = 4;
pub(super) const LOOK_WAIT: Duration = Duration::from_millis(25);

/// Up to `len` bytes (all, if `None`) from `offset`.
pub(super) async fn read(
    server: &Server,
    path: &str,
    offset: u64,
    len: Option<u64>,
) -> Result<Bytes> {
    let clock = Arc::clone(&server.env().clock);
    if len == Some(0) || offset >= OFFSET_MAX {
        // Says whether it is there.
        server
            .expect(Asking::new("read", "HEAD", path), &[200, 204])
            .await?;
        return Ok(Bytes::new());
    }
    let mut looks = 0;
    loop {
        looks += 1;
        let download = Download {
            server,
            path,
            version: Mutex::default(),
            is_missing: AtomicBool::new(false),
        };
        let read = resumed(&download, offset, len, &*clock).await;
        if read.is_ok() || looks == LOOKS_MAX || !download.is_missing.load(Ordering::Relaxed) {
            return read;
        }
        clock.sleep_async(LOOK_WAIT).await;
    }
}

struct Download<'a> {
    server: &'a Server,
    path: &'a str,
    /// Of what has come so far.
    version: Mutex<Option<String>>,
    is_missing: AtomicBool,
}

impl Download<'_> {
    /// One that is replaced while it is read must be read from its beginning.
    fn check_version(&self, answer: &Answer) -> Result<()> {
        let Some(now) = answer.header(ETAG.as_str()) else {
            return Ok(());
        };
        let mut version = self.version.lock();
        match &*version {
            Some(before) if before != now => {
                let text = "it was replaced while it was read";
                Err(Error::new(
                    ErrorKind::Unreachable,
                    "read",
                    self.server.url(self.path),
                    text,
                ))
            }
            _ => {
                *version = Some(now.to_owned());
                Ok(())
            }
        }
    }
}

#[async_trait::async_trait]
impl Fetch for Download<'_> {
    async fn fetch(&self, offset: u64, len: Option<u64>, into: &mut BytesMut) -> Result<()> {
        let mut asking = Asking::new("read", "GET", self.path);
        if offset > 0 || len.is_some() {
            let last = len.map(|len| offset.saturating_add(len - 1).min(OFFSET_MAX));
            let last = last.map(|last| last.to_string()).unwrap_or_default();
            asking = asking.header("range", format!("bytes={offset}-{last}"));
        }
        let mut answer = self.server.send(asking).await?;
        // Of a server that does not know ranges all comes, and the beginning is passed over.
        let mut skip = match answer.status() {
            StatusCode::OK => offset,
            StatusCode::PARTIAL_CONTENT => {
                if begins_at(&answer).is_some_and(|at| at != offset) {
                    let text = "another range came than was asked for";
                    return Err(Error::new(
                        ErrorKind::Other,
                        "read",
                        self.server.url(self.path),
                        text,
                    ));
                }
                0
            }
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NO_CONTENT => {
                let total = answer.header(CONTENT_RANGE.as_str());
                let is_end = total.and_then(range::total_beyond) == Some(offset);
                if into.is_empty() || is_end {
                    return Ok(());
                }
                return Err(range::shrunk(&answer));
            }
            status => {
                // Forbidden: gone between being found and being opened.
                let is_missing = matches!(status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN);
                self.is_missing.store(is_missing, Ordering::Relaxed);
                return Err(refused(answer).await);
            }
        };
        self.check_version(&answer)?;
        let is_resumed = !into.is_empty();
        let mut left = len.unwrap_or(u64::MAX);
        while left > 0
            && let Some(chunk) = answer.chunk().await?
        {
            let from = skip.min(chunk.len() as u64);
            skip -= from;
            let end = from.saturating_add(left).min(chunk.len() as u64);
            into.extend_from_slice(&chunk[from as usize..end as usize]);
            left -= end - from;
        }
        if skip > 0 && is_resumed {
            return Err(range::shrunk(&answer));
        }
        Ok(())
    }
}

fn begins_at(answer: &Answer) -> Option<u64> {
    let range = answer.header(CONTENT_RANGE.as_str())?;
    let range = range.trim().strip_prefix("bytes")?.trim();
    range.split('-').next()?.trim().parse().ok()
}
