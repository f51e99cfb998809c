//! Fetches what is new: merged into one verified local file, before anything of the database is locked or changed.
//!
//! Promise: a [`Staged`] file passed every checksum of every file it was made from. Memory is bounded by [`BUFFERS`].

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use litestream_replica::env::{Env, File};
use litestream_replica::retry::{Subject, read_all_retrying};
use litestream_replica::{FileInfo, SharedReplica};
use ltx::{Decoder, Header, Txid};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Place;
use super::error::FollowError;
use crate::restore::{RestoreError, Scratch, fetch_error};

/// Files merged at once.
const FILES_MAX: usize = 64;
/// Their bytes, unless one file alone has more.
const BYTES_MAX: u64 = 64 << 20;
/// Bytes in memory for reading ahead, over all files.
const BUFFERS: usize = 16 << 20;
/// How long the storage may give nothing before the tick fails. The next one tries again.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where files come from, and the sign to stop.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) env: Env,
    pub(super) replica: SharedReplica,
    pub(super) stop: watch::Receiver<bool>,
}

/// New pages, ready to be applied.
pub(super) struct Staged {
    scratch: Scratch,
    pub(super) header: Header,
    pub(super) pages: u32,
}

impl Staged {
    /// The state that it leads to.
    pub(super) fn to(&self) -> Txid {
        self.header.max_txid
    }

    /// Whether it holds the whole database, so that nothing of the old one is needed.
    pub(super) fn is_whole(&self) -> bool {
        let lock_page = self.header.page_size.lock_page().get();
        let commit = self.header.commit;
        self.pages == commit - u32::from(commit >= lock_page)
    }

    /// Its pages.
    pub(super) fn open(&self) -> Result<Decoder<impl Read + use<>>, FollowError> {
        let file = Sequential(self.scratch.file(), 0);
        Decoder::new(file).map_err(FollowError::Merge)
    }
}

/// Fetches the first of `files`, as many as fit in one step and have the same page size.
pub(super) fn stage(
    source: &Source,
    place: &Place,
    files: &[FileInfo],
) -> Result<Staged, FollowError> {
    let files = batch(files);
    let failure = Arc::new(Mutex::new(None));
    let own = |error: FollowError| failure.lock().take().unwrap_or(error);
    let mut inputs: Vec<Decoder<Remote>> = Vec::with_capacity(files.len());
    for &info in files {
        let reader = Remote {
            source: source.clone(),
            info,
            at: 0,
            chunk: (BUFFERS / files.len()).min(4 << 20),
            buffer: Bytes::new(),
            failure: Arc::clone(&failure),
        };
        let input = Decoder::new(reader).map_err(|e| own(FollowError::damaged(info)(e)))?;
        if input.header().file_name() != info.name {
            let what = format!("its header is that of {}", input.header().file_name());
            return Err(RestoreError::mismatch(info, what).into());
        }
        if inputs
            .first()
            .is_some_and(|first| first.header().page_size != input.header().page_size)
        {
            break;
        }
        inputs.push(input);
    }
    let scratch = Scratch::create(&source.env, &place.real)?;
    let out = io::BufWriter::with_capacity(1 << 18, Sequential(scratch.file(), 0));
    let merged = ltx::merge(inputs, out).map_err(|e| own(FollowError::Merge(e)))?;
    let (mut out, header, written) = merged;
    out.flush()
        .map_err(FollowError::io("write", scratch.path()))?;
    Ok(Staged {
        scratch,
        header,
        pages: written.page_count,
    })
}

fn batch(files: &[FileInfo]) -> &[FileInfo] {
    let mut bytes = 0u64;
    let fit = files.iter().take(FILES_MAX).take_while(|f| {
        bytes = bytes.saturating_add(f.size);
        bytes <= BYTES_MAX
    });
    &files[..fit.count().max(1).min(files.len())]
}

/// A file of the replica from its beginning to its listed end.
struct Remote {
    source: Source,
    info: FileInfo,
    at: u64,
    chunk: usize,
    buffer: Bytes,
    /// What went wrong, in better words than an [`io::Error`] has.
    failure: Arc<Mutex<Option<FollowError>>>,
}

impl Remote {
    fn fill(&mut self) -> Result<(), FollowError> {
        let (env, info) = (&self.source.env, self.info);
        let len = (info.size - self.at).min(self.chunk as u64);
        let mut stop = self.source.stop.clone();
        let bytes = env.spawn.wait_for(async {
            let read = read_all_retrying(
                &*self.source.replica,
                Subject::Ltx(info.level, info.name),
                self.at,
                Some(len),
                &*env.clock,
                PATIENCE,
            );
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Err(FollowError::Stopped),
                read = read => read.map_err(|source| fetch_error(info, source).into()),
            }
        })?;
        if bytes.len() as u64 != len {
            let actual = self.at + bytes.len() as u64;
            return Err(RestoreError::Length { file: info, actual }.into());
        }
        self.at += len;
        self.buffer = bytes;
        Ok(())
    }
}

impl Read for Remote {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.buffer.is_empty() && self.at < self.info.size {
            self.fill().map_err(|error| {
                let short = io::Error::other(error.to_string());
                self.failure.lock().get_or_insert(error);
                short
            })?;
        }
        let len = out.len().min(self.buffer.len());
        self.buffer.copy_to_slice(&mut out[..len]);
        Ok(len)
    }
}

/// A local file from its beginning on.
struct Sequential(Arc<dyn File>, u64);

impl Read for Sequential {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read_at(out, self.1)?;
        self.1 += read as u64;
        Ok(read)
    }
}

impl Write for Sequential {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_at(bytes, self.1)?;
        self.1 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
