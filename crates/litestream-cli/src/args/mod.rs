//! Command-line arguments as Go's `flag` package reads them.
//!
//! Owns the one table of commands and flags ([`table`]), from which parsing, help, manual pages, completions and
//! suggestions come.
//! Promise: every flag that is accepted is in the table; error texts and exit codes are those of Litestream.

pub mod complete;
pub mod duration;
mod help;
pub mod man;
mod parse;
mod suggest;
pub mod table;
mod value;

pub use help::command_help;
pub use parse::{Error, Parsed, parse};
pub use suggest::closest;
pub use value::Value;

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `-x`, `-x=true`.
    Bool,
    /// Any text.
    Text,
    /// A whole number.
    Int,
    /// A number with a fraction.
    Float,
    /// Go syntax: `1h30m`.
    Duration,
    /// 16 hex digits.
    Txid,
    /// `0` to `9`, or `all`.
    Level,
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without the dash.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The value if the flag is not given, in the flag's own syntax; empty for none.
    pub default: &'static str,
    /// What help calls the value; empty for booleans.
    pub value_name: &'static str,
    /// What it does; lines are indented by help.
    pub help: &'static str,
}

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// One line for the main help.
    pub summary: &'static str,
    /// What its own help begins with.
    pub intro: &'static str,
    /// Usage lines.
    pub usage: &'static [&'static str],
    /// Its flags, in the order of help.
    pub flags: &'static [Flag],
    /// What its own help ends with: examples, notes.
    pub outro: &'static str,
}

impl Command {
    /// The flag called `name`.
    pub fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|f| f.name == name)
    }
}
