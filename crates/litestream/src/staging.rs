//! The local directory of staged LTX files: the queue between capture and upload, and the memory of the position.
//!
//! Owns `META/ltx/<level>/`, `META/cursor` and `META/lock`. Promise: a file under its final name is whole unless power failed
//! before [`Staging::make_durable`]; [`Staging::newest_valid`] tells. Leftovers of interrupted writes are removed at open.

mod durable;
mod note;
mod writer;

pub use durable::Doubts;
pub use note::{DatabaseStamp, Noted, SavedCursor};
pub use writer::{Maker, Reader, Writer};

use std::io;
use std::path::{Path, PathBuf};

use litestream_replica::Level;
use litestream_replica::env::{Env, Held, Kind, UnixMillis};
use ltx::{FileName, Header, PageNo, Txid};

use crate::error::{Error, Result};
use crate::ledger::{self, Ledger};
use crate::wal::Cursor;

pub(crate) const TEMP_SUFFIX: &str = ".tmp";
/// Locked by the one process that works here.
const LOCK: &str = "lock";

/// The right to work in `meta`, which no second process has at the same time. `None` if there is neither a state folder nor a
/// database to make one for.
pub fn claim(env: &Env, database: &Path, meta: &Path) -> Result<Option<Box<dyn Held>>> {
    let disk = &env.disk;
    let db = match disk.metadata(database) {
        Ok(found) => Some(found),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io("stat database", database)(e)),
    };
    match &db {
        Some(_) => make_dir(env, meta, database)?,
        None if disk.metadata(meta).is_ok_and(|m| m.kind == Kind::Dir) => {}
        None => return Ok(None),
    }
    let path = meta.join(LOCK);
    let mode = db.as_ref().map_or(0o600, |m| m.mode & 0o777);
    let held = disk.lock(&path, mode).map_err(Error::io("lock", &path))?;
    if held.is_none() {
        return Err(Error::Busy {
            path: meta.to_owned(),
            what: "another process (a second litestream?) works in this state folder",
        });
    }
    if let Some(m) = db {
        let _ = disk.set_owner(&path, m.uid, m.gid); // best effort: only root may
    }
    // Later somebody may be at work there.
    for level in Level::all().filter(|l| ![Level::L0, Level::SNAPSHOT].contains(l)) {
        let dir = meta.join("ltx").join(level.to_string());
        if disk.metadata(&dir).is_ok() {
            remove_leftovers(env, &dir)?;
        }
    }
    Ok(held)
}

fn remove_leftovers(env: &Env, dir: &Path) -> Result<()> {
    for entry in env.disk.list(dir).map_err(Error::io("list", dir))? {
        if entry.kind == Kind::File && entry.name.to_string_lossy().ends_with(TEMP_SUFFIX) {
            let path = dir.join(&entry.name);
            env.disk
                .remove(&path)
                .map_err(Error::io("remove leftover", path))?;
        }
    }
    Ok(())
}

/// Creates a directory with the mode and owner of the database's own folder.
fn make_dir(env: &Env, path: &Path, database: &Path) -> Result<()> {
    let disk = &env.disk;
    if disk.metadata(path).is_ok_and(|m| m.kind == Kind::Dir) {
        return Ok(());
    }
    let parent = database
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let like = disk
        .metadata(parent)
        .map_err(Error::io("stat directory", parent))?;
    let mode = like.mode & 0o777;
    disk.create_dir_all(path, if mode == 0 { 0o700 } else { mode })
        .map_err(Error::io("create directory", path))?;
    let _ = disk.set_owner(path, like.uid, like.gid); // best effort: only root may
    if let Some(parent) = path.parent() {
        disk.sync_dir(parent)
            .map_err(Error::io("sync directory", parent))?;
    }
    Ok(())
}

/// See the module.
pub struct Staging {
    env: Env,
    meta: PathBuf,
    maker: Maker,
    unsynced: Vec<PathBuf>,
    doubts: Doubts,
    /// A note of the position outlives a power failure.
    noted_durably: bool,
}

