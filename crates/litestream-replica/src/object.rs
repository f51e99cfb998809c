//! What storages of objects have in common: what a listing means, and how an object carries the time of its file.
//!
//! Pure. Promise: times are written as Litestream 0.5.17 writes them, and read in any form that RFC 3339 allows.

use jiff::Timestamp;
use ltx::{FileName, Txid};

use crate::env::UnixMillis;
use crate::key::Names;
use crate::{Error, ErrorKind, FileInfo, Level, Result, v3};

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its whole name.
    pub(crate) key: String,
    pub(crate) size: u64,
    /// The time of its file where it carries one, else the storage's.
    pub(crate) created: UnixMillis,
}

/// The files of a level among what was listed, as [`crate::Replica::list`] gives them.
pub(crate) fn ltx_files(
    names: &Names,
    level: Level,
    seek: Option<Txid>,
    listed: Vec<Listed>,
) -> Vec<FileInfo> {
    let folder = names.level(level);
    let file = |object: Listed| {
        let name = FileName::parse(object.key.strip_prefix(&folder)?)?;
        Some(FileInfo {
            level,
            name,
            size: object.size,
            created: object.created,
        })
    };
    let mut files: Vec<FileInfo> = listed
        .into_iter()
        .filter_map(file)
        .filter(|file| seek.is_none_or(|seek| file.name.max >= seek))
        .collect();
    files.sort_unstable_by_key(|file| (file.name.min, file.name.max));
    files
}

/// What all objects of 0.3 begin with.
pub(crate) fn v3_folder(names: &Names) -> String {
    names.other(v3::FOLDER) + "/"
}

/// The objects of 0.3 among what was listed, as [`crate::Replica::list_v3`] gives them.
pub(crate) fn v3_objects(names: &Names, listed: Vec<Listed>) -> Vec<v3::Object> {
    let folder = v3_folder(names);
    let object = |object: Listed| {
        let below = object.key.strip_prefix(&folder)?;
        // A folder that somebody made in a file browser.
        if below.is_empty() || below.ends_with('/') {
            return None;
        }
        Some(v3::Object {
            path: format!("{}/{below}", v3::FOLDER),
            size: object.size,
            created: object.created,
        })
    };
    let mut objects: Vec<v3::Object> = listed.into_iter().filter_map(object).collect();
    objects.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    objects
}

/// The name of an object of 0.3. Nothing outside of its folder is read.
pub(crate) fn v3_key(names: &Names, path: &str) -> Result<String> {
    let below = path
        .strip_prefix(v3::FOLDER)
        .and_then(|rest| rest.strip_prefix('/'));
    match below {
        Some(below)
            if below
                .split('/')
                .all(|part| !matches!(part, "" | "." | "..")) =>
        {
            Ok(v3_folder(names) + below)
        }
        _ => Err(Error::new(
            ErrorKind::Invalid,
            "read",
            path,
            "not a path of Litestream 0.3",
        )),
    }
}

/// A time as objects carry it: with as many digits of a second as it needs. `None` if no calendar has it.
pub(crate) fn stamp(created: UnixMillis) -> Option<String> {
    let time = Timestamp::from_millisecond(created.0).ok()?;
    Some(time.to_string())
}

/// What [`stamp`] says, or any time of RFC 3339.
pub(crate) fn stamp_millis(text: &str) -> Option<UnixMillis> {
    let time: Timestamp = text.trim().parse().ok()?;
    Some(UnixMillis(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (millis, text) in [
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (1_700_000_000_100, "2023-11-14T22:13:20.1Z"),
            (1_700_000_000_000, "2023-11-14T22:13:20Z"),
        ] {
            assert_eq!(stamp(UnixMillis(millis)).unwrap(), text);
            assert_eq!(stamp_millis(text), Some(UnixMillis(millis)));
        }
        let other = stamp_millis("2023-11-14T23:13:20.123456789+01:00");
        assert_eq!(other, Some(UnixMillis(1_700_000_000_123)));
        assert_eq!(stamp_millis("yesterday"), None);
        assert_eq!(stamp(UnixMillis(i64::MAX)), None);
    }

    #[test]
    fn listings() {
        let names = Names::Cleaned("p".into());
        let listed = |keys: &[&str]| -> Vec<Listed> {
            let object = |key: &&str| Listed {
                key: (*key).to_owned(),
                size: 7,
                created: UnixMillis(1),
            };
            keys.iter().map(object).collect()
        };
        let files = ltx_files(
            &names,
            Level::L0,
            Some(Txid::new(2)),
            listed(&[
                "p/ltx/0/0000000000000003-0000000000000004.ltx",
                "p/ltx/0/0000000000000001-0000000000000001.ltx",
                "p/ltx/0/0000000000000001-0000000000000002.ltx",
                "p/ltx/0/000000000000000A-000000000000000A.ltx",
                "p/ltx/0/x/0000000000000003-0000000000000004.ltx",
                "p/ltx/1/0000000000000003-0000000000000004.ltx",
                "p/ltx/0/",
            ]),
        );
        let found: Vec<_> = files
            .iter()
            .map(|f| (f.name.min.get(), f.name.max.get()))
            .collect();
        assert_eq!(found, [(1, 2), (3, 4)]);
        let objects = v3_objects(
            &names,
            listed(&[
                "p/generations/",
                "p/generations/b",
                "p/generations/a/",
                "p/generations/a/x",
                "p/x",
            ]),
        );
        let paths: Vec<_> = objects.iter().map(|o| o.path.as_str()).collect();
        assert_eq!(paths, ["generations/a/x", "generations/b"]);
        assert_eq!(
            v3_key(&names, "generations/a/x").unwrap(),
            "p/generations/a/x"
        );
        for path in [
            "",
            "generations/",
            "generations/../x",
            "/etc/passwd",
            "ltx/0/x",
            "generations//x",
        ] {
            assert!(v3_key(&names, path).is_err(), "{path}");
        }
    }
}
