//! `cargo xtask floors`: the walls between the crates, checked.
//!
//! A crate depends only on crates of lower floors, only the rooms made for it touch the outside world, and no crate
//! that we banned gets in by the back door.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::run::{command, output, root};

/// Which crates of the workspace each crate may depend on.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ltx", &[]),
    ("litestream-replica", &["ltx"]),
    ("litestream", &["litestream-replica", "ltx"]),
    (
        "litestream-cli",
        &["litestream", "litestream-replica", "ltx"],
    ),
    ("xtask", &[]),
];

/// Crates that the tests of every crate may use.
const TESTS_MAY_USE: &[&str] = &["litestream-servers"];

/// Crates with SQLite inside. The test tool of litestream-cli is an application that uses SQLite.
const MAY_USE_SQLITE: &[&str] = &["litestream", "litestream-cli"];

/// A second TLS stack.
const BANNED: &[&str] = &[
    "openssl",
    "openssl-sys",
    "native-tls",
    "aws-lc-rs",
    "aws-lc-sys",
];

/// Text that only the named places may hold.
const RESERVED: &[(&str, &[&str])] = &[
    ("std::fs", OUTSIDE_WORLD),
    ("thread::spawn", OUTSIDE_WORLD),
    ("thread::sleep", OUTSIDE_WORLD),
    ("thread::scope", OUTSIDE_WORLD),
    ("thread::Builder", OUTSIDE_WORLD),
    ("Instant::now", OUTSIDE_WORLD),
    ("SystemTime::now", OUTSIDE_WORLD),
    ("unsafe {", UNSAFE),
    ("unsafe fn", UNSAFE),
    ("unsafe impl", UNSAFE),
    ("unsafe extern", UNSAFE),
];

const OUTSIDE_WORLD: &[&str] = &[
    "crates/litestream-replica/src/env/real.rs",
    "crates/litestream-replica/src/env/real/",
];

const UNSAFE: &[&str] = &["crates/litestream/src/sqlite/"];

/// Prints every breach and fails if there is one.
pub fn run() -> Result<()> {
    let mut breaches = dependencies()?;
    breaches.extend(banned()?);
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files)?;
    for file in files {
        breaches.extend(reserved(&file)?);
    }
    if breaches.is_empty() {
        return Ok(());
    }
    bail!("{}", breaches.join("\n"))
}

fn dependencies() -> Result<Vec<String>> {
    let text = output(&mut command("cargo metadata --format-version 1 --no-deps"))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata without packages")?;
    let uses: BTreeMap<&str, Vec<&str>> = packages
        .iter()
        .filter_map(|p| Some((p["name"].as_str()?, p["dependencies"].as_array()?)))
        .map(|(name, deps)| {
            (
                name,
                deps.iter()
                    .filter(|d| !is_of_tests(d))
                    .filter_map(|d| d["name"].as_str())
                    .collect(),
            )
        })
        .collect();
    let mut breaches = Vec::new();
    for (name, dependencies) in &uses {
        let allowed = MAY_USE
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            // Crates that are never published may see everything, as nothing may see them.
            continue;
        };
        for dependency in dependencies {
            if uses.contains_key(dependency) && !allowed.contains(dependency) {
                breaches.push(format!("{name} must not depend on {dependency}"));
            }
            if *dependency == "rusqlite" && !MAY_USE_SQLITE.contains(name) {
                breaches.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    Ok(breaches)
}

/// Whether a dependency is one that tests may have.
fn is_of_tests(dependency: &Value) -> bool {
    let name = dependency["name"].as_str().unwrap_or_default();
    dependency["kind"] == "dev" && TESTS_MAY_USE.contains(&name)
}

fn banned() -> Result<Vec<String>> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock")?;
    let mut breaches = Vec::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(value) = line.strip_prefix("name = ") {
            name = value.trim_matches('"');
            if BANNED.contains(&name) {
                breaches.push(format!("Cargo.lock: {name} is banned (see deny.toml)"));
            }
        }
        if let Some(version) = line.strip_prefix("version = ")
            && name == "lz4_flex"
            && is_before(version.trim_matches('"'), (0, 12, 1))
        {
            breaches.push(format!(
                "Cargo.lock: lz4_flex {version} may leak uninitialised memory, 0.12.1 does not"
            ));
        }
    }
    Ok(breaches)
}

fn is_before(version: &str, limit: (u32, u32, u32)) -> bool {
    let mut parts = version
        .split(['.', '-', '+'])
        .map(|p| p.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next()) < limit
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Looks at the code of one file. Tests, benches, examples and build scripts may do what they like.
fn reserved(path: &Path) -> Result<Vec<String>> {
    let name = path
        .strip_prefix(root())
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned();
    let free = [
        "/tests/",
        "/benches/",
        "/examples/",
        "/tests.rs",
        "/build.rs",
        // Compiled for tests only.
        "/net/scripted.rs",
    ];
    if free.iter().any(|part| name.contains(part)) {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
    let mut breaches = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // By convention the tests are the last thing in a file.
        if line.trim() == "#[cfg(test)]"
            && text
                .lines()
                .nth(number + 1)
                .is_some_and(|l| l.starts_with("mod tests {"))
        {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        for (word, places) in RESERVED {
            if code.contains(word) && !places.iter().any(|place| name.starts_with(place)) {
                breaches.push(format!(
                    "{name}:{}: {word} belongs in {}",
                    number + 1,
                    places.join(" or ")
                ));
            }
        }
    }
    Ok(breaches)
}
