//! What is sent: bytes, or a part of a local file that is read as it goes.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use md5::{Digest, Md5};

use super::client::Activity;
use crate::env::{Disk, Env};
use crate::limits::{Direction, Limits};
use crate::{Error, Result, Source};

/// How much of a file is read, and how much of anything passes a limit, at a time.
const BLOCK_BYTES: u64 = 256 << 10;
/// More is not worked on where other tasks wait.
const INLINE_BYTES_MAX: usize = 64 << 10;

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
    /// One after the other.
    Chain(Vec<Payload>),
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
            Payload::Chain(all) => all.iter().map(Payload::len).sum(),
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
            Payload::Chain(all) => {
                let (mut skip, mut left) = (from, len);
                let mut parts = Vec::new();
                for payload in all {
                    let from = skip.min(payload.len());
                    let now = left.min(payload.len() - from);
                    if now > 0 {
                        parts.push(payload.part(from, now));
                    }
                    skip -= from;
                    left -= now;
                }
                Payload::Chain(parts)
            }
        }
    }

    /// Its bytes and files in their order.
    fn flat(self, into: &mut VecDeque<Payload>) {
        match self {
            Payload::Chain(all) => all.into_iter().for_each(|payload| payload.flat(into)),
            payload => into.push_back(payload),
        }
    }

    /// All of it in memory: for a part that is hashed before it is sent.
    pub(crate) async fn load(&self, env: &Env) -> Result<Bytes> {
        if let Payload::Bytes(bytes) = self {
            return Ok(bytes.clone());
        }
        let all = BytesMut::with_capacity(self.len() as usize);
        let all = self.fold(env, all, BytesMut::extend_from_slice);
        Ok(all.await?.freeze())
    }

    /// Its MD5 digest, by which services check what they got.
    pub(crate) async fn md5(&self, env: &Env) -> Result<[u8; 16]> {
        let digest = self.fold(env, Md5::new(), |digest, block| digest.update(block));
        Ok(digest.await?.finalize().into())
    }

    /// Goes through it block by block, where that holds up nobody.
    pub(crate) async fn fold<S: Send + 'static>(
        &self,
        env: &Env,
        mut state: S,
        mut step: impl FnMut(&mut S, &[u8]) + Send + 'static,
    ) -> Result<S> {
        if let Payload::Bytes(bytes) = self
            && bytes.len() <= INLINE_BYTES_MAX
        {
            step(&mut state, bytes);
            return Ok(state);
        }
        let disk = Arc::clone(&env.disk);
        let mut queue = VecDeque::new();
        self.clone().flat(&mut queue);
        let done = env.spawn.offloaded(move || {
            for payload in queue {
                match payload {
                    Payload::Bytes(bytes) => step(&mut state, &bytes),
                    Payload::File { path, offset, len } => {
                        let read = each_block(&*disk, &path, (offset, len), &mut |block| {
                            step(&mut state, block);
                        });
                        read.map_err(|e| Error::io("read", &path, &e))?;
                    }
                    Payload::Chain(_) => {}
                }
            }
            Ok(state)
        });
        done.await
            .map_err(|e| Error::io("read", Path::new(""), &e))?
    }

    pub(super) fn body(
        &self,
        env: &Env,
        limits: &Arc<Limits>,
        activity: &Arc<Activity>,
    ) -> Outgoing {
        // What is sent at once moves as one for the time-out, too.
        if let Payload::Bytes(bytes) = self
            && bytes.len() as u64 <= BLOCK_BYTES
            && (!limits.is_limited(Direction::Up) || bytes.is_empty())
        {
            let full = Full::new(bytes.clone());
            return full.map_err(|never| match never {}).boxed_unsync();
        }
        let mut queue = VecDeque::new();
        self.clone().flat(&mut queue);
        let sending = Sending {
            queue,
            at: 0,
            env: env.clone(),
            limits: Arc::clone(limits),
            activity: Arc::clone(activity),
        };
        BodyExt::boxed_unsync(StreamBody::new(stream::try_unfold(sending, Sending::next)))
    }
}

struct Sending {
    queue: VecDeque<Payload>,
    /// How far the first of them is sent.
    at: u64,
    env: Env,
    limits: Arc<Limits>,
    activity: Arc<Activity>,
}

impl Sending {
    async fn next(mut self) -> io::Result<Option<(Frame<Bytes>, Sending)>> {
        self.activity.note();
        let (payload, left) = loop {
            let Some(payload) = self.queue.front() else {
                return Ok(None);
            };
            let left = payload.len() - self.at;
            if left > 0 {
                break (payload.clone(), left);
            }
            self.queue.pop_front();
            self.at = 0;
        };
        let len = left.min(self.limits.block(Direction::Up, BLOCK_BYTES));
        // Waiting for one's turn is no silence of the server's.
        self.activity.pause();
        self.limits.pass(Direction::Up, len).await;
        self.activity.note();
        let block = match payload.part(self.at, len) {
            Payload::Bytes(bytes) => bytes,
            Payload::File { path, offset, len } => {
                read_block(&self.env, &path, offset, len).await?
            }
            // Flattened before.
            Payload::Chain(_) => Bytes::new(),
        };
        self.at += len;
        Ok(Some((Frame::data(block), self)))
    }
}

/// Goes through a part of a file.
fn each_block(
    disk: &dyn Disk,
    path: &Path,
    (offset, len): (u64, u64),
    step: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let file = disk.open(path)?;
    let mut block = vec![0; len.min(BLOCK_BYTES) as usize];
    let mut at = 0;
    while at < len {
        let now = (len - at).min(BLOCK_BYTES) as usize;
        file.read_exact_at(&mut block[..now], offset + at)?;
        step(&block[..now]);
        at += now as u64;
    }
    Ok(())
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
