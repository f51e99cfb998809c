//! A database, its replica and all that is known about both.
//!
//! Owns the folders and the checks. Shares no code with the engine: names of files, restores and content are judged by
//! what is on disk, by the program `litestream restore`, and by plain SQLite.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;
use rusqlite::Connection;

use crate::app::App;
use crate::content::Content;
use crate::daemon::Daemon;
use crate::history::History;
use crate::process::{program, until};
use crate::writer::Style;

/// How long healing may take once faults are over.
pub const HEALING: Duration = Duration::from_mins(1);

/// What the replica was seen or said to hold durably.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acknowledged {
    pub txid: u64,
    pub node: u64,
}

/// See the module.
pub struct Place {
    /// Logs, the history and restored databases: never on a file system that is broken.
    pub work: PathBuf,
    pub source: PathBuf,
    pub replica: PathBuf,
    pub style: Style,
    pub acknowledged: Acknowledged,
    /// States of acknowledged TXIDs that were restored before.
    known: BTreeMap<u64, u64>,
    /// The source may have lost commits that the replica has.
    pub rewound: bool,
    pub restores: u64,
    runs: u64,
}

impl Place {
    pub fn new(work: &Path, source: PathBuf, replica: PathBuf, style: Style) -> Result<Place> {
        std::fs::create_dir_all(&source)?;
        Ok(Place {
            work: work.to_owned(),
            source,
            replica,
            style,
            acknowledged: Acknowledged::default(),
            known: BTreeMap::new(),
            rewound: false,
            restores: 0,
            runs: 0,
        })
    }

    pub fn db(&self) -> PathBuf {
        self.source.join("app.db")
    }

    pub fn state(&self) -> PathBuf {
        self.source.join(".app.db-litestream")
    }

    fn url(&self) -> String {
        format!("file://{}", self.replica.display())
    }

    pub fn history(&self) -> Result<History> {
        History::read(&self.work.join("history"))
    }

    pub fn app(&mut self) -> Result<App> {
        self.runs += 1;
        let errors = self.work.join(format!("app-{}.err", self.runs));
        App::start(&self.db(), &self.work.join("history"), errors, &self.style)
    }

    pub fn daemon(&mut self, before: &[String], args: &[&str]) -> Result<Daemon> {
        self.runs += 1;
        let log = self.work.join(format!("daemon-{}.log", self.runs));
        Daemon::start(before, args, &self.db(), &self.url(), log)
    }

    /// One sync, which must succeed.
    pub fn once(&mut self) -> Result<()> {
        self.daemon(&[], &["-once"])?.succeeds()
    }

    /// TXIDs of the files of a level, as (min, max).
    fn level(&self, level: u8) -> Vec<(u64, u64)> {
        let Ok(entries) = std::fs::read_dir(self.replica.join(format!("ltx/{level}"))) else {
            return Vec::new();
        };
        let mut names: Vec<(u64, u64)> = entries
            .filter_map(|e| range_of(e.ok()?.file_name().to_str()?))
            .collect();
        names.sort_unstable();
        names
    }

    /// Level 0 is without a hole, except below a snapshot; the highest TXID.
    pub fn contiguous(&self) -> Result<u64> {
        let (files, snapshots) = (self.level(0), self.level(9));
        let mut at = 0;
        for &(min, max) in &files {
            let bridged = snapshots
                .iter()
                .any(|&(low, high)| low == 1 && high + 1 == min);
            ensure!(min == max, "level 0 has a file {min}-{max}");
            ensure!(
                min == at + 1 || bridged && min > at,
                "level 0 goes from {at} to {min}; snapshots {snapshots:?}"
            );
            at = max;
        }
        Ok(at.max(snapshots.last().map_or(0, |s| s.1)))
    }

