//! `completion` and `man`, as the programs that read them see them.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests drive processes and look at files directly"
)]

mod common;

use std::process::{Command, Stdio};

use common::{Done, Place};
use litestream_cli::args::table;

fn printed(place: &Place, args: &[&str]) -> String {
    let done = place.run(args);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{args:?}");
    done.stdout
}

/// `None` where the program is not installed.
fn try_program(program: &str, args: &[&str], place: &Place) -> Option<Done> {
    let mut command = Command::new(program);
    command.args(args).current_dir(place.path("."));
    let output = command.stdin(Stdio::null()).output().ok()?;
    Some(output.into())
}

/// What bash offers after words of a command line; the last one is being typed.
fn offered(place: &Place, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source ./litestream.bash; COMP_WORDS=({}); COMP_CWORD={}; _litestream; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1
    );
    let done = try_program("bash", &["-c", &script], place).unwrap();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{words:?}");
    let lines = done.stdout.lines().filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

#[test]
fn bash_reads_its_script_and_offers_everything() {
    let place = Place::new();
    let script = printed(&place, &["completion", "bash"]);
    std::fs::write(place.path("litestream.bash"), script).unwrap();
    let parsed = try_program("bash", &["-n", "litestream.bash"], &place).unwrap();
    assert_eq!((parsed.code, parsed.stderr.as_str()), (0, ""));
    let first = offered(&place, &["litestream", ""]);
    for command in table::COMMANDS {
        let mut words = vec!["litestream"];
        words.extend(command.name.split(' '));
        assert!(first.iter().any(|word| word == words[1]), "{first:?}");
        words.push("-");
        let mut flags: Vec<String> = command
            .flags
            .iter()
            .map(|f| format!("-{}", f.name))
            .collect();
        let mut found = offered(&place, &words);
        flags.sort();
        found.sort();
        assert_eq!(found, flags, "{}", command.name);
    }
    let after = |words: &[&str]| offered(&place, words).join(" ");
    assert_eq!(after(&["litestream", "res"]), "reset restore");
    assert_eq!(after(&["litestream", "config", ""]), "check show");
    assert_eq!(after(&["litestream", "wal", "-l"]), "-level");
    assert_eq!(after(&["litestream", "ltx", "-level", "a"]), "all");
    assert_eq!(after(&["litestream", "ltx", "--level", "a"]), "all");
    assert_eq!(after(&["litestream", "ltx", "-level", "=", "a"]), "all");
    assert_eq!(
        after(&["litestream", "ltx", "-level", "="]),
        "0 1 2 3 4 5 6 7 8 9 all"
    );
    assert_eq!(
        after(&["litestream", "restore", "-integrity-check", ""]),
        "none quick full"
    );
    // Left to the shell: files.
    assert_eq!(after(&["litestream", "restore", "-config", ""]), "");
    assert_eq!(after(&["litestream", "restore", "-config", "-"]), "");
    assert_eq!(after(&["litestream", "restore", ""]), "");
}

/// Where these shells are installed they must at least parse what is for them; everywhere, no quote is left open.
#[test]
fn other_shells_can_read_theirs() {
    let place = Place::new();
    for (shell, argument) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let script = printed(&place, &["completion", shell]);
        for line in script.lines() {
            let open = line
                .replace("'\\''", "")
                .replace("\\'", "")
                .matches('\'')
                .count()
                % 2;
            assert_eq!(open, 0, "{shell}: {line}");
        }
        std::fs::write(place.path(shell), script).unwrap();
        if let Some(done) = try_program(shell, &[argument, shell], &place) {
            assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{shell}");
        }
    }
}

#[test]
fn groff_has_no_complaint_about_any_page() {
    let place = Place::new();
    let pages = table::COMMANDS.iter().map(|command| Some(command.name));
    for name in pages.chain([None]) {
        let mut args = vec!["man"];
        args.extend(name.iter().flat_map(|name| name.split(' ')));
        let page = printed(&place, &args);
        std::fs::write(place.path("page.1"), &page).unwrap();
        let arguments = ["-man", "-ww", "-Tascii", "-P-c", "page.1"];
        // Where it is not installed, the structure is checked beside the generator.
        let Some(done) = try_program("groff", &arguments, &place) else {
            continue;
        };
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{name:?}");
        let flags = table::COMMANDS
            .iter()
            .filter(|command| Some(command.name) == name)
            .flat_map(|command| command.flags);
        let shown = done.stdout.replace('\u{8}', "");
        for flag in flags {
            // Bold letters are struck twice on this device.
            let bold: String = format!("-{}", flag.name)
                .chars()
                .flat_map(|c| [c, c])
                .collect();
            let plain = format!("-{}", flag.name);
            assert!(
                shown.contains(&bold) || shown.contains(&plain),
                "{name:?} -{}",
                flag.name
            );
        }
    }
}

#[test]
fn wrong_words_are_told() {
    let place = Place::new();
    let said = |args: &[&str]| {
        let done = place.run(args);
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{args:?}");
        done.stderr
    };
    let example = "Try: litestream completion bash\n";
    assert_eq!(
        said(&["completion"]),
        format!("Error: shell required\n{example}")
    );
    assert_eq!(
        said(&["completion", "ksh"]),
        format!("Error: unknown shell: ksh; there are bash, zsh and fish\n{example}")
    );
    assert_eq!(
        said(&["completion", "bash", "x"]),
        "Error: too many arguments\n"
    );
    assert_eq!(
        said(&["man", "restor"]),
        "Error: litestream restor: unknown command\nTry: litestream man restore\n"
    );
    for args in [["completion", "-h"], ["man", "--help"]] {
        assert!(printed(&place, &args).contains("Usage:\n"));
    }
    let page = printed(&place, &["man", "config-check"]);
    assert_eq!(page, printed(&place, &["man", "config", "check"]));
    assert_eq!(
        printed(&place, &["man", "wal"]),
        printed(&place, &["man", "ltx"])
    );
    let main = printed(&place, &["help"]);
    assert!(
        !main.contains("completion") && !main.contains("\tman"),
        "{main}"
    );
}
