//! `litestream completion SHELL` and `litestream man [COMMAND]`: for packages, so neither is in the main help.

use std::ffi::OsString;

use super::version::VERSION;
use crate::args::{complete, man, table};
use crate::failure::{Failure, Result};
use crate::out;

const COMPLETION_HELP: &str =
    "The completion command prints the completions for a shell: bash, zsh or fish.

Usage:

\tlitestream completion SHELL

Examples:

\t$ litestream completion bash > /usr/share/bash-completion/completions/litestream
\t$ litestream completion zsh > /usr/share/zsh/site-functions/_litestream
\t$ litestream completion fish > /usr/share/fish/vendor_completions.d/litestream.fish
";

const MAN_HELP: &str = "The man command prints a manual page: of litestream, or of a command.

Usage:

\tlitestream man [COMMAND]

Examples:

\t$ litestream man > /usr/share/man/man1/litestream.1
\t$ litestream man restore > /usr/share/man/man1/litestream-restore.1
\t$ litestream man config check | man -l -
";

/// Prints a script for a shell.
pub fn completion(args: &[OsString]) -> Result {
    let words = words(args);
    if is_help(&words) {
        return out::print(COMPLETION_HELP);
    }
    let wrong = |text: String| Failure::with_try(text, "litestream completion bash");
    match words.as_slice() {
        [name] => {
            let shell = complete::Shell::ALL.iter().find(|(known, _)| known == name);
            let (_, shell) = shell.ok_or_else(|| {
                wrong(format!(
                    "unknown shell: {name}; there are bash, zsh and fish"
                ))
            })?;
            out::print(&complete::script(*shell))
        }
        [] => Err(wrong("shell required".to_owned())),
        _ => Err(Failure::new("too many arguments")),
    }
}

/// Prints a manual page. A command of two words may be given as two, or with a hyphen as its page is called.
pub fn manual(args: &[OsString]) -> Result {
    let words = words(args);
    if is_help(&words) {
        return out::print(MAN_HELP);
    }
    if words.is_empty() {
        return out::print(&man::program(VERSION));
    }
    let name = words.join(" ");
    let command = table::command(&name).or_else(|| table::command(&name.replace('-', " ")));
    let command = command.ok_or_else(|| {
        let near = table::suggest(&name).unwrap_or("restore");
        Failure::with_try(
            format!("litestream {name}: unknown command"),
            format!("litestream man {near}"),
        )
    })?;
    out::print(&man::command(command, VERSION))
}

fn words(args: &[OsString]) -> Vec<String> {
    args.iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect()
}

fn is_help(words: &[String]) -> bool {
    words
        .iter()
        .any(|word| matches!(word.as_str(), "-h" | "-help" | "--help"))
}
