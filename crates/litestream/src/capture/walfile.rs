//! The WAL file, opened for reading. It carries no locks, so opening it by hand is harmless.

use std::path::{Path, PathBuf};

use litestream_replica::env::{Env, File};

use crate::error::{Error, Result};
use crate::wal::{
    Cursor, FRAME_HEADER_SIZE, FrameHeader, WAL_HEADER_SIZE, WalHeader, frame_offset, frame_size,
};
use ltx::PageNo;

/// See the module.
pub struct WalFile {
    path: PathBuf,
    file: Box<dyn File>,
}

impl WalFile {
    /// Opens the WAL at `path`.
    pub fn open(env: &Env, path: &Path) -> Result<WalFile> {
        let file = env.disk.open(path).map_err(Error::io("open wal", path))?;
        Ok(WalFile {
            path: path.to_owned(),
            file,
        })
    }

    /// Its header; `None` if there is none that SQLite would accept.
    pub fn header(&self) -> Result<Option<WalHeader>> {
        let mut buf = [0; WAL_HEADER_SIZE];
        let n = self.read_up_to(&mut buf, 0)?;
        Ok(WalHeader::parse(&buf[..n]))
    }

    /// Whether its path still leads to the file that is open.
    pub fn is_at_its_path(&self, env: &Env) -> Result<bool> {
        let open = self
            .file
            .metadata()
            .map_err(Error::io("stat wal", &self.path))?;
        match env.disk.metadata(&self.path) {
            Ok(there) => Ok(there.id == open.id),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("stat wal", &self.path)(e)),
        }
    }

    /// Length of the file.
    pub fn len(&self) -> Result<u64> {
        self.file
            .metadata()
            .map(|m| m.len)
            .map_err(Error::io("stat wal", &self.path))
    }

    /// Reads exactly `buf.len()` bytes.
    pub fn read_exact(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(Error::io("read wal", &self.path))
    }

    /// Reads as much as there is, up to `buf.len()` bytes.
    pub fn read_up_to(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self
                .file
                .read_at(&mut buf[done..], offset + done as u64)
                .map_err(Error::io("read wal", &self.path))?
            {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }

    /// The cursor after `frames` frames of the generation of `like`, with the checksum stored there. `None` if the file
    /// does not hold that frame in that generation.
    pub fn cursor_at(&self, frames: u32, like: &Cursor) -> Result<Option<Cursor>> {
        if frames == 0 {
            return Ok(self
                .header()?
                .filter(|h| h.salts == like.salts)
                .map(|h| Cursor::start(&h)));
        }
        Ok(self.frame_header(frames - 1, like)?.map(|h| Cursor {
            frames,
            checksum: h.checksum,
            ..*like
        }))
    }

    /// The header of the frame with this 0-based index, if it is of the generation of `like`.
    pub fn frame_header(&self, index: u32, like: &Cursor) -> Result<Option<FrameHeader>> {
        let mut buf = [0; FRAME_HEADER_SIZE];
        let n = self.read_up_to(&mut buf, frame_offset(index, like.page_size))?;
        Ok(FrameHeader::parse(&buf[..n]).filter(|h| h.salts == like.salts))
    }

    /// Reads the page in frame `index` again. Its salts and its checksum, continued from the frame before, must hold:
    /// bytes that were not checksummed are never passed on.
    pub fn read_page(
        &self,
        index: u32,
        page: PageNo,
        like: &Cursor,
        frame: &mut Vec<u8>,
    ) -> Result<()> {
        let before = self.cursor_at(index, like)?;
        frame.resize(frame_size(like.page_size) as usize, 0);
        self.read_exact(frame, frame_offset(index, like.page_size))?;
        let header = FrameHeader::parse(frame).filter(|h| h.salts == like.salts && h.page == page);
        match (before, header) {
            (Some(b), Some(h))
                if FrameHeader::computed_checksum(frame, b.checksum, like.order) == h.checksum =>
            {
                Ok(())
            }
            _ => Err(Error::WalChanged {
                path: self.path.clone(),
                what: format!("frame {} is not the one read before", index + 1),
            }),
        }
    }
}
