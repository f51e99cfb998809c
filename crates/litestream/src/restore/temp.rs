//! The file that a restore writes before anything else changes.
//!
//! It lies beside the output as `.<name>.restore-<16 hex>.tmp`. Promise: it is gone when the restore ends in any way
//! but a kill, and what a killed one left is removed by the next restore to the same output. A restore to an output
//! that another is still being written to thus ends the other: that one fails when it wants to put its file in place,
//! and nothing is mixed. (Refusing the second instead would need a lock, and let a restore that was killed on another
//! machine of a shared folder forbid all that follow.)

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use litestream_replica::env::{Disk, Env, File};

use super::aside;
use super::error::RestoreError;
use super::target::Destination;

/// Names longer than this are cut, so that the temporary name stays below the usual limit of 255 bytes.
const NAME_MAX: usize = 200;

/// The temporary file. Removed when dropped.
pub(super) struct Temp {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Arc<dyn File>,
    keep: bool,
}

impl Temp {
    /// Creates the file beside the output and removes what earlier restores left there.
    pub(super) fn create(env: &Env, destination: &Destination) -> Result<Temp, RestoreError> {
        remove_leftovers(&*env.disk, &destination.path);
        Temp::create_another(env, destination)
    }

    /// Creates one more for the same restore.
    pub(super) fn create_another(
        env: &Env,
        destination: &Destination,
    ) -> Result<Temp, RestoreError> {
        Temp::beside(env, &destination.path, destination.mode())
    }

    fn beside(env: &Env, output: &Path, mode: u32) -> Result<Temp, RestoreError> {
        let name = format!("{}{:016x}.tmp", prefix(output), env.entropy.next_u64());
        let path = aside::dir(output).join(name);
        let file = env
            .disk
            .create_new(&path, mode)
            .map_err(RestoreError::output("create", &path))?;
        Ok(Temp {
            disk: Arc::clone(&env.disk),
            path,
            file: Arc::from(file),
            keep: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// Gives the file its final name.
    pub(super) fn rename(mut self, to: &Path) -> Result<(), RestoreError> {
        match self.disk.rename(&self.path, to) {
            Ok(()) => {
                self.keep = true;
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(RestoreError::TemporaryGone(self.path.clone()))
            }
            Err(source) => Err(RestoreError::Output {
                action: "rename the restored file to",
                path: to.to_owned(),
                source,
            }),
        }
    }
}

/// A file for what is on its way to the database at the output. Removed when dropped.
pub(crate) struct Scratch(Temp);

impl Scratch {
    /// Creates the file beside the database.
    pub(crate) fn create(env: &Env, output: &Path) -> Result<Scratch, RestoreError> {
        Temp::beside(env, output, 0o600).map(Scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self) -> Arc<dyn File> {
        self.0.file()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "cannot remove temporary file");
            }
            _ => {}
        }
    }
}

/// What the names of all temporary files for this output begin with, and those for no other.
fn prefix(output: &Path) -> String {
    let full = output.file_name().unwrap_or_default();
    let name = full.to_string_lossy();
    let cut = name
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= NAME_MAX)
        .last();
    let short = &name[..cut.unwrap_or(0)];
    if full.to_str() == Some(short) {
        return format!(".{short}.restore-");
    }
    let hash = ltx::crc64(full.as_encoded_bytes());
    format!(".{short}-{hash:016x}.restore-")
}

fn is_temp_name(name: &str, prefix: &str) -> bool {
    let hex = name
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(".tmp"));
    hex.is_some_and(|hex| hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Removes the temporary files of earlier restores to this output.
pub(crate) fn remove_leftovers(disk: &dyn Disk, output: &Path) {
    let (dir, prefix) = (aside::dir(output), prefix(output));
    // Best effort: a folder that can't be listed can still be written to.
    let Ok(entries) = disk.list(dir) else { return };
    for entry in entries {
        let path = dir.join(&entry.name);
        if !entry
            .name
            .to_str()
            .is_some_and(|name| is_temp_name(name, &prefix))
        {
            continue;
        }
        match disk.remove(&path) {
            Ok(()) => {
                tracing::info!(path = %path.display(), "removed the temporary file of an earlier restore");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove the temporary file of an earlier restore");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn only_our_own_temporary_names() {
        let prefix = prefix(Path::new("/data/app.db"));
        assert!(is_temp_name(
            ".app.db.restore-0123456789abcdef.tmp",
            &prefix
        ));
        assert!(!is_temp_name(
            ".app.db.restore-0123456789abcde.tmp",
            &prefix
        ));
        assert!(!is_temp_name(
            ".app.db2.restore-0123456789abcdef.tmp",
            &prefix
        ));
        assert!(!is_temp_name(
            "app.db.restore-0123456789abcdef.tmp",
            &prefix
        ));
        assert!(!is_temp_name(
            ".app.db.restore-0123456789abcdeg.tmp",
            &prefix
        ));
    }

    #[test]
    fn long_names_are_cut_between_characters_and_told_apart() {
        let long = prefix(Path::new(&"ü".repeat(120)));
        assert!(long.starts_with(&format!(".{}-", "ü".repeat(100))));
        assert!(long.ends_with(".restore-"));
        assert!(long.len() + 16 + ".tmp".len() <= 255);
        assert_ne!(long, prefix(Path::new(&"ü".repeat(121))));
        let whole = "ü".repeat(100);
        assert_eq!(prefix(Path::new(&whole)), format!(".{whole}.restore-"));
    }

    #[test]
    fn names_that_are_no_text_are_told_apart() {
        let prefix = |name: &[u8]| prefix(Path::new(OsStr::from_bytes(name)));
        assert_ne!(prefix(b"app\xff.db"), prefix(b"app\xfe.db"));
        assert_eq!(prefix(b"app\xff.db"), prefix(b"app\xff.db"));
    }
}
