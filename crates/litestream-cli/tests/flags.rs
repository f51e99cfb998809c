//! Dispatch, flags and their error texts.
#![allow(clippy::disallowed_methods, reason = "tests make files directly")]

mod common;

use common::Place;

#[test]
fn main_help_and_exit_codes() {
    let place = Place::new();
    let help = place.run(&["help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    assert!(help.stdout.contains("\treplicate "), "{}", help.stdout);
    for (args, code) in [
        (&[][..], 1),
        (&["-h"], 0),
        (&["-help"], 0),
        (&["--help", "x"], 0),
        (&["help", "nope"], 0),
        (&["-x"], 1),
        (&["-x", "-h"], 0),
        (&["-x", "y", "--help"], 0),
    ] {
        let done = place.run(args);
        assert_eq!(
            (done.code, &done.stdout, done.stderr.as_str()),
            (code, &help.stdout, ""),
            "{args:?}"
        );
    }
}

#[test]
fn unknown_commands() {
    let place = Place::new();
    for name in [
        "nope",
        "generations",
        "snapshots",
        "validate",
        "mcp",
        "Replicate",
    ] {
        let done = place.run(&[name]);
        assert_eq!((done.code, done.stdout.as_str()), (1, ""));
        assert_eq!(
            done.stderr.lines().next(),
            Some(&*format!("Error: litestream {name}: unknown command"))
        );
    }
    // A variable that is not set is no command at all.
    let (empty, none) = (place.run(&[""]), place.run(&[]));
    assert_eq!((empty.code, empty.stderr.as_str()), (1, ""));
    assert_eq!((none.code, none.stdout), (1, empty.stdout));
    assert_eq!(
        place.run(&["restor"]).stderr,
        "Error: litestream restor: unknown command\nTry: litestream restore\n"
    );
}

#[test]
fn flag_errors_are_printed_twice_with_help_between() {
    let place = Place::new();
    for (args, text) in [
        (&["ltx", "-x"][..], "flag provided but not defined: -x"),
        (&["ltx", "-level"], "flag needs an argument: -level"),
        (
            &["ltx", "-json=maybe"],
            "invalid boolean value \"maybe\" for -json: parse error",
        ),
        (
            &["restore", "-parallelism", "abc"],
            "invalid value \"abc\" for flag -parallelism: parse error",
        ),
        (
            &["restore", "-parallelism=9223372036854775808"],
            "invalid value \"9223372036854775808\" for flag -parallelism: value out of range",
        ),
        (&["replicate", "-=x"], "bad flag syntax: -=x"),
        (&["replicate", "---x"], "bad flag syntax: ---x"),
        (
            &["restore", "-txid", "zz"],
            "invalid value \"zz\" for flag -txid: invalid txid format",
        ),
        (
            &["ltx", "-level", "abc"],
            "invalid value \"abc\" for flag -level: invalid level: must be 0-9 or \"all\"",
        ),
        (
            &["wal", "-level", "10"],
            "invalid value \"10\" for flag -level: level must be between 0 and 9",
        ),
        (&["version", "-x"], "flag provided but not defined: -x"),
    ] {
        let done = place.run(args);
        let warned = if args[0] == "wal" {
            "Warning: 'wal' command is deprecated, please use 'ltx' instead\n"
        } else {
            ""
        };
        assert_eq!(
            (done.code, done.stderr),
            (1, format!("{warned}{text}\nError: {text}\n")),
            "{args:?}"
        );
        let help = place.run(&[args[0], "-h"]);
        assert_eq!((help.code, help.stdout), (0, done.stdout));
    }
}

#[test]
fn a_near_flag_is_suggested_after_the_message() {
    let done = Place::new().run(&["replicate", "-onec"]);
    assert_eq!(
        done.stderr,
        "flag provided but not defined: -onec\nError: flag provided but not defined: -onec\ndid you mean -once?\n"
    );
}

#[test]
fn positionals_of_ltx() {
    let place = Place::new();
    for args in [&["ltx"][..], &["ltx", ""], &["ltx", "-json"]] {
        let done = place.run(args);
        assert_eq!(
            done.stderr.lines().next(),
            Some("Error: database path or replica URL required")
        );
        assert!(done.stderr.contains("\nTry: litestream ltx "));
    }
    for (args, text) in [
        (&["ltx", "a", "b"][..], "too many arguments"),
        (&["ltx", "file:///x", "-json"], "too many arguments"),
        (
            &["ltx", "-config", "c", "file:///x"],
            "cannot specify a replica URL and the -config flag",
        ),
        (
            &["ltx", "foo://x"],
            "unknown replica type in config: \"foo\"",
        ),
        (
            &["ltx", "s3-x://b"],
            "unknown replica type in config: \"s3-x\"",
        ),
    ] {
        let done = place.run(args);
        assert_eq!(
            (done.code, done.stderr),
            (1, format!("Error: {text}\n")),
            "{args:?}"
        );
    }
    std::fs::write(
        place.path("c.yml"),
        "dbs: [{path: a.db, replica: {path: r}}]",
    )
    .unwrap();
    for (arg, path) in [
        ("app.db", place.path("app.db")),
        ("s3:b/p", place.path("s3:b/p")),
        ("sqlite:///app.db", "/app.db".into()),
    ] {
        let done = place.run(&["ltx", "-config", "c.yml", arg]);
        let text = format!("Error: database not found in config: {}\n", path.display());
        assert!(done.code == 1 && done.stderr.starts_with(&text), "{done:?}");
    }
    let done = place.run(&["ltx", "-config", "c.yml", "a.db"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "level  min_txid  max_txid  size  created\n"),
        "{done:?}"
    );
}

#[test]
fn an_empty_replica_is_an_empty_list() {
    let place = Place::new();
    let done = place.run(&["ltx", &place.url()]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "level  min_txid  max_txid  size  created\n")
    );
    let done = place.run(&["ltx", "-json", "-level", "all", &place.url()]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "[]\n"));
    assert!(!place.exists("backup"));
}

