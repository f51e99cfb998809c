//! `restore -dry-run`: the plan as text and as JSON.

use litestream::restore::Plan;
use litestream_replica::FileInfo;
use serde::Serialize;

use crate::failure::Result;
use crate::{out, time};

/// A plan with what it is for.
pub struct Shown<'a> {
    pub source: &'a str,
    pub target_path: &'a str,
    pub replica: &'a str,
    /// Whether the time of the newest file was read out of the file.
    pub exact: bool,
    pub plan: &'a Plan,
}

#[derive(Serialize)]
struct Document<'a> {
    source: &'a str,
    target_path: &'a str,
    replica: &'a str,
    min_txid: String,
    max_txid: String,
    /// When the state at `max_txid` was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    level: u8,
    name: String,
    min_txid: String,
    max_txid: String,
    size: u64,
    timestamp: String,
}

impl From<&FileInfo> for File {
    fn from(file: &FileInfo) -> File {
        File {
            level: file.level.get(),
            name: file.name.to_string(),
            min_txid: file.name.min.to_string(),
            max_txid: file.name.max.to_string(),
            size: file.size,
            timestamp: time::utc_seconds(file.created),
        }
    }
}

impl Shown<'_> {
    /// The text for people.
    pub fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .plan
            .files
            .iter()
            .map(File::from)
            .map(File::cells)
            .collect();
        let point = self
            .time()
            .map(|time| format!("  state from: {time}\n"))
            .unwrap_or_default();
        format!(
            "Restore plan:\n  source: {}\n  target: {}\n  replica: {}\n  txid range: {} - {}\n{point}\nFiles to fetch:\n{}",
            self.source,
            self.target_path,
            self.replica,
            self.plan.min(),
            self.plan.max(),
            out::table(
                &["level", "file", "min_txid", "max_txid", "size", "timestamp"],
                &rows
            )
        )
    }

    fn time(&self) -> Option<String> {
        self.exact
            .then(|| time::utc_exact(self.plan.newest().created))
    }

    /// The document for programs.
    pub fn json(&self) -> Result<String> {
        out::json(&Document {
            source: self.source,
            target_path: self.target_path,
            replica: self.replica,
            min_txid: self.plan.min().to_string(),
            max_txid: self.plan.max().to_string(),
            time: self.time(),
            files: self.plan.files.iter().map(File::from).collect(),
        })
    }
}

impl File {
    fn cells(self) -> Vec<String> {
        vec![
            self.level.to_string(),
            self.name,
            self.min_txid,
            self.max_txid,
            self.size.to_string(),
            self.timestamp,
        ]
    }
}
