//! The objects of Litestream 0.3 in a local folder, for reading.

use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::FileReplica;
use crate::env::Kind;
use crate::{Error, ErrorKind, Result, v3};

/// Folders within folders: 0.3 makes three. Bounds a circle of links.
const DEPTH_MAX: usize = 8;

impl FileReplica {
    pub(super) fn list_v3_blocking(&self) -> Result<Vec<v3::Object>> {
        let mut objects = Vec::new();
        self.walk(Path::new(v3::FOLDER), 0, &mut objects)?;
        objects.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(objects)
    }

    fn walk(&self, below: &Path, depth: usize, into: &mut Vec<v3::Object>) -> Result<()> {
        let disk = &self.inner.env.disk;
        let dir = self.inner.root.join(below);
        if depth > DEPTH_MAX {
            let text = "folders within folders without end: is there a circle of links?";
            let subject = dir.display().to_string();
            return Err(Error::new(ErrorKind::Invalid, "list", subject, text));
        }
        let entries = match disk.list(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("list", &dir, &e)),
        };
        for entry in entries {
            // Not text: nothing that 0.3 wrote.
            let Some(name) = entry.name.to_str() else {
                continue;
            };
            let (below, path) = (below.join(name), dir.join(name));
            match disk.metadata(&path) {
                Ok(m) if m.kind == Kind::Dir => self.walk(&below, depth + 1, into)?,
                Ok(m) if m.kind == Kind::File => into.push(v3::Object {
                    path: below.to_string_lossy().into_owned(),
                    size: m.len,
                    created: m.modified,
                }),
                Ok(_) => {}
                // Deleted since the folder was read, or a link that leads nowhere.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("list", &path, &e)),
            }
        }
        Ok(())
    }

    pub(super) fn read_v3_blocking(
        &self,
        path: &str,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Bytes> {
        let path = self.v3_path(path)?;
        self.read_path(&path, offset, len)
    }

    /// Nothing outside of the folder of 0.3 is read.
    fn v3_path(&self, path: &str) -> Result<PathBuf> {
        let below = Path::new(path);
        let inside = below.starts_with(v3::FOLDER)
            && below
                .components()
                .all(|c| matches!(c, Component::Normal(_)));
        if inside {
            return Ok(self.inner.root.join(below));
        }
        Err(Error::new(
            ErrorKind::Invalid,
            "read",
            path,
            "not a path of Litestream 0.3",
        ))
    }
}
