//! `restore`: checks and their order, texts, documents, and what it leaves alone.
#![allow(clippy::disallowed_methods, reason = "tests look at files directly")]

mod common;

use std::fs;

use common::{Place, fifo};

const TXID_1: &str = "0000000000000001";

fn error(place: &Place, args: &[&str]) -> String {
    let done = place.run(args);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (1, ""),
        "{args:?}: {done:?}"
    );
    done.stderr
}

#[test]
fn arguments_are_checked_in_order() {
    let place = Place::new();
    for args in [&["restore"][..], &["restore", ""], &["restore", "-o", "x"]] {
        let text = error(&place, args);
        assert!(
            text.starts_with(
                "Error: database path or replica URL required\nTry: litestream restore -o "
            ),
            "{text}"
        );
    }
    for (args, text) in [
        (&["restore", "a", "b"][..], "too many arguments"),
        (
            &[
                "restore",
                "-integrity-check",
                "bad",
                "-timestamp",
                "x",
                "file:///x",
            ],
            "invalid -integrity-check value: bad",
        ),
        (
            &["restore", "-integrity-check", "FULL", "file:///x"],
            "invalid -integrity-check value: FULL",
        ),
        (
            &["restore", "-timestamp", "x", "file:///x"],
            "invalid -timestamp, must specify in ISO 8601 format (e.g. 2000-01-01T00:00:00Z)",
        ),
        (
            &["restore", "-config", "c", "file:///x"],
            "cannot specify a replica URL and the -config flag",
        ),
        (
            &["restore", "file:///x"],
            "-o is required when restoring from a replica URL\nTry: litestream restore -o /path/to/db file:///x",
        ),
        (
            &[
                "restore",
                "-o",
                "o",
                "-txid",
                TXID_1,
                "-timestamp",
                "2030-01-01T00:00:00Z",
                "file:///x",
            ],
            "cannot specify index & timestamp to restore",
        ),
        (
            &["restore", "-o", "o", "foo://x"],
            "unknown replica type in config: \"foo\"",
        ),
        (
            &["restore", "-o", "o", "-parallelism", "0", "file:///x"],
            "invalid -parallelism value: 0, must be at least 1",
        ),
        (
            &["restore", "-o", "o", "-progress", "x", "file:///x"],
            "invalid -progress value: x, must be auto, none, bar or json",
        ),
    ] {
        assert_eq!(error(&place, args), format!("Error: {text}\n"), "{args:?}");
    }
    for (args, text) in [
        (
            &["restore", "-config", "c.yml", "app.db"][..],
            "config file not found: ",
        ),
        (
            &["restore", "-config", "c.yml", "-o", "x", "sqlite:///app.db"],
            "config file not found: ",
        ),
        (
            &[
                "restore",
                "-f",
                "-txid",
                "0000000000000001",
                "-o",
                "x",
                "file:///x",
            ],
            "Error: cannot use follow mode with -txid",
        ),
        (
            &[
                "restore",
                "-f",
                "-timestamp",
                "2030-01-01T00:00:00Z",
                "-o",
                "x",
                "file:///x",
            ],
            "Error: cannot use follow mode with -timestamp",
        ),
        (
            &["restore", "-f", "-dry-run", "-o", "x", "file:///x"],
            "Error: cannot use -dry-run with -f",
        ),
    ] {
        assert!(error(&place, args).contains(text), "{args:?}");
    }
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn nothing_to_restore() {
    let place = Place::new();
    let url = place.url();
    let text = "Error: no matching backup files available\n";
    assert_eq!(error(&place, &["restore", "-o", "out.db", &url]), text);
    assert_eq!(
        error(&place, &["restore", "-dry-run", "-o", "out.db", &url]),
        text
    );
    assert_eq!(
        error(
            &place,
            &[
                "restore",
                "-timestamp",
                "2030-01-01T00:00:00Z",
                "-o",
                "out.db",
                &url
            ]
        ),
        "Error: no backups found\n"
    );
    for extra in [
        &[][..],
        &["-dry-run"],
        &["-timestamp", "2030-01-01T00:00:00Z"],
        &["-txid", TXID_1],
        &["-force"],
    ] {
        let mut args = vec!["restore", "-if-replica-exists", "-o", "out.db"];
        args.extend(extra);
        args.push(&url);
        let done = place.run(&args);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (0, ""),
            "{args:?}: {done:?}"
        );
        assert!(
            done.stderr
                .ends_with("level=INFO msg=\"no matching backups found\"\n"),
            "{done:?}"
        );
    }
    drop(place.replicated());
    assert_eq!(
        error(
            &place,
            &["restore", "-txid", "0000000000000009", "-o", "out.db", &url]
        ),
        text
    );
    assert_eq!(
        error(
            &place,
            &[
                "restore",
                "-timestamp",
                "2000-01-01T00:00:00Z",
                "-o",
                "out.db",
                &url
            ]
        ),
        "Error: timestamp does not exist\n"
    );
    assert!(!place.exists("out.db"));
}

