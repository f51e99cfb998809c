//! One item of `dbs`: its keys as written.

use super::findings::{At, Findings};
use super::known::Place;
use super::reader::Reader;
use super::replica;
use super::yaml::Node;

/// An item of `dbs` as written; durations in nanoseconds.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "named after the keys")]
pub struct Raw {
    /// Where it begins.
    pub at: At,
    pub path: String,
    pub dir: String,
    pub pattern: String,
    pub recursive: bool,
    pub watch: bool,
    pub meta_path: String,
    pub meta_dir: String,
    pub monitor_interval: Option<i64>,
    pub checkpoint_interval: Option<i64>,
    pub min_checkpoint_page_count: Option<i64>,
    pub truncate_page_n: Option<i64>,
    pub max_sync_wal_bytes: Option<i64>,
    pub busy_timeout: Option<i64>,
    pub restore_if_db_not_exists: bool,
    pub snapshot: Snapshot,
    pub replica: Option<replica::Raw>,
    pub replicas: Vec<replica::Raw>,
}

/// `snapshot`; nanoseconds and their places.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// How often.
    pub interval: Option<(i64, At)>,
    /// How long they are kept.
    pub retention: Option<(i64, At)>,
}

impl Snapshot {
    /// Reads the map below the key `snapshot`.
    pub fn read(reader: &mut Reader, findings: &mut Findings) -> Snapshot {
        let Some(mut map) = reader.map("snapshot", findings) else {
            return Snapshot::default();
        };
        let mut read = |name: &str| {
            let value = map.duration(name, findings)?;
            Some((value, map.place(name)))
        };
        let snapshot = Snapshot {
            interval: read("interval"),
            retention: read("retention"),
        };
        map.finish(Place::Other, findings);
        snapshot
    }
}

impl Raw {
    /// Reads an item.
    pub fn read(node: &Node, number: usize, findings: &mut Findings) -> Option<Raw> {
        let key = format!("dbs[{number}]");
        if node.is_null() {
            findings.error(
                node.at,
                &key,
                "nothing is given; remove the item or write path: and replica:",
            );
            return None;
        }
        let mut reader = Reader::new(node, key, findings)?;
        let mut text =
            |name: &str, findings: &mut Findings| reader.text(name, findings).unwrap_or_default();
        let (path, dir) = (text("path", findings), text("dir", findings));
        let pattern = text("pattern", findings);
        let (meta_path, meta_dir) = (text("meta-path", findings), text("meta-dir", findings));
        let mut raw = Raw {
            at: reader.at,
            path,
            dir,
            pattern,
            recursive: reader.bool("recursive", findings).unwrap_or(false),
            watch: reader.bool("watch", findings).unwrap_or(false),
            meta_path,
            meta_dir,
            monitor_interval: reader.duration("monitor-interval", findings),
            checkpoint_interval: reader.duration("checkpoint-interval", findings),
            min_checkpoint_page_count: reader.int("min-checkpoint-page-count", findings),
            truncate_page_n: reader.int("truncate-page-n", findings),
            max_sync_wal_bytes: reader.int("max-sync-wal-bytes", findings),
            busy_timeout: reader.duration("busy-timeout", findings),
            restore_if_db_not_exists: reader
                .bool("restore-if-db-not-exists", findings)
                .unwrap_or(false),
            snapshot: Snapshot::read(&mut reader, findings),
            ..Raw::default()
        };
        if let Some(mut map) = reader.map("replica", findings) {
            raw.replica = Some(replica::Raw::read(&mut map, Place::Replica, findings));
            map.finish(Place::Replica, findings);
        }
        raw.replicas(&mut reader, findings);
        raw.hints(&reader, findings);
        reader.finish(Place::Database, findings);
        Some(raw)
    }

    fn replicas(&mut self, reader: &mut Reader, findings: &mut Findings) {
        let list = reader.list("replicas", findings).unwrap_or_default();
        for (i, node) in list.iter().enumerate() {
            let key = format!("{}[{i}]", reader.name("replicas"));
            if node.is_null() {
                findings.error(
                    node.at,
                    &key,
                    "nothing is given; remove the item or write path: or url:",
                );
            } else if let Some(mut map) = Reader::new(node, key, findings) {
                self.replicas
                    .push(replica::Raw::read(&mut map, Place::Replica, findings));
                map.finish(Place::Replica, findings);
            }
        }
    }

    fn hints(&self, reader: &Reader, findings: &mut Findings) {
        let mut hint = |given: bool, key: &str, text: &str| {
            if given {
                findings.hint(reader.place(key), &reader.name(key), text);
            }
        };
        hint(
            self.truncate_page_n.is_some(),
            "truncate-page-n",
            "not needed here: the WAL is kept short without TRUNCATE checkpoints, which hold up writers and readers",
        );
        hint(
            self.monitor_interval.is_some_and(|nanos| nanos <= 0),
            "monitor-interval",
            "changes are noticed by events of the file system here, so a database is replicated without looking at it, too",
        );
        hint(
            self.restore_if_db_not_exists && !self.dir.is_empty(),
            "restore-if-db-not-exists",
            "has no effect with 'dir': only databases that are there are found",
        );
        hint(
            self.recursive && self.dir.is_empty(),
            "recursive",
            "has no effect without 'dir'",
        );
        hint(
            !self.pattern.is_empty() && self.dir.is_empty(),
            "pattern",
            "has no effect without 'dir'",
        );
    }

    /// Path or folder as written.
    pub fn written(&self) -> &str {
        if self.path.is_empty() {
            &self.dir
        } else {
            &self.path
        }
    }
}
