//! What an episode consists of: drawn from a seed, written as text, and made smaller piece by piece when it fails.
//!
//! A plan is a few numbers, a set of features, and a list of operations to leave out. Everything else follows from it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};

use crate::rng::Rng;

macro_rules! features {
    ($($name:ident $class:ident $per_mille:literal $doc:literal,)*) => {
        /// Something that an episode may contain.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Feature { $(#[doc = $doc] $name,)* }

        impl Feature {
            /// All of them.
            pub const ALL: &[Feature] = &[$(Feature::$name,)*];

            /// Its name in a plan's text.
            pub fn name(self) -> &'static str {
                match self { $(Feature::$name => stringify!($name),)* }
            }

            /// What kind of trouble it is, if it is trouble.
            pub fn class(self) -> Class {
                match self { $(Feature::$name => Class::$class,)* }
            }

            fn per_mille(self) -> u64 {
                match self { $(Feature::$name => $per_mille,)* }
            }
        }
    };
}

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Normal work.
    Work,
    /// The storage fails or lies.
    Storage,
    /// The local disk fails.
    Disk,
    /// Processes die or come in pairs, power fails, clocks step.
    Process,
    /// SQLite is used in ways that make a replicator's life hard.
    Sqlite,
}

features! {
    Blobs Work 500 "Values that overflow pages.",
    Updates Work 700 "Updates and deletes beside inserts.",
    Savepoints Work 300 "Savepoints and rollbacks.",
    Schema Work 300 "Tables and indexes come and go.",
    BigTransactions Work 300 "Transactions of many pages.",
    TinyCache Work 250 "A cache of a few pages, so that transactions spill into the WAL before they commit.",
    SyncFull Work 250 "`synchronous = FULL`.",
    SyncOff Work 150 "`synchronous = OFF`.",
    AutoCheckpoint Work 500 "The application's connections checkpoint by themselves.",
    BusyZero Work 200 "Applications do not wait for locks.",
    OperatorSync Work 600 "`sync` is called and waited for.",
    OperatorSnapshot Work 250 "Snapshots are asked for.",
    OperatorRetention Work 200 "Old snapshots are deleted.",
    MidRestore Work 400 "Restores while everything runs.",
    Reopen Work 400 "Applications close and open their connections.",
    ForeignCheckpoint Sqlite 500 "Another connection checkpoints, in all modes.",
    Vacuum Sqlite 250 "`VACUUM` and `incremental_vacuum`.",
    LongReaders Sqlite 300 "Read transactions that stay open.",
    JournalSwitch Sqlite 120 "The journal mode is switched and back, and the page size with it.",
    Replace Sqlite 150 "The database is replaced by an older copy, by another one, or created anew.",
    AppCrash Process 300 "An application dies and leaves a hot WAL.",
    EngineKill Process 350 "The engine is killed and started again.",
    EngineRestart Process 300 "The engine is stopped and started again.",
    PowerCut Process 250 "Power fails; what was not synced may be gone.",
    SecondDaemon Process 120 "A second engine is started on the same database.",
    ClockSteps Process 150 "The wall clock steps.",
    LoseState Process 120 "The state folder is deleted between two runs.",
    StorageFaults Storage 450 "Calls to the storage fail, before or after their effect; listings are old.",
    Outage Storage 250 "The storage is away for a while.",
    OurDiskFaults Disk 300 "Calls on the engine's own files fail.",
    AppDiskFaults Disk 150 "Calls on the database's files fail, for everybody.",
    DiskFull Disk 200 "The disk is full for a while.",
    DamagedState Disk 150 "Bits flip in the engine's own files, or they are cut short, between two runs.",
    SlowDisk Disk 150 "Calls on the files of the database take long now and then.",
    Guarded Work 100 "The replica is verified in the background.",
    DamagedReplica Storage 500 "And files of it are flipped, cut short or lost at rest.",
    SlicedLedger Work 200 "The page ledger is built a few pages at a time.",
}

/// Drawn each by its own generators, so that a seed from before they were there is still the same episode where they are not drawn.
const DRAWN_APART: [&[Feature]; 2] = [
    &[Feature::Guarded, Feature::DamagedReplica],
    &[Feature::SlicedLedger],
];

/// Where the replica lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Storage that is like a local disk.
    Strict,
    /// Storage like S3.
    Object,
    /// Storage that converges in time.
    Eventual,
    /// A folder on the simulated disk, by the real `file` backend.
    Folder,
}

const BACKENDS: [(Backend, &str); 4] = [
    (Backend::Strict, "strict"),
    (Backend::Object, "object"),
    (Backend::Eventual, "eventual"),
    (Backend::Folder, "folder"),
];

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything that is not said here.
    pub seed: u64,
    /// Page size of the first database.
    pub page_size: u32,
    /// `auto_vacuum` of the first database: 0, 1 or 2.
    pub auto_vacuum: u32,
    /// Chance of a switch at each call, in a thousand.
    pub switch_per_mille: u32,
    /// Applications that write, each a process of its own.
    pub writers: u32,
    /// Operations of each of them.
    pub writes: u32,
    /// Operations of the operator.
    pub operations: u32,
    /// Where the replica lies.
    pub backend: Backend,
    /// What may happen.
    pub features: BTreeSet<Feature>,
    /// Operations left out: actor (0 is the operator) and number.
    pub skip: BTreeSet<(u32, u32)>,
}

