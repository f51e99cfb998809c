//! How `replicate` ends.

mod common;

use std::process::Stdio;

use common::{LITESTREAM, Place, first_line};

#[test]
fn a_signal_ends_with_a_final_sync() {
    for (signal, name) in [
        ("TERM", "terminated"),
        ("INT", "interrupt"),
        ("HUP", "hangup"),
    ] {
        let place = Place::new();
        let db = place.database("app.db");
        let litestream = place.start(&["replicate", "app.db", &place.url()]);
        litestream.wait_for("replicating to");
        db.execute_batch("INSERT INTO t VALUES (41)").unwrap();
        litestream.signal(signal);
        let done = litestream.finish();
        assert_eq!(
            (done.code, done.stderr.as_str()),
            (0, ""),
            "{signal}: {done:?}"
        );
        assert!(done.stdout.contains(&format!(
            "msg=\"signal received, litestream shutting down\" signal={name}\n"
        )));
        assert!(
            done.stdout.ends_with("msg=\"litestream shut down\"\n"),
            "{done:?}"
        );
        assert_eq!(
            place.run(&["restore", "-o", "out.db", &place.url()]).code,
            0
        );
        assert_eq!(place.sum("out.db"), 42, "{signal}");
    }
}

#[test]
fn a_database_that_never_was_is_nothing_lost() {
    let place = Place::new();
    let litestream = place.start(&["replicate", "none.db", &place.url()]);
    litestream.wait_for("replicating to");
    litestream.signal("TERM");
    assert_eq!(litestream.finish().code, 0);
}

/// A replica whose folder is a file cannot be written by anybody, not even by root.
fn blocked(place: &Place) {
    std::os::unix::fs::symlink("/dev/null", place.path("backup")).expect("link");
}

#[test]
fn d8_a_failed_final_upload_is_not_exit_0_and_a_second_signal_ends_at_once() {
    let place = Place::new();
    let _db = place.database("app.db");
    blocked(&place);
    let litestream = place.start(&["replicate", "app.db", &place.url()]);
    litestream.wait_for("replicating to");
    litestream.signal("TERM");
    litestream.wait_for("shutdown sync failed, retrying (press Ctrl+C again to skip)");
    litestream.signal("TERM");
    let done = litestream.finish();
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stderr
            .contains("app.db: not everything committed is in the replica"),
        "{done:?}"
    );
    assert!(
        done.stdout.contains("shutdown sync interrupted by signal"),
        "{done:?}"
    );
}

#[test]
fn an_upload_that_works_again_during_shutdown_is_a_good_end() {
    let place = Place::new();
    let _db = place.database("app.db");
    blocked(&place);
    let litestream = place.start(&["replicate", "app.db", &place.url()]);
    litestream.wait_for("replicating to");
    litestream.signal("TERM");
    litestream.wait_for("shutdown sync failed, retrying");
    assert!(
        std::process::Command::new("rm")
            .arg(place.path("backup"))
            .status()
            .unwrap()
            .success()
    );
    let done = litestream.finish();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    assert!(
        done.stdout.contains("shutdown sync succeeded after retry"),
        "{done:?}"
    );
    assert_eq!(
        place.run(&["restore", "-o", "out.db", &place.url()]).code,
        0
    );
}

#[test]
fn d7_a_closed_log_pipe_does_not_end_replication() {
    let place = Place::new();
    let db = place.database("app.db");
    let url = place.url();
    let mut child = place
        .command(LITESTREAM, &["replicate", "app.db", &url])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let line = first_line(child.stdout.take().unwrap());
    assert!(line.contains("msg=litestream version="), "{line}");
    db.execute_batch("INSERT INTO t VALUES (41)").unwrap();
    common::wait_until("the first upload", || place.exists("backup/ltx/0"));
    common::send(child.id(), "TERM");
    assert_eq!(common::code(child.wait().unwrap()), 0);
    assert_eq!(place.run(&["restore", "-o", "out.db", &url]).code, 0);
    assert_eq!(place.sum("out.db"), 42);
}
