//! Go's flag syntax: `-name`, `--name`, `-name=value`, `-name value`, up to the first positional.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use litestream_replica::Level;
use ltx::Txid;

use super::{Command, Flag, Kind, Value, closest};
use crate::quote::go_quote;

/// Why arguments could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Help was asked for.
    Help,
    /// The text that Go prints, and a flag that may have been meant.
    Bad(String, Option<&'static str>),
}

impl Error {
    fn bad(text: String) -> Error {
        Error::Bad(text, None)
    }
}

/// What was given on the command line, with the defaults of the table for the rest.
#[derive(Clone, Debug)]
pub struct Parsed {
    given: BTreeMap<&'static str, Value>,
    command: &'static Command,
    /// What follows the flags.
    pub positionals: Vec<OsString>,
}

/// Reads the arguments after the command's name.
pub fn parse(command: &'static Command, args: &[OsString]) -> Result<Parsed, Error> {
    let mut given = BTreeMap::new();
    let mut rest = args.iter();
    loop {
        let at = rest.clone();
        let Some(arg) = rest.next() else { break };
        if arg.len() < 2 || arg.as_encoded_bytes()[0] != b'-' {
            rest = at;
            break;
        }
        if arg == "--" {
            break;
        }
        let text = arg
            .to_str()
            .ok_or_else(|| Error::bad(format!("bad flag syntax: {}", arg.display())))?;
        let body = text.strip_prefix("--").unwrap_or(&text[1..]);
        if body.starts_with(['-', '=']) {
            return Err(Error::bad(format!("bad flag syntax: {text}")));
        }
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(OsStr::new(value))),
            None => (body, None),
        };
        let flag = find(command, name)?;
        let value = match (flag.kind, inline) {
            (Kind::Bool, None) => Value::Bool(true),
            (Kind::Bool, Some(value)) => Value::parse(Kind::Bool, value).map_err(|e| {
                Error::bad(format!(
                    "invalid boolean value {} for -{name}: {e}",
                    go_quote(&value.to_string_lossy())
                ))
            })?,
            (_, inline) => {
                let value = inline.or_else(|| rest.next().map(OsString::as_os_str));
                let value =
                    value.ok_or_else(|| Error::bad(format!("flag needs an argument: -{name}")))?;
                read(flag, value)?
            }
        };
        given.insert(flag.name, value);
    }
    Ok(Parsed {
        given,
        command,
        positionals: rest.cloned().collect(),
    })
}

