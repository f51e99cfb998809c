//! Writing a file: under a name of its own, then moved to its name.
//!
//! Promise: nobody sees a part of a file, unless the server can't move one, which is said once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;

use super::get::LOOK_WAIT;
use super::request::{Asking, Server, refused};
use crate::Error;
use crate::env::Env;
use crate::net::{Answer, Payload};

/// Moves of one file. A server removes what is at the destination before it moves, so that one of two moves to the same
/// name may find that nothing is there to remove, and says that it found nothing.
const MOVES_MAX: u32 = 5;

/// How this server moves files, as far as is known.
#[derive(Default)]
pub(super) struct Moving {
    /// Where to is said by a path alone: behind a proxy a server may not know its own URL.
    by_path: AtomicBool,
    /// It has moved one.
    works: AtomicBool,
    /// It can't.
    fails: AtomicBool,
}

/// Writes a file whose folder is there.
pub(super) async fn put(
    server: &Arc<Server>,
    moving: &Moving,
    env: &Env,
    (temporary, path): (&str, &str),
    payload: Payload,
) -> std::result::Result<(), NotPut> {
    if moving.fails.load(Ordering::Relaxed) {
        return upload(server, path, payload).await;
    }
    let mut unfinished = Unfinished {
        server: Arc::clone(server),
        env: env.clone(),
        path: Some(temporary.to_owned()),
    };
    upload(server, temporary, payload.clone()).await?;
    let error = match rename(server, moving, temporary, path).await {
        Ok(()) => {
            moving.works.store(true, Ordering::Relaxed);
            unfinished.path = None;
            return Ok(());
        }
        Err(Failed::Other(error)) => return Err(error),
        Err(Failed::CanNot(error)) if moving.works.load(Ordering::Relaxed) => {
            return Err(NotPut::Other(error));
        }
        Err(Failed::CanNot(error)) => error,
    };
    tracing::warn!(
        %error,
        "the server can't move files: they are written straight to their names, so a reader may see a part of one"
    );
    moving.fails.store(true, Ordering::Relaxed);
    upload(server, path, payload).await
}

/// Why a file was not written.
pub(super) enum NotPut {
    /// Its folder is not there, as it seems.
    NoFolder(Error),
    Other(Error),
}

impl NotPut {
    pub(super) fn error(self) -> Error {
        let (NotPut::NoFolder(error) | NotPut::Other(error)) = self;
        error
    }

    async fn of(answer: Answer) -> NotPut {
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => NotPut::NoFolder(refused(answer).await),
            _ => NotPut::Other(refused(answer).await),
        }
    }
}

async fn upload(server: &Server, path: &str, payload: Payload) -> std::result::Result<(), NotPut> {
    let mut asking =
        Asking::new("write", "PUT", path).header("content-type", "application/octet-stream");
    asking.payload = payload;
    let answer = server.send(asking).await.map_err(NotPut::Other)?;
    match answer.status().as_u16() {
        200 | 201 | 204 => Ok(()),
        _ => Err(NotPut::of(answer).await),
    }
}

enum Failed {
    /// The server does not do that at all.
    CanNot(Error),
    Other(NotPut),
}

async fn rename(
    server: &Server,
    moving: &Moving,
    from: &str,
    to: &str,
) -> std::result::Result<(), Failed> {
    let mut moves = 0;
    loop {
        moves += 1;
        let by_path = moving.by_path.load(Ordering::Relaxed);
        let destination = if by_path {
            server.target(to)
        } else {
            server.url(to)
        };
        let asking = Asking::new("write", "MOVE", from)
            .header("destination", destination)
            .header("overwrite", "T");
        let answer = server.send(asking).await;
        let answer = answer.map_err(|e| Failed::Other(NotPut::Other(e)))?;
        match answer.status() {
            StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => return Ok(()),
            // It thinks that the URL is another server's.
            StatusCode::BAD_GATEWAY | StatusCode::BAD_REQUEST if !by_path => {
                moving.by_path.store(true, Ordering::Relaxed);
            }
            StatusCode::NOT_FOUND | StatusCode::CONFLICT if moves < MOVES_MAX => {
                // Two that meet must not meet again.
                let chance = (server.env().entropy.next_u64() % 1000) as u32;
                let wait = LOOK_WAIT * moves;
                server
                    .env()
                    .clock
                    .sleep_async(wait / 2 + wait * chance / 1000)
                    .await;
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                return Err(Failed::CanNot(refused(answer).await));
            }
            _ => {
                moving.by_path.store(false, Ordering::Relaxed);
                return Err(Failed::Other(NotPut::of(answer).await));
            }
        }
    }
}

/// A file under a name of its own; removed when this is dropped.
struct Unfinished {
    server: Arc<Server>,
    env: Env,
    path: Option<String>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let server = Arc::clone(&self.server);
        let remove = async move {
            // What can't be removed now is removed by tidying up.
            drop(server.send(Asking::new("delete", "DELETE", &path)).await);
        };
        self.env.spawn.task("webdav remove", Box::pin(remove));
    }
}
