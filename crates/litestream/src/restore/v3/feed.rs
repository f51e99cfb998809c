//! Reads the objects of a plan in order for the thread that unpacks them.
//!
//! Promise: at most a fixed number of pieces is under way or waiting, so that many small objects don't cost a round trip
//! each and a large one doesn't cost memory; no answer is left open while another is read (services cut such off).

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use litestream_replica::env::{Env, Running};
use litestream_replica::retry::{Subject, read_all_retrying};
use litestream_replica::v3::Object;
use litestream_replica::{Result as ReplicaResult, SharedReplica};
use tokio::sync::{oneshot, watch};

use super::error::V3Error;
use crate::restore::error::RestoreError;
use crate::restore::fetch::PATIENCE;
use crate::restore::tally::Tally;

const PIECE_BYTES: u64 = 1 << 20;
/// Upper bound of pieces at once.
const PIECES_MAX: usize = 16;

/// See the module.
pub(super) struct Feed {
    env: Env,
    replica: SharedReplica,
    objects: Vec<Object>,
    ahead: usize,
    /// The piece to ask for next: object and offset.
    next: (usize, u64),
    under_way: VecDeque<Piece>,
    /// Tells when the other end is gone: then the restore was given up.
    alive: watch::Receiver<()>,
    tally: Arc<Tally>,
}

struct Piece {
    object: usize,
    len: u64,
    answer: oneshot::Receiver<ReplicaResult<bytes::Bytes>>,
    task: Box<dyn Running>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    pub(super) fn new(
        env: Env,
        replica: SharedReplica,
        objects: Vec<Object>,
        parallelism: usize,
        alive: watch::Receiver<()>,
        tally: Arc<Tally>,
    ) -> Feed {
        Feed {
            env,
            replica,
            objects,
            ahead: parallelism.clamp(1, PIECES_MAX),
            next: (0, 0),
            under_way: VecDeque::new(),
            alive,
            tally,
        }
    }

    /// The bytes of the next object; all of them must be read before the one after it is opened.
    pub(super) fn open(&mut self, object: usize) -> Opened<'_> {
        Opened {
            feed: self,
            object,
            piece: bytes::Bytes::new(),
            failed: None,
        }
    }

    pub(super) fn object(&self, object: usize) -> &Object {
        &self.objects[object]
    }

    fn ask(&mut self) {
        while self.under_way.len() < self.ahead {
            let (object, offset) = self.next;
            let Some(Object { path, size, .. }) = self.objects.get(object) else {
                return;
            };
            let len = (size - offset).min(PIECE_BYTES);
            if len == 0 {
                self.next = (object + 1, 0);
                continue;
            }
            self.next = (object, offset + len);
            let (replica, clock) = (Arc::clone(&self.replica), Arc::clone(&self.env.clock));
            let (reply, answer) = oneshot::channel();
            let path = path.clone();
            let read = async move {
                let subject = Subject::V3(&path);
                let read =
                    read_all_retrying(&*replica, subject, offset, Some(len), &*clock, PATIENCE);
                // The thread gave up: nobody to tell.
                let _ = reply.send(read.await);
            };
            let task = self.env.spawn.task("restore-read", Box::pin(read));
            self.under_way.push_back(Piece {
                object,
                len,
                answer,
                task,
            });
        }
    }

    /// The next piece of an object; nothing at its end.
    fn piece(&mut self, object: usize) -> Result<bytes::Bytes, RestoreError> {
        self.ask();
        if self
            .under_way
            .front()
            .is_none_or(|piece| piece.object != object)
        {
            return Ok(bytes::Bytes::new());
        }
        let Some(mut piece) = self.under_way.pop_front() else {
            return Ok(bytes::Bytes::new());
        };
        let alive = &mut self.alive;
        let answer = self.env.spawn.wait_for(async {
            tokio::select! {
                biased;
                answer = &mut piece.answer => answer.map_err(|_| RestoreError::Cancelled),
                // Nobody ever sends: it ends when the sender is gone.
                _ = alive.changed() => Err(RestoreError::Cancelled),
            }
        })?;
        let path = || self.objects[object].path.clone();
        let bytes = answer.map_err(|source| {
            if source.is_not_found() {
                let what = "it is gone".to_owned();
                V3Error::Changed { path: path(), what }
            } else {
                V3Error::Fetch {
                    path: path(),
                    source,
                }
            }
        })?;
        if bytes.len() as u64 != piece.len {
            let what = "it is shorter than listed".to_owned();
            return Err(V3Error::Changed { path: path(), what }.into());
        }
        self.tally.read(bytes.len());
        Ok(bytes)
    }
}

/// An object as a stream. A failure of the storage is kept in [`Opened::failed`], since a reader can't pass it on.
pub(super) struct Opened<'a> {
    feed: &'a mut Feed,
    object: usize,
    piece: bytes::Bytes,
    pub(super) failed: Option<RestoreError>,
}

impl Read for Opened<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.feed.piece(self.object).map_err(|error| {
                self.failed = Some(error);
                io::Error::other("the storage failed")
            })?;
        }
        let len = buf.len().min(self.piece.len());
        buf[..len].copy_from_slice(&self.piece.split_to(len));
        Ok(len)
    }
}
