//! Both programs, ours and Litestream 0.5.17, get the command lines of `cases.txt` in identical folders and must do the same. A
//! difference must be listed there with its reason, and what is listed must differ.
//!
//! What counts is in `outcome.rs`; the folder that every line starts with is made by `stage.rs`.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod case;
#[path = "../common/mod.rs"]
mod common;
#[path = "../oracle/mod.rs"]
mod oracle;
mod outcome;
mod stage;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use case::{Case, cases};
use litestream_cli::args::table;
use outcome::differences;
use parking_lot::Mutex;
use stage::Stage;

const THREADS: usize = 4;

/// What is wrong with a case, if anything is.
fn wrong(case: &Case, stage: &Stage, number: usize) -> Option<String> {
    let (ours, theirs) = stage.run_both(case, number);
    let found = differences(case, &ours, &theirs);
    let must_differ = case.reason.is_some();
    if found.is_empty() != must_differ && ours.is_sane() {
        return None;
    }
    let what = if must_differ && found.is_empty() {
        "listed, but nothing differs".to_owned()
    } else {
        found.join("; ")
    };
    Some(format!(
        "{}\n   {what}\n   ours:   {ours:?}\n   theirs: {theirs:?}\n",
        case.line
    ))
}

#[test]
fn every_difference_to_the_original_is_listed() {
    let (stage, cases) = (Stage::new(), cases());
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else {
                        break;
                    };
                    if let Some(text) = wrong(case, &stage, number) {
                        all.lock().push((number, text));
                    }
                }
            });
        }
    });
    let mut all = all.into_inner();
    all.sort();
    let texts: Vec<String> = all.into_iter().map(|(_, text)| text).collect();
    assert!(
        texts.is_empty(),
        "{} of {} cases:\n{}",
        texts.len(),
        cases.len(),
        texts.concat()
    );
}

/// A flag that the table here doesn't try could drift unseen.
#[test]
fn every_command_and_flag_of_the_original_is_tried() {
    let cases = cases();
    assert!(cases.len() >= 300, "{}", cases.len());
    let own_commands = ["config check", "config show", "doctor", "reload", "verify"];
    for command in table::COMMANDS {
        if own_commands.contains(&command.name) {
            continue;
        }
        let of_command = cases
            .iter()
            .filter(|case| case.args.first().is_some_and(|name| name == command.name));
        let given: BTreeSet<&str> = of_command
            .flat_map(|case| &case.args)
            .filter_map(|arg| arg.trim_start_matches('-').split('=').next())
            .collect();
        for flag in command.flags {
            let is_own =
                flag.name == "progress" || flag.name == "force" && command.name != "restore";
            assert!(
                is_own || given.contains(flag.name),
                "{} -{}",
                command.name,
                flag.name
            );
        }
    }
}