impl Staging {
    /// Prepares the directory of a database: creates what is missing (with the mode and owner of the database's own
    /// folder and file), removes leftovers.
    pub fn open(env: &Env, database: &Path, meta: &Path, doubts: &Doubts) -> Result<Staging> {
        let db = env
            .disk
            .metadata(database)
            .map_err(Error::io("stat database", database))?;
        let mut staging = Staging {
            env: env.clone(),
            meta: meta.to_owned(),
            maker: doubts.maker().clone().with_looks(&db),
            unsynced: Vec::new(),
            doubts: doubts.clone(),
            noted_durably: false,
        };
        for path in [meta.to_owned(), meta.join("ltx")] {
            make_dir(env, &path, database)?;
        }
        for level in Level::all() {
            make_dir(env, &staging.level_dir(level), database)?;
        }
        for level in [Level::L0, Level::SNAPSHOT] {
            remove_leftovers(env, &staging.level_dir(level))?;
        }
        remove_leftovers(env, meta)?;
        staging.note_unsynced()?;
        Ok(staging)
    }

    fn level_dir(&self, level: Level) -> PathBuf {
        self.meta.join("ltx").join(level.to_string())
    }

    /// Where a file lies or would lie.
    pub fn path(&self, level: Level, name: FileName) -> PathBuf {
        self.level_dir(level).join(name.to_string())
    }

    /// The staged level-0 files in TXID order.
    pub fn list(&self) -> Result<Vec<FileName>> {
        list_level(&self.env, &self.level_dir(Level::L0))
    }

    /// The files of a level, in TXID order.
    pub fn list_of(&self, level: Level) -> Result<Vec<FileName>> {
        list_level(&self.env, &self.level_dir(level))
    }

    /// A file was made there that is not durable yet.
    pub fn made(&mut self, level: Level, name: FileName) {
        let path = self.path(level, name);
        self.doubts.made(&path);
        self.unsynced.push(path);
    }

    /// Starts a file.
    pub fn create(&self, level: Level, name: FileName) -> Result<Writer> {
        self.maker.create(&self.level_dir(level), name)
    }

    /// Room for the page index of a file of this level while it is made.
    pub fn spill(&self, level: Level) -> Box<dyn ltx::Spill> {
        self.maker.spill(&self.level_dir(level))
    }

    /// Gives a whole file its name. It is durable only after [`Staging::make_durable`].
    pub fn publish(
        &mut self,
        writer: Writer,
        level: Level,
        name: FileName,
        created: UnixMillis,
    ) -> Result<PathBuf> {
        let path = self.path(level, name);
        writer.publish(&path, created)?;
        self.doubts.made(&path);
        self.unsynced.push(path.clone());
        Ok(path)
    }

