//! What can go wrong, and how often it is tried.
//!
//! A scenario is a function that lives through one episode: a fresh place, several faults, checks after each.

mod cut;
mod errors;
mod full;
mod kill;
mod memory;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::app::App;
use crate::place::Place;
use crate::trace::Points;

/// One way to be hostile.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// Needs root and a kernel that lets it mount.
    pub mounts: bool,
    episode: fn(&mut Episode) -> Result<()>,
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kill",
        about: "SIGKILL at the n-th call that changes a file, of a daemon under load",
        mounts: false,
        episode: kill::episode,
    },
    Scenario {
        name: "errors",
        about: "system calls of a daemon under load fail for a while",
        mounts: false,
        episode: errors::episode,
    },
    Scenario {
        name: "cut",
        about: "power cuts of ext4 and xfs below the source, the replica, or both",
        mounts: true,
        episode: cut::episode,
    },
    Scenario {
        name: "full",
        about: "the disk of the replica, the state folder or the source is full for a while",
        mounts: true,
        episode: full::episode,
    },
    Scenario {
        name: "memory",
        about: "large transactions and full copies with little memory",
        mounts: false,
        episode: memory::episode,
    },
];

/// How much is wanted.
pub struct Request {
    pub rounds: u64,
    pub limit: Duration,
    /// Of the first episode; each further one has the next number.
    pub seed: u64,
    pub violations: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Faults prepared.
    pub rounds: u64,
    /// Faults that happened.
    pub hits: u64,
    pub commits: u64,
    /// Restored databases that were compared with the history.
    pub restores: u64,
    /// The longest that the application waited for the right to write.
    pub longest_ms: u64,
    /// The longest until a running daemon was up to date after a fault.
    pub healing: Duration,
    /// The most memory that a process of ours used.
    pub peak_kib: u64,
    pub violations: Vec<String>,
}

/// An episode's surroundings.
pub struct Episode<'a> {
    pub rng: StdRng,
    pub work: PathBuf,
    pub tally: &'a mut Tally,
    /// The points at which to kill, over all episodes.
    pub points: &'a mut Points,
    pub number: u64,
    /// Faults wanted in all.
    pub rounds: u64,
}

impl Episode<'_> {
    /// Runs the body; what it learned is counted, and what it leaves is copied away from mounts if it failed.
    pub fn with(
        &mut self,
        place: &mut Place,
        body: impl FnOnce(&mut Self, &mut Place) -> Result<()>,
    ) -> Result<()> {
        let done = body(self, place);
        self.tally.restores += place.restores;
        self.tally.commits += place.history()?.newest_committed();
        if done.is_err() {
            for folder in [&place.source, &place.replica] {
                let mut cp = Command::new("cp");
                let to = self.work.join("kept");
                std::fs::create_dir_all(&to)?;
                let _ = cp.arg("-a").arg(folder).arg(to).status();
            }
        }
        done
    }

    /// Whether there were as many faults as wanted.
    pub fn enough(&self) -> bool {
        self.tally.rounds >= self.rounds
    }

    pub fn note_app(&mut self, app: &App) {
        self.tally.longest_ms = self.tally.longest_ms.max(app.longest_ms);
    }

    pub fn note_healing(&mut self, took: Duration) {
        self.tally.healing = self.tally.healing.max(took);
    }
}

/// Runs episodes until there were as many faults or the time is over.
pub fn run(scenario: &Scenario, request: &Request) -> Result<Tally> {
    let (mut tally, mut points) = (Tally::default(), Points::default());
    let (start, seed) = (Instant::now(), request.seed);
    let mut number = 0;
    while tally.rounds < request.rounds
        && start.elapsed() < request.limit
        && tally.violations.len() < request.violations
    {
        let dir = tempfile::Builder::new().prefix("hostile-").tempdir()?;
        let before = tally.rounds;
        let mut episode = Episode {
            rng: StdRng::seed_from_u64(seed + number),
            work: dir.path().to_owned(),
            tally: &mut tally,
            points: &mut points,
            number,
            rounds: request.rounds,
        };
        if let Err(error) = (scenario.episode)(&mut episode) {
            let text = violation(scenario, seed + number, dir, &format!("{error:#}"));
            println!("{text}\n");
            tally.violations.push(text);
        }
        number += 1;
        tally.rounds = tally.rounds.max(before + 1);
    }
    Ok(tally)
}

fn violation(scenario: &Scenario, seed: u64, dir: tempfile::TempDir, error: &str) -> String {
    let name = scenario.name;
    let path: PathBuf = dir.keep();
    format!(
        "VIOLATION of {name}, seed {seed} (litestream-hostile {name} rounds=1 seed={seed}), kept in {}:\n{error}{}",
        path.display(),
        newest_log(&path)
    )
}

fn newest_log(dir: &Path) -> String {
    let logs = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let newest = logs
        .filter(|e| e.file_name().to_string_lossy().ends_with(".log"))
        .max_by_key(|e| e.metadata().and_then(|m| m.modified()).ok());
    let Some(newest) = newest else {
        return String::new();
    };
    let text = std::fs::read_to_string(newest.path()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(25)..].join("\n");
    format!("\n--- {}\n{tail}", newest.path().display())
}
