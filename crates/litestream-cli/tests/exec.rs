//! `replicate -exec`.

mod common;

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;

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

#[test]
fn a_child_that_ends_by_another_signal_than_the_one_passed_on_ends_badly() {
    let place = Place::new();
    let _db = place.database("app.db");
    let script = "sh -c 'trap \"kill -9 $$\" TERM; echo ready; while :; do sleep 0.05; done'";
    let litestream = place.start(&["replicate", "-exec", script, "app.db", &place.url()]);
    litestream.wait_for("ready");
    litestream.signal("TERM");
    let done = litestream.finish();
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (137, "Error: cannot wait for exec process: signal: killed\n"),
        "{done:?}"
    );
}

/// A replica that cannot be written until its link is removed.
fn blocked(place: &Place) {
    std::os::unix::fs::symlink("/dev/null", place.path("backup")).expect("link");
}

fn unblock(place: &Place) {
    let removed = std::process::Command::new("rm")
        .arg(place.path("backup"))
        .status()
        .expect("rm");
    assert!(removed.success());
}

#[test]
fn the_first_signal_after_the_end_of_the_child_does_not_cost_the_final_sync() {
    let place = Place::new();
    let _db = place.database("app.db");
    blocked(&place);
    let url = place.url();
    let litestream = place.start(&["replicate", "-exec", "true", "app.db", &url]);
    litestream.wait_for("subprocess exited");
    litestream.wait_for("shutdown sync failed, retrying");
    litestream.signal("TERM");
    litestream.wait_for("signal received, litestream shutting down");
    unblock(&place);
    let done = litestream.finish();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    assert!(
        done.stdout.contains("shutdown sync succeeded after retry"),
        "{done:?}"
    );
    assert_eq!(place.run(&["restore", "-o", "out.db", &url]).code, 0);
    assert_eq!(place.sum("out.db"), 1);
}

#[test]
fn the_second_signal_after_the_end_of_the_child_skips_the_final_sync() {
    let place = Place::new();
    let _db = place.database("app.db");
    blocked(&place);
    let litestream = place.start(&["replicate", "-exec", "true", "app.db", &place.url()]);
    litestream.wait_for("shutdown sync failed, retrying");
    litestream.signal("TERM");
    litestream.wait_for("signal received, litestream shutting down");
    litestream.signal("INT");
    let done = litestream.finish();
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stdout.contains("shutdown sync interrupted by signal"),
        "{done:?}"
    );
}

/// Sends TERM to the whole process group once the child has said `ready`. Returns exit code and log.
fn end_group(place: &Place, script: &str) -> (i32, String) {
    let args = ["replicate", "-exec", script, "app.db", &place.url()];
    let mut command = place.command(common::LITESTREAM, &args);
    command
        .process_group(0)
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("start");
    let mut output = child.stdout.take().expect("stdout");
    let mut text = String::new();
    while !text.contains("ready") {
        let mut part = [0; 4096];
        let n = output.read(&mut part).expect("read");
        assert!(n > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&part[..n]));
    }
    let group = format!("-{}", child.id());
    let sent = std::process::Command::new("kill")
        .args(["-s", "TERM", "--", &group])
        .status();
    assert!(sent.expect("kill").success());
    output.read_to_string(&mut text).expect("read");
    (common::code(child.wait().expect("wait")), text)
}

#[test]
fn a_signal_to_the_whole_group_ends_with_a_final_sync() {
    for end in [
        "trap \"exit 0\" TERM; echo ready; while :; do sleep 0.05; done",
        "echo ready; exec sleep 100",
    ] {
        for _ in 0..10 {
            let place = Place::new();
            let _db = place.database("app.db");
            let script = format!("sh -c 'sqlite3 app.db \"INSERT INTO t VALUES (41)\"; {end}'");
            let (code, text) = end_group(&place, &script);
            assert_eq!(code, 0, "{text}");
            assert!(text.contains("signal=terminated"), "{text}");
            assert_eq!(
                place.run(&["restore", "-o", "out.db", &place.url()]).code,
                0
            );
            assert_eq!(place.sum("out.db"), 42);
        }
    }
}

#[test]
fn a_signal_before_the_child_could_start_is_no_good_end() {
    let place = Place::new();
    let _db = place.database("app.db");
    // Opening a pipe that nobody writes to takes for ever, and so do the first sync and the final one.
    let dir = place.path(".app.db-litestream/ltx/0");
    std::process::Command::new("mkdir")
        .arg("-p")
        .arg(&dir)
        .status()
        .unwrap();
    common::fifo(&dir.join("0000000000000001-0000000000000001.ltx"));
    let litestream = place.start(&["replicate", "-exec", "echo child", "app.db", &place.url()]);
    litestream.wait_for("replicating to");
    litestream.signal("TERM");
    litestream.wait_for("signal received");
    litestream.signal("TERM");
    let done = litestream.finish();
    assert_eq!(done.code, 143, "{done:?}");
    assert!(!done.stdout.contains("child\n"), "{done:?}");
}
