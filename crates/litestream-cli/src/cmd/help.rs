//! `litestream help`.

use std::fmt::Write as _;

use crate::args::table;

/// The main help.
pub fn text() -> String {
    let mut out = String::from(
        "litestream is a tool for replicating SQLite databases.\n\nUsage:\n\n\tlitestream <command> [arguments]\n\nThe commands are:\n\n",
    );
    for command in table::COMMANDS {
        let _ = writeln!(out, "\t{:<14} {}", command.name, command.summary);
    }
    out.push('\n');
    out
}
