//! Completions for shells, made from the table: commands, flags, and the words that a flag's value can be.
//!
//! Promise: every command and every flag of the table is offered; what is not known (paths, URLs) is left to the shell's own
//! completion of files.

use std::fmt::Write as _;

use super::{Command, Flag, Kind, table};

/// A shell that there are completions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash 4 and later; needs no other package.
    Bash,
    /// zsh, with its own `_arguments`.
    Zsh,
    /// fish 3 and later.
    Fish,
}

impl Shell {
    /// All of them, by the names that they are asked for.
    pub const ALL: [(&'static str, Shell); 3] = [
        ("bash", Shell::Bash),
        ("zsh", Shell::Zsh),
        ("fish", Shell::Fish),
    ];
}

/// The script to be read by the shell.
pub fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

/// What a flag's value can be, where there are few. Empty: anything.
fn choices(flag: &Flag) -> &'static str {
    match (flag.kind, flag.name) {
        (Kind::Level, _) => "0 1 2 3 4 5 6 7 8 9 all",
        (_, "integrity-check") => "none quick full",
        (_, "progress") => "auto none bar json",
        (_, "log-level") => "trace debug info warn error",
        _ => "",
    }
}

/// The first words of all commands, each with what it does.
fn first_words() -> Vec<(&'static str, &'static str)> {
    let mut words: Vec<(&str, &str)> = table::COMMANDS.iter().map(first_word).collect();
    words.dedup_by_key(|(word, _)| *word);
    words
}

fn first_word(command: &Command) -> (&'static str, &'static str) {
    match command.name.split_once(' ') {
        Some((word, _)) => (word, "looks at a configuration file"),
        None => (command.name, command.summary),
    }
}

/// The commands of two words.
fn second_words() -> impl Iterator<Item = (&'static str, &'static Command)> {
    let commands = table::COMMANDS.iter();
    commands.filter_map(|command| Some((command.name.split_once(' ')?.1, command)))
}

/// The first line of a flag's help, or of a text of several.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn bash() -> String {
    let words: Vec<&str> = first_words().into_iter().map(|(word, _)| word).collect();
    let seconds: Vec<&str> = second_words().map(|(word, _)| word).collect();
    let mut out = format!(
        r#"# bash completion for litestream

_litestream() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}}
    local flags='' values=''
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W '{}' -- "$current"))
        return
    fi
    if [[ $command == config ]]; then
        if ((COMP_CWORD == 2)); then
            COMPREPLY=($(compgen -W '{}' -- "$current"))
            return
        fi
        command="config ${{COMP_WORDS[2]}}"
    fi
    # -flag=value comes as three words.
    if [[ $current == '=' ]]; then
        current=''
    elif [[ $previous == '=' ]]; then
        previous=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    case "$command" in
"#,
        words.join(" "),
        seconds.join(" ")
    );
    for command in table::COMMANDS {
        let flags: Vec<String> = command
            .flags
            .iter()
            .map(|f| format!("-{}", f.name))
            .collect();
        let name = if command.name == "ltx" {
            "ltx | wal".to_owned()
        } else {
            format!("'{}'", command.name)
        };
        let _ = writeln!(out, "    {name})");
        let _ = writeln!(out, "        flags='{}'", flags.join(" "));
        let _ = writeln!(out, "        case \"${{previous#-}}\" in");
        for flag in command.flags.iter().filter(|flag| flag.kind != Kind::Bool) {
            // Both dashes mean the same; what has no words is a file, so no flag is offered there.
            let (name, words) = (flag.name, choices(flag));
            let _ = writeln!(
                out,
                "        {name} | -{name}) flags='' values='{words}' ;;"
            );
        }
        out.push_str("        esac\n        ;;\n");
    }
    out.push_str(
        r#"    esac
    if [[ -n $values ]]; then
        COMPREPLY=($(compgen -W "$values" -- "$current"))
    elif [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$current"))
    fi
}

# Where nothing is offered, files are.
complete -o default -F _litestream litestream
"#,
    );
    out
}

/// Text between single quotes of a shell.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

