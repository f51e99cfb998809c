//! The live database: its checksum now, and what its state folder holds.

use std::path::Path;
use std::time::Duration;

use litestream_replica::Level;
use litestream_replica::env::Env;
use ltx::{Checksum, DatabaseChecksum, FileName, HEADER_SIZE, Header, PageNo};

use crate::capture::WalFile;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::sqlite::{Live, WalState};
use crate::staging::list_level;
use crate::wal::{Cursor, PageSet, ScanEnd, frame_size, scan};

/// Read at once.
const BLOCK_BYTES: usize = 1 << 20;
/// How often it is tried to begin a transaction in a moment without a commit.
const TRIES_MAX: usize = 1000;

/// Checksum of a database as it is now. Memory: a few MiB and 8 bytes for each page in its WAL.
pub(super) fn checksum(env: &Env, settings: &Settings) -> Result<Checksum> {
    let live = Live::open(&settings.path, settings.busy_timeout)?;
    for _ in 0..TRIES_MAX {
        if let Some(state) = live.begin()? {
            let sum = read(env, settings, &live, &state);
            live.end()?;
            return sum;
        }
        env.clock.sleep(Duration::from_millis(1));
    }
    Err(Error::Busy {
        path: settings.path.clone(),
        what: "it is written all the time",
    })
}

fn read(env: &Env, settings: &Settings, live: &Live, state: &WalState) -> Result<Checksum> {
    let wal_path = settings.wal_path();
    // Otherwise everything is in the database file, and the WAL may be written anew.
    let wal = if state.backfilled < state.frames {
        Some(WalFile::open(env, &wal_path)?)
    } else {
        None
    };
    let mut frames = PageSet::offsets_only(state.page_size);
    let like = match &wal {
        Some(wal) => Some(collect(wal, state, &mut frames, &wal_path)?),
        None => None,
    };
    let mut in_wal = frames.sorted(state.pages).into_iter().peekable();
    let size = state.page_size.bytes();
    let (mut sum, mut frame) = (DatabaseChecksum::new(), Vec::new());
    let mut block = vec![0; BLOCK_BYTES];
    let per_block = BLOCK_BYTES / size;
    for number in 1..=state.pages {
        let at = (number as usize - 1) % per_block * size;
        let page = PageNo::new(number).unwrap_or(PageNo::FIRST);
        if at == 0 {
            live.read_database(&mut block, page.offset(state.page_size))?;
        }
        if page == state.page_size.lock_page() {
            continue;
        }
        match (in_wal.next_if(|e| e.0 == page), &wal, &like) {
            (Some((_, index)), Some(wal), Some(like)) => {
                wal.read_page(index, page, like, &mut frame)?;
                let data = &frame[frame.len() - size..];
                sum.toggle(Checksum::page(page, data));
            }
            _ => sum.toggle(Checksum::page(page, &block[at..at + size])),
        }
    }
    Ok(sum.value())
}

/// Where the newest version of each page lies in the WAL.
fn collect(wal: &WalFile, state: &WalState, frames: &mut PageSet, path: &Path) -> Result<Cursor> {
    let changed = |what: &str| Error::WalChanged {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let header = wal.header()?.filter(|h| h.salts == state.salts);
    let header = header.ok_or_else(|| changed("its header is not the one of the WAL-index"))?;
    let mut cursor = Cursor::start(&header);
    let size = frame_size(state.page_size) as usize;
    let mut bytes = vec![0; size * (BLOCK_BYTES / size).max(1)];
    while cursor.frames < state.frames {
        let left = (state.frames - cursor.frames) as usize * size;
        let len = left.min(bytes.len());
        wal.read_exact(&mut bytes[..len], cursor.offset())?;
        let end = scan(&mut cursor, &bytes[..len], |header, index, data| {
            frames.push(header.page, index, data);
            true
        });
        if end != ScanEnd::Consumed {
            return Err(changed("a committed frame does not verify"));
        }
    }
    Ok(cursor)
}

/// The files of level 0 in the state folder, and the checksum of the database after each, if it says one.
pub(super) fn staged(env: &Env, settings: &Settings) -> Vec<(FileName, Option<Checksum>)> {
    let dir = settings.meta_path.join("ltx").join(Level::L0.to_string());
    let names = list_level(env, &dir).unwrap_or_default();
    let after = |name: &FileName| {
        let file = env.disk.open(&dir.join(name.to_string())).ok()?;
        let mut bytes = [0; HEADER_SIZE];
        file.read_exact_at(&mut bytes, 0).ok()?;
        Header::decode(&bytes).ok()?.chain().after
    };
    names.into_iter().map(|name| (name, after(&name))).collect()
}
