//! Folders on the server: what is in them, and making them.

use std::sync::Arc;

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, StatusCode};

use super::session::Session;
use crate::env::UnixMillis;
use crate::{Error, ErrorKind, Result, key, v3};

/// Folders within folders: 0.3 makes three. Bounds a circle of links.
const DEPTH_MAX: usize = 8;

/// A thing in a folder.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) is_folder: bool,
    pub(super) is_file: bool,
    pub(super) size: u64,
    /// Whole seconds.
    pub(super) modified: UnixMillis,
}

/// Everything in a folder; a folder that is not there is empty.
pub(super) async fn list(session: &Arc<Session>, folder: &str) -> Result<Vec<Entry>> {
    let raw = session.raw();
    let opened = session.ask("list", folder, raw.opendir(folder)).await;
    let open = match opened {
        Ok(opened) => OpenFolder {
            session,
            handle: Some(opened.handle),
        },
        Err(e) if e.is_not_found() => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    loop {
        let handle = open.handle.clone().unwrap_or_default();
        let reading = async {
            match raw.readdir(handle).await {
                Ok(names) => Ok(Some(names.files)),
                Err(SftpError::Status(s)) if s.status_code == StatusCode::Eof => Ok(None),
                Err(e) => Err(e),
            }
        };
        let Some(files) = session.ask("list", folder, reading).await? else {
            break;
        };
        for file in files {
            if !matches!(file.filename.as_str(), "." | "..") {
                found.push((file.filename, file.attrs));
            }
        }
    }
    drop(open);
    let mut entries = Vec::with_capacity(found.len());
    for (name, attrs) in found {
        entries.extend(entry(session, folder, name, attrs).await?);
    }
    Ok(entries)
}

/// `None` for what is gone meanwhile. Links are followed, and what a server leaves out of its listing is asked for.
async fn entry(
    session: &Arc<Session>,
    folder: &str,
    name: String,
    listed: FileAttributes,
) -> Result<Option<Entry>> {
    let whole = listed.size.is_some() && listed.mtime.is_some() && listed.permissions.is_some();
    let attrs = if whole && !listed.is_symlink() {
        listed
    } else {
        let path = format!("{folder}/{name}");
        let asked = session
            .ask("list", &path, session.raw().stat(path.as_str()))
            .await;
        match asked {
            Ok(found) => found.attrs,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e),
        }
    };
    let has_type = attrs.permissions.is_some();
    Ok(Some(Entry {
        name,
        is_folder: has_type && attrs.is_dir(),
        is_file: !has_type || attrs.is_regular(),
        size: attrs.size.unwrap_or_default(),
        modified: UnixMillis(i64::from(attrs.mtime.unwrap_or_default()) * 1000),
    }))
}

struct OpenFolder<'a> {
    session: &'a Arc<Session>,
    handle: Option<String>,
}

impl Drop for OpenFolder<'_> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.session.tell(self.session.raw().close(handle));
        }
    }
}

/// Makes a folder and those above it, as far as they are missing.
pub(super) async fn make(session: &Arc<Session>, folder: &str) -> Result<()> {
    let mut missing = Vec::new();
    let mut at = folder;
    while !is_folder(session, at).await? {
        missing.push(at);
        match at.rsplit_once('/') {
            Some((above, _)) if !above.is_empty() => at = above,
            // Below the root, or below where one comes to after login: those are there.
            _ => break,
        }
    }
    for folder in missing.into_iter().rev() {
        let making = session.raw().mkdir(folder, FileAttributes::empty());
        if let Err(error) = session.ask("create folder", folder, making).await
            // Another writer may have been faster.
            && !is_folder(session, folder).await?
        {
            return Err(error);
        }
    }
    Ok(())
}

async fn is_folder(session: &Arc<Session>, path: &str) -> Result<bool> {
    match session
        .ask("create folder", path, session.raw().stat(path))
        .await
    {
        Ok(found) if found.attrs.permissions.is_none_or(|_| found.attrs.is_dir()) => Ok(true),
        Ok(_) => Err(Error::new(
            ErrorKind::Invalid,
            "create folder",
            path,
            "it exists and is not a folder",
        )),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Every file below the folder of Litestream 0.3, by path.
pub(super) async fn list_v3(session: &Arc<Session>, prefix: &str) -> Result<Vec<v3::Object>> {
    let mut objects = Vec::new();
    let mut open = vec![(v3::FOLDER.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let folder = key::below(prefix, &path);
        if depth > DEPTH_MAX {
            let text = "folders within folders without end: is there a circle of links?";
            return Err(Error::new(ErrorKind::Invalid, "list", folder, text));
        }
        for entry in list(session, &folder).await? {
            let path = format!("{path}/{}", entry.name);
            if entry.is_folder {
                open.push((path, depth + 1));
            } else if entry.is_file {
                objects.push(v3::Object {
                    path,
                    size: entry.size,
                    created: entry.modified,
                });
            }
        }
    }
    objects.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(objects)
}
