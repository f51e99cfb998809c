//! `litestream-test`.

mod common;

use common::Place;

#[test]
fn dispatch_and_errors() {
    let place = Place::new();
    for args in [&[][..], &["help"], &["populate", "-h"]] {
        let done = place.run_test(args);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{args:?}");
        assert!(done.stdout.contains("Usage:"));
    }
    for (args, text, code) in [
        (&["x"][..], "unknown command: x\n", 1),
        (&["populate"], "database path required\n", 1),
        (
            &["populate", "-db", "a.db", "-target-size", "1mb"],
            "invalid target size: 1mb\n",
            1,
        ),
        (
            &["load", "-db", "none.db"],
            "database does not exist: none.db\n",
            1,
        ),
        (
            &["shrink", "-db", "none.db"],
            "database does not exist: none.db\n",
            1,
        ),
        (&["validate"], "source database path required\n", 1),
        (
            &["validate", "-source-db", "x"],
            "replica URL or config file required\n",
            1,
        ),
        (&["load", "-x"], "flag provided but not defined: -x\n", 2),
        (
            &["load", "-write-rate", "abc"],
            "invalid value \"abc\" for flag -write-rate: parse error\n",
            2,
        ),
    ] {
        let done = place.run_test(args);
        assert_eq!(done.code, code, "{args:?}: {done:?}");
        assert!(done.stderr.starts_with(text), "{args:?}: {done:?}");
    }
    assert_eq!(
        place.run_test(&["version"]).stdout,
        format!("litestream-test {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn populate_reaches_its_size_and_replaces_what_is_there() {
    let place = Place::new();
    let args = [
        "populate",
        "-db",
        "a.db",
        "-target-size",
        "1MB",
        "-table-count",
        "2",
        "-page-size",
        "1024",
        "-index-ratio",
        "1",
    ];
    for _ in 0..2 {
        let done = place.run_test(&args);
        assert_eq!(done.code, 0, "{done:?}");
        let db = rusqlite::Connection::open(place.path("a.db")).unwrap();
        let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("SELECT COUNT(*) FROM test_table_0"), 512);
        assert_eq!(number("PRAGMA page_size"), 1024);
        assert!(number("PRAGMA page_count") >= 1024);
        assert_eq!(
            number("SELECT COUNT(*) FROM sqlite_schema WHERE type = 'index'"),
            4
        );
    }
    common::fifo(&place.path("fifo"));
    assert_eq!(
        place
            .run_test(&["populate", "-db", "fifo"])
            .stderr
            .lines()
            .last(),
        Some("not a regular file: fifo")
    );
}

#[test]
fn the_totals_of_load_are_those_of_the_whole_run() {
    let place = Place::new();
    drop(place.database("a.db"));
    let args = [
        "load",
        "-db",
        "a.db",
        "-duration",
        "1200ms",
        "-write-rate",
        "200",
        "-workers",
        "2",
        "-payload-size",
        "64",
    ];
    let done = place.run_test(&args);
    assert_eq!(done.code, 0, "{done:?}");
    let last = done.stderr.lines().last().unwrap();
    assert!(last.contains("msg=\"Load generation complete\""), "{last}");
    let total: i64 = last
        .split("total_writes=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let db = rusqlite::Connection::open(place.path("a.db")).unwrap();
    let rows: i64 = db
        .query_row("SELECT COUNT(*) FROM load_test", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, total);
    assert!(rows > 50, "{rows}");
}

#[test]
fn load_ends_on_a_signal() {
    let place = Place::new();
    drop(place.database("a.db"));
    let mut command = place.command(
        common::LITESTREAM_TEST,
        &["load", "-db", "a.db", "-duration", "10m"],
    );
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    common::wait_until("the first write", || {
        let db = rusqlite::Connection::open(place.path("a.db")).unwrap();
        db.query_row("SELECT COUNT(*) FROM load_test", [], |row| {
            row.get::<_, i64>(0)
        })
        .is_ok_and(|n| n > 0)
    });
    common::send(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn shrink_deletes_its_share() {
    let place = Place::new();
    let db = place.database("a.db");
    db.execute_batch(
        "CREATE TABLE w (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID; CREATE TABLE load_test (x); CREATE TABLE _litestream_seq (x);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
         INSERT INTO w SELECT i, i FROM n;
         INSERT INTO load_test SELECT a FROM w; INSERT INTO _litestream_seq SELECT a FROM w;",
    )
    .unwrap();
    let args = [
        "shrink",
        "-db",
        "a.db",
        "-delete-percentage",
        "25",
        "-checkpoint",
        "-checkpoint-mode",
        "TRUNCATE",
        "-vacuum",
    ];
    let done = place.run_test(&args);
    assert_eq!(done.code, 0, "{done:?}");
    for (table, rows) in [("w", 75), ("load_test", 100), ("_litestream_seq", 100)] {
        let count: i64 = db
            .query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(count, rows, "{table}");
    }
    let bad = place.run_test(&["shrink", "-db", "a.db", "-delete-percentage", "101"]);
    assert_eq!(
        bad.stderr.lines().last(),
        Some("delete percentage must be between 0 and 100")
    );
}

#[test]
fn validate_finds_a_source_that_went_on() {
    let place = Place::new();
    let db = place.replicated();
    let url = place.url();
    let args = [
        "validate",
        "-source-db",
        "app.db",
        "-replica-url",
        &url,
        "-check-type",
        "full",
        "-ltx-continuity",
    ];
    let done = place.run_test(&args);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("All validation checks passed"));
    db.execute_batch("UPDATE t SET x = 7").unwrap();
    let done = place.run_test(&args);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stderr
            .contains("msg=\"Validation failed\" check_type=checksum"),
        "{done:?}"
    );
    assert!(
        done.stderr
            .contains("check_type=compare error=\"table t: row 1 differs in column 2\""),
        "{done:?}"
    );
    assert!(done.stderr.ends_with("validation failed\n"));
    assert_eq!(
        place
            .run_test(&[
                "validate",
                "-source-db",
                "app.db",
                "-replica-url",
                "file:///nope/x"
            ])
            .code,
        1
    );
}
