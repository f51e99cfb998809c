//! An SFTP session: requests whose answers are waited for as long as something comes.
//!
//! Promise: a request ends, at the latest when nothing was answered for [`SILENCE_MAX`]; a session in which something else than a refusal
//! went wrong is not used again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use russh::client::Handle;
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{Packet, StatusCode, Version};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::connect::Gate;
use crate::env::{Env, Monotonic};
use crate::{Error, ErrorKind, Result, key};

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
    /// Says that it is broken.
    breaks: Notify,
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
            breaks: Notify::new(),
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

    /// Whether the server can make a file durable.
    pub(super) fn can_sync(&self) -> bool {
        self.can_sync
    }

    /// A place for one more open file.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.files).acquire_owned().await.ok()
    }

    /// Runs something on its own.
    pub(super) fn start(&self, what: &str, work: impl Future<Output = ()> + Send + 'static) {
        self.env.spawn.task(what, Box::pin(work));
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
            end = self.silence() => Err(end),
        };
        // Only what the server says is a sign of life.
        if matches!(outcome, Ok(_) | Err(SftpError::Status(_))) {
            self.note();
        }
        drop(waiting);
        outcome.map_err(|e| self.failed(op, path, &e))
    }

    fn note(&self) {
        let now = self.env.clock.monotonic().0.as_millis() as u64;
        self.answered.store(now, Ordering::Relaxed);
    }

    /// Ends when nothing was answered for too long, or when this is not used any more: others have waited long enough then.
    async fn silence(&self) -> SftpError {
        loop {
            let breaks = self.breaks.notified();
            if self.broken.load(Ordering::SeqCst) {
                return SftpError::UnexpectedBehavior("another request has failed".to_owned());
            }
            let last = Duration::from_millis(self.answered.load(Ordering::Relaxed));
            let passed = self.env.clock.monotonic().since(Monotonic(last));
            let Some(left) = SILENCE_MAX
                .checked_sub(passed)
                .filter(|left| !left.is_zero())
            else {
                return SftpError::Timeout;
            };
            tokio::select! {
                () = breaks => {}
                () = self.env.clock.sleep_async(left) => {}
            }
        }
    }

    fn failed(&self, op: &'static str, path: &str, error: &SftpError) -> Error {
        let SftpError::Status(status) = error else {
            // Whatever it was, answers and questions may no longer fit together.
            self.broken.store(true, Ordering::SeqCst);
            self.breaks.notify_waiters();
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
            let error = match self.rename(from, to).await {
                Ok(()) => return Ok(()),
                // All that such servers say of a name that is taken is that it failed.
                Err(error) if error.kind() != ErrorKind::Other || tries == TRIES_MAX => {
                    return Err(error);
                }
                Err(error) => error,
            };
            if !self.is_file(from).await || !self.is_file(to).await {
                return Err(error);
            }
            let aside = key::aside(to, self.env.clock.now().0, self.env.entropy.next_u64());
            match self.rename(to, &aside).await {
                Ok(()) => {}
                // Another writer took it away: it is in nobody's way now.
                Err(e) if e.is_not_found() => continue,
                // What is in the way can't be taken away, so this is not why.
                Err(_) => return Err(error),
            }
            let mut back = Aside {
                session: self,
                names: Some((&aside, to)),
            };
            match self.rename(from, to).await {
                Ok(()) => {
                    back.names = None;
                    if let Err(error) = self.remove(&aside).await {
                        tracing::debug!(%error, "a replaced file stays behind for now");
                    }
                    return Ok(());
                }
                Err(error) => {
                    let restored = self.rename(&aside, to).await;
                    // Where another writer's file has taken the name there is nothing to bring back.
                    if restored.is_ok() || self.is_file(to).await {
                        back.names = None;
                        let _ = self.remove(&aside).await;
                    }
                    if error.kind() != ErrorKind::Other {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Renames a file to a name that is free.
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        let renaming = self.raw.rename(from, to);
        self.ask("rename", to, renaming).await.map(drop)
    }

    async fn is_file(&self, path: &str) -> bool {
        let asked = self.ask("rename", path, self.raw.stat(path)).await;
        asked.is_ok_and(|answer| !answer.attrs.is_dir())
    }

    /// Removes a file, if it is there.
    pub(super) async fn remove(&self, path: &str) -> Result<()> {
        match self.ask("delete", path, self.raw.remove(path)).await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// Sends a request whose answer is of no interest, for what is given up: it goes out when it is looked at for the first time.
    pub(super) fn tell<T>(&self, request: impl Future<Output = std::result::Result<T, SftpError>>) {
        if self.is_usable() && tokio::runtime::Handle::try_current().is_ok() {
            drop(request.now_or_never());
        }
    }
}

/// A file that was taken aside for another one: it gets its name back when this is dropped, unless the name is taken.
struct Aside<'a> {
    session: &'a Session,
    /// The name it has and the one it had.
    names: Option<(&'a str, &'a str)>,
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if let Some((now, before)) = self.names {
            self.session.tell(self.session.raw.rename(now, before));
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

#[cfg(test)]
mod tests;
