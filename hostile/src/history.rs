//! The application's log of its commits: which states the database ever had, on which branch.
//!
//! Owns the format of the log. Each commit is a node with a number of its own, the node it was made on and a hash of the
//! whole content. `I` (intended) is durable before the commit begins, `C` (committed) after it returned. A power cut may
//! take the source back to an earlier node, so the nodes form a tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// A state of the database.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub parent: u64,
    pub hash: u128,
    pub committed: bool,
}

/// All states so far; node 0 is the empty database.
#[derive(Debug, Default)]
pub struct History {
    nodes: BTreeMap<u64, Node>,
}

impl History {
    /// Reads the log; a line that is not complete is one that was being written.
    pub fn read(path: &Path) -> Result<History> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut history = History::default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            history
                .take(line)
                .with_context(|| format!("{}: {line:?}", path.display()))?;
        }
        Ok(history)
    }

    fn take(&mut self, line: &str) -> Result<()> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["I", node, parent, hash] => {
                let new = Node {
                    parent: parent.parse()?,
                    hash: u128::from_str_radix(hash, 16)?,
                    committed: false,
                };
                self.nodes.insert(node.parse()?, new);
            }
            ["C", node] => {
                let node = self.nodes.get_mut(&node.parse()?);
                node.context("committed before it was intended")?.committed = true;
            }
            _ => bail!("not a line of a history"),
        }
        Ok(())
    }

    pub fn hash(&self, node: u64) -> Option<u128> {
        self.nodes.get(&node).map(|n| n.hash)
    }

    /// The number of the newest node.
    pub fn newest(&self) -> u64 {
        self.nodes.last_key_value().map_or(0, |(n, _)| *n)
    }

    /// The newest node whose commit returned.
    pub fn newest_committed(&self) -> u64 {
        let mut committed = self.nodes.iter().rev().filter(|(_, n)| n.committed);
        committed.next().map_or(0, |(n, _)| *n)
    }

    /// Whether `node` holds everything that `earlier` held: it is the same, or was made on top of it.
    pub fn holds(&self, node: u64, earlier: u64) -> bool {
        let mut at = node;
        while at > earlier {
            at = self.nodes.get(&at).map_or(0, |n| n.parent);
        }
        at == earlier
    }
}

/// The writing half.
pub struct Log(File);

impl Log {
    pub fn open(path: &Path) -> Result<Log> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Log(file.with_context(|| path.display().to_string())?))
    }

    pub fn intend(&mut self, node: u64, parent: u64, hash: u128) -> Result<()> {
        self.line(&format!("I {node} {parent} {hash:032x}\n"))
    }

    pub fn committed(&mut self, node: u64) -> Result<()> {
        self.line(&format!("C {node}\n"))
    }

    fn line(&mut self, line: &str) -> Result<()> {
        self.0.write_all(line.as_bytes())?;
        Ok(self.0.sync_data()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewound_source_makes_a_branch() {
        let mut history = History::default();
        for line in [
            "I 1 0 a", "C 1", "I 2 1 b", "C 2", "I 3 1 c", "C 3", "I 4 3 d",
        ] {
            history.take(line).unwrap();
        }
        assert!(history.holds(4, 3) && history.holds(4, 1) && history.holds(4, 4));
        assert!(!history.holds(4, 2) && !history.holds(1, 2));
        assert_eq!((history.newest(), history.newest_committed()), (4, 3));
    }
}
