//! `replicate -once`, and restoring at start.

mod common;

use common::Place;

#[test]
fn everything_committed_is_replicated() {
    let place = Place::new();
    let db = place.database("app.db");
    let done = place.run(&["replicate", "-once", "app.db", &place.url()]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    let messages: Vec<&str> = done
        .stdout
        .lines()
        .filter_map(|l| l.split("level=INFO msg=").nth(1))
        .collect();
    let expected = [
        "litestream version=",
        "\"initialized db\" path=",
        "\"replicating to\" type=file path=",
        "\"syncing database\" path=",
        "\"one-shot replication complete\"",
        "\"replication complete, litestream shutting down\"",
        "\"litestream shut down\"",
    ];
    let mut rest = messages.iter();
    for text in expected {
        assert!(rest.any(|m| m.starts_with(text)), "{text}: {messages:?}");
    }
    db.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(
        place
            .run(&["replicate", "-once", "app.db", &place.url()])
            .code,
        0
    );
    assert_eq!(
        place.run(&["restore", "-o", "out.db", &place.url()]).code,
        0
    );
    assert_eq!(place.sum("out.db"), 3);
}

#[test]
fn a_missing_database_is_an_error_and_at_once() {
    let place = Place::new();
    let done = place.run(&["replicate", "-once", "none.db", &place.url()]);
    let path = place.path("none.db");
    assert_eq!(done.code, 1);
    assert_eq!(
        done.stderr,
        format!(
            "Error: sync replica for {}: no position, waiting for data\n",
            path.display()
        )
    );
    assert!(done.stdout.contains("litestream shut down"));
}

#[test]
fn a_file_that_is_no_database_is_an_error() {
    let place = Place::new();
    std::process::Command::new("dd")
        .args(["if=/dev/urandom", "bs=4096", "count=4", "status=none"])
        .arg(format!("of={}", place.path("junk.db").display()))
        .status()
        .unwrap();
    let done = place.run(&["replicate", "-once", "junk.db", &place.url()]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.starts_with("Error: sync database "), "{done:?}");
}

#[test]
fn a_forced_snapshot_is_at_level_9() {
    let place = Place::new();
    let _db = place.database("app.db");
    let done = place.run(&[
        "replicate",
        "-once",
        "-force-snapshot",
        "-enforce-retention",
        "app.db",
        &place.url(),
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stdout.contains("msg=\"taking snapshot\"")
            && done.stdout.contains("msg=\"enforcing retention\"")
    );
    let list = place.run(&["ltx", "-level", "9", &place.url()]);
    assert_eq!(list.stdout.lines().count(), 2, "{}", list.stdout);
    assert!(
        list.stdout
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("9      0000000000000001  ")
    );
}

#[test]
fn a_missing_database_is_restored_first() {
    let place = Place::new();
    drop(place.replicated());
    let done = place.run(&[
        "replicate",
        "-once",
        "-restore-if-db-not-exists",
        "new.db",
        &place.url(),
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stdout
            .contains("attempting restore before replication")
    );
    assert!(done.stdout.contains("restore completed"));
    assert_eq!(place.sum("new.db"), 1);
    let done = place.run(&[
        "replicate",
        "-once",
        "-restore-if-db-not-exists",
        "new.db",
        &place.url(),
    ]);
    assert!(
        done.stdout.contains("database exists, skipping restore"),
        "{done:?}"
    );
}

#[test]
fn r21_a_damaged_backup_is_no_reason_to_start_afresh() {
    let place = Place::new();
    drop(place.replicated());
    let level = place.path("backup/ltx/0");
    let from = level.join("0000000000000001-0000000000000001.ltx");
    let mut mv = std::process::Command::new("mv");
    assert!(
        mv.arg(from)
            .arg(level.join("0000000000000005-0000000000000005.ltx"))
            .status()
            .unwrap()
            .success()
    );
    let done = place.run(&[
        "replicate",
        "-once",
        "-restore-if-db-not-exists",
        "new.db",
        &place.url(),
    ]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stderr.starts_with("Error: restore failed: "),
        "{done:?}"
    );
    let done = place.run(&[
        "restore",
        "-if-replica-exists",
        "-o",
        "out.db",
        &place.url(),
    ]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(!place.exists("new.db") && !place.exists("out.db"));
}

#[test]
fn no_backup_is_a_fresh_start() {
    let place = Place::new();
    let done = place.run(&[
        "replicate",
        "-once",
        "-restore-if-db-not-exists",
        "new.db",
        &place.url(),
    ]);
    assert!(
        done.stdout.contains("no backup found, starting fresh"),
        "{done:?}"
    );
}
