//! Names of files that are being written, and which of them nobody writes any more.
//!
//! Promise: a name is a leftover only if it has exactly our form, no replica of this process is writing it, and it is so old that no other
//! process is.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::Duration;

use ltx::FileName;
use parking_lot::Mutex;

use crate::env::{Env, UnixMillis};
use crate::key;

/// A file that another process writes may be as old as that.
const STALE: Duration = Duration::from_hours(24);

/// A name of its own for a file while it is written; it is in use until this is dropped.
pub(crate) struct Temporary(String);

impl Temporary {
    /// For a file that will be called `name`.
    pub(crate) fn new(name: FileName, env: &Env) -> Temporary {
        let text = key::temp_name(name, env.clock.now().0, env.entropy.next_u64());
        in_use().lock().insert(text.clone());
        Temporary(text)
    }

    /// The file's name for now, without a folder.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        in_use().lock().remove(&self.0);
    }
}

/// Whether a killed writer left this file.
pub(crate) fn is_leftover(file_name: &str, now: UnixMillis) -> bool {
    let oldest = now.0.saturating_sub(STALE.as_millis() as i64);
    key::temp_begun_ms(file_name).is_some_and(|begun| begun < oldest)
        && !in_use().lock().contains(file_name)
}

/// By whatever replica of this process: each name holds 64 random bits, so the folder need not be told.
fn in_use() -> &'static Mutex<HashSet<String>> {
    static NAMES: OnceLock<Mutex<HashSet<String>>> = OnceLock::new();
    NAMES.get_or_init(Mutex::default)
}

#[cfg(test)]
mod tests {
    use ltx::Txid;

    use super::*;

    #[test]
    fn a_name_is_a_leftover_once_its_writer_is_gone_and_a_day_has_passed() {
        let env = crate::env::real::env();
        let now = env.clock.now();
        let tomorrow = UnixMillis(now.0 + STALE.as_millis() as i64 + 60_000);
        let temporary = Temporary::new(FileName::single(Txid::new(7)), &env);
        let name = temporary.name().to_owned();
        assert!(!is_leftover(&name, tomorrow));
        drop(temporary);
        assert!(is_leftover(&name, tomorrow));
        assert!(
            !is_leftover(&name, now),
            "another process may be writing it"
        );
        let foreign = "0000000000000007-0000000000000007.ltx.12.345.tmp";
        assert!(!is_leftover(foreign, tomorrow));
    }
}