    /// Restores and finds the state. `None` if there is nothing to restore from.
    pub fn restore(&mut self, txid: Option<u64>) -> Result<Option<u64>> {
        // Looked at first: a running daemon may bring the first file at any moment.
        let empty = self.level(0).is_empty() && self.level(9).is_empty();
        let dir = self.work.join("restored");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir)?;
        let output = dir.join("app.db");
        let mut command = Command::new(program("litestream")?);
        command.args(["restore", "-o"]).arg(&output);
        if let Some(txid) = txid {
            command.arg("-txid").arg(format!("{txid:016x}"));
        }
        let done = command.arg(self.url()).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        if !done.status.success() {
            let none = text.contains("no matching backup files available");
            if none && empty {
                return Ok(None);
            }
            bail!("restore of {txid:?}: {text}");
        }
        let names: Vec<_> = std::fs::read_dir(&dir)?
            .flatten()
            .map(|e| e.file_name())
            .collect();
        ensure!(names == ["app.db"], "restore left {names:?}");
        let copy = dir.join("copy.db");
        std::fs::copy(&output, &copy)?;
        let node = self
            .judge(&copy)
            .with_context(|| format!("restore of {txid:?}"))?;
        self.restores += 1;
        Ok(Some(node))
    }

    /// The state of a database, which must be exactly one that was committed or about to be.
    fn judge(&self, path: &Path) -> Result<u64> {
        let conn = Connection::open(path)?;
        let check: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        ensure!(check == "ok", "integrity check: {check}");
        let content = Content::read(&conn)?;
        let node = content.node;
        let expected = if node == 0 {
            Some(Content::default().hash())
        } else {
            self.history()?.hash(node)
        };
        ensure!(
            expected == Some(content.hash()),
            "content is not that of commit {node}"
        );
        Ok(node)
    }

    /// A copy of the source, recovered by plain SQLite: its bytes and its state.
    fn image(&self) -> Result<(Vec<u8>, u64)> {
        let dir = self.work.join("image");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir)?;
        let copy = dir.join("app.db");
        for suffix in ["", "-wal"] {
            let from = self.source.join(format!("app.db{suffix}"));
            if from.exists() {
                std::fs::copy(&from, dir.join(format!("app.db{suffix}")))?;
            }
        }
        let node = self.judge(&copy).context("source")?;
        Connection::open(&copy)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok((std::fs::read(&copy)?, node))
    }

    /// After a power cut, before anything was started: the source is a committed state, and not an old one if
    /// its commits were synced.
    pub fn source_survived(&mut self, was_cut: bool) -> Result<()> {
        let (_, node) = self.image()?;
        let history = self.history()?;
        let newest = history.newest_committed();
        if !was_cut || self.style.synchronous == "FULL" {
            ensure!(
                history.holds(node, newest),
                "source is at commit {node}, but {newest} was durable"
            );
        }
        self.rewound |= !history.holds(node, newest);
        Ok(())
    }

    /// What the replica holds by itself is a committed state and not older than acknowledged.
    pub fn replica_survived(&mut self) -> Result<()> {
        let highest = self.contiguous()?;
        let promised = self.acknowledged;
        ensure!(
            highest >= promised.txid,
            "replica ends at TXID {highest}, but {} was uploaded",
            promised.txid
        );
        let Some(node) = self.restore(None)? else {
            ensure!(promised.txid == 0, "replica is empty, {promised:?}");
            return Ok(());
        };
        ensure!(
            self.history()?.holds(node, promised.node),
            "restored commit {node}, but {} was replicated",
            promised.node
        );
        Ok(())
    }

    /// Restores some of the TXIDs: each is one committed state, the same as before, in the order of commits.
    fn points(&mut self, rng: &mut StdRng, count: usize) -> Result<()> {
        let highest = self.contiguous()?;
        let files = self.level(0);
        let mut txids: Vec<u64> = (0..count.min(files.len()))
            .map(|_| files[rng.random_range(0..files.len())].0)
            .collect();
        txids.sort_unstable();
        txids.dedup();
        for txid in txids {
            let node = self.restore(Some(txid))?.context("nothing restored")?;
            if let Some(old) = self.known.get(&txid) {
                ensure!(
                    *old == node,
                    "TXID {txid} was commit {old} and is {node} now"
                );
            }
            if txid <= self.acknowledged.txid && self.acknowledged.txid <= highest {
                self.known.insert(txid, node);
            }
        }
        let history = self.history()?;
        let pairs = self.known.iter().zip(self.known.iter().skip(1));
        for ((low, older), (high, newer)) in pairs {
            ensure!(
                self.rewound || history.holds(*newer, *older),
                "TXID {low} is commit {older}, TXID {high} is commit {newer}"
            );
        }
        Ok(())
    }

    /// Waits until a running daemon has brought everything to the replica. The application must be paused.
    pub fn heals(&mut self, daemon: &mut Daemon, node: u64) -> Result<Duration> {
        let start = Instant::now();
        let last = until("replica equals source", HEALING, || {
            daemon.must_live()?;
            let now = self.contiguous()?;
            Ok((self.restore(None)? == Some(node)).then_some(now))
        });
        let txid = last.with_context(|| daemon.tail())?;
        // A file may be seen a moment before it is durable: only what litestream says counts.
        let said = until("upload is logged", Duration::from_secs(5), || {
            Ok(daemon.uploaded().filter(|said| *said >= txid))
        });
        if said.is_ok() {
            self.acknowledged = Acknowledged { txid, node };
        }
        Ok(start.elapsed())
    }

    /// After a successful final sync, with the application paused: replica and source are equal, byte for byte, and nothing
    /// was left behind.
    pub fn converged(&mut self, rng: &mut StdRng) -> Result<()> {
        let (expected, node) = self.image()?;
        let restored = self.restore(None)?;
        ensure!(
            restored == Some(node),
            "source is at commit {node}, restored {restored:?}"
        );
        let actual = std::fs::read(self.work.join("restored/app.db"))?;
        ensure!(
            actual == expected,
            "same rows, other pages: {} bytes restored, {} expected",
            actual.len(),
            expected.len()
        );
        for folder in [&self.source, &self.replica] {
            let left = leftovers(folder)?;
            ensure!(left.is_empty(), "left behind: {left:?}");
        }
        let txid = self.contiguous()?;
        self.acknowledged = Acknowledged { txid, node };
        self.known.insert(txid, node);
        self.points(rng, 3)
    }
}

/// The TXIDs in the name of an LTX file.
fn range_of(name: &str) -> Option<(u64, u64)> {
    let (min, max) = name.strip_suffix(".ltx")?.split_once('-')?;
    let number = |hex: &str| {
        u64::from_str_radix(hex, 16)
            .ok()
            .filter(|_| hex.len() == 16)
    };
    Some((number(min)?, number(max)?))
}

fn leftovers(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut left, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().contains(".tmp") {
                left.push(entry.path());
            }
        }
    }
    Ok(left)
}
