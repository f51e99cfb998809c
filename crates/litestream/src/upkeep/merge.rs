//! Merging LTX files into a local one.
//!
//! Promises: inputs are streamed, and all buffers together stay within a fixed size; the output has its name only when it is whole
//! and every input's checksum was right; nothing is left behind otherwise. Files of two page sizes are never merged.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use litestream_replica::env::{Env, File, Work};
use litestream_replica::retry::{Subject, read_all_retrying};
use litestream_replica::{FileInfo, Level, SharedReplica};
use ltx::{Decoder, FileName, Header};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::Failure;
use crate::error::{Error, Result};
use crate::staging::{Maker, remove_if_there};
use crate::stop::Stop;
use crate::worker::created;

/// Buffers of all inputs together.
const BUFFERS_BYTES: usize = 24 << 20;
/// What one input takes at least, with pages of the largest size.
const INPUT_BYTES: usize = 384 << 10;
/// Asked for at a time from a replica, at most.
const PIECE_MAX: usize = 2 << 20;
/// How long a storage may give nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is merged, in TXID order.
pub(crate) enum Inputs {
    /// Files of the replica; local copies of the same size are read instead.
    Replica(Vec<FileInfo>),
    /// Local files.
    Local(Vec<(Level, FileName)>),
}

/// What came of it, under its name in the local folder of the level.
pub(crate) struct Merged {
    pub name: FileName,
    pub header: Header,
    /// How many files were merged; there may have been more.
    pub inputs: usize,
}

