//! `litestream reset`: removes the local files of a database; neither the database nor its replicas are touched.

use std::io;
use std::path::{Path, PathBuf};

use litestream_replica::env::{Disk, Env, Kind};

use crate::args::Parsed;
use crate::config;
use crate::failure::{Failure, Result};
use crate::{out, place};

/// Removes `META/ltx` of a database, or says what would go.
pub fn run(parsed: &Parsed, env: &Env) -> Result {
    let database = match parsed.positionals.as_slice() {
        [] => return Err(missing()),
        [path] if path.is_empty() => return Err(missing()),
        [path] => {
            place::no_url(path, "litestream reset /path/to/db")?;
            place::expand(path)?
        }
        _ => return Err(Failure::new("too many arguments")),
    };
    match env.disk.metadata(&database) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::new(format!(
                "database does not exist: {}",
                database.display()
            )));
        }
        Err(e) => return Err(Failure::new(format!("cannot access database: {e}"))),
    }
    let meta = meta_folder(parsed, &database, env)?;
    let (shown, ltx) = (database.display(), meta.join("ltx"));
    if env
        .disk
        .symlink_metadata(&meta)
        .is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    {
        return out::print(&format!(
            "No local state to reset for {shown}\nMeta directory does not exist: {}\n",
            meta.display()
        ));
    }
    if parsed.bool("dry-run") {
        return dry_run(&database, &ltx, env);
    }
    let lock = meta.join("lock");
    let held = env.disk.lock(&lock, 0o600);
    let held =
        held.map_err(|e| Failure::new(format!("reset failed: lock {}: {e}", lock.display())))?;
    // As long as it is held, no daemon begins to work here.
    let _held = held.ok_or_else(|| {
        Failure::new(format!(
            "reset failed: a litestream process works on {shown}; stop it first (it holds {})",
            lock.display()
        ))
    })?;
    out::print(&format!(
        "Resetting local Litestream state for: {shown}\nRemoving: {}\n",
        ltx.display()
    ))?;
    remove(&*env.disk, &ltx)
        .map_err(|e| Failure::new(format!("reset failed: remove ltx directory: {e}")))?;
    out::print(
        "Reset complete. The next sync compares the database with its replica and uploads what differs;\n\
         where the replica holds nothing to compare with, that is a full snapshot.\n",
    )
}

fn missing() -> Failure {
    Failure::with_try("database path required", "litestream reset /path/to/db")
}

/// Where local state lies, by the configuration if there is one.
fn meta_folder(parsed: &Parsed, database: &Path, env: &Env) -> Result<PathBuf> {
    let beside = litestream::Settings::for_database(database).meta_path;
    let path = config::path(parsed)?;
    let named = parsed.names_file("config")
        || std::env::var_os("LITESTREAM_CONFIG").is_some_and(|path| !path.is_empty());
    if !named
        && env
            .disk
            .metadata(&path)
            .is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    {
        return Ok(beside);
    }
    let config = config::for_command(parsed, env)
        .map_err(|e| Failure::new(format!("cannot read config: {}", e.message)))?;
    match config.find(database) {
        Some(entry) => Ok(entry.for_file(database)?.meta_folder(database)),
        None => Ok(beside),
    }
}

fn dry_run(database: &Path, ltx: &Path, env: &Env) -> Result {
    let mut files = Vec::new();
    walk(&*env.disk, ltx, &mut files)
        .map_err(|e| Failure::new(format!("reset failed: list {}: {e}", ltx.display())))?;
    let mut text = format!(
        "Dry run: local Litestream state would be reset for: {}\nWould remove: {}\n",
        database.display(),
        ltx.display()
    );
    if files.is_empty() {
        text += "No local LTX files would be removed.\n";
    } else {
        text += "Files that would be removed:\n";
        text.extend(files.iter().map(|path| format!("  {}\n", path.display())));
        text += "No files were removed.\n";
    }
    out::print(&text)
}

/// All files below a folder, by name.
fn walk(disk: &dyn Disk, folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = match disk.list(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let path = folder.join(&entry.name);
        if entry.kind == Kind::Dir {
            walk(disk, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Removes a folder with all that is in it; links are removed, not followed.
fn remove(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    match disk.symlink_metadata(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(m) if m.kind != Kind::Dir => return disk.remove(folder),
        found => found?,
    };
    for entry in disk.list(folder)? {
        let path = folder.join(&entry.name);
        if entry.kind == Kind::Dir {
            remove(disk, &path)?;
        } else {
            disk.remove(&path)?;
        }
    }
    disk.remove_dir(folder)
}
