//! `restore -dry-run` where a backup of Litestream 0.3 would be restored.

use litestream::restore::v3::V3Plan;
use litestream_replica::v3::{Object, Position};
use serde::Serialize;

use crate::failure::Result;
use crate::{out, time};

/// A plan with what it is for.
pub struct Shown<'a> {
    pub source: &'a str,
    pub target_path: &'a str,
    pub replica: &'a str,
    pub plan: &'a V3Plan,
}

#[derive(Serialize)]
struct Document<'a> {
    source: &'a str,
    target_path: &'a str,
    replica: &'a str,
    format: &'a str,
    generation: String,
    /// There are none: 0.3 did not number transactions.
    min_txid: &'a str,
    max_txid: &'a str,
    /// When the newest of the files came.
    time: String,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    name: String,
    index: u64,
    offset: u64,
    size: u64,
    timestamp: String,
}

impl File {
    fn new(at: Position, object: &Object) -> File {
        File {
            name: object.path.clone(),
            index: at.index,
            offset: at.offset,
            size: object.size,
            timestamp: time::utc_seconds(object.created),
        }
    }
}

impl Shown<'_> {
    fn files(&self) -> Vec<File> {
        let at = Position {
            index: self.plan.index,
            offset: 0,
        };
        let snapshot = File::new(at, &self.plan.snapshot);
        let segments = self.plan.segments.iter();
        let segments = segments.map(|segment| File::new(segment.start, &segment.object));
        std::iter::once(snapshot).chain(segments).collect()
    }

    /// The text for people.
    pub fn text(&self) -> String {
        let cells = |file: File| {
            let (index, offset) = (
                format!("{:08x}", file.index),
                format!("{:08x}", file.offset),
            );
            vec![
                file.name,
                index,
                offset,
                file.size.to_string(),
                file.timestamp,
            ]
        };
        let rows: Vec<Vec<String>> = self.files().into_iter().map(cells).collect();
        format!(
            "Restore plan:\n  source: {}\n  target: {}\n  replica: {}\n  format: Litestream 0.3\n  generation: {}\n  state from: {}\n\nFiles to fetch:\n{}",
            self.source,
            self.target_path,
            self.replica,
            self.plan.generation,
            time::utc_exact(self.plan.newest()),
            out::table(&["file", "index", "offset", "size", "timestamp"], &rows)
        )
    }

    /// The document for programs.
    pub fn json(&self) -> Result<String> {
        out::json(&Document {
            source: self.source,
            target_path: self.target_path,
            replica: self.replica,
            format: "0.3",
            generation: self.plan.generation.to_string(),
            min_txid: "",
            max_txid: "",
            time: time::utc_exact(self.plan.newest()),
            files: self.files(),
        })
    }
}
