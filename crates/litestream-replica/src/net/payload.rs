//! What is sent: bytes, or a part of a local file that is read as it goes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use md5::{Digest, Md5};

use super::client::Activity;
use crate::env::Env;
use crate::limits::{Direction, Limits};
use crate::{Error, Result, Source};

/// How much of a file is read, and how much of anything passes a limit, at a time.
const BLOCK_BYTES: u64 = 256 << 10;

/// What hyper sends.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

/// A body of known length that can be sent again.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// From memory.
    Bytes(Bytes),
    /// From a file that nobody changes.
    File {
        /// Its path.
        path: PathBuf,
        /// Where to begin.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
}

impl Payload {
    /// Nothing.
    pub(crate) fn empty() -> Payload {
        Payload::Bytes(Bytes::new())
    }

    /// All of a source.
    pub(crate) async fn of(source: &Source, env: &Env) -> Result<Payload> {
        match source {
            Source::Bytes(bytes) => Ok(Payload::Bytes(bytes.clone())),
            Source::File(path) => {
                let (disk, at) = (Arc::clone(&env.disk), path.clone());
                let found = env.spawn.offloaded(move || disk.metadata(&at)).await;
                let found = found
                    .and_then(|found| found)
                    .map_err(|e| Error::io("read", path, &e))?;
                Ok(Payload::File {
                    path: path.clone(),
                    offset: 0,
                    len: found.len,
                })
            }
        }
    }

    /// How many bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::File { len, .. } => *len,
        }
    }

    /// `len` bytes from `from`, which must be there.
    pub(crate) fn part(&self, from: u64, len: u64) -> Payload {
        match self {
            Payload::Bytes(bytes) => {
                Payload::Bytes(bytes.slice(from as usize..(from + len) as usize))
            }
            Payload::File { path, offset, .. } => Payload::File {
                path: path.clone(),
                offset: offset + from,
                len,
            },
        }
    }

    /// All of it in memory: for a part that is hashed before it is sent.
    pub(crate) async fn load(&self, env: &Env) -> Result<Bytes> {
        match self {
            Payload::Bytes(bytes) => Ok(bytes.clone()),
            Payload::File { path, offset, len } => {
                read_block(env, path, *offset, *len).await.map_err(|e| {
                    // A source that is cut off is no damaged replica.
                    Error::io("read", path, &e)
                })
            }
        }
    }

    /// Its MD5 digest, by which services check what they got.
    pub(crate) async fn md5(&self, env: &Env) -> Result<[u8; 16]> {
        let mut digest = Md5::new();
        if let Payload::Bytes(bytes) = self
            && bytes.len() as u64 <= BLOCK_BYTES
        {
            digest.update(bytes);
            return Ok(digest.finalize().into());
        }
        let digest = self.fold(env, digest, |digest, block| digest.update(block));
        Ok(digest.await?.finalize().into())
    }

    /// Goes through it block by block, where that holds up nobody.
    pub(crate) async fn fold<S: Send + 'static>(
        &self,
        env: &Env,
        mut state: S,
        mut step: impl FnMut(&mut S, &[u8]) + Send + 'static,
    ) -> Result<S> {
        let (disk, payload) = (Arc::clone(&env.disk), self.clone());
        let done = env.spawn.offloaded(move || {
            match payload {
                Payload::Bytes(bytes) => step(&mut state, &bytes),
                Payload::File { path, offset, len } => {
                    let file = disk.open(&path)?;
                    let mut block = vec![0; len.min(BLOCK_BYTES) as usize];
                    let mut at = 0;
                    while at < len {
                        let now = (len - at).min(BLOCK_BYTES) as usize;
                        file.read_exact_at(&mut block[..now], offset + at)?;
                        step(&mut state, &block[..now]);
                        at += now as u64;
                    }
                }
            }
            Ok(state)
        });
        let path = match self {
            Payload::Bytes(_) => Path::new(""),
            Payload::File { path, .. } => path,
        };
        done.await
            .and_then(|done| done)
            .map_err(|e: io::Error| Error::io("read", path, &e))
    }

    pub(super) fn body(
        &self,
        env: &Env,
        limits: &Arc<Limits>,
        activity: &Arc<Activity>,
    ) -> Outgoing {
        if let Payload::Bytes(bytes) = self
            && (!limits.is_limited(Direction::Up) || bytes.is_empty())
        {
            let full = Full::new(bytes.clone());
            return full.map_err(|never| match never {}).boxed_unsync();
        }
        let sending = Sending {
            payload: self.clone(),
            at: 0,
            env: env.clone(),
            limits: Arc::clone(limits),
            activity: Arc::clone(activity),
        };
        BodyExt::boxed_unsync(StreamBody::new(stream::try_unfold(sending, Sending::next)))
    }
}

struct Sending {
    payload: Payload,
    at: u64,
    env: Env,
    limits: Arc<Limits>,
    activity: Arc<Activity>,
}

impl Sending {
    async fn next(mut self) -> io::Result<Option<(Frame<Bytes>, Sending)>> {
        self.activity.note();
        let len = (self.payload.len() - self.at).min(BLOCK_BYTES);
        if len == 0 {
            return Ok(None);
        }
        // Waiting for one's turn is no silence of the server's.
        self.activity.pause();
        self.limits.pass(Direction::Up, len).await;
        self.activity.note();
        let block = match self.payload.part(self.at, len) {
            Payload::Bytes(bytes) => bytes,
            Payload::File { path, offset, len } => {
                read_block(&self.env, &path, offset, len).await?
            }
        };
        self.at += len;
        Ok(Some((Frame::data(block), self)))
    }
}

async fn read_block(env: &Env, path: &std::path::Path, offset: u64, len: u64) -> io::Result<Bytes> {
    let (disk, path) = (Arc::clone(&env.disk), path.to_owned());
    env.spawn
        .offloaded(move || {
            let mut block = vec![0; len as usize];
            disk.open(&path)?.read_exact_at(&mut block, offset)?;
            Ok(Bytes::from(block))
        })
        .await?
}
