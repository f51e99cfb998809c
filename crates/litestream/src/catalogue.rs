//! What is known of the files in one replica: listed once, then kept by what is written and deleted here.
//!
//! Promise: what this process wrote lately and did not delete stays in it, also when a listing does not show it yet, until it is
//! found missing. What happened while a listing was under way is not lost.

use std::collections::BTreeMap;
use std::time::Duration;

use litestream_replica::env::Monotonic;
use litestream_replica::{FileInfo, Level};
use ltx::{FileName, Txid};

/// After this time a listing shows a file.
const LISTED_AFTER: Duration = Duration::from_mins(5);

/// By level, then the last TXID, then the first.
type Key = (Level, Txid, Txid);

enum Change {
    Written(FileInfo, Monotonic),
    Gone(Level, FileName),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Catalogue {
    files: BTreeMap<Key, FileInfo>,
    /// Written here.
    own: BTreeMap<Key, Monotonic>,
    /// What happened since a listing began, while one is under way.
    since: Option<Vec<Change>>,
}

impl Catalogue {
    /// A listing begins.
    pub fn listing_begins(&mut self, now: Monotonic) {
        self.since = Some(Vec::new());
        // By now a listing shows what was written long ago, if it is there.
        self.own
            .retain(|_, written| now.since(*written) < LISTED_AFTER);
    }

    /// It is complete.
    pub fn listed(&mut self, files: &[FileInfo]) {
        let mut new: BTreeMap<Key, FileInfo> = files.iter().map(|f| (key(f), *f)).collect();
        for own in self.own.keys() {
            if let Some(file) = self.files.get(own) {
                new.entry(*own).or_insert(*file);
            }
        }
        self.files = new;
        for change in self.since.take().unwrap_or_default() {
            match change {
                Change::Written(file, at) => self.written(file, at),
                Change::Gone(level, name) => self.gone(level, name),
            }
        }
    }

    /// A file was written.
    pub fn written(&mut self, file: FileInfo, now: Monotonic) {
        if let Some(since) = &mut self.since {
            since.push(Change::Written(file, now));
        }
        self.own.insert(key(&file), now);
        self.files.insert(key(&file), file);
    }

    /// A file was deleted, or found missing.
    pub fn gone(&mut self, level: Level, name: FileName) {
        if let Some(since) = &mut self.since {
            since.push(Change::Gone(level, name));
        }
        let key = (level, name.max, name.min);
        self.own.remove(&key);
        self.files.remove(&key);
    }

    /// All files.
    pub fn all(&self) -> Vec<FileInfo> {
        self.files.values().copied().collect()
    }

    /// The files of a level, by last TXID.
    pub fn level(&self, level: Level) -> impl DoubleEndedIterator<Item = &FileInfo> {
        self.after(level, Txid::ZERO)
    }

    /// Those that end after `txid`.
    pub fn after(&self, level: Level, txid: Txid) -> impl DoubleEndedIterator<Item = &FileInfo> {
        let from = (level, txid.next(), Txid::ZERO);
        let to = (level, Txid::new(u64::MAX), Txid::new(u64::MAX));
        self.files.range(from..=to).map(|(_, file)| file)
    }

    /// The end of a level; zero if it is empty.
    pub fn end(&self, level: Level) -> Txid {
        self.level(level)
            .next_back()
            .map_or(Txid::ZERO, |f| f.name.max)
    }

    /// What is known of a file.
    pub fn find(&self, level: Level, name: FileName) -> Option<&FileInfo> {
        self.files.get(&(level, name.max, name.min))
    }
}

fn key(file: &FileInfo) -> Key {
    (file.level, file.name.max, file.name.min)
}

#[cfg(test)]
mod tests {
    use litestream_replica::env::UnixMillis;

    use super::*;

    fn now(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn file(level: u8, min: u64, max: u64) -> FileInfo {
        FileInfo {
            level: Level::new(level).unwrap(),
            name: FileName::new(Txid::new(min), Txid::new(max)),
            size: 100,
            created: UnixMillis(0),
        }
    }

    #[test]
    fn own_files_outlive_a_listing_that_is_behind() {
        let mut catalogue = Catalogue::default();
        catalogue.listing_begins(now(1));
        catalogue.listed(&[file(0, 1, 1), file(0, 2, 2)]);
        catalogue.written(file(0, 3, 3), now(0));
        catalogue.listing_begins(now(1));
        catalogue.written(file(1, 1, 2), now(2));
        catalogue.gone(Level::L0, FileName::single(Txid::new(1)));
        catalogue.listed(&[file(0, 1, 1), file(0, 2, 2)]);
        assert_eq!(
            catalogue.all(),
            [file(0, 2, 2), file(0, 3, 3), file(1, 1, 2)]
        );
        catalogue.gone(Level::L0, FileName::single(Txid::new(3)));
        catalogue.listing_begins(now(3));
        catalogue.listed(&[]);
        assert_eq!(catalogue.all(), [file(1, 1, 2)]);
        catalogue.listing_begins(now(400));
        catalogue.listed(&[]);
        assert_eq!(catalogue.all(), [], "somebody deleted it");
    }

    #[test]
    fn levels_are_apart() {
        let mut catalogue = Catalogue::default();
        for f in [file(0, 4, 4), file(0, 5, 5), file(1, 1, 3), file(9, 1, 5)] {
            catalogue.written(f, now(0));
        }
        let level1 = Level::new(1).unwrap();
        assert_eq!(catalogue.end(level1), Txid::new(3));
        assert_eq!(catalogue.end(Level::new(2).unwrap()), Txid::ZERO);
        let after: Vec<_> = catalogue.after(Level::L0, Txid::new(4)).copied().collect();
        assert_eq!(after, [file(0, 5, 5)]);
    }
}
