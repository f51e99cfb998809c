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
fn a_hangup_does_not_cost_the_final_sync_that_is_running() {
    for first in ["HUP", "TERM"] {
        let place = Place::new();
        let _db = place.database("app.db");
        blocked(&place);
        let litestream = place.start(&["replicate", "app.db", &place.url()]);
        litestream.wait_for("replicating to");
        litestream.signal(first);
        litestream.wait_for("shutdown sync failed, retrying");
        litestream.signal("HUP");
        litestream.wait_for("attempts=3");
        litestream.signal("INT");
        let done = litestream.finish();
        assert_eq!(done.code, 1, "{first}: {done:?}");
        assert!(
            done.stdout.contains("shutdown sync interrupted by signal"),
            "{first}: {done:?}"
        );
    }
}

#[test]
fn a_hangup_that_was_ignored_at_start_stays_ignored() {
    let place = Place::new();
    let db = place.database("app.db");
    let script = format!(
        "trap '' HUP; exec {LITESTREAM} replicate app.db {}",
        place.url()
    );
    let child = place
        .command("sh", &["-c", &script])
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let output = child.stdout.take().unwrap();
    first_line(output);
    common::wait_until("the first upload", || place.exists("backup/ltx/0"));
    common::send(child.id(), "HUP");
    let first = "backup/ltx/0/0000000000000001-0000000000000001.ltx";
    common::wait_until("the first upload", || place.exists(first));
    db.execute_batch("INSERT INTO t VALUES (41)").unwrap();
    let second = "backup/ltx/0/0000000000000002-0000000000000002.ltx";
    common::wait_until("the second upload", || place.exists(second));
    common::send(child.id(), "TERM");
    assert_eq!(common::code(child.wait().unwrap()), 0);
}

#[test]
fn user_signals_do_nothing() {
    let place = Place::new();
    let db = place.database("app.db");
    let litestream = place.start(&["replicate", "app.db", &place.url()]);
    litestream.wait_for("replicating to");
    litestream.signal("USR1");
    litestream.signal("USR2");
    let first = "backup/ltx/0/0000000000000001-0000000000000001.ltx";
    common::wait_until("the first upload", || place.exists(first));
    db.execute_batch("INSERT INTO t VALUES (41)").unwrap();
    let second = "backup/ltx/0/0000000000000002-0000000000000002.ltx";
    common::wait_until("an upload", || place.exists(second));
    litestream.signal("TERM");
    assert_eq!(litestream.finish().code, 0);
}

#[test]
fn a_signal_during_the_restore_before_replication_is_no_good_end() {
    let place = Place::new();
    let db = place.database("app.db");
    // So much that the restore is not over when the signal comes.
    db.execute_batch("INSERT INTO t VALUES (randomblob(50000000))")
        .unwrap();
    drop(db);
    let done = place.run(&["replicate", "-once", "app.db", &place.url()]);
    assert_eq!(done.code, 0, "{done:?}");
    for name in ["app.db", "app.db-wal", "app.db-shm"] {
        remove(&place, name);
    }
    let url = place.url();
    let litestream = place.start(&["replicate", "-restore-if-db-not-exists", "app.db", &url]);
    litestream.wait_for("attempting restore before replication");
    litestream.signal("TERM");
    let done = litestream.finish();
    assert_eq!(done.code, 143, "{done:?}");
    assert!(
        done.stderr
            .contains("app.db: restore before replication interrupted by signal"),
        "{done:?}"
    );
}

fn remove(place: &Place, name: &str) {
    let done = std::process::Command::new("rm")
        .arg("-rf")
        .arg(place.path(name))
        .status();
    assert!(done.expect("rm").success());
}

#[test]
fn what_a_deleted_database_left_to_upload_is_not_exit_0() {
    let place = Place::new();
    drop(place.replicated());
    for name in ["app.db", "app.db-wal", "app.db-shm"] {
        remove(&place, name);
    }
    // All of it uploaded: a good end, once the replica said so.
    let litestream = place.start(&["replicate", "app.db", &place.url()]);
    litestream.wait_for("replicating to");
    litestream.signal("TERM");
    let done = litestream.finish();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");

    remove(&place, "backup");
    blocked(&place);
    let litestream = place.start(&["replicate", "app.db", &place.url()]);
    litestream.wait_for("replicating to");
    litestream.signal("TERM");
    litestream.wait_for("the database is gone before all that was captured of it was uploaded");
    litestream.signal("TERM");
    let done = litestream.finish();
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stderr.contains("captured up to TXID 0000000000000001"),
        "{done:?}"
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

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_nobody_reads_does_not_hold_up_replication() {
    use std::io::Write as _;
    let place = Place::new();
    let db = place.database("app.db");
    let url = place.url();
    let (reader, mut pipe) = std::io::pipe().unwrap();
    // Full: whoever writes to it waits for ever.
    pipe.write_all(&vec![b'.'; 64 << 10]).unwrap();
    let mut child = place
        .command(LITESTREAM, &["replicate", "app.db", &url])
        .stdout(pipe)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    common::wait_until("the first upload", || place.exists("backup/ltx/0"));
    db.execute_batch("INSERT INTO t VALUES (41)").unwrap();
    common::send(child.id(), "TERM");
    assert_eq!(common::code(child.wait().unwrap()), 0);
    drop(reader);
    assert_eq!(place.run(&["restore", "-o", "out.db", &url]).code, 0);
    assert_eq!(place.sum("out.db"), 42);
}
