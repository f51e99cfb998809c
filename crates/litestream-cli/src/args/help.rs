//! Help texts, made from the table.

use std::fmt::Write as _;

use super::{Command, Kind};

/// The help of one command.
pub fn command_help(program: &str, command: &Command) -> String {
    let mut out = format!("{}\n\nUsage:\n", command.intro.trim_end());
    for usage in command.usage {
        let _ = write!(out, "\n\t{program} {usage}\n");
    }
    if !command.flags.is_empty() {
        out.push_str("\nArguments:\n");
    }
    for flag in command.flags {
        let value = if flag.kind == Kind::Bool {
            String::new()
        } else {
            format!(" {}", flag.value_name)
        };
        let _ = write!(out, "\n\t-{}{value}\n", flag.name);
        for line in flag.help.lines() {
            let _ = writeln!(out, "\t    {line}");
        }
        if !flag.default.is_empty() {
            let _ = writeln!(out, "\t    Defaults to {}.", flag.default);
        }
    }
    if !command.outro.is_empty() {
        let _ = write!(out, "\n{}\n", command.outro.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn help_lists_every_flag() {
        for command in table::COMMANDS {
            let help = command_help("litestream", command);
            for flag in command.flags {
                let listed = help.contains(&format!("\t-{}\n", flag.name))
                    || help.contains(&format!("\t-{} ", flag.name));
                assert!(listed, "{} -{}", command.name, flag.name);
            }
        }
    }
}
