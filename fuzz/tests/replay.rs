//! Replays the corpus of each target, and mutations of it, as plain tests.
// The corpus is read from disk, and helpers of tests are not test functions.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use litestream_fuzz::{Mutator, TARGETS, wal_scan_compared};

/// Mutants per seed file; `FUZZ_MUTANTS` sets another number.
const MUTANTS: u64 = 1000;

fn replay(name: &str) {
    let (_, target) = TARGETS
        .into_iter()
        .find(|(target, _)| *target == name)
        .unwrap();
    // SQLite and the disk take a millisecond a time.
    let share = if name == "wal_scan" { 5 } else { 1 };
    let mutants = std::env::var("FUZZ_MUTANTS").map_or(MUTANTS, |text| text.parse().unwrap());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 4, "no corpus in {}", folder.display());
    for path in seeds {
        let seed = fs::read(&path).unwrap();
        target(&seed);
        // Large seeds get fewer mutants, so that all take their turn.
        for number in 0..mutants.div_ceil(share + seed.len() as u64 / 4000) {
            let mutant = Mutator::new(number).mutate(&seed);
            let held = catch_unwind(AssertUnwindSafe(|| target(&mutant))).is_ok();
            assert!(
                held,
                "{name}: {} with mutation {number} breaks the property",
                path.display()
            );
        }
    }
}

#[test]
fn args() {
    replay("args");
}

#[test]
fn chain_plan() {
    replay("chain_plan");
}

#[test]
fn chain_retain() {
    replay("chain_retain");
}

#[test]
fn config() {
    replay("config");
}

#[test]
fn control_request() {
    replay("control_request");
}

#[test]
fn cursor() {
    replay("cursor");
}

#[test]
fn duration() {
    replay("duration");
}

#[test]
fn exec_words() {
    replay("exec_words");
}

#[test]
fn file_name() {
    replay("file_name");
}

#[test]
fn ltx_decode() {
    replay("ltx_decode");
}

#[test]
fn ltx_index() {
    replay("ltx_index");
}

#[test]
fn ltx_merge() {
    replay("ltx_merge");
}

#[test]
fn ltx_roundtrip() {
    replay("ltx_roundtrip");
}

#[test]
fn timestamp() {
    replay("timestamp");
}

#[test]
fn url() {
    replay("url");
}

#[test]
fn wal_scan() {
    replay("wal_scan");
}

#[test]
fn the_whole_files_among_the_seeds_are_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/ltx_decode");
    let mut accepted = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let whole = name.starts_with(|c: char| c.is_ascii_digit());
        let file = fs::read(&path).unwrap();
        let result = ltx::Decoder::new(&file[..]).and_then(ltx::Decoder::finish);
        assert_eq!(result.is_ok(), whole, "{name}: {result:?}");
        accepted += u32::from(whole);
    }
    assert_eq!(
        accepted, 11,
        "golden files and their conversions to the older encoding"
    );
}

#[test]
fn most_logs_among_the_seeds_hold_something_that_sqlite_can_judge() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/wal_scan");
    let (mut committed, mut empty, mut refused) = (0, 0, Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match wal_scan_compared(&fs::read(&path).unwrap()) {
            Some(true) => committed += 1,
            Some(false) => empty += 1,
            None => refused.push(path),
        }
    }
    assert!(
        committed >= 15 && empty >= 5 && refused.len() <= 3,
        "{committed} with commits, {empty} without, SQLite refused {refused:?}"
    );
}

#[test]
fn every_corpus_folder_has_a_target_and_a_fuzz_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<String> = fs::read_dir(root.join("corpus"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, TARGETS.map(|(name, _)| name));
    let manifest = fs::read_to_string(root.join("fuzz_targets/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let source = fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("litestream_fuzz::{name}(")));
        assert!(manifest.contains(&format!("name = \"{name}\"")));
    }
}
