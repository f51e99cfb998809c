//! Open files on the server.
//!
//! Promise: a file is closed whatever happens, even if nobody waits any more for its being opened; one that was created goes away unless it
//! was finished.

use std::sync::Arc;

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::session::Session;
use crate::env::UnixMillis;
use crate::{Error, ErrorKind, Result};

/// An open file, closed when it is dropped.
pub(super) struct OpenFile {
    session: Arc<Session>,
    handle: Option<String>,
    path: String,
    _place: Option<OwnedSemaphorePermit>,
}

/// Opens a file for reading.
pub(super) async fn open(session: &Arc<Session>, path: &str) -> Result<OpenFile> {
    open_as(session, "read", path, OpenFlags::READ, |file| file).await
}

/// Creates a file that must not be there.
pub(super) async fn create(session: &Arc<Session>, path: &str) -> Result<Unfinished> {
    let flags = OpenFlags::CREATE | OpenFlags::WRITE | OpenFlags::EXCLUDE;
    open_as(session, "write", path, flags, Unfinished::new).await
}

/// In a task of its own, so that there is somebody to close what was opened for nobody.
async fn open_as<T: Send + 'static>(
    session: &Arc<Session>,
    op: &'static str,
    path: &str,
    flags: OpenFlags,
    into: impl FnOnce(OpenFile) -> T + Send + 'static,
) -> Result<T> {
    let (tell, told) = oneshot::channel();
    let (own, path) = (Arc::clone(session), path.to_owned());
    session.start("sftp open", async move {
        let place = own.place().await;
        let opening = own
            .raw()
            .open(path.as_str(), flags, FileAttributes::empty());
        let opened = own.ask(op, &path, opening).await;
        let opened = opened.map(|opened| {
            into(OpenFile {
                session: own,
                handle: Some(opened.handle),
                path,
                _place: place,
            })
        });
        drop(tell.send(opened));
    });
    let ends = |_| {
        Err(Error::new(
            ErrorKind::Interrupted,
            op,
            "",
            "the program ends",
        ))
    };
    told.await.unwrap_or_else(ends)
}

impl OpenFile {
    fn handle(&self) -> &str {
        self.handle.as_deref().unwrap_or_default()
    }

    /// Its size, if the server says.
    pub(super) async fn size(&self) -> Result<Option<u64>> {
        let asking = self.session.raw().fstat(self.handle());
        let attrs = self.session.ask("read", &self.path, asking).await?;
        Ok(attrs.attrs.size)
    }

    /// Some bytes from `offset`, `len` at most; none at the end.
    pub(super) async fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>> {
        let reading = async {
            match self.session.raw().read(self.handle(), offset, len).await {
                Ok(data) => Ok(data.data),
                Err(SftpError::Status(s)) if s.status_code == StatusCode::Eof => Ok(Vec::new()),
                Err(e) => Err(e),
            }
        };
        self.session.ask("read", &self.path, reading).await
    }

    /// Writes bytes at `offset`.
    pub(super) async fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let writing = self
            .session
            .raw()
            .write(self.handle(), offset, bytes.to_vec());
        self.session
            .ask("write", &self.path, writing)
            .await
            .map(drop)
    }

    /// Sets both times, whole seconds. What the server can't set is no reason to fail: the time is in the file, too.
    pub(super) async fn set_times(&self, time: UnixMillis) -> Result<()> {
        let seconds = u32::try_from(time.0.div_euclid(1000)).unwrap_or_default();
        let attrs = FileAttributes {
            atime: Some(seconds),
            mtime: Some(seconds),
            ..FileAttributes::empty()
        };
        let setting = self.session.raw().fsetstat(self.handle(), attrs);
        match self.session.ask("set times", &self.path, setting).await {
            Err(e) if e.is_retryable() => Err(e),
            Err(error) => {
                tracing::debug!(%error, "the server keeps its own time for a file");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Makes it durable, where the server can.
    pub(super) async fn sync(&self) -> Result<()> {
        if !self.session.can_sync() {
            return Ok(());
        }
        let syncing = self.session.raw().fsync(self.handle());
        self.session
            .ask("fsync", &self.path, syncing)
            .await
            .map(drop)
    }

    /// Closes it and hears of what went wrong late.
    async fn close(mut self) -> Result<()> {
        let handle = self.handle.take().unwrap_or_default();
        let closing = self.session.raw().close(handle);
        self.session
            .ask("close", &self.path, closing)
            .await
            .map(drop)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.session.tell(self.session.raw().close(handle));
        }
    }
}

/// A file that is being written under a name of its own; removed when it is dropped.
pub(super) struct Unfinished {
    file: Option<OpenFile>,
    session: Arc<Session>,
    path: Option<String>,
}

impl Unfinished {
    fn new(file: OpenFile) -> Unfinished {
        Unfinished {
            session: Arc::clone(&file.session),
            path: Some(file.path.clone()),
            file: Some(file),
        }
    }

    /// The file, open as long as this is unfinished.
    pub(super) fn file(&self) -> Result<&OpenFile> {
        let closed = || Error::new(ErrorKind::Other, "write", "", "the file is closed already");
        self.file.as_ref().ok_or_else(closed)
    }

    /// Closes it and gives it its name, over another file if there is one.
    pub(super) async fn finish(mut self, name: &str) -> Result<()> {
        if let Some(file) = self.file.take() {
            file.close().await?;
        }
        if let Some(path) = &self.path {
            self.session.rename_over(path, name).await?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Some servers do not remove what is open.
        drop(self.file.take());
        if let Some(path) = self.path.take() {
            self.session.tell(self.session.raw().remove(path));
        }
    }
}
