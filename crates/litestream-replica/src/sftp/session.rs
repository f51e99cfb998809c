//! An SFTP session: requests whose answers are waited for as long as something comes, and open files that are closed whatever happens.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use russh::client::Handle;
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::connect::Gate;
use crate::env::{Env, Monotonic, UnixMillis};
use crate::{Error, ErrorKind, Result};

/// How long nothing at all may be answered while something is asked. A slow disk may need that long to make a large file durable.
const SILENCE_MAX: Duration = Duration::from_mins(2);
/// Files open at once: servers have limits.
const FILES_MAX: usize = 48;

const POSIX_RENAME: &str = "posix-rename@openssh.com";
const FSYNC: &str = "fsync@openssh.com";

/// See the [module](self).
pub(super) struct Session {
    raw: RawSftpSession,
    handle: Handle<Gate>,
    env: Env,
    files: Arc<Semaphore>,
    can_rename_over: bool,
    can_sync: bool,
    broken: AtomicBool,
    /// Requests that wait for an answer.
    waiting: AtomicUsize,
    /// When something was answered last, in milliseconds.
    answered: AtomicU64,
}

impl Session {
    pub(super) fn new(
        handle: Handle<Gate>,
        raw: RawSftpSession,
        version: &Version,
        env: &Env,
    ) -> Session {
        let offers = |name: &str| version.extensions.contains_key(name);
        Session {
            can_rename_over: offers(POSIX_RENAME),
            can_sync: offers(FSYNC),
            raw,
            handle,
            env: env.clone(),
            files: Arc::new(Semaphore::new(FILES_MAX)),
            broken: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
        }
    }

    /// Whether there is any sense in asking for something more.
    pub(super) fn is_usable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) && !self.handle.is_closed()
    }

    /// The protocol, for requests that go through [`Session::ask`].
    pub(super) fn raw(&self) -> &RawSftpSession {
        &self.raw
    }

    /// Waits for an answer.
    pub(super) async fn ask<T>(
        &self,
        op: &'static str,
        path: &str,
        request: impl Future<Output = std::result::Result<T, SftpError>>,
    ) -> Result<T> {
        let waiting = Waiting::new(self);
        let outcome = tokio::select! {
            biased;
            outcome = request => outcome,
            () = self.silence() => Err(SftpError::Timeout),
        };
        self.note();
        drop(waiting);
        outcome.map_err(|e| self.failed(op, path, &e))
    }

    fn note(&self) {
        let now = self.env.clock.monotonic().0.as_millis() as u64;
        self.answered.store(now, Ordering::Relaxed);
    }

    /// Ends when nothing was answered for too long.
    async fn silence(&self) {
        loop {
            let last = Duration::from_millis(self.answered.load(Ordering::Relaxed));
            let passed = self.env.clock.monotonic().since(Monotonic(last));
            let Some(left) = SILENCE_MAX
                .checked_sub(passed)
                .filter(|left| !left.is_zero())
            else {
                return;
            };
            self.env.clock.sleep_async(left).await;
        }
    }

    fn failed(&self, op: &'static str, path: &str, error: &SftpError) -> Error {
        let SftpError::Status(status) = error else {
            // Whatever it was, answers and questions may no longer fit together.
            self.broken.store(true, Ordering::Relaxed);
            let text = match error {
                SftpError::Timeout => {
                    format!("nothing was answered for {} s", SILENCE_MAX.as_secs())
                }
                other => format!("connection lost: {other}"),
            };
            return Error::new(ErrorKind::Unreachable, op, path, text);
        };
        let kind = match status.status_code {
            StatusCode::NoSuchFile => ErrorKind::NotFound,
            StatusCode::PermissionDenied => ErrorKind::Forbidden,
            StatusCode::NoConnection | StatusCode::ConnectionLost => ErrorKind::Unreachable,
            StatusCode::BadMessage | StatusCode::OpUnsupported => ErrorKind::Invalid,
            _ if says_full(&status.error_message) => ErrorKind::NoSpace,
            _ => ErrorKind::Other,
        };
        let message = status.error_message.trim();
        let code = status.status_code;
        let text = if message.is_empty() || message.eq_ignore_ascii_case(&code.to_string()) {
            code.to_string()
        } else {
            format!("{code}: {message}")
        };
        let error = Error::new(kind, op, path, text);
        match kind {
            ErrorKind::Forbidden => error.with_hint(
                "the user may not do this there: correct the folder's owner or permissions",
            ),
            // All that this protocol's servers say of a full disk, a quota and much else.
            ErrorKind::Other => error.with_hint("the server does not say why: is its disk full?"),
            _ => error,
        }
    }

    /// Opens a file. One that is opened after nobody waits for it any more is closed again.
    pub(super) async fn open(
        self: &Arc<Self>,
        op: &'static str,
        path: &str,
        flags: OpenFlags,
    ) -> Result<OpenFile> {
        let (tell, told) = oneshot::channel();
        let (session, path) = (Arc::clone(self), path.to_owned());
        let task = async move {
            let place = Arc::clone(&session.files).acquire_owned().await.ok();
            let opening = session
                .raw
                .open(path.as_str(), flags, FileAttributes::empty());
            let opened = session.ask(op, &path, opening).await;
            let session = Arc::clone(&session);
            let opened = opened.map(|opened| OpenFile {
                session,
                handle: Some(opened.handle),
                path,
                _place: place,
            });
            drop(tell.send(opened));
        };
        self.env.spawn.task("sftp open", Box::pin(task));
        told.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Interrupted,
                op,
                "",
                "the program ends",
            ))
        })
    }

    /// Renames a file, over another one if there is one.
    pub(super) async fn rename_over(&self, from: &str, to: &str) -> Result<()> {
        if self.can_rename_over {
            let renaming = async {
                let data = [string(from), string(to)].concat();
                match self.raw.extended(POSIX_RENAME, data).await? {
                    Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
                    Packet::Status(status) => Err(SftpError::Status(status)),
                    _ => Err(SftpError::UnexpectedPacket),
                }
            };
            return self.ask("rename", to, renaming).await;
        }
        // Others may do the same to the same name.
        const TRIES_MAX: usize = 8;
        let mut tries = 0;
        loop {
            tries += 1;
            let renamed = self.ask("rename", to, self.raw.rename(from, to)).await;
            let error = match renamed {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() || tries == TRIES_MAX => return Err(error),
                Err(error) => error,
            };
            match self.remove(to).await {
                Ok(()) => {}
                // What is in the way can't be taken away, so this is not why.
                Err(_) => return Err(error),
            }
        }
    }

    /// Removes a file, if it is there.
    pub(super) async fn remove(&self, path: &str) -> Result<()> {
        match self.ask("delete", path, self.raw.remove(path)).await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// Removes a file without waiting for an answer: for what is given up.
    pub(super) fn remove_soon(&self, path: &str) {
        if tokio::runtime::Handle::try_current().is_ok() {
            // Asked for as soon as it is looked at once.
            let _ = self.raw.remove(path).now_or_never();
        }
    }
}