#[test]
fn r21_a_replica_that_cannot_be_read_is_not_an_absent_one() {
    let place = Place::new();
    std::os::unix::fs::symlink("/dev/null", place.path("backup")).unwrap();
    let text = error(
        &place,
        &[
            "restore",
            "-if-replica-exists",
            "-o",
            "out.db",
            &place.url(),
        ],
    );
    assert!(
        text.starts_with("Error: cannot calc restore plan: "),
        "{text}"
    );
}

#[test]
fn restored_silently_or_with_a_document() {
    let place = Place::new();
    drop(place.replicated());
    let url = place.url();
    let done = place.run(&["restore", "-o", "a/b/out.db", &url]);
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (0, "", ""),
        "{done:?}"
    );
    assert_eq!(place.sum("a/b/out.db"), 1);
    let args = [
        "restore",
        "-json",
        "-integrity-check",
        "full",
        "-parallelism",
        "2",
        "-txid",
        TXID_1,
        "-o",
        "out.db",
        &url,
    ];
    let done = place.run(&args);
    assert_eq!(done.code, 0, "{done:?}");
    let lines: Vec<&str> = done
        .stdout
        .lines()
        .filter(|l| !l.contains("duration_ms") && !l.contains("\"time\": \"2"))
        .collect();
    assert_eq!(
        lines,
        [
            "{",
            "  \"db_path\": \"out.db\",",
            "  \"replica\": \"file\",",
            "  \"txid\": \"0000000000000001\",",
            "  \"integrity_check\": \"full\",",
            "  \"proved\": true",
            "}"
        ]
    );
    assert!(
        done.stderr
            .contains("level=INFO msg=\"post-restore integrity check passed\""),
        "{done:?}"
    );
    let late = place.run(&[
        "restore",
        "-timestamp",
        "2999-01-01T00:00:00+02:00",
        "-o",
        "late.db",
        &url,
    ]);
    assert_eq!(
        late.code, 0,
        "D15: a time after the newest file is the newest state: {late:?}"
    );
    let chosen =
        format!("msg=\"restored the last state before the timestamp\" txid={TXID_1} time=2");
    assert!(late.stderr.contains(&chosen), "{late:?}");
}

#[test]
fn d21_a_skipped_restore_prints_a_document_too() {
    let place = Place::new();
    let document = |reason: &str| {
        format!(
            "{{\n  \"db_path\": \"out.db\",\n  \"replica\": \"file\",\n  \"txid\": \"\",\n  \"duration_ms\": 0,\n  \
             \"integrity_check\": \"none\",\n  \"skipped\": \"{reason}\"\n}}\n"
        )
    };
    let done = place.run(&[
        "restore",
        "-json",
        "-if-replica-exists",
        "-o",
        "out.db",
        &place.url(),
    ]);
    assert_eq!(
        (done.code, done.stdout),
        (0, document("no matching backups found"))
    );
    fs::write(place.path("out.db"), "precious").unwrap();
    let done = place.run(&[
        "restore",
        "-json",
        "-if-db-not-exists",
        "-o",
        "out.db",
        &place.url(),
    ]);
    assert_eq!(
        (done.code, done.stdout),
        (0, document("database already exists, skipping"))
    );
}

#[test]
fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let place = Place::new();
    drop(place.replicated());
    let url = place.url();
    let before = place.names();
    let done = place.run(&["restore", "-dry-run", "-o", "out.db", &url]);
    assert_eq!(done.code, 0, "{done:?}");
    let head = format!(
        "Restore plan:\n  source: {url}\n  target: out.db\n  replica: file\n  txid range: {TXID_1} - {TXID_1}\n\n\
         Files to fetch:\nlevel  file                                   min_txid          max_txid          size"
    );
    assert!(done.stdout.starts_with(&head), "{}", done.stdout);
    assert!(done.stdout.contains(&format!(
        "\n0      {TXID_1}-{TXID_1}.ltx  {TXID_1}  {TXID_1}  "
    )));
    let done = place.run(&["restore", "-dry-run", "-json", "-o", "out.db", &url]);
    for key in [
        "source",
        "target_path",
        "replica",
        "min_txid",
        "max_txid",
        "files",
        "level",
        "name",
        "size",
        "timestamp",
    ] {
        assert!(
            done.stdout.contains(&format!("\"{key}\": ")),
            "{key}: {}",
            done.stdout
        );
    }
    let args = [
        "restore",
        "-dry-run",
        "-timestamp",
        "2999-01-01T00:00:00Z",
        "-o",
        "out.db",
        &url,
    ];
    let done = place.run(&args);
    let range = format!("\n  txid range: {TXID_1} - {TXID_1}\n  state from: 2");
    assert!(done.stdout.contains(&range), "{}", done.stdout);
    let done = place.run(&[&["restore", "-json"], &args[1..]].concat());
    assert!(done.stdout.contains("\"time\": \"2"), "{done:?}");
    assert_eq!(place.names(), before);
}

