//! Where pages of a restore go that are not kept: a file that only hands on what is written to it.

use std::io;

use litestream_replica::env::{File, Kind, Metadata, UnixMillis};

/// Gives each write, its bytes and offset, to a function.
pub(crate) struct Sink<W>(pub W);

impl<W: Fn(&[u8], u64) -> io::Result<()> + Send + Sync> File for Sink<W> {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (self.0)(bytes, offset)
    }

    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn start_writeback(&self, _: u64, _: u64) {}

    fn metadata(&self) -> io::Result<Metadata> {
        Ok(Metadata {
            kind: Kind::Other,
            len: 0,
            modified: UnixMillis(0),
            mode: 0,
            uid: 0,
            gid: 0,
            id: (0, 0),
        })
    }

    fn set_modified(&self, _: UnixMillis) -> io::Result<()> {
        Ok(())
    }
}