fn find(command: &'static Command, name: &str) -> Result<&'static Flag, Error> {
    if let Some(flag) = command.flag(name) {
        return Ok(flag);
    }
    if name == "h" || name == "help" {
        return Err(Error::Help);
    }
    let known = command.flags.iter().map(|f| f.name);
    Err(Error::Bad(
        format!("flag provided but not defined: -{name}"),
        closest(name, known),
    ))
}

fn read(flag: &Flag, value: &OsStr) -> Result<Value, Error> {
    Value::parse(flag.kind, value).map_err(|e| {
        Error::bad(format!(
            "invalid value {} for flag -{}: {e}",
            go_quote(&value.to_string_lossy()),
            flag.name
        ))
    })
}

impl Parsed {
    /// The value of a flag: as given, else its default.
    fn value(&self, name: &str) -> Value {
        if let Some(value) = self.given.get(name) {
            return value.clone();
        }
        let flag = self.command.flag(name);
        debug_assert!(
            flag.is_some(),
            "-{name} is not in the table of {}",
            self.command.name
        );
        let Some(flag) = flag else {
            return Value::Bool(false);
        };
        match flag.default {
            "" => Value::empty(flag.kind),
            text => Value::parse(flag.kind, OsStr::new(text))
                .unwrap_or_else(|_| Value::empty(flag.kind)),
        }
    }

    /// Whether the flag was given, even with its default value.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Whether the flag was given a text that is not empty: `-config "$CONFIG"` without the variable says nothing.
    pub fn names_file(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// A boolean.
    pub fn bool(&self, name: &str) -> bool {
        matches!(self.value(name), Value::Bool(true))
    }

    /// A text; empty if not given.
    pub fn text(&self, name: &str) -> OsString {
        if let Value::Text(text) = self.value(name) {
            text
        } else {
            OsString::new()
        }
    }

    /// A text that must be valid UTF-8 to mean anything.
    pub fn utf8(&self, name: &str) -> String {
        self.text(name).to_string_lossy().into_owned()
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> i64 {
        if let Value::Int(n) = self.value(name) {
            n
        } else {
            0
        }
    }

    /// A number with a fraction.
    pub fn float(&self, name: &str) -> f64 {
        if let Value::Float(n) = self.value(name) {
            n
        } else {
            0.0
        }
    }

    /// A duration; zero if negative.
    pub fn duration(&self, name: &str) -> Duration {
        self.value(name).to_duration()
    }

    /// A TXID, if one was given that is not all zeros.
    pub fn txid(&self, name: &str) -> Option<Txid> {
        if let Value::Txid(txid) = self.value(name) {
            txid
        } else {
            None
        }
    }

    /// The levels asked for, ascending.
    pub fn levels(&self, name: &str) -> Vec<Level> {
        match self.value(name) {
            Value::Level(Some(level)) => vec![level],
            _ => Level::all().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    fn run(command: &str, args: &[&str]) -> Result<Parsed, Error> {
        let command = table::command(command).expect("a command of the table");
        parse(
            command,
            &args.iter().map(OsString::from).collect::<Vec<_>>(),
        )
    }

    fn message(command: &str, args: &[&str]) -> String {
        match run(command, args) {
            Err(Error::Bad(text, _)) => text,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn error_texts() {
        assert_eq!(message("ltx", &["-x"]), "flag provided but not defined: -x");
        assert_eq!(
            message("ltx", &["--x=1"]),
            "flag provided but not defined: -x"
        );
        assert_eq!(
            message("ltx", &["-config"]),
            "flag needs an argument: -config"
        );
        assert_eq!(
            message("ltx", &["-json=maybe"]),
            "invalid boolean value \"maybe\" for -json: parse error"
        );
        assert_eq!(
            message("restore", &["-follow-interval", "abc"]),
            "invalid value \"abc\" for flag -follow-interval: parse error"
        );
        assert_eq!(
            message("restore", &["-follow-interval=5"]),
            "invalid value \"5\" for flag -follow-interval: parse error"
        );
        assert_eq!(
            message("restore", &["-parallelism", "99999999999999999999"]),
            "invalid value \"99999999999999999999\" for flag -parallelism: value out of range"
        );
        assert_eq!(message("ltx", &["-=x"]), "bad flag syntax: -=x");
        assert_eq!(message("ltx", &["---x"]), "bad flag syntax: ---x");
        assert_eq!(
            message("restore", &["-txid", "zz"]),
            "invalid value \"zz\" for flag -txid: invalid txid format"
        );
        assert_eq!(
            message("ltx", &["-level", "abc"]),
            "invalid value \"abc\" for flag -level: invalid level: must be 0-9 or \"all\""
        );
        assert_eq!(
            message("ltx", &["-level=10"]),
            "invalid value \"10\" for flag -level: level must be between 0 and 9"
        );
        assert_eq!(
            message("ltx", &["-level", "a\"b\n"]),
            "invalid value \"a\\\"b\\n\" for flag -level: invalid level: must be 0-9 or \"all\""
        );
    }

    #[test]
    fn both_prefixes_and_both_ways_to_give_a_value() {
        for args in [
            &["-o", "x", "URL"][..],
            &["--o", "x", "URL"],
            &["-o=x", "URL"],
            &["--o=x", "URL"],
        ] {
            let parsed = run("restore", args).unwrap();
            assert_eq!(parsed.utf8("o"), "x");
            assert_eq!(parsed.positionals, ["URL"]);
        }
        assert_eq!(run("restore", &["-o=a=b"]).unwrap().utf8("o"), "a=b");
        assert_eq!(run("restore", &["-o", "-json"]).unwrap().utf8("o"), "-json");
    }

    #[test]
    fn booleans_take_a_value_only_with_an_equals_sign() {
        let parsed = run("ltx", &["-json", "false"]).unwrap();
        assert!(parsed.bool("json"));
        assert_eq!(parsed.positionals, ["false"]);
        assert!(!run("ltx", &["-json=F"]).unwrap().bool("json"));
    }

    #[test]
    fn the_last_one_wins() {
        assert_eq!(
            run("restore", &["-o", "a", "-o", "b"]).unwrap().utf8("o"),
            "b"
        );
        assert!(!run("ltx", &["-json", "-json=false"]).unwrap().bool("json"));
    }

    #[test]
    fn flags_end_at_the_first_positional() {
        assert_eq!(
            run("ltx", &["DB", "-json"]).unwrap().positionals,
            ["DB", "-json"]
        );
        assert_eq!(run("ltx", &["--", "-json"]).unwrap().positionals, ["-json"]);
        assert_eq!(
            run("ltx", &["-json", "--", "--"]).unwrap().positionals,
            ["--"]
        );
        assert_eq!(run("ltx", &["-"]).unwrap().positionals, ["-"]);
        assert_eq!(
            run("ltx", &["", "-json"]).unwrap().positionals,
            ["", "-json"]
        );
    }

    #[test]
    fn help_is_no_flag_of_its_own() {
        for args in [["-h"], ["-help"], ["--help"], ["-h=1"]] {
            assert_eq!(run("ltx", &args).unwrap_err(), Error::Help);
        }
        assert_eq!(run("ltx", &["-json", "-h"]).unwrap_err(), Error::Help);
    }

    #[test]
    fn no_bundling_and_no_abbreviations_but_a_suggestion() {
        assert_eq!(
            run("ltx", &["-jsn"]).unwrap_err(),
            Error::Bad("flag provided but not defined: -jsn".into(), Some("json"))
        );
        assert_eq!(
            run("restore", &["-fj"]).unwrap_err(),
            Error::bad("flag provided but not defined: -fj".into())
        );
    }

    #[test]
    fn defaults_come_from_the_table() {
        let parsed = run("restore", &[]).unwrap();
        assert_eq!(parsed.int("parallelism"), 8);
        assert_eq!(parsed.utf8("integrity-check"), "none");
        assert_eq!(parsed.txid("txid"), None);
        assert_eq!(run("ltx", &[]).unwrap().levels("level"), [Level::L0]);
        assert_eq!(
            run("ltx", &["-level", "all"])
                .unwrap()
                .levels("level")
                .len(),
            10
        );
        assert!(!parsed.is_given("parallelism"));
    }
}
