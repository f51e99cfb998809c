//! Any bytes as a command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

use litestream_cli::args::{self, Command, Error, Kind, Parsed, duration, table};
use litestream_cli::fuzzing;

/// The first byte is the command; arguments end at zero bytes. Whatever is accepted can be written in one way, which
/// means the same; help and suggestions come for all.
pub fn args(data: &[u8]) {
    let Some((&number, rest)) = data.split_first() else {
        return;
    };
    let commands: Vec<&'static Command> = table::COMMANDS
        .iter()
        .chain(fuzzing::test_commands())
        .collect();
    let command = commands[usize::from(number) % commands.len()];
    let words: Vec<OsString> = rest
        .split(|b| *b == 0)
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    if let Some(near) = words
        .first()
        .and_then(|w| table::suggest(&w.to_string_lossy()))
    {
        assert!(table::command(near).is_some());
    }
    match args::parse(command, &words) {
        Ok(parsed) => written_again(command, &words, &parsed),
        Err(Error::Help) => assert!(args::command_help("litestream", command).contains("Usage:")),
        Err(Error::Bad(text, near)) => {
            assert!(!text.is_empty());
            assert!(near.is_none_or(|near| command.flag(near).is_some()));
        }
    }
}

fn written_again(command: &'static Command, words: &[OsString], parsed: &Parsed) {
    let mut again = Vec::new();
    for flag in command.flags.iter().filter(|f| parsed.is_given(f.name)) {
        let mut word = OsString::from(format!("--{}=", flag.name));
        word.push(shown(flag.kind, flag.name, parsed));
        // A text that is no UTF-8 can't follow an equals sign.
        if word.to_str().is_none() {
            again.push(format!("-{}", flag.name).into());
            word = parsed.text(flag.name);
        }
        again.push(word);
    }
    again.push("--".into());
    again.extend(parsed.positionals.iter().cloned());
    let reread = args::parse(command, &again).unwrap();
    assert!(
        values(command, parsed) == values(command, &reread),
        "{words:?} as {again:?}"
    );
    assert!(parsed.positionals == reread.positionals);
    assert!(words.ends_with(&parsed.positionals));
}

/// A value in the flag's own syntax.
fn shown(kind: Kind, name: &str, parsed: &Parsed) -> OsString {
    match kind {
        Kind::Bool => parsed.bool(name).to_string().into(),
        Kind::Text => parsed.text(name),
        Kind::Int => parsed.int(name).to_string().into(),
        Kind::Float => parsed.float(name).to_string().into(),
        Kind::Duration => duration::format(parsed.duration(name)).into(),
        Kind::Txid => parsed.txid(name).unwrap_or_default().to_string().into(),
        Kind::Level => match parsed.levels(name)[..] {
            [level] => level.to_string().into(),
            _ => "all".into(),
        },
    }
}

/// All that a command can ask for.
fn values(command: &'static Command, parsed: &Parsed) -> BTreeMap<&'static str, Vec<u8>> {
    command
        .flags
        .iter()
        .map(|flag| {
            let mut value = shown(flag.kind, flag.name, parsed).as_bytes().to_vec();
            value.push(u8::from(parsed.is_given(flag.name)));
            assert!(parsed.duration(flag.name) <= Duration::from_nanos(i64::MAX as u64));
            (flag.name, value)
        })
        .collect()
}
