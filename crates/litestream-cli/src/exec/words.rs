//! Splits a command into words as a shell does, without being one.
//!
//! Promise: nothing is dropped. What only a shell could carry out (`;`, `|`, `>`, …) is an error that says so.

use crate::failure::{Failure, Result};

/// The words of `command`. Quotes and backslashes are taken away; variables, globs and substitutions stay as they are.
pub fn split(command: &str) -> Result<Vec<String>> {
    let unbalanced = || Failure::new("cannot parse exec command: invalid command line string");
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = command.chars();
    while let Some(c) = letters.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' | '"' => {
                quoted(c, &mut letters, word.get_or_insert_default()).ok_or_else(unbalanced)?;
            }
            '\\' => word
                .get_or_insert_default()
                .push(letters.next().ok_or_else(unbalanced)?),
            '`' => {
                let word = word.get_or_insert_default();
                word.push('`');
                literal('`', &mut letters, word).ok_or_else(unbalanced)?;
            }
            '(' if word.as_ref().is_some_and(|w| w.ends_with('$')) => {
                let word = word.get_or_insert_default();
                word.push('(');
                literal(')', &mut letters, word).ok_or_else(unbalanced)?;
            }
            '(' | ')' => return Err(unbalanced()),
            ';' | '&' | '|' | '<' | '>' => return Err(needs_shell(c)),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() {
        return Err(Failure::new(
            "cannot parse exec command: the command is blank",
        ));
    }
    Ok(words)
}

/// Up to the closing quote; inside, a backslash escapes only in double quotes.
fn quoted(quote: char, letters: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match letters.next()? {
            c if c == quote => return Some(()),
            '\\' if quote == '"' => word.push(letters.next()?),
            c => word.push(c),
        }
    }
}

/// Up to and with `end`, as it is.
fn literal(end: char, letters: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        let c = letters.next()?;
        if c == '(' {
            return None;
        }
        word.push(c);
        if c == end {
            return Some(());
        }
    }
}

fn needs_shell(operator: char) -> Failure {
    Failure::with_try(
        format!(
            "cannot parse exec command: unquoted '{operator}' needs a shell, and -exec does not use one; \
             quote it or run a shell explicitly"
        ),
        "litestream replicate -exec \"sh -c 'first; second'\" DB_PATH REPLICA_URL",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_litestream_splits_them() {
        for (command, words) in [
            ("a b  c", &["a", "b", "c"][..]),
            ("a\tb\nc", &["a", "b", "c"]),
            ("a 	 ", &["a"]),
            ("a `b c` d", &["a", "`b c`", "d"]),
            ("a $(d e) f", &["a", "$(d e)", "f"]),
            ("a x$(f g) h", &["a", "x$(f g)", "h"]),
            ("a $(b \"c d\") e", &["a", "$(b \"c d\")", "e"]),
            ("a \"$(b c)\" d", &["a", "$(b c)", "d"]),
            ("a '`b c`' d", &["a", "`b c`", "d"]),
            ("a ''", &["a", ""]),
            ("a\"b\"c", &["abc"]),
            ("a\"\"", &["a"]),
            ("a \\;b", &["a", ";b"]),
            ("a \";\" '|' b", &["a", ";", "|", "b"]),
            ("a e\\ f", &["a", "e f"]),
            ("a \"b\\\"c\"", &["a", "b\"c"]),
            ("a 'b\\c'", &["a", "b\\c"]),
            ("a #b $X ~ *", &["a", "#b", "$X", "~", "*"]),
            ("A=b c", &["A=b", "c"]),
        ] {
            assert_eq!(split(command).unwrap(), words, "{command}");
        }
    }

    #[test]
    fn unbalanced_commands_are_refused() {
        for command in [
            "it's",
            "a \"b",
            "a `b",
            "a $(b",
            "a )",
            "a $ (b)",
            "a \\",
            "a $( (b) )",
        ] {
            assert_eq!(
                split(command).unwrap_err().message,
                "cannot parse exec command: invalid command line string",
                "{command}"
            );
        }
    }

    #[test]
    fn d13_what_needs_a_shell_is_refused_and_not_dropped() {
        for command in [
            "echo a; echo b",
            "a & b",
            "a && b",
            "a | b",
            "a < b",
            "a 2>b",
        ] {
            assert!(
                split(command)
                    .unwrap_err()
                    .message
                    .contains("needs a shell"),
                "{command}"
            );
        }
        for command in ["", "  ", "\t\n"] {
            assert!(
                split(command).unwrap_err().message.contains("blank"),
                "{command:?}"
            );
        }
    }
}
