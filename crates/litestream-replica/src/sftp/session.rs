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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::Gate;
use crate::env::{Env, Monotonic};
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

    /// Sends a request whose answer is of no interest, for what is given up: it goes out when it is looked at for the first time.
    pub(super) fn tell<T>(&self, request: impl Future<Output = std::result::Result<T, SftpError>>) {
        if self.is_usable() && tokio::runtime::Handle::try_current().is_ok() {
            drop(request.now_or_never());
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
mod tests {
    use litestream_servers::{Kind, Server};

    use super::super::connect::Link;
    use super::super::{file, folders};
    use super::*;
    use crate::settings::Sftp;

    fn settings(server: &Server) -> Sftp {
        let place = server.new_place("session").unwrap();
        let key = |name: &str| place.key(name).map(str::to_owned);
        Sftp {
            host: key("host").unwrap(),
            user: key("user").unwrap(),
            password: None,
            key_path: key("key-path"),
            host_key: key("host-key"),
            concurrent_writes: true,
            path: key("path").unwrap(),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_can_not_rename_over_a_file_is_helped() {
        let server = Server::start(Kind::Sshd).unwrap();
        let settings = settings(&server);
        let env = crate::env::real::env();
        let link = Link::new(&settings, &env).unwrap();
        let mut session = link.dial().await.unwrap();
        assert!(session.can_rename_over && session.can_sync);
        (session.can_rename_over, session.can_sync) = (false, false);
        let session = Arc::new(session);
        let folder = format!("{}/a/b", settings.path);
        folders::make(&session, &folder).await.unwrap();
        let at = |name: &str| format!("{folder}/{name}");
        let create = async |name: &str, bytes: &[u8]| {
            let file = file::create(&session, &at(name)).await.unwrap();
            file.file().unwrap().write(0, bytes).await.unwrap();
            file.file().unwrap().sync().await.unwrap();
            file.finish(&at(&format!("{name}-done"))).await.unwrap();
        };
        create("one", b"1").await;
        create("two", b"2").await;
        session
            .rename_over(&at("one-done"), &at("new"))
            .await
            .unwrap();
        session
            .rename_over(&at("two-done"), &at("new"))
            .await
            .unwrap();
        let new = file::open(&session, &at("new")).await;
        assert_eq!(new.unwrap().read(0, 9).await.unwrap(), b"2");
        let missing = session.rename_over(&at("one"), &at("other")).await;
        assert!(missing.unwrap_err().is_not_found());
        let above = session.rename_over(&at("new"), "/nowhere/x").await;
        assert!(above.is_err());
        let left = folders::list(&session, &folder).await.unwrap();
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn what_servers_say_of_a_full_disk() {
        assert!(says_full("write: No space left on device"));
        assert!(says_full("Disk quota exceeded"));
        assert!(!says_full("Failure"));
    }
}
