//! Making staged files durable, in truth.
//!
//! After a failed fsync the system counts as written what may be lost, and the next fsync succeeds, whoever calls it, also a later
//! process. Promise: a file counts as durable only if no fsync of it ever failed, or a durable copy of its bytes has taken its place
//! since. Of what an earlier process left only those level-0 files are known to be durable that it noted (`META/durable`: a TXID, and
//! the start of the machine); the newest others are written again where there is room for it.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use litestream_replica::Level;
use litestream_replica::env::{Env, UnixMillis};
use ltx::{FileName, Txid};
use parking_lot::Mutex;

use super::note::{Noted, encode_number};
use super::{Maker, Reader, list_level, verify};
use crate::depot::MERGED;
use crate::error::{Error, Result};

/// Copied at once.
const COPY_BYTES: usize = 1 << 20;
/// Between two looks at a file that somebody else is making durable.
const PAUSE: Duration = Duration::from_millis(1);
/// In the state folder.
const NOTE: &str = "durable";
/// So much of what an earlier process left is written again, or a start would take as long as a copy of the database. Of more, and of
/// a larger file, it is believed that every fsync succeeded.
const INHERITED_BYTES_MAX: u64 = 64 << 20;

/// Files in doubt; shared by all who make staged files durable.
#[derive(Clone)]
pub struct Doubts {
    env: Env,
    maker: Maker,
    known: Arc<Mutex<BTreeMap<PathBuf, Doubt>>>,
    /// Left by an earlier process, of which nobody knows whether an fsync failed.
    inherited: Arc<Mutex<BTreeMap<PathBuf, Inherited>>>,
}

/// What was tried with a file of an earlier process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inherited {
    /// Nothing yet.
    Untried,
    /// It could not be written again.
    Kept,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// Somebody is making it durable; how that ends nobody knows yet.
    Open,
    /// An fsync failed.
    Failed,
}

impl Doubts {
    /// None yet.
    pub fn new(env: &Env) -> Doubts {
        Doubts {
            env: env.clone(),
            maker: Maker::private(env),
            known: Arc::default(),
            inherited: Arc::default(),
        }
    }

    /// Takes over what an earlier process left in the state folder `meta`, the newest files first, as many as may be written again. Once,
    /// before anything is made there.
    pub fn inherit(&self, meta: &Path) -> Result<()> {
        let durable = self.noted(meta).unwrap_or(Txid::ZERO);
        let mut names = Vec::new();
        for level in [Level::L0, MERGED, Level::SNAPSHOT] {
            let dir = meta.join("ltx").join(level.to_string());
            // A number of level 0 is given once; the others may have been made after what is noted.
            let found = list_level(&self.env, &dir)?.into_iter();
            let found = found.filter(|name| level != Level::L0 || name.max > durable);
            names.extend(found.map(|name| (name.max, dir.join(name.to_string()))));
        }
        names.sort();
        let (mut inherited, mut left) = (BTreeMap::new(), INHERITED_BYTES_MAX);
        for (_, path) in names.into_iter().rev() {
            let Ok(found) = self.env.disk.metadata(&path) else {
                continue;
            };
            let Some(rest) = left.checked_sub(found.len) else {
                break;
            };
            left = rest;
            inherited.insert(path, Inherited::Untried);
        }
        *self.inherited.lock() = inherited;
        Ok(())
    }

    /// What lies there from now on was made by this process.
    pub fn made(&self, path: &Path) {
        self.inherited.lock().remove(path);
    }