/// A string as the protocol sends it.
fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn says_full(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["no space", "quota", "disk full"]
        .iter()
        .any(|word| message.contains(word))
}

/// Counts a request as waiting. The first one starts the clock: before it nothing could be answered.
struct Waiting<'a>(&'a Session);

impl Waiting<'_> {
    fn new(session: &Session) -> Waiting<'_> {
        if session.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            session.note();
        }
        Waiting(session)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open file on the server, closed when it is dropped.
pub(super) struct OpenFile {
    session: Arc<Session>,
    handle: Option<String>,
    path: String,
    _place: Option<OwnedSemaphorePermit>,
}

impl OpenFile {
    fn handle(&self) -> &str {
        self.handle.as_deref().unwrap_or_default()
    }

    /// Its size, if the server says.
    pub(super) async fn size(&self) -> Result<Option<u64>> {
        let asking = self.session.raw.fstat(self.handle());
        let attrs = self.session.ask("read", &self.path, asking).await?;
        Ok(attrs.attrs.size)
    }

    /// Some bytes from `offset`, `len` at most; none at the end.
    pub(super) async fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>> {
        let reading = async {
            match self.session.raw.read(self.handle(), offset, len).await {
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
            .raw
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
        let setting = self.session.raw.fsetstat(self.handle(), attrs);
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
        if !self.session.can_sync {
            return Ok(());
        }
        let syncing = self.session.raw.fsync(self.handle());
        self.session
            .ask("fsync", &self.path, syncing)
            .await
            .map(drop)
    }

    /// Closes it and hears of what went wrong late.
    pub(super) async fn close(mut self) -> Result<()> {
        let handle = self.handle.take().unwrap_or_default();
        let closing = self.session.raw.close(handle);
        self.session
            .ask("close", &self.path, closing)
            .await
            .map(drop)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            // Asked for as soon as it is looked at once; the answer is of no interest.
            let _ = self.session.raw.close(handle).now_or_never();
        }
    }
}