#[test]
fn existing_outputs_are_refused_and_kept() {
    let place = Place::new();
    drop(place.replicated());
    let url = place.url();
    fs::create_dir(place.path("dir")).unwrap();
    fs::write(place.path("full.db"), "precious").unwrap();
    fifo(&place.path("fifo"));
    for (output, text) in [
        ("dir", "cannot restore, output path is a directory: dir"),
        (
            "full.db",
            "cannot restore, output path already exists and is not empty: full.db. Use -force to overwrite",
        ),
        (
            "fifo",
            "cannot restore, output path is not a regular file but a FIFO, socket or device: fifo",
        ),
        (
            "/dev/null",
            "cannot restore, output path is not a regular file but a FIFO, socket or device: /dev/null",
        ),
    ] {
        assert_eq!(
            error(&place, &["restore", "-o", output, &url]),
            format!("Error: {text}\n")
        );
        if output != "full.db" {
            assert_eq!(
                error(&place, &["restore", "-force", "-o", output, &url]),
                format!("Error: {text}\n")
            );
            assert_eq!(
                error(
                    &place,
                    &["restore", "-if-db-not-exists", "-o", output, &url]
                ),
                format!("Error: {text}\n")
            );
        }
    }
    assert_eq!(fs::read(place.path("full.db")).unwrap(), b"precious");
    assert!(
        place
            .run(&["restore", "-force", "-o", "full.db", &url])
            .code
            == 0
    );
    assert_eq!(place.sum("full.db"), 1);
}

#[test]
fn d18_force_keeps_the_old_database_until_there_is_a_new_one() {
    let place = Place::new();
    fs::write(place.path("out.db"), "precious").unwrap();
    for extra in [None, Some("-if-replica-exists")] {
        let mut args = vec!["restore", "-force", "-o", "out.db"];
        args.extend(extra);
        let url = place.url();
        args.push(&url);
        let done = place.run(&args);
        assert_eq!(done.code, i32::from(extra.is_none()), "{done:?}");
        assert_eq!(fs::read(place.path("out.db")).unwrap(), b"precious");
    }
}

#[test]
fn d19_links_are_followed_and_empty_files_filled() {
    let place = Place::new();
    drop(place.replicated());
    fs::write(place.path("empty.db"), "").unwrap();
    std::os::unix::fs::symlink("empty.db", place.path("link.db")).unwrap();
    let done = place.run(&["restore", "-o", "link.db", &place.url()]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        fs::symlink_metadata(place.path("link.db"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(place.sum("empty.db"), 1);
}

#[test]
fn d20_a_stale_wal_beside_an_absent_output_is_reported() {
    let place = Place::new();
    drop(place.replicated());
    fs::write(place.path("out.db-wal"), "stale").unwrap();
    assert_eq!(
        error(&place, &["restore", "-o", "out.db", &place.url()]),
        "Error: cannot restore, SQLite sidecar path already exists: out.db-wal. Use -force to overwrite\n"
    );
    assert_eq!(
        place
            .run(&["restore", "-force", "-o", "out.db", &place.url()])
            .code,
        0
    );
    assert_eq!(place.sum("out.db"), 1);
}

#[test]
fn a_damaged_file_leaves_nothing_behind() {
    let place = Place::new();
    drop(place.replicated());
    let file = place.path("backup/ltx/0/0000000000000001-0000000000000001.ltx");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&file, &bytes).unwrap();
    let before = place.names();
    let text = error(&place, &["restore", "-o", "out.db", &place.url()]);
    // Before it the log says that other files were looked for.
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("Error: decode database: "), "{text}");
    assert_eq!(place.names(), before);
}

#[test]
fn progress_as_json_is_on_stderr() {
    let place = Place::new();
    drop(place.replicated());
    let done = place.run(&[
        "restore",
        "-progress",
        "json",
        "-integrity-check",
        "quick",
        "-o",
        "out.db",
        &place.url(),
    ]);
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{done:?}");
    for event in ["planned", "checking", "done"] {
        assert!(
            done.stderr.contains(&format!("\"event\":\"{event}\"")),
            "{event}: {done:?}"
        );
    }
}
