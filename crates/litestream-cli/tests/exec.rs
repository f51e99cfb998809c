//! `replicate -exec`.

mod common;

use common::{Place, send};

fn exec(place: &Place, command: &str) -> common::Done {
    place.run(&["replicate", "-exec", command, "app.db", &place.url()])
}

#[test]
fn d4_the_exit_code_of_the_child_is_passed_on() {
    let place = Place::new();
    let _db = place.database("app.db");
    let done = exec(&place, "true");
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    assert!(
        done.stdout
            .contains("subprocess exited, litestream shutting down")
    );
    let done = exec(&place, "sh -c 'exit 7'");
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (7, "Error: exit status 7\n")
    );
    let done = exec(&place, "sh -c 'kill -9 $$'");
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (137, "Error: signal: killed\n")
    );
}

#[test]
fn d3_what_a_short_child_writes_is_replicated() {
    let place = Place::new();
    let _db = place.database("app.db");
    let done = exec(&place, "sqlite3 app.db 'INSERT INTO t VALUES (41)'");
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(
        place.run(&["restore", "-o", "out.db", &place.url()]).code,
        0
    );
    assert_eq!(place.sum("out.db"), 42);
}

#[test]
fn d3_a_database_that_the_child_makes_is_replicated() {
    let place = Place::new();
    let done = exec(
        &place,
        "sqlite3 app.db 'PRAGMA journal_mode=WAL; CREATE TABLE t (x); INSERT INTO t VALUES (5)'",
    );
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(
        place.run(&["restore", "-o", "out.db", &place.url()]).code,
        0
    );
    assert_eq!(place.sum("out.db"), 5);
}

#[test]
fn commands_that_cannot_be_started() {
    let place = Place::new();
    let _db = place.database("app.db");
    for (command, text) in [
        (
            "nope-not-there",
            "cannot start exec command: exec: \"nope-not-there\": executable file not found in $PATH",
        ),
        (
            "./nope",
            "cannot start exec command: fork/exec ./nope: no such file or directory",
        ),
        (
            "./app.db",
            "cannot start exec command: fork/exec ./app.db: permission denied",
        ),
        (
            "it's",
            "cannot parse exec command: invalid command line string",
        ),
        ("  ", "cannot parse exec command: the command is blank"),
    ] {
        let done = exec(&place, command);
        assert_eq!(
            (done.code, done.stderr),
            (1, format!("Error: {text}\n")),
            "{command}"
        );
    }
    let done = exec(&place, "echo a; echo b");
    assert_eq!(done.code, 1);
    assert!(
        done.stderr
            .starts_with("Error: cannot parse exec command: unquoted ';' needs a shell"),
        "{done:?}"
    );
}

#[test]
fn the_child_sees_the_log_level_and_an_empty_stdin() {
    let place = Place::new();
    let _db = place.database("app.db");
    let command = "sh -c 'cat; echo level is $LOG_LEVEL'";
    let done = place.run(&[
        "replicate",
        "-log-level",
        "warn",
        "-exec",
        command,
        "app.db",
        &place.url(),
    ]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "level is warn\n"),
        "{done:?}"
    );
}

#[test]
fn d2_a_child_that_ends_badly_on_a_signal_does_not_cost_the_final_sync() {
    let place = Place::new();
    let _db = place.database("app.db");
    let script = "sh -c 'trap \"sqlite3 app.db \\\"INSERT INTO t VALUES (41)\\\"; exit 9\" TERM; \
                  echo ready; while :; do sleep 0.05; done'";
    let litestream = place.start(&["replicate", "-exec", script, "app.db", &place.url()]);
    litestream.wait_for("ready");
    litestream.signal("TERM");
    let done = litestream.finish();
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (9, "Error: cannot wait for exec process: exit status 9\n"),
        "{done:?}"
    );
    for text in [
        "signal=terminated",
        "sending signal to exec process",
        "waiting for exec process to close",
    ] {
        assert!(done.stdout.contains(text), "{text}: {done:?}");
    }
    assert_eq!(
        place.run(&["restore", "-o", "out.db", &place.url()]).code,
        0
    );
    assert_eq!(place.sum("out.db"), 42);
}

#[test]
fn a_child_that_ends_by_the_signal_passed_on_is_a_good_end() {
    let place = Place::new();
    let _db = place.database("app.db");
    let litestream = place.start(&[
        "replicate",
        "-exec",
        "sh -c 'echo ready; exec sleep 100'",
        "app.db",
        &place.url(),
    ]);
    litestream.wait_for("ready");
    litestream.signal("INT");
    let done = litestream.finish();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
}

#[test]
fn a_second_signal_ends_the_waiting_for_the_child() {
    let place = Place::new();
    let _db = place.database("app.db");
    let script = "sh -c 'trap : TERM; echo pid $$; while :; do sleep 0.05; done'";
    let litestream = place.start(&["replicate", "-exec", script, "app.db", &place.url()]);
    litestream.wait_for("pid ");
    litestream.signal("TERM");
    litestream.wait_for("waiting for exec process to close");
    litestream.signal("TERM");
    let done = litestream.finish();
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("second signal received"), "{done:?}");
    let pid = done
        .stdout
        .lines()
        .find_map(|l| l.strip_prefix("pid "))
        .unwrap()
        .parse()
        .unwrap();
    send(pid, "KILL");
}
