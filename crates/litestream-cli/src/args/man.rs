//! Manual pages in roff, made from the table: one of the program, one of each command.
//!
//! Promise: what help says is in the page; no text of the table is taken for a request to the formatter.

use std::fmt::Write as _;

use super::{Command, Kind, table};

/// `litestream(1)`.
pub fn program(version: &str) -> String {
    let mut out = title("litestream", version);
    out += ".SH NAME\nlitestream \\- replicates SQLite databases\n";
    out += ".SH SYNOPSIS\n.B litestream\n.I command\n[\\fIarguments\\fR]\n";
    out += ".SH DESCRIPTION\n";
    paragraphs(
        &mut out,
        "litestream copies each change of SQLite databases to a storage as it is committed, and
restores databases from there.

Flags begin with one or two dashes and come before all other arguments. A flag that
takes a value is written -flag value or -flag=value.",
    );
    out += ".SH COMMANDS\n";
    for command in table::COMMANDS {
        let _ = writeln!(
            out,
            ".TP\n\\fBlitestream\\-{}\\fR(1)\n{}",
            text(&hyphenated(command)),
            line(command.summary)
        );
    }
    out += ".SH ENVIRONMENT\n";
    for (name, meaning) in [
        (
            "LITESTREAM_CONFIG",
            "The configuration file where -config is not given.",
        ),
        (
            "LOG_LEVEL",
            "How much is logged: trace, debug, info, warn or error. Beats the configuration.",
        ),
    ] {
        let _ = writeln!(out, ".TP\n.B {}\n{}", text(name), line(meaning));
    }
    out += ".SH FILES\n";
    for (name, meaning) in [
        (
            crate::config::DEFAULT_PATH,
            "The configuration file where none is named.",
        ),
        (
            crate::control::DEFAULT_SOCKET,
            "The control socket where none is named.",
        ),
    ] {
        let _ = writeln!(out, ".TP\n.I {}\n{}", text(name), line(meaning));
    }
    out += ".SH EXIT STATUS\n";
    paragraphs(
        &mut out,
        "0 if all went well, 1 for errors. Commands that answer otherwise say so in their pages.",
    );
    out
}

/// `litestream-COMMAND(1)`.
pub fn command(command: &Command, version: &str) -> String {
    let name = format!("litestream-{}", hyphenated(command));
    let mut out = title(&name, version);
    let _ = writeln!(
        out,
        ".SH NAME\n{} \\- {}",
        text(&name),
        line(command.summary)
    );
    out += ".SH SYNOPSIS\n";
    for (number, usage) in command.usage.iter().enumerate() {
        let between = if number > 0 { ".br\n" } else { "" };
        let _ = writeln!(out, "{between}\\fBlitestream\\fR {}", text(usage));
    }
    out += ".SH DESCRIPTION\n";
    paragraphs(&mut out, command.intro);
    if !command.flags.is_empty() {
        out += ".SH OPTIONS\n";
    }
    for flag in command.flags {
        let value = if flag.kind == Kind::Bool {
            String::new()
        } else {
            format!(" \\fI{}\\fR", text(flag.value_name))
        };
        let _ = writeln!(out, ".TP\n\\fB\\-{}\\fR{value}", text(flag.name));
        for part in flag.help.lines() {
            let _ = writeln!(out, "{}", line(part));
        }
        if !flag.default.is_empty() {
            let _ = writeln!(out, "Defaults to {}.", text(flag.default));
        }
    }
    if !command.outro.is_empty() {
        out += ".SH NOTES\n";
        paragraphs(&mut out, command.outro);
    }
    out += ".SH SEE ALSO\n.BR litestream (1)\n";
    out
}

fn title(name: &str, version: &str) -> String {
    format!(
        ".TH {} 1 \"\" \"litestream {}\" \"User Commands\"\n",
        text(&name.to_uppercase()),
        text(version)
    )
}

/// `config check` has a page of its own, whose name is one word.
fn hyphenated(command: &Command) -> String {
    command.name.replace(' ', "-")
}

/// Paragraphs as help has them: blank lines between, examples indented by a tab.
fn paragraphs(out: &mut String, all: &str) {
    let mut is_example = false;
    for part in all.lines() {
        let indented = part.starts_with('\t');
        if part.is_empty() {
            // Between examples no line is needed but the blank one.
            out.push_str(if is_example { ".sp\n" } else { ".PP\n" });
            continue;
        }
        if indented != is_example {
            out.push_str(if indented { ".RS\n.nf\n" } else { ".fi\n.RE\n" });
            is_example = indented;
        }
        let _ = writeln!(out, "{}", line(part.trim_start_matches('\t')));
    }
    if is_example {
        out.push_str(".fi\n.RE\n");
    }
}

/// A line of text that can't be a request.
fn line(part: &str) -> String {
    let escaped = text(part);
    if escaped.starts_with(['.', '\'']) {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}

/// Text inside of a line.
fn text(part: &str) -> String {
    part.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('~', "\\(ti")
        .replace('^', "\\(ha")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_name_every_command_and_flag() {
        let main = program("1.2.3");
        for one in table::COMMANDS {
            let name = text(&hyphenated(one));
            assert!(
                main.contains(&format!("\\fBlitestream\\-{name}\\fR(1)\n")),
                "{name}"
            );
            let page = command(one, "1.2.3");
            for flag in one.flags {
                let start = format!(".TP\n\\fB\\-{}\\fR", text(flag.name));
                assert!(page.contains(&start), "{name} -{}", flag.name);
            }
            assert!(page.contains("\"litestream 1.2.3\""), "{page}");
        }
    }

    /// What groff would complain about, where it is not installed.
    #[test]
    fn pages_are_well_formed() {
        let requests = [
            "TH", "SH", "TP", "PP", "RS", "RE", "nf", "fi", "br", "sp", "B", "I", "BR",
        ];
        let pages = table::COMMANDS.iter().map(|one| command(one, "1.2.3"));
        for page in pages.chain([program("1.2.3")]) {
            assert!(page.starts_with(".TH "), "{page}");
            let mut depth = 0;
            for row in page.lines() {
                assert!(
                    !row.is_empty() && !row.starts_with([' ', '\t', '\'']),
                    "{row:?}"
                );
                if let Some(request) = row.strip_prefix('.') {
                    let name = request.split(' ').next().unwrap();
                    assert!(requests.contains(&name), "{row:?}");
                    depth += i32::from(name == "RS") - i32::from(name == "RE");
                    assert!((0..=1).contains(&depth), "{row:?}");
                }
                assert_eq!(row.replace("\\-", "").matches('-').count(), 0, "{row:?}");
            }
            assert_eq!(depth, 0, "{page}");
        }
    }

    #[test]
    fn no_text_is_a_request() {
        assert_eq!(line(".PP"), "\\&.PP");
        assert_eq!(line("'a"), "\\&'a");
        assert_eq!(line("a\\b-c"), "a\\eb\\-c");
    }
}
