//! Reads LTX files for threads that decode them: straight from a local folder, or through the async replica.
//!
//! Promise: a read gives exactly the bytes asked for, or an error that names the file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use litestream_replica::env::{Disk, Env, File, Spawn};
use litestream_replica::retry::{Subject, read_all_retrying};
use litestream_replica::{FileInfo, SharedReplica};
use ltx::{HEADER_SIZE, Header};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::error::RestoreError;

/// How long a storage may give nothing before a restore gives up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(15);

/// Opens planned files for reading by a blocking thread.
pub(crate) trait Fetch: Send + Sync {
    fn open(&self, file: FileInfo) -> Result<Box<dyn Ranged>, RestoreError>;

    /// Replaces what is in each buffer by the whole file at the same place: side by side, where waiting is what takes time.
    fn read_files(
        &self,
        files: &[FileInfo],
        bufs: &mut [&mut Vec<u8>],
    ) -> Result<(), RestoreError> {
        for (&file, buf) in files.iter().zip(bufs) {
            self.open(file)?.read_all(buf)?;
        }
        Ok(())
    }
}

/// An open file.
pub(crate) trait Ranged: Send + Sync {
    /// Replaces what is in `buf` by the `len` bytes at `offset`.
    fn read(&self, offset: u64, len: usize, buf: &mut Vec<u8>) -> Result<(), RestoreError>;

    /// Replaces what is in `buf` by the whole file.
    fn read_all(&self, buf: &mut Vec<u8>) -> Result<(), RestoreError>;
}

/// Files of a local folder. An open one stays readable when it is deleted.
pub(crate) struct Local {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) replica: SharedReplica,
}

struct LocalFile {
    info: FileInfo,
    path: PathBuf,
    file: Box<dyn File>,
}

impl Fetch for Local {
    fn open(&self, info: FileInfo) -> Result<Box<dyn Ranged>, RestoreError> {
        let path = self
            .replica
            .local_path(info.level, info.name)
            .ok_or(RestoreError::Gone(info))?;
        match self.disk.open(&path) {
            Ok(file) => Ok(Box::new(LocalFile { info, path, file })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(RestoreError::Gone(info)),
            Err(source) => Err(RestoreError::Read {
                file: info,
                path,
                source,
            }),
        }
    }
}

impl LocalFile {
    /// Fills `buf` as far as the file goes.
    fn fill(&self, mut offset: u64, buf: &mut [u8]) -> Result<usize, RestoreError> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.file.read_at(&mut buf[filled..], offset) {
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(RestoreError::Read {
                        file: self.info,
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
        Ok(filled)
    }
}

impl Ranged for LocalFile {
    fn read(&self, offset: u64, len: usize, buf: &mut Vec<u8>) -> Result<(), RestoreError> {
        buf.resize(len, 0);
        let got = self.fill(offset, buf)?;
        check_len(self.info, offset, got, len)
    }

    fn read_all(&self, buf: &mut Vec<u8>) -> Result<(), RestoreError> {
        // One byte more than listed shows a file that is longer.
        buf.resize(self.info.size as usize + 1, 0);
        let got = self.fill(0, buf)?;
        buf.truncate(got);
        check_len(self.info, 0, got, self.info.size as usize)
    }
}

fn check_len(file: FileInfo, offset: u64, got: usize, wanted: usize) -> Result<(), RestoreError> {
    if got == wanted {
        Ok(())
    } else {
        Err(RestoreError::Length {
            file,
            actual: offset + got as u64,
        })
    }
}

/// Files behind the async side: each read is sent there as a request and waited for.
pub(crate) struct Remote {
    spawn: Arc<dyn Spawn>,
    requests: mpsc::Sender<Request>,
}

/// A read that a thread waits for.
pub(crate) struct Request {
    file: FileInfo,
    offset: u64,
    /// `None` stands for the whole file.
    len: Option<u64>,
    /// The thread's buffer travels with the request, so that nothing is kept twice for longer than a copy takes.
    buf: Vec<u8>,
    reply: oneshot::Sender<Result<Vec<u8>, RestoreError>>,
}

impl Remote {
    /// `waiting` bounds the number of requests that nobody has looked at yet.
    pub(crate) fn new(spawn: &Arc<dyn Spawn>, waiting: usize) -> (Remote, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(waiting);
        let spawn = Arc::clone(spawn);
        (Remote { spawn, requests }, receiver)
    }
}

impl Fetch for Remote {
    fn open(&self, info: FileInfo) -> Result<Box<dyn Ranged>, RestoreError> {
        Ok(Box::new(self.file(info)))
    }

    fn read_files(
        &self,
        files: &[FileInfo],
        bufs: &mut [&mut Vec<u8>],
    ) -> Result<(), RestoreError> {
        let ask = |&info: &FileInfo, buf: &mut Vec<u8>| {
            let (file, buf) = (self.file(info), std::mem::take(buf));
            async move { file.ask(0, None, buf).await }
        };
        let asked: Vec<_> = files
            .iter()
            .zip(bufs.iter_mut())
            .map(|(info, buf)| ask(info, buf))
            .collect();
        let read = self.spawn.wait_for(try_join_all(asked))?;
        for ((&info, buf), bytes) in files.iter().zip(bufs).zip(read) {
            **buf = bytes;
            check_len(info, 0, buf.len(), info.size as usize)?;
        }
        Ok(())
    }
}

struct RemoteFile {
    info: FileInfo,
    spawn: Arc<dyn Spawn>,
    requests: mpsc::Sender<Request>,
}

impl Remote {
    fn file(&self, info: FileInfo) -> RemoteFile {
        RemoteFile {
            info,
            spawn: Arc::clone(&self.spawn),
            requests: self.requests.clone(),
        }
    }
}

impl RemoteFile {
    async fn ask(
        &self,
        offset: u64,
        len: Option<u64>,
        buf: Vec<u8>,
    ) -> Result<Vec<u8>, RestoreError> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            file: self.info,
            offset,
            len,
            buf,
            reply,
        };
        // Nobody at the other end: the restore was dropped.
        let sent = self.requests.send(request).await;
        sent.map_err(|_| RestoreError::Cancelled)?;
        answer.await.map_err(|_| RestoreError::Cancelled)?
    }

