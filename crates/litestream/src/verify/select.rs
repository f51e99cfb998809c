//! Which files a deep verification has to read.
//!
//! What was proved and is unchanged is read again only as far as later states are built on it: from the newest state on below which
//! everything was proved. Promise: pure.

use std::collections::BTreeSet;

use litestream_replica::FileInfo;
use litestream_replica::chain::plan::{Target, plan};
use litestream_replica::chain::points::restorable;
use ltx::Txid;

use super::replay::order;

/// The files to read, in the order of the replay, given all files of all levels in any order and whether each is known.
pub(super) fn to_read(files: &[FileInfo], known: impl Fn(&FileInfo) -> bool) -> Vec<FileInfo> {
    let new: Vec<&FileInfo> = files.iter().filter(|f| !known(f)).collect();
    if new.is_empty() {
        return Vec::new();
    }
    // A file that holds the whole database is compared where it ends.
    let begins = new.iter().map(|f| {
        if f.name.min.get() == 1 {
            Txid::new(f.name.max.get() - 1)
        } else {
            Txid::new(f.name.min.get() - 1)
        }
    });
    let first = begins.min().unwrap_or_default();
    let points = restorable(files);
    let base = points[..points.partition_point(|p| *p <= first)].last();
    let below = base.and_then(|base| plan(files, Target::Txid(*base)).ok());
    let mut wanted: BTreeSet<_> = match (&below, base) {
        (Some(plan), Some(base)) => {
            let needed = plan.needed().into_iter();
            let after = files.iter().filter(|f| f.name.max > *base).copied();
            needed.chain(after).map(key).collect()
        }
        _ => files.iter().copied().map(key).collect(),
    };
    wanted.extend(new.into_iter().copied().map(key));
    let mut read: Vec<FileInfo> = files
        .iter()
        .filter(|f| wanted.contains(&key(**f)))
        .copied()
        .collect();
    read.sort_unstable_by_key(order);
    read
}

fn key(file: FileInfo) -> (litestream_replica::Level, ltx::FileName) {
    (file.level, file.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litestream_replica::Level;
    use ltx::FileName;

    fn file(level: u8, min: u64, max: u64) -> FileInfo {
        FileInfo {
            level: Level::new(level).unwrap(),
            name: FileName::new(Txid::new(min), Txid::new(max)),
            size: 1000,
            created: litestream_replica::env::UnixMillis(max as i64),
        }
    }

    fn read(files: &[FileInfo], new: &[FileInfo]) -> Vec<(u8, u64, u64)> {
        to_read(files, |f| !new.contains(f))
            .iter()
            .map(|f| (f.level.get(), f.name.min.get(), f.name.max.get()))
            .collect()
    }

    #[test]
    fn what_is_new_and_what_it_stands_on() {
        let files = [
            file(9, 1, 10),
            file(1, 1, 5),
            file(1, 6, 10),
            file(0, 9, 9),
            file(0, 10, 10),
            file(0, 11, 11),
            file(0, 12, 12),
        ];
        assert_eq!(read(&files, &[]), []);
        assert_eq!(
            read(&files, &files[6..]),
            [(9, 1, 10), (0, 11, 11), (0, 12, 12)]
        );
        assert_eq!(read(&files, &files).len(), files.len());
        let snapshot = [(1, 1, 5), (0, 9, 9), (0, 10, 10), (1, 6, 10), (9, 1, 10)];
        assert_eq!(read(&files, &files[..1])[..5], snapshot);
    }
}
