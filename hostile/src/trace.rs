//! strace as a fault: arguments that inject, and where there is something to inject.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rustix::process::Signal;

use crate::process::{Process, until};

/// Calls that change files.
const CHANGING: &[&str] = &[
    "pwrite64",
    "pwritev",
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
    "openat",
    "fcntl",
    "write",
];

/// Points at which to kill: a call and how often a thread has made it by then.
#[derive(Debug, Default)]
pub struct Points {
    all: Vec<(String, u64)>,
    next: usize,
}

impl Points {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Every point of a run that was traced, the first calls before later ones; of each call the first `window`.
    pub fn of(trace: &Path, window: u64, rng: &mut StdRng) -> Result<Points> {
        let text = std::fs::read(trace).context("the trace")?;
        let text = String::from_utf8_lossy(&text);
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for line in text.lines() {
            let Some((thread, call)) = line.split_once(' ') else {
                continue;
            };
            let name = call.trim_start().split('(').next().unwrap_or_default();
            if CHANGING.contains(&name) {
                *counts.entry((name, thread)).or_default() += 1;
            }
        }
        let mut most: BTreeMap<&str, u64> = BTreeMap::new();
        for ((name, _), count) in counts {
            let entry = most.entry(name).or_default();
            *entry = count.max(*entry);
        }
        let mut all: Vec<(String, u64)> = Vec::new();
        for (name, count) in &most {
            all.extend((1..=*count.min(&window)).map(|n| ((*name).to_owned(), n)));
        }
        if all.len() < 50 {
            bail!(
                "only {} calls in the trace: may strace trace here? (container: --cap-add SYS_PTRACE)",
                all.len()
            );
        }
        all.shuffle(rng);
        all.sort_by_key(|(_, n)| *n);
        Ok(Points { all, next: 0 })
    }

    pub fn take(&mut self) -> (String, u64) {
        let point = self.all[self.next % self.all.len()].clone();
        self.next += 1;
        point
    }
}

/// The words to put before a program; the traced process is the child, strace stands aside. Without `--seccomp-bpf`, with
/// which strace 6.1 counts no calls and so never reaches a second one.
fn aside(trace: &Path, what: &[String]) -> Vec<String> {
    let out = trace.display().to_string();
    let mut words: Vec<String> = ["strace", "-D", "-f", "-qq", "-o", &out]
        .map(str::to_owned)
        .to_vec();
    words.extend_from_slice(what);
    words
}

/// Traces all calls that change files.
pub fn watch(trace: &Path) -> Vec<String> {
    let all: Vec<String> = CHANGING.iter().map(|c| format!("?{c}")).collect();
    aside(trace, &["-e".into(), format!("trace={}", all.join(","))])
}

/// Kills at the n-th of these calls in a thread.
pub fn kill_at(trace: &Path, (call, n): &(String, u64)) -> Vec<String> {
    let what = [
        "-e".into(),
        format!("trace={call}"),
        "-e".into(),
        format!("inject={call}:signal=KILL:when={n}"),
    ];
    aside(trace, &what)
}

/// Calls of a running process that fail until this is ended.
pub struct Failing {
    strace: Process,
    trace: PathBuf,
}

impl Failing {
    pub fn start(pid: u32, work: &Path, calls: &str, how: &str) -> Result<Failing> {
        let (trace, said) = (work.join("trace"), work.join("strace.err"));
        let strace = Process::spawn(
            Command::new("strace")
                .args(["-f", "-o"])
                .arg(&trace)
                .args(["-e", &format!("trace={calls}")])
                .args(["-e", &format!("inject={calls}:{how}")])
                .args(["-p", &pid.to_string()])
                .stdin(Stdio::null())
                .stderr(File::create(&said)?),
        );
        let mut failing = Failing {
            strace: strace.context("strace is needed; `cargo xtask test` installs it")?,
            trace,
        };
        until("strace is attached", Duration::from_secs(10), || {
            let text = std::fs::read_to_string(&said)?;
            if let Some(status) = failing.strace.ended()? {
                bail!("strace ended ({status}): {text}");
            }
            Ok(text.contains("attached").then_some(()))
        })?;
        Ok(failing)
    }

    /// Lets the process go; how many calls failed.
    pub fn end(mut self) -> Result<u64> {
        self.strace.signal(Signal::INT);
        self.strace.wait(Duration::from_secs(10))?;
        let trace = std::fs::read(&self.trace)?;
        let trace = String::from_utf8_lossy(&trace);
        Ok(trace.matches("(INJECTED)").count() as u64)
    }
}