#[test]
fn version_is_one_bare_line() {
    let place = Place::new();
    let done = place.run(&["version", "a", "b"]);
    assert_eq!(
        (done.code, done.stdout),
        (0, format!("{}\n", env!("CARGO_PKG_VERSION")))
    );
    let verbose = place.run(&["version", "-verbose"]).stdout;
    let keys: Vec<_> = verbose
        .lines()
        .map(|l| l.split(':').next().unwrap())
        .collect();
    assert_eq!(keys, ["Version", "SQLite", "Rust", "OS/Arch"]);
}

#[test]
fn positionals_of_replicate() {
    let place = Place::new();
    for (args, text) in [
        (
            &["replicate", "a.db"][..],
            "must specify at least one replica URL for a.db",
        ),
        (
            &["replicate", "-config", "c", "a.db", "file:///x"],
            "cannot specify a replica URL and the -config flag",
        ),
        (
            &["replicate", "a.db", "-once", "x"],
            "flag \"-once\" must be positioned before DB_PATH and REPLICA_URL arguments",
        ),
        (
            &["replicate", "-once", "-exec", "x", "a.db", "file:///x"],
            "cannot specify -once flag with -exec",
        ),
        (
            &["replicate", "-force-snapshot", "a.db", "file:///x"],
            "cannot specify -force-snapshot flag without -once",
        ),
        (
            &["replicate", "-enforce-retention", "a.db", "file:///x"],
            "cannot specify -enforce-retention flag without -once",
        ),
    ] {
        let done = place.run(args);
        assert_eq!(
            (done.code, done.stdout.as_str(), done.stderr),
            (1, "", format!("Error: {text}\n")),
            "{args:?}"
        );
    }
    for (args, text) in [
        (
            &["replicate", "a.db", "file:///x", "file:///y"][..],
            "multiple replicas on a single database are no longer supported",
        ),
        (
            &["replicate", "a.db", "r1"],
            "replica url scheme required: r1",
        ),
        (
            &["replicate", "a.db", "s3:b/p"],
            "replica url scheme required: s3:b/p",
        ),
        (
            &["replicate", "a.db", "foo://b/p"],
            "unknown replica type in config: \"foo\"",
        ),
    ] {
        let done = place.run(args);
        assert_eq!(
            (done.code, done.stderr),
            (1, format!("Error: {text}\n")),
            "{args:?}"
        );
        assert_eq!(done.stdout.lines().count(), 1);
        assert!(
            done.stdout.contains(" level=INFO msg=litestream version="),
            "{}",
            done.stdout
        );
    }
    // Without positionals it is the configuration that says what to do.
    let done = place.run(&["replicate", "-config", "x"]);
    let missing = format!(
        "Error: config file not found: {}\n",
        place.path("x").display()
    );
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr),
        (1, "", missing)
    );
}

#[test]
fn what_is_no_database_is_refused() {
    let place = Place::new();
    common::fifo(&place.path("fifo"));
    for db in [".", "fifo", "/dev/null", "", "file:///a.db"] {
        let done = place.run(&["replicate", "-once", db, &place.url()]);
        assert_eq!(done.code, 1, "{db}: {done:?}");
        assert!(
            done.stderr.starts_with("Error: database path "),
            "{db}: {done:?}"
        );
    }
    assert_eq!(place.names(), ["fifo"]);
}
