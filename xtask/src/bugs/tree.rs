//! The copy of the sources and its build.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::run::{command, output, root};

/// See the module.
pub(super) struct Tree {
    /// Where the sources lie.
    sources: PathBuf,
    /// Where they are built.
    target: PathBuf,
    /// The program without a patch.
    pub(super) plain: PathBuf,
}

impl Tree {
    /// Copies what differs from the last time, so that what is built stays fresh, and builds it.
    pub(super) fn prepare() -> Result<Tree> {
        let base = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root().join("target"), PathBuf::from)
            .join("bugs");
        let tree = Tree {
            sources: base.join("tree"),
            target: base.join("target"),
            plain: base.join("sim"),
        };
        std::fs::create_dir_all(&tree.sources)?;
        tree.copy()?;
        let program = tree.build()?;
        std::fs::copy(&program, &tree.plain).context("cannot keep the program without patches")?;
        Ok(tree)
    }

    fn copy(&self) -> Result<()> {
        let list = output(
            command("git ls-files -z --cached --others --exclude-standard").current_dir(root()),
        )?;
        let names: BTreeSet<PathBuf> = list
            .split('\0')
            .filter(|n| !n.is_empty())
            .map(PathBuf::from)
            .collect();
        for name in &names {
            // Deleted, but not yet for git.
            let Ok(content) = std::fs::read(root().join(name)) else {
                continue;
            };
            let to = self.sources.join(name);
            if std::fs::read(&to).is_ok_and(|old| old == content) {
                continue;
            }
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&to, content)
                .with_context(|| format!("cannot write {}", to.display()))?;
        }
        self.remove_others(&self.sources, &names)
    }

    fn remove_others(&self, dir: &Path, names: &BTreeSet<PathBuf>) -> Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.remove_others(&path, names)?;
            } else if !path
                .strip_prefix(&self.sources)
                .is_ok_and(|name| names.contains(name))
            {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Puts a patch in, or takes it out.
    pub(super) fn apply(&self, patch: &Path, reverse: bool) -> Result<()> {
        let mut git = command("git apply");
        if reverse {
            git.arg("--reverse");
        }
        // The copy lies below a repository of which it is no part.
        git.arg(patch).current_dir(&self.sources).env(
            "GIT_CEILING_DIRECTORIES",
            self.sources.parent().unwrap_or(&self.sources),
        );
        quiet(&mut git)
    }

    /// Builds the simulator as it is now.
    pub(super) fn build(&self) -> Result<PathBuf> {
        let mut cargo = command("cargo build --quiet --package litestream-sim --bin sim");
        cargo
            .current_dir(&self.sources)
            .env("CARGO_TARGET_DIR", &self.target);
        quiet(&mut cargo)?;
        Ok(self.target.join("debug/sim"))
    }
}

/// What it says is part of the error, and shown only then.
fn quiet(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> = text.lines().filter(|l| l.starts_with("error")).collect();
    bail!(
        "{}",
        if errors.is_empty() {
            text.trim().to_owned()
        } else {
            errors.join("; ")
        }
    )
}
