//! The position file: `<output>-txid`, 16 hex digits and a newline.
//!
//! Promise: it is replaced as a whole and durably, and only after the database is durable in that state.

use std::io;
use std::path::{Path, PathBuf};

use litestream_replica::env::Disk;
use ltx::Txid;

use super::error::FollowError;
use super::journal::sync_dir;
use crate::restore::aside::with_suffix;

/// More than anything that is a position.
const BYTES_MAX: usize = 64;

pub(super) fn path(output: &Path) -> PathBuf {
    with_suffix(output, "-txid")
}

/// What is in a position file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    Missing,
    Txid(Txid),
    /// Something else.
    Bad(String),
}

pub(super) fn read(disk: &dyn Disk, output: &Path) -> Result<Saved, FollowError> {
    let path = path(output);
    let mut bytes = [0; BYTES_MAX];
    let read = disk.open(&path).and_then(|f| f.read_at(&mut bytes, 0));
    match read {
        Ok(len) => Ok(parse(&bytes[..len])),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Saved::Missing),
        Err(e) => Err(FollowError::io("read", path)(e)),
    }
}

fn parse(bytes: &[u8]) -> Saved {
    let text = String::from_utf8_lossy(bytes);
    match text.trim().parse::<Txid>() {
        Ok(txid) if !txid.is_zero() => Saved::Txid(txid),
        _ => Saved::Bad(text.into_owned()),
    }
}

pub(super) fn write(disk: &dyn Disk, output: &Path, txid: Txid) -> Result<(), FollowError> {
    let path = path(output);
    let temp = with_suffix(&path, ".tmp");
    let fail = |action| FollowError::io(action, &temp);
    match disk.remove(&temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail("remove")(e)),
        _ => {}
    }
    let file = disk.create_new(&temp, 0o666).map_err(fail("create"))?;
    file.write_at(format!("{txid}\n").as_bytes(), 0)
        .map_err(fail("write"))?;
    file.sync_all().map_err(fail("sync"))?;
    disk.rename(&temp, &path).map_err(fail("rename"))?;
    sync_dir(disk, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sixteen_digits_are_a_position() {
        assert_eq!(parse(b"00000000000000ff\n"), Saved::Txid(Txid::new(255)));
        assert_eq!(parse(b"00000000000000FF"), Saved::Txid(Txid::new(255)));
        for bad in [
            "",
            "\n",
            "ff",
            "0000000000000000\n",
            "00000000000000fg",
            "0000000000000000f",
        ] {
            assert!(matches!(parse(bad.as_bytes()), Saved::Bad(_)), "{bad:?}");
        }
    }
}
