//! SQLite's own judgement of a restored file, before it is put in place.

use std::fmt::Write;
use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, InterruptHandle, OpenFlags};

use super::error::RestoreError;

/// How thoroughly SQLite checks the restored database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IntegrityCheck {
    /// Not at all.
    #[default]
    None,
    /// `PRAGMA quick_check`.
    Quick,
    /// `PRAGMA integrity_check`.
    Full,
}

/// Lets a check that runs on another thread be given up.
#[derive(Default)]
pub(super) struct Interrupt(Mutex<State>);

#[derive(Default)]
struct State {
    stopped: bool,
    handle: Option<InterruptHandle>,
}

impl Interrupt {
    /// Ends the check, also one that has not begun.
    pub(super) fn stop(&self) {
        let mut state = self.0.lock();
        state.stopped = true;
        if let Some(handle) = &state.handle {
            handle.interrupt();
        }
    }
}

/// Checks the database at `path`, to which nobody writes. Makes no files beside it.
pub(super) fn check(
    path: &Path,
    mode: IntegrityCheck,
    vfs: Option<&str>,
    interrupt: &Interrupt,
) -> Result<(), RestoreError> {
    let pragma = match mode {
        IntegrityCheck::None => return Ok(()),
        IntegrityCheck::Quick => "quick_check",
        IntegrityCheck::Full => "integrity_check",
    };
    let verdict = run(path, pragma, vfs, interrupt);
    let stopped = interrupt.0.lock().stopped;
    match verdict {
        _ if stopped => Err(RestoreError::Cancelled),
        Ok(row) if row == "ok" => Ok(()),
        Ok(row) => Err(RestoreError::Integrity(row)),
        Err(error) => Err(RestoreError::Integrity(error.to_string())),
    }
}

/// The first row of the pragma's result.
fn run(
    path: &Path,
    pragma: &str,
    vfs: Option<&str>,
    interrupt: &Interrupt,
) -> rusqlite::Result<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let uri = immutable_uri(path);
    let conn = match vfs {
        None => Connection::open_with_flags(uri, flags)?,
        Some(vfs) => Connection::open_with_flags_and_vfs(uri, flags, vfs)?,
    };
    {
        let mut state = interrupt.0.lock();
        if state.stopped {
            return Ok(String::new());
        }
        state.handle = Some(conn.get_interrupt_handle());
    }
    // One row is enough to refuse it.
    let row = conn.query_row(&format!("PRAGMA {pragma}(1)"), [], |row| row.get(0));
    // Whoever interrupts waits while the connection closes.
    interrupt.0.lock().handle = None;
    row
}

/// Immutable: SQLite neither locks the file nor looks for a WAL, although the header says there may be one.
fn immutable_uri(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    // An empty authority, so that no path can be taken for one.
    let mut uri = String::from(if bytes.first() == Some(&b'/') {
        "file://"
    } else {
        "file:"
    });
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(byte as char);
            }
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_paths_become_uris() {
        assert_eq!(
            immutable_uri(Path::new("/a b/c#?%.db")),
            "file:///a%20b/c%23%3f%25.db?immutable=1"
        );
        assert_eq!(immutable_uri(Path::new("//a")), "file:////a?immutable=1");
        assert_eq!(
            immutable_uri(Path::new("rel/ü")),
            "file:rel/%c3%bc?immutable=1"
        );
    }
}
