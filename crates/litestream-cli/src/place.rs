//! Databases and replicas as they are named on the command line.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use litestream_replica::env::{Env, Kind};
use litestream_replica::settings::shown_url;
use litestream_replica::url;

use crate::failure::{Failure, Result};

/// Whether a positional names a replica and not a database. What looks like a URL with an unknown scheme counts, so
/// that it is refused and not taken for a path.
pub fn is_replica(arg: &OsStr) -> bool {
    let text = arg.to_string_lossy();
    let database = text.starts_with("sqlite://") || text.starts_with("sqlite3://");
    !database && (url::is_url(&text) || looks_like_url(&text))
}

/// `s3-x://…`: letters that a scheme may have, but none that Litestream knows has.
fn looks_like_url(text: &str) -> bool {
    let scheme_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
    let mut parts = text.splitn(2, "://");
    let scheme = parts.next().unwrap_or_default();
    parts.next().is_some()
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(scheme_letter)
}

/// Refuses a URL where a database is meant. It may hold a password, and is shown without.
pub fn no_url(arg: &OsStr, example: &str) -> Result {
    if !is_replica(arg) {
        return Ok(());
    }
    let shown = shown_url(&arg.to_string_lossy());
    Err(Failure::with_try(
        format!("database path expected but this is a URL: {shown}"),
        example,
    ))
}

/// A URL must be text.
pub fn utf8(arg: &OsStr) -> Result<&str> {
    arg.to_str()
        .ok_or_else(|| Failure::new(format!("replica url is not valid UTF-8: {}", arg.display())))
}

/// Makes a database path absolute: `sqlite://` is stripped, a leading `~/` is the home directory, `..` is resolved by
/// name only.
pub fn expand(arg: &OsStr) -> Result<PathBuf> {
    let stripped = arg.to_str().and_then(|t| {
        t.strip_prefix("sqlite3://")
            .or_else(|| t.strip_prefix("sqlite://"))
    });
    let path = Path::new(stripped.map_or(arg, OsStr::new));
    let absolute = match path.strip_prefix("~") {
        Ok(rest) => home(path)?.join(rest),
        Err(_) => std::path::absolute(path)
            .map_err(|e| Failure::new(format!("cannot expand path {}: {e}", path.display())))?,
    };
    Ok(clean(&absolute))
}

fn home(path: &Path) -> Result<PathBuf> {
    let home = std::env::var_os("HOME")
        .filter(|h| !h.is_empty())
        .map(PathBuf::from);
    home.ok_or_else(|| {
        Failure::new(format!(
            "cannot expand path {}, no home directory available",
            path.display()
        ))
    })
}

fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// The absolute path of the database that a positional names. It need not exist, but what does must be a file.
pub fn database(arg: &OsStr, env: &Env) -> Result<PathBuf> {
    if arg.is_empty() {
        return Err(Failure::with_try(
            "database path required",
            "litestream replicate /path/to/db file:///path/to/backup",
        ));
    }
    no_url(
        arg,
        "litestream replicate /path/to/db file:///path/to/backup",
    )?;
    let path = expand(arg)?;
    match env.disk.metadata(&path).map(|m| m.kind) {
        Ok(Kind::Dir) => Err(Failure::new(format!(
            "database path is a directory: {}",
            path.display()
        ))),
        Ok(Kind::Socket | Kind::Other) => Err(Failure::new(format!(
            "database path is not a regular file but a FIFO, socket or device: {}",
            path.display()
        ))),
        // Whatever keeps us from looking may pass; replication tries again.
        Ok(Kind::File | Kind::Symlink) | Err(_) => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths() {
        for url in [
            "file:///x",
            "s3://b/p",
            "FOO://x",
            "s3-x://b/p",
            "a.b+c://x",
        ] {
            assert!(is_replica(OsStr::new(url)), "{url}");
        }
        for path in [
            "/x",
            "x",
            "",
            "s3:b/p",
            "file:/x",
            "sqlite:///x.db",
            "sqlite3://x.db",
            "./a://b",
            "://x",
        ] {
            assert!(!is_replica(OsStr::new(path)), "{path}");
        }
    }

    #[test]
    fn paths_are_expanded() {
        let here = std::env::current_dir().unwrap();
        let expand = |text: &str| super::expand(OsStr::new(text)).unwrap();
        assert_eq!(expand("/a/../b/./c//d/"), Path::new("/b/c/d"));
        assert_eq!(expand("/../x"), Path::new("/x"));
        assert_eq!(expand("x.db"), here.join("x.db"));
        assert_eq!(expand("sqlite:///x.db"), Path::new("/x.db"));
        assert_eq!(expand("sqlite3://x.db"), here.join("x.db"));
        assert_eq!(expand("~name/x"), here.join("~name/x"));
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        assert_eq!(expand("~/x.db"), home.join("x.db"));
        assert_eq!(expand("~"), home);
    }
}