    /// Makes every published file durable. Must succeed before WAL frames that they stand for may be overwritten.
    pub fn make_durable(&mut self) -> Result<()> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        for path in &self.unsynced {
            match self.doubts.make_durable(path) {
                // Uploaded and removed meanwhile: the replica has it.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error @ Error::NotDurable { .. }) => {
                    let path = path.clone();
                    remove_if_there(&self.env, &path)?;
                    self.doubts.forget(&path);
                    return Err(error);
                }
                other => other?,
            }
        }
        for level in Level::all() {
            let dir = self.level_dir(level);
            if self.unsynced.iter().any(|p| p.starts_with(&dir)) {
                self.env
                    .disk
                    .sync_dir(&dir)
                    .map_err(Error::io("sync directory", dir))?;
            }
        }
        let numbers = self.unsynced.iter();
        let numbers = numbers.filter_map(|path| durable::number_in_l0(&self.meta, path));
        if let Some(newest) = numbers.max() {
            self.doubts.note(&self.maker, &self.meta, newest);
        }
        self.unsynced.clear();
        Ok(())
    }

    /// The newest staged level-0 file that is whole, its header, and every damaged newer one removed. `None` if
    /// there is none.
    pub fn newest_valid(&self) -> Result<Option<(FileName, Header)>> {
        let mut names = self.list()?;
        while let Some(name) = names.pop() {
            let path = self.path(Level::L0, name);
            match verify(&self.env, &path) {
                Ok(header) if (header.min_txid, header.max_txid) == (name.min, name.max) => {
                    return Ok(Some((name, header)));
                }
                Ok(_) => {
                    tracing::warn!(path = %path.display(), "local ltx file does not carry the transactions of its name, removing it");
                }
                Err(Error::Staged { source, .. }) if source.is_corrupt() => {
                    tracing::warn!(path = %path.display(), error = %source, "local ltx file is damaged, removing it");
                }
                Err(e) => return Err(e),
            }
            self.env
                .disk
                .remove(&path)
                .map_err(Error::io("remove damaged file", path))?;
        }
        Ok(None)
    }

    /// The files that power failure could still take, of an earlier run as well as of this.
    fn note_unsynced(&mut self) -> Result<()> {
        for level in [Level::L0, Level::SNAPSHOT] {
            let dir = self.level_dir(level);
            self.unsynced.extend(
                list_level(&self.env, &dir)?
                    .into_iter()
                    .map(|n| dir.join(n.to_string())),
            );
        }
        Ok(())
    }

    /// Removes every staged file: local history that the replica has overtaken or that can't be continued. For good: after a power
    /// failure they would seem to be of the history that goes by their numbers then. What stays is a note of the number that the next
    /// file must come after: one that was given may still be on its way to a replica.
    pub fn clear(&mut self, number: Txid) -> Result<()> {
        self.unsynced.clear();
        // Made anew from the database where need be; and it may be what fills the disk.
        remove_if_there(&self.env, &self.ledger_path())?;
        self.noted_durably = false;
        self.note_number(number)?;
        // The next one stands for a file.
        self.noted_durably = false;
        for level in Level::all() {
            let dir = self.level_dir(level);
            for name in list_level(&self.env, &dir)? {
                remove_if_there(&self.env, &dir.join(name.to_string()))?;
            }
            self.sync_dir(&dir)?;
        }
        Ok(())
    }

    /// Notes the number that the next file must come after.
    fn note_number(&mut self, number: Txid) -> Result<()> {
        let line = note::encode_number(number, self.env.clock.boot());
        let path = self.cursor_path();
        match self.note(&line) {
            // Over the note that is there, which takes no room. Torn, it says nothing.
            Err(error) if error.is_disk_full() => {
                let file = self.env.disk.open_rw(&path).map_err(|_| error)?;
                let write = || {
                    file.write_at(line.as_bytes(), 0)?;
                    file.set_len(line.len() as u64)?;
                    file.sync()
                };
                write().map_err(Error::io("write", path))
            }
            noted => noted,
        }
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        match self.env.disk.sync_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(Error::io("sync directory", dir)),
        }
    }

    /// Where the page ledger lies.
    pub fn ledger_path(&self) -> PathBuf {
        self.meta.join(ledger::NAME)
    }

    /// The page ledger, as it was left.
    pub fn ledger(&self) -> io::Result<Option<Ledger>> {
        Ledger::open(&*self.env.disk, &self.meta)
    }

    /// An empty page ledger in the place of what is there.
    pub fn new_ledger(&self, page_size: ltx::PageSize) -> io::Result<Ledger> {
        Ledger::create(&*self.env.disk, &self.meta, self.maker.mode, page_size)
    }

    fn cursor_path(&self) -> PathBuf {
        self.meta.join("cursor")
    }

    /// Notes where in the WAL the file `txid` ended, and how the database file looked. A cache: checked when used, never fatal.
    pub fn save_cursor(
        &mut self,
        txid: Txid,
        cursor: &Cursor,
        change: u32,
        database: &Path,
    ) -> Result<()> {
        let m = self
            .env
            .disk
            .metadata(database)
            .map_err(Error::io("stat database", database))?;
        // A file written just now may be written again without its time changing.
        let settled = self.env.clock.now().0 - m.modified.0 > SETTLED_MS;
        let c = &SavedCursor {
            cursor: *cursor,
            change,
            database: DatabaseStamp {
                id: m.id,
                len: m.len,
                modified: if settled { m.modified } else { UnixMillis(0) },
            },
            boot: self.env.clock.boot(),
        };
        self.note(&c.encode(txid))
    }

    /// Puts a note in the place of the one before. The first of a process is durable: from then on there is a note also after a power
    /// failure, though perhaps an old one, which tells that the files are ours, and where the WAL can be trusted.
    fn note(&mut self, line: &str) -> Result<()> {
        let path = self.cursor_path();
        let temp = self.meta.join(format!(
            "cursor.{:016x}{TEMP_SUFFIX}",
            self.env.entropy.next_u64()
        ));
        let file = self
            .env
            .disk
            .create_new(&temp, self.maker.mode)
            .map_err(Error::io("create", &temp))?;
        let write = || {
            file.write_at(line.as_bytes(), 0)?;
            if !self.noted_durably {
                file.sync()?;
            }
            // Renamed, not written over: on ext4 the next fsync of whatever file then brings all of it to the disk, so that after a power
            // failure it is one file behind at most.
            self.env.disk.rename(&temp, &path)
        };
        write().map_err(|e| {
            self.maker.discard(&temp);
            Error::io("write", &path)(e)
        })?;
        if !self.noted_durably {
            self.sync_dir(&self.meta)?;
            self.noted_durably = true;
        }
        Ok(())
    }

    /// What is noted.
    pub fn noted(&self) -> Result<Noted> {
        let path = self.cursor_path();
        let file = match self.env.disk.open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Noted::Nothing),
            Err(e) => return Err(Error::io("open", path)(e)),
        };
        let mut buf = [0; 512];
        let n = file
            .read_at(&mut buf, 0)
            .map_err(Error::io("read", &path))?;
        let line = std::str::from_utf8(&buf[..n]).ok();
        Ok(line.map_or(Noted::Unreadable, Noted::parse))
    }

    /// What a staged file says of itself.
    pub fn header(&self, level: Level, name: FileName) -> Result<Header> {
        read_header(&self.env, &self.path(level, name))
    }

    /// Whether a staged level-0 file holds every page of the database.
    pub fn is_full(&self, name: FileName) -> Result<bool> {
        is_full(&self.env, &self.path(Level::L0, name))
    }

    /// Whether `test` holds for every page of the staged level-0 file `name` and its content.
    pub fn every_page(
        &self,
        name: FileName,
        mut test: impl FnMut(PageNo, &[u8]) -> Result<bool>,
    ) -> Result<bool> {
        let path = self.path(Level::L0, name);
        let staged = |source| Error::Staged {
            path: path.clone(),
            source,
        };
        let mut decoder = decode(&self.env, &path)?;
        let mut buf = vec![0; decoder.header().page_size.bytes()];
        while let Some(number) = decoder.next_page(&mut buf).map_err(staged)? {
            if !test(number, &buf)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// How long ago a file must have been written for its time to tell it from a later version, in milliseconds.
const SETTLED_MS: i64 = 100;

/// Opens a staged file for decoding.
fn decode(env: &Env, path: &Path) -> Result<ltx::Decoder<Reader>> {
    let file = env.disk.open(path).map_err(Error::io("open", path))?;
    ltx::Decoder::new(Reader::new(file)).map_err(|source| Error::Staged {
        path: path.to_owned(),
        source,
    })
}

/// What a staged file says of itself.
pub fn read_header(env: &Env, path: &Path) -> Result<Header> {
    decode(env, path).map(|decoder| *decoder.header())
}

/// Reads a staged file to its end; every checksum must hold.
pub fn verify(env: &Env, path: &Path) -> Result<Header> {
    let staged = |source| Error::Staged {
        path: path.to_owned(),
        source,
    };
    let mut decoder = decode(env, path)?;
    let mut page = vec![0; decoder.header().page_size.bytes()];
    while decoder.next_page(&mut page).map_err(staged)?.is_some() {}
    let header = *decoder.header();
    decoder.finish().map_err(staged)?;
    Ok(header)
}

/// Whether a staged file holds every page of the database.
pub fn is_full(env: &Env, path: &Path) -> Result<bool> {
    let staged = |source| Error::Staged {
        path: path.to_owned(),
        source,
    };
    let mut decoder = decode(env, path)?;
    let (page_size, commit) = (decoder.header().page_size, decoder.header().commit);
    let mut page = vec![0; page_size.bytes()];
    let mut pages = u32::from(commit >= page_size.lock_page().get());
    while decoder.next_page(&mut page).map_err(staged)?.is_some() {
        pages += 1;
    }
    Ok(pages == commit)
}

/// The LTX files in a local level directory, in TXID order.
pub fn list_level(env: &Env, dir: &Path) -> Result<Vec<FileName>> {
    let entries = match env.disk.list(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", dir)(e)),
    };
    let mut names: Vec<FileName> = entries
        .iter()
        .filter_map(|e| FileName::parse(e.name.to_str()?))
        .collect();
    names.sort_unstable_by_key(|n| (n.min, n.max));
    Ok(names)
}

/// Removes a file; one that is gone is fine.
pub fn remove_if_there(env: &Env, path: &Path) -> Result<()> {
    match env.disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}