    fn wait(&self, offset: u64, len: Option<u64>, buf: &mut Vec<u8>) -> Result<(), RestoreError> {
        let taken = std::mem::take(buf);
        *buf = self.spawn.wait_for(self.ask(offset, len, taken))?;
        Ok(())
    }
}

impl Ranged for RemoteFile {
    fn read(&self, offset: u64, len: usize, buf: &mut Vec<u8>) -> Result<(), RestoreError> {
        self.wait(offset, Some(len as u64), buf)?;
        check_len(self.info, offset, buf.len(), len)
    }

    fn read_all(&self, buf: &mut Vec<u8>) -> Result<(), RestoreError> {
        self.wait(0, None, buf)?;
        check_len(self.info, 0, buf.len(), self.info.size as usize)
    }
}

impl Request {
    /// Reads what was asked for, once there is a place for it, and answers.
    pub(crate) async fn serve(self, replica: SharedReplica, env: Env, places: Arc<Semaphore>) {
        let _place = places.acquire().await;
        let Request {
            file,
            offset,
            len,
            mut buf,
            reply,
        } = self;
        let read = read_all_retrying(
            &*replica,
            Subject::Ltx(file.level, file.name),
            offset,
            len,
            &*env.clock,
            PATIENCE,
        )
        .await;
        let answer = read
            .map_err(|source| fetch_error(file, source))
            .map(|bytes| {
                buf.clear();
                buf.extend_from_slice(&bytes);
                buf
            });
        // The thread gave up: nobody to tell.
        let _ = reply.send(answer);
    }
}

/// Reads a file's header, before any thread is started.
pub(crate) async fn header(
    replica: &SharedReplica,
    env: &Env,
    file: FileInfo,
) -> Result<Header, RestoreError> {
    let len = Some(HEADER_SIZE as u64);
    let bytes = read_all_retrying(
        &**replica,
        Subject::Ltx(file.level, file.name),
        0,
        len,
        &*env.clock,
        PATIENCE,
    )
    .await;
    let bytes = bytes.map_err(|source| fetch_error(file, source))?;
    check_len(file, 0, bytes.len(), HEADER_SIZE)?;
    Header::decode(&bytes).map_err(RestoreError::damaged(file))
}

pub(crate) fn fetch_error(file: FileInfo, source: litestream_replica::Error) -> RestoreError {
    if source.is_not_found() {
        RestoreError::Gone(file)
    } else {
        RestoreError::Fetch { file, source }
    }
}
