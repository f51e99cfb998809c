//! `dir` entries: which databases they find, and what each of these becomes.

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use litestream_replica::env::{Env, Kind};

use super::pattern::matches;
use super::types::{Config, Entry, Meta, Source};
use crate::failure::{Failure, Result};

/// The databases that an entry finds, in the order of their paths; for `path` that one, whether it exists or not. Nothing found is
/// an error unless more may come.
pub fn scan(entry: &Entry, env: &Env) -> Result<Vec<PathBuf>> {
    let found = look(entry, env)?;
    if let Source::Dir {
        dir,
        pattern,
        watch: false,
        ..
    } = &entry.source
        && found.is_empty()
    {
        return Err(Failure::new(format!(
            "no SQLite databases found in directory {} with pattern {pattern}",
            dir.display()
        )));
    }
    Ok(found)
}

/// The same, and nothing found is nothing.
pub fn look(entry: &Entry, env: &Env) -> Result<Vec<PathBuf>> {
    match &entry.source {
        Source::Path(path) => Ok(vec![path.clone()]),
        Source::Dir { .. } => {
            let found = survey(entry, &|_| false, env)?;
            match found.unreadable.into_iter().next() {
                Some((_, failure)) => Err(failure),
                None => Ok(found.databases),
            }
        }
    }
}

/// What an entry's folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its databases, in the order of their paths.
    pub databases: Vec<PathBuf>,
    /// The folder, and those below it that are looked at, too.
    pub folders: Vec<PathBuf>,
    /// Some file has the name of a database and is none yet.
    pub has_candidates: bool,
    /// Folders below it that could not be looked at, and why.
    pub unreadable: Vec<(PathBuf, Failure)>,
}

/// Looks at an entry's folder. Files that are `known` to be databases are not read.
pub fn survey(entry: &Entry, known: &dyn Fn(&Path) -> bool, env: &Env) -> Result<Survey> {
    let mut found = Survey::default();
    let Source::Dir {
        dir,
        pattern,
        recursive,
        ..
    } = &entry.source
    else {
        return Ok(found);
    };
    let mut folders = vec![dir.clone()];
    while let Some(folder) = folders.pop() {
        let entries = match env.disk.list(&folder) {
            Ok(entries) => entries,
            // It went while its parent was looked at.
            Err(e) if e.kind() == io::ErrorKind::NotFound && folder != *dir => continue,
            Err(e) if folder != *dir => {
                found
                    .unreadable
                    .push((folder.clone(), cannot_list(dir, &folder, &e)));
                continue;
            }
            Err(e) => return Err(cannot_list(dir, &folder, &e)),
        };
        for child in entries {
            let path = folder.join(&child.name);
            match child.kind {
                Kind::Dir
                    if *recursive
                        && !is_state(&child.name.to_string_lossy(), &path, &entry.meta) =>
                {
                    folders.push(path);
                }
                Kind::File | Kind::Symlink
                    if child
                        .name
                        .to_str()
                        .is_some_and(|name| !is_beside(name) && matches(pattern, name)) =>
                {
                    if known(&path) || is_database(&path, env) {
                        found.databases.push(path);
                    } else {
                        found.has_candidates = true;
                    }
                }
                _ => {}
            }
        }
        found.folders.push(folder);
    }
    found.databases.sort();
    Ok(found)
}

fn cannot_list(dir: &Path, folder: &Path, e: &io::Error) -> Failure {
    let reason = match e.kind() {
        io::ErrorKind::NotFound => {
            format!("lstat {}: no such file or directory", folder.display())
        }
        _ => format!("open {}: {e}", folder.display()),
    };
    Failure::new(format!(
        "failed to scan directory {}: {reason}",
        dir.display()
    ))
}

/// Folders of Litestream's own: what lies there is no database of the user's.
fn is_state(name: &str, path: &Path, meta: &Meta) -> bool {
    let below = matches!(meta, Meta::Dir(dir) if dir == path);
    below || (name.starts_with('.') && name.ends_with("-litestream"))
}

/// Through SQLite: it may be open in this process.
fn is_database(path: &Path, env: &Env) -> bool {
    let kind = env.disk.metadata(path).map(|m| m.kind);
    kind.ok() == Some(Kind::File) && litestream::sqlite::is_database(path)
}