/// A place for work that costs much, of which a process does little at once; given back when it is dropped.
pub(crate) async fn heavy_place(env: &Env) -> Result<OwnedSemaphorePermit> {
    let places = env.spawn.places(Work::Heavy);
    places.acquire_owned().await.map_err(|_| Error::Closed)
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Merger {
    pub env: Env,
    pub replica: Option<SharedReplica>,
    /// `META/ltx`.
    pub root: PathBuf,
    /// Where copies of this replica's compacted files lie, level by level; `None` where local files are merged.
    pub copies: Option<PathBuf>,
    /// The database, whose mode and owner the output gets.
    pub database: PathBuf,
    /// Remembers what could not be removed.
    pub maker: Maker,
    /// Set to end early.
    pub stop: Stop,
    /// Held while local files are worked on.
    pub busy: watch::Sender<()>,
}

impl Merger {
    /// Merges on a thread of its own.
    pub async fn run(&self, into: Level, inputs: Inputs) -> Result<Merged, Failure> {
        let (reply, answer) = oneshot::channel();
        let merger = self.clone();
        let place = heavy_place(&self.env).await?;
        let work = move || {
            let _place = place;
            let result = merger.merge(into, &inputs);
            // What is dropped before the answer is given can't be used any more when it is there.
            drop((merger, inputs));
            drop(reply.send(result));
        };
        let thread = self
            .env
            .spawn
            .spawn("compaction", Box::new(work))
            .map_err(Error::io("start thread", "compaction"))?;
        let result = answer.await.map_err(|_| Error::Closed)?;
        let _ = self.env.spawn.offloaded(move || thread.join()).await;
        result
    }

    /// Merges as many of the inputs as the buffers allow and one page size goes.
    pub fn merge(&self, into: Level, inputs: &Inputs) -> Result<Merged, Failure> {
        let (count, most) = (inputs.len(), BUFFERS_BYTES / INPUT_BYTES);
        let piece = (BUFFERS_BYTES / 2 / count.clamp(1, most)).min(PIECE_MAX);
        let mut open: Vec<Decoder<Input>> = Vec::new();
        for index in 0..count.min(most) {
            let decoder = self.open(inputs, index, piece)?;
            if open
                .first()
                .is_some_and(|first| first.header().page_size != decoder.header().page_size)
            {
                break;
            }
            open.push(decoder);
        }
        let (Some(first), Some(last)) = (open.first(), open.last()) else {
            return Err(Error::NoPosition.into());
        };
        let name = FileName::new(first.header().min_txid, last.header().max_txid);
        let read = open.len();
        let dir = self.out(into)?;
        let maker = match self.env.disk.metadata(&self.database) {
            Ok(like) => self.maker.clone().with_looks(&like),
            Err(_) => self.maker.clone(),
        };
        let writer = maker.create(&dir, name)?;
        let merged = ltx::merge_spilling(open, writer, maker.spill(&dir));
        let (writer, header, _) =
            merged.map_err(|error| self.failure(inputs, (into, name), error))?;
        writer.publish(&dir.join(name.to_string()), created(&header))?;
        Ok(Merged {
            name,
            header,
            inputs: read,
        })
    }

    fn open(&self, inputs: &Inputs, index: usize, piece: usize) -> Result<Decoder<Input>, Failure> {
        let input = match inputs {
            Inputs::Local(files) => {
                let (level, name) = files[index];
                let path = self.path(level, name);
                let file = self.env.disk.open(&path);
                self.local(file.map_err(Error::io("open", &path))?)
            }
            Inputs::Replica(files) => self.input(files[index], piece)?,
        };
        let name = inputs.name(index);
        let failed = |error| {
            let error = ltx::Error::Input {
                name: name.1,
                source: Box::new(error),
            };
            self.failure(inputs, name, error)
        };
        let decoder = Decoder::new(input).map_err(failed)?;
        let (min, max) = (decoder.header().min_txid, decoder.header().max_txid);
        if (min, max) != (name.1.min, name.1.max) {
            // It would be taken for what it is not.
            let previous = name.1.max;
            return Err(failed(ltx::Error::MergeOrder { previous, min, max }));
        }
        Ok(decoder)
    }

    /// A local copy, the file in a local replica, or a stream.
    fn input(&self, file: FileInfo, piece: usize) -> Result<Input, Failure> {
        let replica = self.replica.as_ref().ok_or(Error::Closed)?;
        let staged = Some(self.path(file.level, file.name));
        let copy = self.copy(file.level, file.name);
        let there = replica.local_path(file.level, file.name);
        for path in [copy, staged, there].into_iter().flatten() {
            if let Ok(found) = self.env.disk.open(&path)
                && found.metadata().is_ok_and(|m| m.len == file.size)
            {
                return Ok(self.local(found));
            }
        }
        if replica.local_path(file.level, file.name).is_some() {
            return Err(Failure::Gone(file.level, file.name));
        }
        Ok(Input {
            bytes: Bytes::Remote {
                env: self.env.clone(),
                replica: Arc::clone(replica),
                file,
                piece,
                have: bytes::Bytes::new(),
            },
            position: 0,
            stop: self.stop.clone(),
        })
    }

    fn local(&self, file: Box<dyn File>) -> Input {
        Input {
            bytes: Bytes::Local(file),
            position: 0,
            stop: self.stop.clone(),
        }
    }

    fn path(&self, level: Level, name: FileName) -> PathBuf {
        self.root.join(level.to_string()).join(name.to_string())
    }

    /// Where a copy of a compacted file lies or would lie.
    pub fn copy(&self, level: Level, name: FileName) -> Option<PathBuf> {
        let copies = self.copies.as_ref()?.join(level.to_string());
        Some(copies.join(name.to_string()))
    }

    /// The folder for what is merged into a level.
    fn out(&self, into: Level) -> Result<PathBuf> {
        let Some(copies) = &self.copies else {
            return Ok(self.root.join(into.to_string()));
        };
        let dir = copies.join(into.to_string());
        let mode = self
            .root
            .parent()
            .and_then(|meta| self.env.disk.metadata(meta).ok());
        let mode = mode.map_or(0o700, |m| m.mode & 0o777);
        self.env
            .disk
            .create_dir_all(&dir, mode)
            .map_err(Error::io("create directory", &dir))?;
        Ok(dir)
    }

    /// Tells what an error is about: a damaged local copy is removed, so that the next attempt reads the replica's file.
    fn failure(&self, inputs: &Inputs, out: (Level, FileName), error: ltx::Error) -> Failure {
        let ltx::Error::Input { name, source } = &error else {
            let path = self.path(out.0, out.1);
            return match error {
                ltx::Error::Io(source) => Error::io("write", path)(source).into(),
                source => Error::Staged { path, source }.into(),
            };
        };
        let level = inputs.level_of(*name);
        let copy = self.copy(level, *name);
        let copy = copy.filter(|path| self.env.disk.metadata(path).is_ok());
        let path = copy.unwrap_or_else(|| self.path(level, *name));
        if let ltx::Error::Io(io) = &**source {
            return match io.kind() {
                io::ErrorKind::NotFound => Failure::Gone(level, *name),
                io::ErrorKind::ConnectionAborted => Error::Closed.into(),
                kind => Error::io("read", path)(io::Error::new(kind, io.to_string())).into(),
            };
        }
        let has_copy = self.env.disk.metadata(&path).is_ok();
        match inputs {
            Inputs::Replica(files) if !has_copy => match files.iter().find(|f| f.name == *name) {
                Some(file) => Failure::Damaged(
                    *file,
                    Box::new(Error::Staged {
                        path,
                        source: error,
                    }),
                ),
                None => Error::Staged {
                    path,
                    source: error,
                }
                .into(),
            },
            Inputs::Replica(_) | Inputs::Local(_) => {
                tracing::warn!(path = %path.display(), error = %source, "local ltx file is damaged, removing it");
                let removed = remove_if_there(&self.env, &path).err();
                removed
                    .unwrap_or(Error::Staged {
                        path,
                        source: error,
                    })
                    .into()
            }
        }
    }
}

impl Inputs {
    fn len(&self) -> usize {
        match self {
            Inputs::Replica(files) => files.len(),
            Inputs::Local(files) => files.len(),
        }
    }

    fn name(&self, index: usize) -> (Level, FileName) {
        match self {
            Inputs::Replica(files) => (files[index].level, files[index].name),
            Inputs::Local(files) => files[index],
        }
    }

    fn level_of(&self, name: FileName) -> Level {
        (0..self.len())
            .map(|index| self.name(index))
            .find(|input| input.1 == name)
            .map_or(Level::L0, |input| input.0)
    }
}

/// One input, front to back.
struct Input {
    bytes: Bytes,
    position: u64,
    stop: Stop,
}

enum Bytes {
    Local(Box<dyn File>),
    Remote {
        env: Env,
        replica: SharedReplica,
        file: FileInfo,
        piece: usize,
        /// Read, not yet handed out.
        have: bytes::Bytes,
    },
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            // Not `Interrupted`: the decoder would try that again.
            return Err(closing());
        }
        let n = match &mut self.bytes {
            Bytes::Local(file) => file.read_at(buf, self.position)?,
            Bytes::Remote {
                env,
                replica,
                file,
                piece,
                have,
            } => {
                if have.is_empty() {
                    let read = read_all_retrying(
                        &**replica,
                        Subject::Ltx(file.level, file.name),
                        self.position,
                        Some(*piece as u64),
                        &*env.clock,
                        PATIENCE,
                    );
                    *have = env.spawn.wait_for(async {
                        tokio::select! {
                            biased;
                            read = read => read.map_err(as_io),
                            () = self.stop.asked() => Err(closing()),
                        }
                    })?;
                }
                let n = have.len().min(buf.len());
                buf[..n].copy_from_slice(&have.split_to(n));
                n
            }
        };
        self.position += n as u64;
        Ok(n)
    }
}

fn closing() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "closing")
}

fn as_io(error: litestream_replica::Error) -> io::Error {
    let kind = if error.is_not_found() {
        io::ErrorKind::NotFound
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, error)
}
