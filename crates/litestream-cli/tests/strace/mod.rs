//! Points at which a process under strace can be killed: its system calls that change something.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;

/// Calls that change files.
pub const CHANGING: &[&str] = &[
    "pwrite64",
    "pwritev",
    "write",
    "copy_file_range",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "mkdir",
    "mkdirat",
    "utimensat",
    "fchmod",
    "chmod",
    "fchmodat",
    "fchown",
    "chown",
    "fchownat",
];

/// For each changing call how often the thread made it that made it most.
pub fn counts(trace: &str) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let name = call.trim_start().split('(').next().unwrap_or_default();
        if CHANGING.contains(&name) {
            *counts
                .entry((name.to_owned(), thread.to_owned()))
                .or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((name, _), count) in counts {
        let entry = most.entry(name).or_default();
        *entry = count.max(*entry);
    }
    most
}

/// All points, or about `limit` of them: as many of a call that was made often as of one that was not, spread over the run.
pub fn points(counts: &BTreeMap<String, usize>, limit: usize) -> Vec<(String, usize)> {
    let mut each = 1;
    while each < limit && counts.values().map(|&c| c.min(each)).sum::<usize>() < limit {
        each += 1;
    }
    let mut points = Vec::new();
    for (name, &count) in counts {
        let chosen = count.min(each);
        points.extend((0..chosen).map(|i| (name.clone(), 1 + i * count / chosen)));
    }
    points
}

/// strace knows only calls that the machine has: those that were seen.
pub fn trace_of(name: &str) -> Vec<String> {
    vec!["-e".into(), format!("trace={name}")]
}