/// SQLite's own files beside a database are none, whatever the pattern says. They must not even be opened: closing one drops the locks that
/// this process has on it.
fn is_beside(name: &str) -> bool {
    ["-wal", "-shm", "-journal"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

/// The path below an entry's folder of a database that it finds if the file is there and is one.
pub fn relative(entry: &Entry, path: &Path) -> Option<String> {
    let Source::Dir {
        dir,
        pattern,
        recursive,
        ..
    } = &entry.source
    else {
        return None;
    };
    let below = path.strip_prefix(dir).ok()?;
    let names: Vec<&str> = below
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let (name, folders) = names.split_last()?;
    let mut at = dir.clone();
    let through_state = folders.iter().any(|folder| {
        at.push(folder);
        is_state(folder, &at, &entry.meta)
    });
    let found = !is_beside(name)
        && matches(pattern, name)
        && (*recursive || folders.is_empty())
        && !through_state;
    found.then(|| names.join("/"))
}

impl Entry {
    /// The entry of one database that a `dir` entry finds: replicas and local state below those of the entry.
    pub fn for_file(&self, path: &Path) -> Result<Entry> {
        let Some(rel) = relative(self, path) else {
            return match &self.source {
                Source::Path(own) if own == path => Ok(self.clone()),
                _ => Err(Failure::new(format!(
                    "failed to create DB for {}: it is not one that this entry finds",
                    path.display()
                ))),
            };
        };
        let mut entry = self.clone();
        entry.source = Source::Path(path.to_owned());
        entry.meta = match &self.meta {
            Meta::Beside => Meta::Beside,
            Meta::Path(base) => {
                let folder = Path::new(&rel).parent().unwrap_or(Path::new(""));
                Meta::Path(base.join(folder).join(state_name(path)))
            }
            Meta::Dir(base) => Meta::Path(base.join(format!("{rel}-litestream"))),
        };
        entry.restore_if_db_not_exists = false;
        for replica in &mut entry.replicas {
            replica.storage = replica.storage.below(&rel);
        }
        Ok(entry)
    }

    /// The state folder of its database at `path`.
    pub fn meta_folder(&self, path: &Path) -> PathBuf {
        match &self.meta {
            Meta::Path(folder) if matches!(self.source, Source::Path(_)) => folder.clone(),
            _ => path.with_file_name(state_name(path)),
        }
    }
}

fn state_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}-litestream")
}

impl Config {
    /// The entry that a database belongs to; also one of a `dir` entry, whether it is there or not.
    pub fn find(&self, database: &Path) -> Option<&Entry> {
        let direct =
            |entry: &&Entry| matches!(&entry.source, Source::Path(path) if path == database);
        let in_folder = |entry: &&Entry| relative(entry, database).is_some();
        let entries = || self.databases.iter();
        entries().find(direct).or_else(|| entries().find(in_folder))
    }

    /// All databases, each with an entry of its own and its path: folders are scanned. Two that would share a replica or a state
    /// folder are an error, and so is one that is found twice.
    pub fn expanded(
        &self,
        env: &Env,
        found: impl Fn(&Entry, &Env) -> Result<Vec<PathBuf>>,
    ) -> Result<Vec<(PathBuf, Entry)>> {
        let mut all: Vec<(PathBuf, Entry)> = Vec::new();
        let (mut paths, mut places, mut states) = (HashMap::new(), HashMap::new(), HashMap::new());
        for entry in &self.databases {
            for path in found(entry, env)? {
                let own = entry.for_file(&path)?;
                let number = all.len();
                let shown = path.display();
                let other = |i: &usize| all[*i].0.display().to_string();
                if let Some(i) = paths.insert(path.clone(), number) {
                    let text = format!(
                        "database {} is found by more than one entry of 'dbs'",
                        other(&i)
                    );
                    return Err(Failure::new(text));
                }
                let meta = own.meta_folder(&path);
                if let Some(i) = states.insert(meta.clone(), number) {
                    return Err(Failure::new(format!(
                        "meta-path collision: databases {} and {shown} would share meta-path {}, causing replication state corruption",
                        other(&i),
                        meta.display()
                    )));
                }
                for replica in &own.replicas {
                    if let Some(i) = places.insert(replica.storage.identity(), number) {
                        return Err(Failure::new(format!(
                            "databases {} and {shown} would share the replica at {}; give each a path of its own",
                            other(&i),
                            replica.storage.location()
                        )));
                    }
                }
                all.push((path, own));
            }
        }
        Ok(all)
    }
}