impl Plan {
    /// The plan of a seed.
    pub fn of_seed(seed: u64) -> Plan {
        let mut rng = Rng::of(seed, &[u64::MAX]);
        let apart = DRAWN_APART.concat();
        let mut features: BTreeSet<Feature> = Feature::ALL
            .iter()
            .copied()
            .filter(|feature| !apart.contains(feature) && rng.chance(feature.per_mille()))
            .collect();
        for (number, drawn) in (1..).zip(DRAWN_APART) {
            let mut rng = Rng::of(seed, &[u64::MAX - number]);
            features.extend(drawn.iter().filter(|f| rng.chance(f.per_mille())));
        }
        let mut plan = Plan {
            seed,
            page_size: 512 << rng.pick(&[0, 0, 1, 1, 1, 2, 3, 3, 3, 7]),
            auto_vacuum: rng.pick(&[0, 0, 1, 2]),
            switch_per_mille: rng.pick(&[5, 20, 50, 100, 200]),
            writers: rng.pick(&[1, 1, 2, 3]),
            writes: rng.range(5, 40) as u32,
            operations: rng.range(3, 14) as u32,
            backend: rng.pick(&[
                Backend::Strict,
                Backend::Object,
                Backend::Object,
                Backend::Eventual,
                Backend::Folder,
            ]),
            features,
            skip: BTreeSet::new(),
        };
        if !plan.has(Feature::Guarded) || plan.backend == Backend::Folder {
            plan.features.remove(&Feature::DamagedReplica);
        }
        plan
    }

    /// Whether this may happen.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// The kinds of trouble in it.
    pub fn classes(&self) -> BTreeSet<Class> {
        let mut classes: BTreeSet<Class> = self.features.iter().map(|f| f.class()).collect();
        classes.remove(&Class::Work);
        classes
    }

    /// The generator of an operation.
    pub fn rng(&self, actor: u32, number: u32) -> Rng {
        Rng::of(self.seed, &[u64::from(actor), u64::from(number)])
    }

    /// Whether an operation is left out.
    pub fn skips(&self, actor: u32, number: u32) -> bool {
        self.skip.contains(&(actor, number))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend = BACKENDS.iter().find(|(b, _)| *b == self.backend);
        writeln!(f, "seed = {}", self.seed)?;
        writeln!(f, "page_size = {}", self.page_size)?;
        writeln!(f, "auto_vacuum = {}", self.auto_vacuum)?;
        writeln!(f, "switch_per_mille = {}", self.switch_per_mille)?;
        writeln!(f, "writers = {}", self.writers)?;
        writeln!(f, "writes = {}", self.writes)?;
        writeln!(f, "operations = {}", self.operations)?;
        writeln!(f, "backend = {}", backend.map_or("", |(_, name)| name))?;
        let features: Vec<&str> = self.features.iter().map(|f| f.name()).collect();
        writeln!(f, "features = {}", features.join(" "))?;
        let skip: Vec<String> = self.skip.iter().map(|(a, n)| format!("{a}:{n}")).collect();
        writeln!(f, "skip = {}", skip.join(" "))
    }
}

impl FromStr for Plan {
    type Err = anyhow::Error;

    /// Reads what `Display` wrote; lines that begin with `#` are comments.
    fn from_str(text: &str) -> anyhow::Result<Plan> {
        let mut plan = None;
        for line in text
            .lines()
            .filter(|l| !l.starts_with('#') && !l.trim().is_empty())
        {
            let (key, value) = line.split_once('=').context("a line without =")?;
            let (key, value) = (key.trim(), value.trim());
            if key == "seed" {
                plan = Some(Plan::of_seed(value.parse()?));
                continue;
            }
            let plan = plan.as_mut().context("the first line must be the seed")?;
            match key {
                "page_size" => plan.page_size = value.parse()?,
                "auto_vacuum" => plan.auto_vacuum = value.parse()?,
                "switch_per_mille" => plan.switch_per_mille = value.parse()?,
                "writers" => plan.writers = value.parse()?,
                "writes" => plan.writes = value.parse()?,
                "operations" => plan.operations = value.parse()?,
                "backend" => plan.backend = backend(value)?,
                "features" => {
                    plan.features = value
                        .split_whitespace()
                        .map(feature)
                        .collect::<Result<_, _>>()?;
                }
                "skip" => {
                    plan.skip = value
                        .split_whitespace()
                        .map(skipped)
                        .collect::<Result<_, _>>()?;
                }
                _ => bail!("unknown key {key}"),
            }
        }
        plan.context("no seed")
    }
}

fn backend(name: &str) -> anyhow::Result<Backend> {
    let found = BACKENDS.iter().find(|(_, n)| *n == name);
    found
        .map(|(b, _)| *b)
        .with_context(|| format!("unknown backend {name}"))
}

fn feature(name: &str) -> anyhow::Result<Feature> {
    let found = Feature::ALL.iter().find(|f| f.name() == name);
    found
        .copied()
        .with_context(|| format!("unknown feature {name}"))
}

fn skipped(pair: &str) -> anyhow::Result<(u32, u32)> {
    let (actor, number) = pair.split_once(':').context("actor:number expected")?;
    Ok((actor.parse()?, number.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for seed in 0..200 {
            let mut plan = Plan::of_seed(seed);
            plan.skip.insert((0, seed as u32));
            plan.writers += 1;
            assert_eq!(plan.to_string().parse::<Plan>().unwrap(), plan);
        }
    }

    #[test]
    fn most_plans_mix_two_kinds_of_trouble() {
        let mixed = (0..2000)
            .filter(|seed| Plan::of_seed(*seed).classes().len() >= 2)
            .count();
        assert!(mixed > 1200, "{mixed} of 2000");
    }
}
