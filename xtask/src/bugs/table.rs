//! The table of planted bugs, on the screen and in `sim/bugs/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Row;

/// The table begins after this line.
const HEAD: &str = "| bug | what it is | found by | seconds | episodes | seed | commit |";
const RULE: &str = "| --- | --- | --- | ---: | ---: | ---: | --- |";

/// For the screen.
pub(super) fn line(row: &Row) -> String {
    match &row.result {
        Ok(found) => format!(
            "{:<34} {:>7.1} s {:>7} episodes  seed {:<7} {}",
            row.name,
            found.seconds,
            found.episodes,
            found.seed.map_or("-".to_owned(), |s| s.to_string()),
            found.by
        ),
        Err(why) => format!("{:<34} NOT FOUND: {why}", row.name),
    }
}

/// The bugs that were found within so many seconds the last time, and not by an old engine.
pub(super) fn found_within(dir: &Path, seconds: f64) -> Result<BTreeSet<String>> {
    let path = dir.join("README.md");
    let text = std::fs::read_to_string(&path)?;
    let rows = text.lines().filter(|line| !line.contains("| old "));
    let rows = rows.map(|line| line.split(" | "));
    let quick = rows.filter_map(|mut cells| {
        let name = cells.next()?.strip_prefix("| ")?;
        let took: f64 = cells.nth(2)?.parse().ok()?;
        (took <= seconds).then(|| name.to_owned())
    });
    Ok(quick.collect())
}

/// Replaces the row of a bug that was looked for; those of bugs that are no more go.
pub(super) fn write(dir: &Path, row: &Row, commit: &str) -> Result<()> {
    let path = dir.join("README.md");
    let text = std::fs::read_to_string(&path)?;
    let (before, after) = text
        .split_once(HEAD)
        .with_context(|| format!("no table in {}", path.display()))?;
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for line in after.lines().filter(|l| l.starts_with("| ") && *l != RULE) {
        let name = line.split('|').nth(1).unwrap_or_default().trim().to_owned();
        if dir.join(format!("{name}.patch")).exists() {
            lines.insert(name, line.to_owned());
        }
    }
    lines.insert(row.name.clone(), cells(row, commit));
    let lines: Vec<String> = lines.into_values().collect();
    std::fs::write(
        &path,
        format!("{before}{HEAD}\n{RULE}\n{}\n", lines.join("\n")),
    )?;
    Ok(())
}

fn cells(row: &Row, commit: &str) -> String {
    let clean = |text: &str| text.replace('|', "/");
    let (by, seconds, episodes, seed) = match &row.result {
        Ok(found) => (
            short(&found.by),
            format!("{:.1}", found.seconds),
            if found.episodes > 0 {
                found.episodes.to_string()
            } else {
                "–".to_owned()
            },
            found.seed.map_or("–".to_owned(), |s| s.to_string()),
        ),
        Err(why) => (
            format!("**not found**: {why}"),
            "–".into(),
            "–".into(),
            "–".into(),
        ),
    };
    format!(
        "| {} | {} | {} | {seconds} | {episodes} | {seed} | {commit} |",
        row.name,
        clean(&row.what),
        clean(&by)
    )
}

/// What an oracle says, without the numbers of this one episode.
fn short(by: &str) -> String {
    let words: String = by.chars().take(90).collect();
    if words.len() < by.len() {
        format!("{}…", words.trim_end())
    } else {
        words
    }
}
