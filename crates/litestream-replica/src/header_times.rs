//! The times in the headers of files, for storage that keeps only a coarse time or none: read once each, then remembered.
//!
//! Promise: a time is what the header says, or, where there is no readable header, what the storage says; a header that could not be
//! fetched is an error and no guess.

use std::collections::HashMap;
use std::future::Future;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use ltx::{FileName, Header};
use parking_lot::Mutex;

use crate::env::UnixMillis;
use crate::{FileInfo, Level, Result};

/// Beyond this many, what is known is forgotten: about 10 MB.
const KNOWN_MAX: usize = 1 << 17;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct HeaderTimes {
    known: Mutex<HashMap<(Level, FileName), Known>>,
}

/// As long as size and the storage's own time are these, it is the same file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    size: u64,
    stored: UnixMillis,
    header: UnixMillis,
}

impl HeaderTimes {
    /// `listed` is what the storage says of a file whose header says `header`.
    pub(crate) fn learn(&self, listed: &FileInfo, header: UnixMillis) {
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let entry = Known {
            size: listed.size,
            stored: listed.created,
            header,
        };
        known.insert((listed.level, listed.name), entry);
    }

    /// The file is being replaced or deleted.
    pub(crate) fn forget(&self, level: Level, name: FileName) {
        self.known.lock().remove(&(level, name));
    }

    fn get(&self, listed: &FileInfo) -> Option<UnixMillis> {
        let known = *self.known.lock().get(&(listed.level, listed.name))?;
        (known.size == listed.size && known.stored == listed.created).then_some(known.header)
    }

    /// Puts what is known into a listing.
    pub(crate) fn apply_known(&self, files: &mut [FileInfo]) {
        for file in files {
            if let Some(header) = self.get(file) {
                file.created = header;
            }
        }
    }

    /// Puts the times of headers into a listing. Those not known are read by `read`, `at_once` at a time; files that are gone by then
    /// are left out.
    pub(crate) async fn apply<F>(
        &self,
        files: Vec<FileInfo>,
        at_once: usize,
        read: impl Fn(Level, FileName) -> F,
    ) -> Result<Vec<FileInfo>>
    where
        F: Future<Output = Result<Bytes>>,
    {
        let read = &read;
        let exact = stream::iter(files).map(|file| async move {
            let header = match self.get(&file) {
                Some(header) => Some(header),
                None => match read(file.level, file.name).await {
                    Ok(bytes) => self.decode(&file, &bytes),
                    Err(e) if e.is_not_found() => return Ok(None),
                    Err(e) => return Err(e),
                },
            };
            let created = header.unwrap_or(file.created);
            Ok(Some(FileInfo { created, ..file }))
        });
        let exact = exact.buffered(at_once.max(1));
        exact
            .try_filter_map(async |file| Ok(file))
            .try_collect()
            .await
    }

    /// A damaged header leaves the storage's time: whoever reads the file will say so.
    fn decode(&self, file: &FileInfo, bytes: &[u8]) -> Option<UnixMillis> {
        let header = UnixMillis(Header::decode(bytes).ok()?.timestamp_ms);
        self.learn(file, header);
        Some(header)
    }
}