    /// Notes that all level-0 files up to this one are durable, but for those in doubt. A later process does without the note, but writes
    /// more.
    pub fn note(&self, maker: &Maker, meta: &Path, newest: Txid) {
        let inherited: Vec<PathBuf> = self.inherited.lock().keys().cloned().collect();
        let (there, gone): (Vec<_>, Vec<_>) = inherited
            .into_iter()
            .partition(|path| self.env.disk.metadata(path).is_ok());
        for path in gone {
            self.made(&path);
        }
        let in_doubt = there.iter().filter_map(|path| number_in_l0(meta, path));
        let in_doubt = in_doubt.min();
        let txid = match in_doubt {
            Some(first) if first <= newest => Txid::new(first.get() - 1),
            _ => newest,
        };
        let (disk, path) = (&self.env.disk, meta.join(NOTE));
        let file = match disk.open_rw(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create_new(&path, maker.mode);
                maker.own(&path);
                file
            }
            file => file,
        };
        let line = encode_number(txid, self.env.clock.boot());
        let written = file.and_then(|file| {
            file.write_at(line.as_bytes(), 0)?;
            file.set_len(line.len() as u64)
        });
        if let Err(error) = written {
            tracing::debug!(path = %path.display(), %error, "cannot note what is durable");
        }
    }

    /// Up to where level 0 was noted to be durable since the start of the machine. Before it the system's memory was another one.
    fn noted(&self, meta: &Path) -> Option<Txid> {
        let mut line = [0; 64];
        let file = self.env.disk.open(&meta.join(NOTE)).ok()?;
        let len = file.read_at(&mut line, 0).ok()?;
        let boot = self.env.clock.boot();
        match Noted::parse(std::str::from_utf8(&line[..len]).ok()?) {
            Noted::Number(txid, noted) if noted.is_some() && noted == boot => Some(txid),
            _ => None,
        }
    }

    /// Makes files, and remembers for all who do so what could not be removed.
    pub fn maker(&self) -> &Maker {
        &self.maker
    }

    /// Makes a file durable. [`Error::NotDurable`]: it is in doubt from now on.
    pub fn make_durable(&self, path: &Path) -> Result<()> {
        loop {
            match self.claim(path) {
                Some(claim) => return self.sync(claim),
                None => self.env.clock.sleep(PAUSE),
            }
        }
    }

    /// A file is gone; what comes in its place is another.
    pub fn forget(&self, path: &Path) {
        self.made(path);
        let mut known = self.known.lock();
        if known.get(path) == Some(&Doubt::Failed) {
            known.remove(path);
        }
    }

    /// `None` while somebody else has it.
    fn claim<'a>(&'a self, path: &'a Path) -> Option<Claim<'a>> {
        let before = self.known.lock().insert(path.to_owned(), Doubt::Open);
        if before == Some(Doubt::Open) {
            return None;
        }
        Some(Claim {
            doubts: self,
            path,
            failed: before == Some(Doubt::Failed),
        })
    }

    fn sync(&self, mut claim: Claim<'_>) -> Result<()> {
        let path = claim.path;
        let file = match self.env.disk.open_rw(path) {
            Ok(file) => file,
            Err(error) => {
                claim.failed &= error.kind() != io::ErrorKind::NotFound;
                return Err(Error::io("open", path)(error));
            }
        };
        let mut cause = None;
        let inherited = self.inherited.lock().get(path).copied();
        if !claim.failed && inherited == Some(Inherited::Untried) {
            match self.write_again(path) {
                Ok(()) => {
                    self.made(path);
                    return Ok(());
                }
                Err(error) if error.is_corrupt_file() => {
                    claim.failed = true;
                    return Err(Error::NotDurable {
                        path: path.to_owned(),
                        source: io::Error::other(error),
                    });
                }
                // Perhaps for want of room; most likely nothing is wrong with it.
                Err(error) => {
                    self.inherited
                        .lock()
                        .insert(path.to_owned(), Inherited::Kept);
                    tracing::debug!(path = %path.display(), %error, "a file of an earlier process cannot be written again");
                }
            }
        }
        if !claim.failed {
            match file.sync() {
                Ok(()) => return Ok(()),
                Err(error) => cause = Some(error),
            }
        }
        claim.failed = true;
        if let Err(error) = self.write_again(path) {
            return Err(Error::NotDurable {
                path: path.to_owned(),
                source: cause.unwrap_or_else(|| io::Error::other(error)),
            });
        }
        claim.failed = false;
        Ok(())
    }

    /// Puts a durable copy in the place of a file. Its number may be in a replica by now, so it must not get another content, and
    /// had better not be lost.
    fn write_again(&self, path: &Path) -> Result<()> {
        let header = verify(&self.env, path)?;
        let disk = &self.env.disk;
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(dir), Some(name)) = (path.parent(), name.and_then(FileName::parse)) else {
            return Err(Error::io("write again", path)(
                io::ErrorKind::InvalidFilename.into(),
            ));
        };
        let like = disk.metadata(path).map_err(Error::io("stat", path))?;
        let from = disk.open(path).map_err(Error::io("open", path))?;
        let mut from = BufReader::with_capacity(COPY_BYTES, Reader::new(from));
        let mut writer = self.maker.clone().with_looks(&like).create(dir, name)?;
        io::copy(&mut from, &mut writer)
            .and_then(|_| writer.sync())
            .map_err(Error::io("write again", path))?;
        // Whoever removed it meanwhile, or put another in its place, must not have it back.
        match disk.metadata(path) {
            Ok(now) if now.id == like.id => {}
            _ => {
                return Err(Error::io("write again", path)(
                    io::ErrorKind::NotFound.into(),
                ));
            }
        }
        writer.publish(path, UnixMillis(header.timestamp_ms))?;
        disk.sync_dir(dir).map_err(Error::io("sync directory", dir))
    }
}

/// The last TXID of a level-0 file.
pub(super) fn number_in_l0(meta: &Path, path: &Path) -> Option<Txid> {
    let dir = meta.join("ltx").join(Level::L0.to_string());
    let name = path.strip_prefix(dir).ok()?.to_str()?;
    FileName::parse(name).map(|name| name.max)
}

/// The right to make a file durable.
struct Claim<'a> {
    doubts: &'a Doubts,
    path: &'a Path,
    failed: bool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut known = self.doubts.known.lock();
        if self.failed {
            known.insert(self.path.to_owned(), Doubt::Failed);
        } else {
            known.remove(self.path);
        }
    }
}

#[cfg(test)]
mod tests;