/// Text inside of a specification of zsh's `_arguments`.
fn zsh_text(text: &str) -> String {
    let mut out = String::new();
    for letter in quoted(text).chars() {
        if matches!(letter, '[' | ']' | ':') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

fn zsh() -> String {
    let mut out = String::from(
        "#compdef litestream\n\n_litestream() {\n    local context state line\n    local -a commands\n    commands=(\n",
    );
    for (word, summary) in first_words() {
        let _ = writeln!(out, "        '{word}:{}'", quoted(summary));
    }
    out.push_str(
        "    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    ((CURRENT--))
    if [[ $command == config ]]; then
        if ((CURRENT == 2)); then
            commands=(
",
    );
    for (word, command) in second_words() {
        let _ = writeln!(out, "                '{word}:{}'", quoted(command.summary));
    }
    out.push_str(
        "            )
            _describe command commands
            return
        fi
        command=\"config $words[2]\"
        shift words
        ((CURRENT--))
    fi
    case \"$command\" in
",
    );
    for command in table::COMMANDS {
        let name = if command.name == "ltx" {
            "ltx|wal".to_owned()
        } else {
            format!("'{}'", command.name)
        };
        let _ = writeln!(out, "    {name})\n        _arguments \\");
        for flag in command.flags {
            let about = zsh_text(first_line(flag.help));
            let value = match (flag.kind, choices(flag), flag.value_name) {
                (Kind::Bool, _, _) => String::new(),
                (_, "", "PATH") => ":PATH:_files".to_owned(),
                (_, "", name) => format!(":{name}: "),
                (_, words, name) => format!(":{name}:({words})"),
            };
            let _ = writeln!(out, "            '-{}[{about}]{value}' \\", flag.name);
        }
        out.push_str("            '*:file:_files'\n        ;;\n");
    }
    out.push_str("    esac\n}\n\n_litestream \"$@\"\n");
    out
}

fn fish() -> String {
    let mut out = String::from("# fish completion for litestream\n\n");
    for (word, summary) in first_words() {
        let _ = writeln!(
            out,
            "complete -c litestream -n __fish_use_subcommand -f -a {word} -d '{}'",
            fish_text(summary)
        );
    }
    for (word, command) in second_words() {
        let _ = writeln!(
            out,
            "complete -c litestream -n '__fish_seen_subcommand_from config; and not __fish_seen_subcommand_from check show' -f -a {word} -d '{}'",
            fish_text(command.summary)
        );
    }
    for command in table::COMMANDS {
        let seen = match command.name.split_once(' ') {
            Some((first, second)) => format!(
                "__fish_seen_subcommand_from {first}; and __fish_seen_subcommand_from {second}"
            ),
            None if command.name == "ltx" => "__fish_seen_subcommand_from ltx wal".to_owned(),
            None => format!("__fish_seen_subcommand_from {}", command.name),
        };
        for flag in command.flags {
            let value = match (flag.kind, choices(flag)) {
                (Kind::Bool, _) => String::new(),
                (_, "") => " -r".to_owned(),
                (_, words) => format!(" -x -a '{words}'"),
            };
            let _ = writeln!(
                out,
                "complete -c litestream -n '{seen}' -o {}{value} -d '{}'",
                flag.name,
                fish_text(first_line(flag.help))
            );
        }
    }
    out
}

/// Text between single quotes of fish.
fn fish_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_offered_for_its_command() {
        for command in table::COMMANDS {
            let (last, first) = (
                command.name.split(' ').next_back().unwrap(),
                command.name.split(' ').next().unwrap(),
            );
            for (name, shell) in Shell::ALL {
                let script = script(shell);
                assert!(
                    script.contains(first) && script.contains(last),
                    "{name}: {last}"
                );
                for flag in command.flags {
                    let offered = match shell {
                        Shell::Bash => {
                            after(&script, &format!("{}{}", command.name, quote(command)))
                                .contains(&format!("-{}", flag.name))
                        }
                        Shell::Zsh => {
                            after(&script, &format!("{}{}", command.name, zsh_quote(command)))
                                .contains(&format!("'-{}[", flag.name))
                        }
                        Shell::Fish => script.lines().any(|line| {
                            line.contains(&format!("from {last}"))
                                && line.contains(&format!(" -o {} ", flag.name))
                        }),
                    };
                    assert!(offered, "{name}: {} -{}", command.name, flag.name);
                }
            }
        }
    }

    fn quote(command: &Command) -> &'static str {
        if command.name == "ltx" {
            " | wal)\n"
        } else {
            "')\n"
        }
    }

    fn zsh_quote(command: &Command) -> &'static str {
        if command.name == "ltx" {
            "|wal)\n"
        } else {
            "')\n"
        }
    }

    /// The part of a script that begins with a text, up to the next command.
    fn after<'a>(script: &'a str, start: &str) -> &'a str {
        let at = script.find(start).unwrap_or_else(|| panic!("{start:?}"));
        let rest = &script[at..];
        &rest[..rest.find("\n        ;;\n").unwrap()]
    }

    /// The words are the ones that help names, so they can't grow old unseen.
    #[test]
    fn words_are_those_of_the_help() {
        let mut found = 0;
        for flag in table::COMMANDS.iter().flat_map(|command| command.flags) {
            let words = choices(flag);
            found += usize::from(!words.is_empty());
            if flag.kind == Kind::Level {
                continue;
            }
            for word in words.split(' ').filter(|word| !word.is_empty()) {
                assert!(flag.help.contains(word), "-{}: {word}", flag.name);
            }
        }
        assert!(found >= 5, "{found}");
    }

    #[test]
    fn texts_are_quoted() {
        assert_eq!(zsh_text("a's [b]: c"), "a'\\''s \\[b\\]\\: c");
        assert_eq!(fish_text("a's \\"), "a\\'s \\\\");
    }
}
