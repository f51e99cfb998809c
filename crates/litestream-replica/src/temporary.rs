//! Names of files that are being written, and which of them nobody writes any more.
//!
//! Promise: a name is a leftover only if it has exactly our form and no replica of this process is writing it.

use std::collections::HashSet;
use std::sync::OnceLock;

use ltx::FileName;
use parking_lot::Mutex;

use crate::env::Env;
use crate::key;

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
pub(crate) fn is_leftover(file_name: &str) -> bool {
    key::temp_begun_ms(file_name).is_some() && !in_use().lock().contains(file_name)
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
    fn a_name_is_a_leftover_once_its_writer_is_gone() {
        let env = crate::env::real::env();
        let temporary = Temporary::new(FileName::single(Txid::new(7)), &env);
        let name = temporary.name().to_owned();
        assert!(!is_leftover(&name));
        drop(temporary);
        assert!(is_leftover(&name));
        assert!(!is_leftover(
            "0000000000000007-0000000000000007.ltx.12.345.tmp"
        ));
    }
}
