//! What a run left behind, and how two of them are compared.
//!
//! The exit code, and:
//! * standard output, by value where it is JSON; of a help text, the command and the flags that it names;
//! * standard error, but for hints that ours adds (`Try:`, `did you mean`, `Warning:`) and the place in a configuration;
//! * the messages of a log from INFO on, of which ours may have more, without regard to the stream that it goes to (D11), except
//!   of `replicate`, whose engine is another one;
//! * the names of the files beside the database, the existence of its local state, and the bytes of what was restored.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::case::Case;

#[derive(Debug)]
pub struct Outcome {
    /// `None`: it had to be killed.
    code: Option<i32>,
    stdout: Vec<String>,
    stderr: Vec<String>,
    log: BTreeSet<String>,
    files: BTreeSet<String>,
    restored: Vec<(String, Vec<u8>)>,
}

/// What lines of the table restore to.
const OUTPUTS: &[&str] = &[
    "out.db",
    "in-the-way.db",
    "zero.db",
    "sides.db",
    "gone.db",
    "app.db",
    "fresh.db",
];

impl Outcome {
    pub fn new(code: Option<i32>, printed: &[Vec<u8>; 2], folder: &Path) -> Outcome {
        let mut log = BTreeSet::new();
        let [stdout, stderr] = printed.each_ref().map(|bytes| {
            let text = String::from_utf8_lossy(bytes)
                .replace(&folder.display().to_string(), "DIR")
                .replace(env!("CARGO_PKG_VERSION"), "VERSION")
                .replace("0.5.17", "VERSION")
                // One of Litestream's messages has a no-break space.
                .replace('\u{a0}', " ");
            let (logged, plain) = text
                .lines()
                .map(str::to_owned)
                .partition::<Vec<String>, _>(|line| is_log(line));
            log.extend(
                logged
                    .iter()
                    .filter(|line| !line.contains("DEBUG"))
                    .map(|line| message(line)),
            );
            plain
        });
        Outcome {
            code,
            stdout,
            stderr,
            log,
            files: names(folder),
            restored: OUTPUTS
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), fs::read(folder.join(name)).ok()?)))
                .collect(),
        }
    }

    /// Neither killed nor a panic.
    pub fn is_sane(&self) -> bool {
        self.code.is_some() && !self.stderr.iter().any(|line| line.contains("panicked"))
    }

    fn is_help(&self) -> bool {
        self.stdout
            .iter()
            .any(|line| line.to_lowercase().starts_with("usage:"))
    }

    fn json(&self) -> Option<Value> {
        let text = self.stdout.join("\n");
        let mut value = serde_json::from_str(&text).ok()?;
        // How long it took is no one's promise.
        if let Some(took) = Value::as_object_mut(&mut value).and_then(|o| o.get_mut("duration_ms"))
        {
            *took = Value::from(0);
        }
        Some(value)
    }

    /// Standard error without what ours may add.
    fn errors(&self) -> Vec<String> {
        let hint = |line: &&String| {
            line.starts_with("Try: ")
                || line.starts_with("did you mean ")
                || line.starts_with("Warning: ")
        };
        self.stderr
            .iter()
            .filter(|line| !hint(line))
            .map(|line| without_place(line))
            .collect()
    }

    fn hints(&self) -> BTreeSet<&String> {
        self.stderr
            .iter()
            .filter(|line| line.starts_with("Try: ") || line.starts_with("Warning: "))
            .collect()
    }
}

fn is_log(line: &str) -> bool {
    (line.starts_with("time=") && line.contains(" level=")) || line.starts_with("{\"time\":")
}

fn message(line: &str) -> String {
    let rest = line
        .split_once("msg=")
        .or_else(|| line.split_once("\"msg\":"));
    let rest = rest.map_or(line, |(_, rest)| rest);
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split(' ').next(),
    }
    .unwrap_or_default()
    .to_owned()
}

/// Errors of YAML count by themselves: the wording is the library's, and the line where the text ends is seen differently.
fn is_yaml(errors: &[String]) -> bool {
    errors
        .iter()
        .any(|line| line.contains("Error: yaml: ") || line.contains(": yaml: "))
}

/// Where in a configuration it is wrong is only in our message; Go writes the system's words small and without their number.
fn without_place(line: &str) -> String {
    if let Some((start, _)) = line.split_once(" (os error ") {
        let at = start.rfind(": ").map_or(0, |at| at + 2);
        return format!("{}{}", &start[..at], start[at..].to_lowercase());
    }
    let place = line
        .rfind(" (DIR/")
        .filter(|at| line.ends_with(')') && line[*at..].contains(".yml"));
    line[..place.unwrap_or(line.len())].to_owned()
}

/// Files of the folder itself; of local state, whether there is some.
fn names(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.ends_with("-litestream") {
            names.extend(
                folder
                    .join(&name)
                    .join("ltx")
                    .exists()
                    .then(|| format!("{name}/ltx")),
            );
        } else if !name.ends_with("-shm") && name != "app.db-wal" {
            names.insert(name);
        }
    }
    names
}

/// Flags that a help text explains; in the main help, the commands.
fn helped(lines: &[String]) -> BTreeSet<&str> {
    let is_main = lines.iter().any(|line| line == "The commands are:");
    let indented = lines.iter().filter(|line| line.starts_with([' ', '\t']));
    let words = indented.filter_map(|line| line.split_whitespace().next());
    words
        .filter(|word| is_main || word.starts_with('-'))
        .collect()
}

/// In words; none where they do the same.
pub fn differences(case: &Case, ours: &Outcome, theirs: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |differs: bool, what: &str| found.extend(differs.then(|| what.to_owned()));
    note(ours.code != theirs.code, "exit code");
    let same_stdout = if theirs.is_help() {
        ours.is_help() && helped(&theirs.stdout).is_subset(&helped(&ours.stdout))
    } else {
        match (ours.json(), theirs.json()) {
            (Some(our), Some(their)) => holds(&our, &their),
            _ => ours.stdout == theirs.stdout,
        }
    };
    note(!same_stdout, "standard output");
    let (our, their) = (ours.errors(), theirs.errors());
    let both_yaml = is_yaml(&our) && is_yaml(&their);
    note(our != their && !both_yaml, "standard error");
    note(!theirs.hints().is_subset(&ours.hints()), "hints");
    let is_daemon = case.args.iter().any(|arg| arg == "replicate");
    note(!is_daemon && !theirs.log.is_subset(&ours.log), "log");
    note(ours.files != theirs.files, "files");
    // A live database goes on being written, and what is followed has a change counter of its own.
    let is_restored = !is_daemon && !case.args.iter().any(|arg| arg == "-f");
    note(
        is_restored && ours.restored != theirs.restored,
        "restored bytes",
    );
    found
}

/// Every field of theirs is in ours with the same value; ours may have more.
fn holds(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => theirs
            .iter()
            .all(|(key, value)| ours.get(key).is_some_and(|our| holds(our, value))),
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|(our, their)| holds(our, their))
        }
        _ => ours == theirs,
    }
}
